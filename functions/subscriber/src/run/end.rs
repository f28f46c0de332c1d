//! How a run ends: complete, handed over to a further invocation, or failed.

use std::time::Duration;

use connector::contract::connection::IncomingConnection;
use connector::store::{
    Chains, Checkpoint, Delta, Ending, Failure, LastRun, LoadKind, Remembered, RunRecord,
    RunStatus, StateError,
};
use jiff::Timestamp;
use protime::{Client, Effort};

use super::{Run, header};
use crate::continuation::Continuation;
use crate::{Error, Outcome, Status, plan};

/// The history is written again so often after another attempt has written it.
const HISTORY_ATTEMPTS: u32 = 3;
/// More characters of an error's message are not kept in the history.
const LONGEST_MESSAGE: usize = 1_000;

impl Run<'_> {
    /// Lets a further invocation go on.
    pub(super) async fn hand_over(
        &mut self,
        reason: Option<protime::Error>,
    ) -> Result<Outcome, Error> {
        let wait = reason.as_ref().and_then(protime::Error::retry_after);
        // The run that was asked for follows the unfinished one.
        if !self.is_own() {
            self.remember().await?;
        }
        if let Some(checkpoint) = &mut self.state.checkpoint {
            checkpoint.handed_over = true;
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
        Ok(Outcome::of(
            checkpoint,
            incoming,
            Status::Continued,
            self.invocation.clock.now(),
        ))
    }

    /// Stores the state, and gives the lease back with a new generation. Returns when the next attempt may be made.
    pub(super) async fn free(&mut self, wait: Option<Duration>) -> Result<Timestamp, Error> {
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
    pub(super) async fn announce_completion(&mut self) -> Result<Outcome, Error> {
        let Some(checkpoint) = &self.state.checkpoint else {
            return Err(Error::NoProgress);
        };
        if checkpoint.load != LoadKind::Full && checkpoint.chains.delta_link().is_none() {
            return Err(Error::NoDeltaLink);
        }
        let table = &self.subscriber.state;
        table.save(&self.lease, &self.state, false).await?;
        let now = self.invocation.clock.now();
        let request = match &checkpoint.request {
            Some(request) => match table.kept_text(request).await {
                // A delta may outlive the items in which its request is kept.
                Err(StateError::TextGone(_)) => None,
                request => Some(request?),
            },
            None => None,
        };
        let header = header(self.connection, checkpoint, &self.queue);
        let counts = checkpoint.chains.counts();
        let mut completed = header.completed_message(counts, request.as_deref(), now);
        if completed.size() > self.queue.largest_message() {
            tracing::warn!(
                "the request is too long for the message that ends the run; it is left out there"
            );
            completed = header.completed_message(counts, None, now);
        }
        self.queue.send(completed, self.invocation.deadline).await?;
        let incoming = &self.connection.incoming;
        Ok(Outcome::of(checkpoint, incoming, Status::Completed, now))
    }

    /// Forgets the checkpoint of a run that is complete, and lets a run begin that is due.
    pub(super) async fn record_completion(&mut self, client: &Client) -> Result<(), Error> {
        let is_own = self.is_own();
        let Some(checkpoint) = self.state.checkpoint.clone() else {
            return Ok(());
        };
        let now = self.invocation.clock.now();
        self.record(&checkpoint, RunStatus::Completed, None).await?;
        if checkpoint.load != LoadKind::Full {
            self.keep_delta(&checkpoint, client).await?;
        }
        let scheduled = self.state.last.as_ref().map(|last| last.scheduled);
        self.state.last = Some(LastRun {
            run: checkpoint.run.clone(),
            scheduled: scheduled.max(Some(checkpoint.scheduled)).unwrap_or(now),
            counts: checkpoint.chains.counts(),
        });
        self.state.checkpoint = None;
        if is_own {
            self.free(None).await?;
        } else {
            let table = &self.subscriber.state;
            table.end_run(&mut self.lease, &self.state).await?;
        }
        self.tally.completed += 1;
        let took = checkpoint
            .started
            .map(|started| now.duration_since(started));
        self.tally
            .durations
            .extend(took.map(|took| took.as_secs_f64()));
        log_completion(self.connection, &checkpoint, now);
        if is_own {
            self.begin_due().await;
        }
        Ok(())
    }

    /// Gives the lease back for a run that need not be run, and is not due any more.
    pub(super) async fn skip(&mut self, reason: String) -> Result<Outcome, Error> {
        let ending = Ending {
            now: self.invocation.clock.now(),
            not_before: None,
            progressed: false,
        };
        let run = Some(self.connection.run.as_str());
        let table = &self.subscriber.state;
        table.release(&self.lease, None, ending, run).await?;
        self.is_free = true;
        self.begin_due().await;
        Ok(Outcome::skipped(self.connection, reason))
    }

    /// Remembers the run that was asked for as due.
    async fn remember(&self) -> Result<(), Error> {
        let remembered = self
            .subscriber
            .remember(self.connection, self.event, self.invocation)
            .await?;
        match remembered {
            Remembered::Due => Ok(()),
            Remembered::TooMany => Err(Error::TooManyDue(self.connection.incoming.clone())),
            // The lease has ended, so that nobody would start it.
            Remembered::Free => Err(Error::Contended(self.connection.incoming.clone())),
        }
    }

    /// Remembers where the changes are polled next, and counts the delta's 72 hours anew.
    async fn keep_delta(&mut self, checkpoint: &Checkpoint, client: &Client) -> Result<(), Error> {
        let Some(link) = checkpoint.chains.delta_link() else {
            return Ok(());
        };
        let now = self.invocation.clock.now();
        let key = plan::delta_key(self.connection, &client.settings());
        let table = &self.subscriber.state;
        table
            .renew_delta(&key, &self.connection.incoming, now)
            .await?;
        self.state.delta = Some(Delta {
            link: link.to_owned(),
            polled: now,
            fingerprint: checkpoint.fingerprint.clone(),
            request: checkpoint.request.clone(),
        });
        Ok(())
    }

    /// Lets the next run begin that met this one. If that fails, the watch does it.
    async fn begin_due(&self) {
        if let Err(error) = self.send_due().await {
            tracing::warn!(%error, "the next run that is due is left to the watch");
        }
    }

    async fn send_due(&self) -> Result<(), Error> {
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
    pub(super) async fn fail(&mut self, error: &Error) {
        let retry_after = error.retry_after();
        let Err(error) = self.record_failure(error).await else {
            return;
        };
        tracing::warn!(%error, "the failure is not recorded");
        // What is stored stays, and the lease is given back all the same.
        let now = self.invocation.clock.now();
        let ending = Ending {
            now,
            not_before: not_before(now, retry_after),
            progressed: false,
        };
        let table = &self.subscriber.state;
        if let Err(error) = table.release(&self.lease, None, ending, None).await {
            tracing::warn!(%error, "the lease is not given back; it ends by itself");
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
            load: LoadKind::Full,
            source: String::new(),
            request: None,
            chains: Chains::default(),
            effort: Effort::default(),
            handed_over: false,
        });
        self.record(&failed, RunStatus::Failed, Some(failure))
            .await?;
        if is_begun && error.ends_run() {
            self.state.checkpoint = None;
            self.free(None).await?;
            self.begin_due().await;
            return Ok(());
        }
        // What was to be dropped stays, since nothing has taken its place.
        if !is_begun && let Some(dropped) = self.dropped.take() {
            self.state.checkpoint = Some(dropped);
        }
        let ending = Ending {
            now,
            not_before: not_before(now, error.retry_after()),
            progressed: self.tally.counts.pages > 0,
        };
        // A run that was due and cannot begin before somebody acts is not tried again.
        let is_over = !is_begun && error.needs_somebody();
        let due = Some(self.connection.run.as_str()).filter(|_| is_over);
        table
            .release(&self.lease, Some(&self.state), ending, due)
            .await?;
        self.is_free = true;
        Ok(())
    }

    /// Remembers how the checkpoint's run stands.
    pub(super) async fn record(
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
        let record = RunRecord {
            run: checkpoint.run.clone(),
            fingerprint: checkpoint.fingerprint.clone(),
            scheduled: scheduled.or(own),
            started: checkpoint.started.unwrap_or(now),
            ended: (status != RunStatus::Started).then_some(now),
            status,
            counts: checkpoint.chains.counts(),
            error,
        };
        let table = &self.subscriber.state;
        for _ in 0..HISTORY_ATTEMPTS {
            self.history.record(record.clone());
            match table.save_history(&self.lease, &mut self.history).await {
                Err(StateError::HistoryChanged(incoming)) => {
                    let of_event = (self.history.fresh, self.history.event.take());
                    self.history = table.history(&incoming).await?;
                    (self.history.fresh, self.history.event) = of_event;
                }
                result => return result,
            }
        }
        let incoming = self.connection.incoming.clone();
        Err(StateError::HistoryChanged(incoming))
    }
}

/// When Protime may be asked again.
fn not_before(now: Timestamp, wait: Option<Duration>) -> Option<Timestamp> {
    wait.map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

fn log_completion(connection: &IncomingConnection, checkpoint: &Checkpoint, now: Timestamp) {
    let outcome = Outcome::of(checkpoint, &connection.incoming, Status::Completed, now);
    tracing::info!(
        completed = outcome.run,
        pages = outcome.counts.pages,
        records = outcome.counts.records,
        messages = outcome.counts.messages,
        bytes = outcome.bytes,
        chains = outcome.chains,
        requests = outcome.requests,
        retries = outcome.retries,
        seconds = outcome.seconds,
        waited = outcome.waited,
        "run completed"
    );
}
