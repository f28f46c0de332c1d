//! A run under a lease, step by step: an unfinished one is finished first, then the new one is run.
//!
//! ```text
//!                 plan                  transfer                 announce_completion
//!   leased ──────────────────▶ begun ─────────────▶ all sent ─────────────────────────▶ announced
//!     ▲ │                      ▲   │                                                       │
//!     │ └── resume ────────────┘   │ hand_over (time is up)                                │ record_completion
//!     │                            │ or fail (keeps the checkpoint)                        ▼
//!     └──────────── waiting ◀──────┘                                                   completed
//!        by continuation, the watch,
//!        Lambda's retry or the next schedule; an error that ends the run drops its checkpoint
//! ```
//!
//! A run is *begun* as long as its checkpoint is stored. Messages are sent after the write that makes them true. What dies
//! in between is found by the watch.

use std::time::Duration;

use connector::connection::IncomingConnection;
use connector::page_message::RunHeader;
use connector::queue::Queue;
use connector::store::{
    Checkpoint, ConnectionState, Delta, Due, Ending, Failure, History, LastRun, Lease, Leased,
    Remembered, RunRecord, RunStatus, StateError,
};
use jiff::Timestamp;
use protime::Client;

use crate::continuation::Continuation;
use crate::outcome::counts;
use crate::plan;
use crate::report::Tally;
use crate::transfer::{Stopped, Transfer};
use crate::{Error, Invocation, Outcome, Status, Subscriber};

/// The checkpoint is stored at most so often while pages come in.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// More characters of an error's message are not kept in the history.
const LONGEST_MESSAGE: usize = 1_000;

/// A run under a lease. It owns all that is known of its connection.
pub(crate) struct Run<'a> {
    subscriber: &'a Subscriber,
    pub(crate) connection: &'a IncomingConnection,
    /// The connection's event, which the checkpoint keeps.
    event: &'a str,
    invocation: &'a Invocation,
    queue: Queue,
    lease: Lease,
    state: ConnectionState,
    due: Vec<Due>,
    history: History,
    /// Whether the lease is given back.
    is_free: bool,
    pub(crate) tally: Tally,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        subscriber: &'a Subscriber,
        connection: &'a IncomingConnection,
        event: &'a str,
        invocation: &'a Invocation,
        leased: Leased,
    ) -> Self {
        let queue = connection
            .queue
            .as_deref()
            .unwrap_or(&subscriber.pages_queue);
        Self {
            subscriber,
            connection,
            event,
            invocation,
            queue: Queue::new(subscriber.sqs.clone(), queue),
            lease: leased.lease,
            state: leased.state,
            due: leased.due,
            history: History::default(),
            is_free: false,
            tally: Tally::default(),
        }
    }

    /// Runs to the end, or as far as there is time. The lease is given back whatever happens.
    pub(crate) async fn execute(&mut self) -> Result<Outcome, Error> {
        let result = self.steps().await;
        if let Err(error) = &result {
            if !self.is_free && !matches!(error, Error::State(StateError::LeaseLost(_))) {
                self.fail(error).await;
            }
            if matches!(error, Error::Protime(protime::Error::BaseUriChanged)) {
                self.subscriber
                    .clients
                    .forget(&self.connection.client)
                    .await;
            }
        }
        result
    }

    async fn steps(&mut self) -> Result<Outcome, Error> {
        let incoming = &self.connection.incoming;
        self.history = self.subscriber.state.history(incoming).await?;
        let client = self.subscriber.clients.get(&self.connection.client).await?;
        self.drop_other_version();
        loop {
            if self.state.checkpoint.is_none() {
                if let Some(reason) = self.done_before()? {
                    self.free(None).await?;
                    return Ok(Outcome::skipped(self.connection, reason));
                }
                self.plan(&client).await?;
            } else if !self.is_own() {
                self.resume();
            }
            let is_own = self.is_own();
            let outcome = self.finish(&client).await?;
            if is_own || outcome.status == Status::Continued {
                return Ok(outcome);
            }
        }
    }

    /// Whether the checkpoint is that of the run that was asked for, rather than an earlier one's.
    fn is_own(&self) -> bool {
        let checkpoint = self.state.checkpoint.as_ref();
        checkpoint.is_none_or(|checkpoint| checkpoint.run == self.connection.run)
    }

    /// An unfinished run is only continued by a connection that reads the same.
    fn drop_other_version(&mut self) {
        let fingerprint = self.connection.fingerprint();
        let dropped = self
            .state
            .checkpoint
            .take_if(|checkpoint| checkpoint.fingerprint != fingerprint);
        if let Some(checkpoint) = dropped {
            tracing::warn!(
                incoming = self.connection.incoming,
                run = checkpoint.run,
                "an unfinished run of an earlier version of the connection is dropped"
            );
        }
    }

    /// Why the run need not be run: it was.
    fn done_before(&self) -> Result<Option<String>, Error> {
        let connection = self.connection;
        let completed = self
            .history
            .run(&connection.run)
            .filter(|record| record.status == RunStatus::Completed);
        match completed {
            None => Ok(None),
            Some(_) if connection.takeover => Ok(None),
            Some(record) if record.fingerprint != connection.fingerprint() => {
                Err(Error::RunOfAnother {
                    incoming: connection.incoming.clone(),
                    run: connection.run.clone(),
                })
            }
            Some(_) => Ok(Some("this run has completed before".to_owned())),
        }
    }

    /// Works out what to ask Protime for, and remembers it before anything is sent.
    async fn plan(&mut self, client: &Client) -> Result<(), Error> {
        let settings = client.settings().await;
        let now = self.invocation.clock.now();
        let table = &self.subscriber.state;
        let planned = plan::plan(self.connection, &settings, &mut self.state, table, now).await?;
        let checkpoint = Checkpoint {
            started: Some(now),
            event: Some(self.event.to_owned()),
            ..planned
        };
        self.history.fresh = self.connection.fresh;
        self.record(&checkpoint, RunStatus::Started, None).await?;
        self.state.checkpoint = Some(checkpoint);
        let due = self.due_place();
        table.begin(&mut self.lease, &self.state, due).await?;
        Ok(())
    }

    fn due_place(&self) -> Option<usize> {
        self.due
            .iter()
            .position(|due| due.run == self.connection.run)
    }

    fn resume(&self) {
        let run = self
            .state
            .checkpoint
            .as_ref()
            .map(|checkpoint| &checkpoint.run);
        tracing::info!(
            incoming = self.connection.incoming,
            run,
            "finishing an unfinished run first"
        );
    }

    /// Transfers what is left of a run and ends it, or hands it over.
    async fn finish(&mut self, client: &Client) -> Result<Outcome, Error> {
        let before = self.tally.counts.pages;
        let mut stopped = self.transfer(client).await;
        if stopped.as_ref().is_err_and(|error| self.has_expired(error)) {
            self.load_anew(client).await?;
            stopped = self.transfer(client).await;
        }
        match stopped? {
            Stopped::AtTheEnd => {
                let outcome = self.announce_completion().await?;
                self.record_completion(client).await?;
                Ok(outcome)
            }
            // Another round would come as far.
            Stopped::OutOfTime(reason) if self.tally.counts.pages == before => {
                Err(reason.map_or(Error::NoProgress, Error::Protime))
            }
            Stopped::OutOfTime(reason) => self.hand_over(reason).await,
        }
    }

    async fn transfer(&mut self, client: &Client) -> Result<Stopped, Error> {
        let Some(checkpoint) = &self.state.checkpoint else {
            return Ok(Stopped::AtTheEnd);
        };
        let transfer = Transfer {
            client,
            header: &header(self.connection, checkpoint),
            queue: &self.queue,
            table: &self.subscriber.state,
            lease: &self.lease,
            pagination: self.connection.pagination,
            concurrency: self.connection.concurrency,
            checkpoint_interval: self.subscriber.checkpoint_interval,
            clock: &self.invocation.clock,
            fetch_until: self.invocation.fetch_until,
            deadline: self.invocation.deadline,
        };
        transfer.run(&mut self.state, &mut self.tally).await
    }

    /// Whether Protime has forgotten the delta that is polled.
    fn has_expired(&self, error: &Error) -> bool {
        let checkpoint = self.state.checkpoint.as_ref();
        checkpoint.is_some_and(|checkpoint| checkpoint.sync == "delta")
            && error.protime_status() == Some(410)
    }

    /// Begins the load that takes the place of an expired delta, and tells consumers to forget what they have.
    async fn load_anew(&mut self, client: &Client) -> Result<(), Error> {
        tracing::warn!(
            incoming = self.connection.incoming,
            "the delta has expired; everything is loaded anew"
        );
        let settings = client.settings().await;
        let initial = plan::initial(self.connection, &settings, &self.state)?;
        let Some(checkpoint) = &mut self.state.checkpoint else {
            return Ok(());
        };
        let now = self.invocation.clock.now();
        let resync = header(self.connection, checkpoint).resync_message(now);
        self.queue.send(resync, self.invocation.deadline).await?;
        checkpoint.sync = initial.sync;
        checkpoint.chains = initial.chains;
        self.state.delta = None;
        self.subscriber.state.save(&self.lease, &self.state).await?;
        Ok(())
    }

    /// Lets a further invocation go on.
    async fn hand_over(&mut self, reason: Option<protime::Error>) -> Result<Outcome, Error> {
        let wait = reason.as_ref().and_then(protime::Error::retry_after);
        // The run that was asked for follows the unfinished one.
        if !self.is_own() {
            let remembered = self
                .subscriber
                .remember(self.connection, self.event, self.invocation)
                .await?;
            if remembered == Remembered::TooMany {
                return Err(Error::TooManyDue(self.connection.incoming.clone()));
            }
        }
        let until = self.free(wait).await?;
        let incoming = &self.connection.incoming;
        let Some(checkpoint) = &self.state.checkpoint else {
            return Err(Error::NoProgress);
        };
        let generation = self.lease.generation();
        let continuation = Continuation::new(incoming, &checkpoint.run, generation);
        self.subscriber
            .send_continuation(&continuation, until, self.invocation)
            .await?;
        tracing::info!(
            incoming,
            run = checkpoint.run,
            generation,
            "run handed over"
        );
        Ok(Outcome::of(checkpoint, incoming, Status::Continued))
    }

    /// Stores the state, and gives the lease back with a new generation. Returns when the next attempt may be made.
    async fn free(&mut self, wait: Option<Duration>) -> Result<Timestamp, Error> {
        let now = self.invocation.clock.now();
        let not_before = not_before(now, wait);
        let ending = Ending {
            now,
            not_before,
            progressed: true,
        };
        let table = &self.subscriber.state;
        table
            .hand_over(&mut self.lease, &self.state, ending)
            .await?;
        self.is_free = true;
        Ok(not_before.unwrap_or(now))
    }

    /// Tells consumers that the run is complete. Its checkpoint is stored before, so that whoever has to tell it again
    /// tells the same counts.
    async fn announce_completion(&mut self) -> Result<Outcome, Error> {
        let Some(checkpoint) = &self.state.checkpoint else {
            return Err(Error::NoProgress);
        };
        if checkpoint.sync != "full" && delta_link(checkpoint).is_none() {
            return Err(Error::NoDeltaLink);
        }
        self.subscriber.state.save(&self.lease, &self.state).await?;
        let now = self.invocation.clock.now();
        let completed =
            header(self.connection, checkpoint).completed_message(counts(checkpoint), now);
        self.queue.send(completed, self.invocation.deadline).await?;
        Ok(Outcome::of(
            checkpoint,
            &self.connection.incoming,
            Status::Completed,
        ))
    }

    /// Forgets the checkpoint of a run that is complete, and lets a run begin that is due.
    async fn record_completion(&mut self, client: &Client) -> Result<(), Error> {
        let is_own = self.is_own();
        let Some(checkpoint) = self.state.checkpoint.clone() else {
            return Ok(());
        };
        let now = self.invocation.clock.now();
        self.record(&checkpoint, RunStatus::Completed, None).await?;
        let table = &self.subscriber.state;
        if let Some(link) = delta_link(&checkpoint).filter(|_| checkpoint.sync != "full") {
            let key = plan::delta_key(self.connection, &*client.settings().await);
            table
                .renew_delta(&key, &self.connection.incoming, now)
                .await?;
            self.state.delta = Some(Delta {
                link,
                polled: now,
                fingerprint: checkpoint.fingerprint.clone(),
            });
        }
        let scheduled = self.state.last.as_ref().map(|last| last.scheduled);
        self.state.last = Some(LastRun {
            run: checkpoint.run.clone(),
            scheduled: scheduled.max(Some(checkpoint.scheduled)).unwrap_or(now),
            counts: counts(&checkpoint),
        });
        self.state.checkpoint = None;
        if is_own {
            self.free(None).await?;
            self.begin_due().await?;
        } else {
            table.end_run(&mut self.lease, &self.state).await?;
        }
        self.tally.completed += 1;
        let took = checkpoint
            .started
            .map(|started| now.duration_since(started));
        self.tally
            .durations
            .extend(took.map(|took| took.as_secs_f64()));
        log_completion(self.connection, &checkpoint);
        Ok(())
    }

    /// Lets the next run begin that met this one.
    async fn begin_due(&self) -> Result<(), Error> {
        let incoming = &self.connection.incoming;
        let now = self.invocation.clock.now();
        let Some((due, generation)) = self.subscriber.state.next_due(incoming, now).await? else {
            return Ok(());
        };
        let continuation = Continuation::new(incoming, &due.run, generation);
        self.subscriber
            .send_continuation(&continuation, now, self.invocation)
            .await
    }

    /// Gives the lease back after a failure, and remembers the error.
    async fn fail(&mut self, error: &Error) {
        if let Err(error) = self.record_failure(error).await {
            tracing::warn!(incoming = self.connection.incoming, %error, "the failure is not recorded, or the lease not given back; it ends by itself");
        }
    }

    async fn record_failure(&mut self, error: &Error) -> Result<(), Error> {
        let failure = Failure {
            kind: error.kind().name().to_owned(),
            message: error.to_string().chars().take(LONGEST_MESSAGE).collect(),
        };
        let table = &self.subscriber.state;
        let now = self.invocation.clock.now();
        let is_begun = self.state.checkpoint.is_some();
        let failed = self.state.checkpoint.clone().unwrap_or_else(|| Checkpoint {
            run: self.connection.run.clone(),
            scheduled: self.connection.scheduled,
            fingerprint: self.connection.fingerprint(),
            started: Some(now),
            event: None,
            sync: String::new(),
            source: String::new(),
            chains: Vec::new(),
        });
        self.record(&failed, RunStatus::Failed, Some(failure))
            .await?;
        if is_begun && error.ends_run() {
            self.state.checkpoint = None;
            self.free(None).await?;
            return self.begin_due().await;
        }
        let ending = Ending {
            now,
            not_before: not_before(now, error.retry_after()),
            progressed: self.tally.counts.pages > 0,
        };
        // A run that was due and can never begin is not tried again.
        let due = self.due_place().filter(|_| !is_begun && error.ends_run());
        table
            .release(&self.lease, Some(&self.state), ending, due)
            .await?;
        self.is_free = true;
        Ok(())
    }

    /// Remembers how the checkpoint's run stands.
    async fn record(
        &mut self,
        checkpoint: &Checkpoint,
        status: RunStatus,
        error: Option<Failure>,
    ) -> Result<(), StateError> {
        let now = self.invocation.clock.now();
        let known = self.history.run(&checkpoint.run);
        let is_own = checkpoint.run == self.connection.run;
        let scheduled = known.and_then(|known| known.scheduled);
        let own = Some(checkpoint.scheduled).filter(|_| is_own && self.connection.is_scheduled);
        self.history.record(RunRecord {
            run: checkpoint.run.clone(),
            fingerprint: checkpoint.fingerprint.clone(),
            scheduled: scheduled.or(own),
            started: checkpoint.started.unwrap_or(now),
            ended: (status != RunStatus::Started).then_some(now),
            status,
            counts: counts(checkpoint),
            error,
        });
        self.subscriber
            .state
            .save_history(&self.lease, &mut self.history)
            .await
    }
}

fn header(connection: &IncomingConnection, checkpoint: &Checkpoint) -> RunHeader {
    RunHeader {
        incoming: connection.incoming.clone(),
        entity: connection.entity.clone(),
        source: checkpoint.source.clone(),
        run: checkpoint.run.clone(),
        sync: checkpoint.sync.clone(),
    }
}

fn delta_link(checkpoint: &Checkpoint) -> Option<String> {
    let mut links = checkpoint.chains.iter();
    links.find_map(|chain| chain.delta_link.clone())
}

/// When Protime may be asked again.
fn not_before(now: Timestamp, wait: Option<Duration>) -> Option<Timestamp> {
    wait.map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

fn log_completion(connection: &IncomingConnection, checkpoint: &Checkpoint) {
    let outcome = Outcome::of(checkpoint, &connection.incoming, Status::Completed);
    tracing::info!(
        incoming = outcome.incoming,
        run = outcome.run,
        pages = outcome.counts.pages,
        records = outcome.counts.records,
        messages = outcome.counts.messages,
        bytes = outcome.bytes,
        "run completed"
    );
}
