//! Runs: an unfinished one is finished first, then the new one is run; one that outlasts the invocation is handed over.

use std::time::Duration;

use connector::connection::IncomingConnection;
use connector::page_message::{Counts, RunHeader};
use connector::queue::Queue;
use connector::state::{Acquired, Chain, Checkpoint, ConnectionState, Delta, LastRun, Lease};
use jiff::Timestamp;
use protime::Client;
use serde::Serialize;

use crate::continuation::Continuation;
use crate::plan;
use crate::transfer::{Stopped, Transfer, Transferred};
use crate::{Error, Invocation, Subscriber};

/// What the invocation returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The connection's name.
    pub incoming: String,
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub status: Status,
    /// What the whole run has done.
    #[serde(flatten)]
    pub counts: Counts,
    /// Decoded bytes of Protime's responses.
    pub bytes: u64,
    /// Why a run was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an invocation that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The last page is in the queue.
    Completed,
    /// Time was up; a further invocation goes on.
    Continued,
    /// Another run of the connection is under way.
    Skipped,
}

/// What a run works with.
struct Run<'a> {
    subscriber: &'a Subscriber,
    connection: &'a IncomingConnection,
    /// The event, which a continuation carries on.
    event: &'a str,
    invocation: &'a Invocation,
    client: &'a Client,
    lease: &'a Lease,
    queue: Queue,
    /// Whether anything was transferred in this invocation.
    progressed: bool,
}

impl Subscriber {
    /// Runs the incoming connection in `event`.
    pub async fn run(&self, event: &str, invocation: &Invocation) -> Result<Outcome, Error> {
        let connection =
            IncomingConnection::from_event(event, &invocation.request_id, invocation.now)?;
        match self
            .run_leased(&connection, event, invocation, None)
            .await?
        {
            Ok(outcome) => Ok(outcome),
            Err(Acquired::Busy(until)) => {
                let reason = format!(
                    "another run of this connection is under way, until {until:.0} at the latest"
                );
                tracing::warn!(
                    incoming = connection.incoming,
                    run = connection.run,
                    reason,
                    "run skipped"
                );
                Ok(outcome(
                    &connection.incoming,
                    &connection.run,
                    Status::Skipped,
                    &[],
                    Some(reason),
                ))
            }
            // Only continuations name a generation that can be stale.
            Err(_) => Ok(outcome(
                &connection.incoming,
                &connection.run,
                Status::Skipped,
                &[],
                None,
            )),
        }
    }

    /// Runs a connection if its lease can be had.
    pub(crate) async fn run_leased(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
        generation: Option<u64>,
    ) -> Result<Result<Outcome, Acquired>, Error> {
        tracing::info!(
            incoming = connection.incoming,
            run = connection.run,
            entity = connection.entity,
            "run started"
        );
        let Invocation {
            request_id,
            now,
            ends,
            ..
        } = invocation;
        let (lease, mut state) = match self
            .state
            .acquire(&connection.incoming, request_id, *now, *ends, generation)
            .await?
        {
            Acquired::Leased(lease, state) => (lease, *state),
            other => return Ok(Err(other)),
        };
        let result = self
            .with_lease(connection, event, invocation, &lease, &mut state)
            .await;
        if let Err(error) = &result {
            if error.ends_run() {
                state.checkpoint = None;
            }
            if let Err(error) = self.state.release(&lease, &state).await {
                tracing::warn!(%error, "the lease is not released; it ends by itself");
            }
            if matches!(error, Error::Protime(protime::Error::BaseUriChanged)) {
                self.clients.forget(&connection.client).await;
            }
        }
        result.map(Ok)
    }

    async fn with_lease(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
        lease: &Lease,
        state: &mut ConnectionState,
    ) -> Result<Outcome, Error> {
        let client = self.clients.get(&connection.client).await?;
        let queue = Queue::new(
            self.sqs.clone(),
            connection.queue.as_deref().unwrap_or(&self.pages_queue),
        );
        let mut run = Run {
            subscriber: self,
            connection,
            event,
            invocation,
            client: &client,
            lease,
            queue,
            progressed: false,
        };
        run.all(state).await
    }
}

impl Run<'_> {
    async fn all(&mut self, state: &mut ConnectionState) -> Result<Outcome, Error> {
        let connection = self.connection;
        if state
            .checkpoint
            .take_if(|checkpoint| checkpoint.fingerprint != connection.fingerprint())
            .is_some()
        {
            tracing::warn!(
                incoming = connection.incoming,
                "an unfinished run of an earlier version of the connection is dropped"
            );
        }
        loop {
            let checkpoint = match state.checkpoint.clone() {
                Some(checkpoint) => checkpoint,
                None => self.begin(state).await?,
            };
            let is_last = checkpoint.run == connection.run;
            if !is_last {
                tracing::info!(
                    incoming = connection.incoming,
                    run = checkpoint.run,
                    "finishing an unfinished run first"
                );
            }
            let outcome = self.finish(checkpoint, state, is_last).await?;
            if is_last || outcome.status == Status::Continued {
                return Ok(outcome);
            }
        }
    }

    /// Plans the run and remembers it before anything is sent.
    async fn begin(&self, state: &mut ConnectionState) -> Result<Checkpoint, Error> {
        let settings = self.client.settings().await;
        let table = &self.subscriber.state;
        let checkpoint = plan::plan(
            self.connection,
            &settings,
            state,
            table,
            self.invocation.now,
        )
        .await?;
        state.checkpoint = Some(checkpoint.clone());
        table.save(self.lease, state).await?;
        Ok(checkpoint)
    }

    /// Transfers what is left of a run and ends it, or hands it over.
    async fn finish(
        &mut self,
        mut checkpoint: Checkpoint,
        state: &mut ConnectionState,
        is_last: bool,
    ) -> Result<Outcome, Error> {
        let mut header = self.header(&checkpoint);
        let mut transferred = self.transfer(&header, state).await;
        if checkpoint.sync == "delta"
            && transferred
                .as_ref()
                .is_err_and(|error| error.protime_status() == Some(410))
        {
            tracing::warn!(
                incoming = self.connection.incoming,
                "the delta has expired; everything is loaded anew"
            );
            self.queue
                .send(
                    header.resync_message(Timestamp::now()),
                    self.invocation.deadline,
                )
                .await?;
            let settings = self.client.settings().await;
            let initial = plan::initial(self.connection, &settings, state)?;
            checkpoint = Checkpoint {
                sync: initial.sync,
                chains: initial.chains,
                ..checkpoint
            };
            state.delta = None;
            state.checkpoint = Some(checkpoint.clone());
            self.subscriber.state.save(self.lease, state).await?;
            header = self.header(&checkpoint);
            transferred = self.transfer(&header, state).await;
        }
        let Transferred { pages, stopped } = transferred?;
        self.progressed |= pages > 0;
        if let Stopped::OutOfTime(reason) = stopped {
            return self.hand_over(&checkpoint, state, reason).await;
        }
        self.complete(&header, &checkpoint, state, is_last).await
    }

    async fn transfer(
        &self,
        header: &RunHeader,
        state: &mut ConnectionState,
    ) -> Result<Transferred, Error> {
        let transfer = Transfer {
            client: self.client,
            header,
            queue: &self.queue,
            table: &self.subscriber.state,
            lease: self.lease,
            pagination: self.connection.pagination,
            concurrency: self.connection.concurrency,
            checkpoint_interval: self.subscriber.checkpoint_interval,
            fetch_until: self.invocation.fetch_until,
            deadline: self.invocation.deadline,
        };
        transfer.run(state).await
    }

    /// Lets a further invocation go on. The checkpoint is stored and the lease freed by one write, and only then
    /// is the message sent; if that fails, the next scheduled run goes on.
    async fn hand_over(
        &self,
        checkpoint: &Checkpoint,
        state: &ConnectionState,
        reason: Option<protime::Error>,
    ) -> Result<Outcome, Error> {
        if !self.progressed {
            return Err(reason.map_or(Error::NoProgress, Error::Protime));
        }
        let generation = self.subscriber.state.hand_over(self.lease, state).await?;
        let continuation = Continuation::new(self.connection, self.event, generation)?;
        self.subscriber
            .continuations
            .send(continuation.into_message()?, self.invocation.deadline)
            .await?;
        let chains = state
            .checkpoint
            .as_ref()
            .map_or(&[][..], |checkpoint| &checkpoint.chains);
        tracing::info!(
            incoming = self.connection.incoming,
            run = checkpoint.run,
            generation,
            "run handed over"
        );
        Ok(outcome(
            &self.connection.incoming,
            &checkpoint.run,
            Status::Continued,
            chains,
            None,
        ))
    }

    /// Tells consumers that the run is complete, then forgets its checkpoint: in this order, so that the event is
    /// sent at least once.
    async fn complete(
        &self,
        header: &RunHeader,
        checkpoint: &Checkpoint,
        state: &mut ConnectionState,
        is_last: bool,
    ) -> Result<Outcome, Error> {
        let chains = state
            .checkpoint
            .take()
            .map(|checkpoint| checkpoint.chains)
            .unwrap_or_default();
        let result = outcome(
            &self.connection.incoming,
            &checkpoint.run,
            Status::Completed,
            &chains,
            None,
        );
        let delta = match (
            checkpoint.sync.as_str(),
            chains.iter().find_map(|chain| chain.delta_link.as_deref()),
        ) {
            ("full", _) => None,
            (_, None) => return Err(Error::NoDeltaLink),
            (_, Some(link)) => Some(Delta {
                link: link.to_owned(),
                polled: self.invocation.now.max(Timestamp::now()),
                fingerprint: checkpoint.fingerprint.clone(),
            }),
        };
        let deadline = self.invocation.deadline;
        if let Err(error) = self
            .queue
            .send(
                header.completed_message(result.counts, Timestamp::now()),
                deadline,
            )
            .await
        {
            state.checkpoint = Some(Checkpoint {
                chains,
                ..checkpoint.clone()
            });
            return Err(error.into());
        }
        let table = &self.subscriber.state;
        if let Some(delta) = delta {
            let settings = self.client.settings().await;
            let key = plan::delta_key(self.connection, &settings);
            let polled = delta.polled;
            state.delta = Some(delta);
            table
                .renew_delta(&key, &self.connection.incoming, polled)
                .await?;
        }
        let (run, scheduled) = (checkpoint.run.clone(), checkpoint.scheduled);
        state.last = Some(LastRun {
            run,
            scheduled,
            counts: result.counts,
        });
        if is_last {
            // The generation rises, so that a continuation of this run finds itself stale.
            table.hand_over(self.lease, state).await?;
        } else {
            table.save(self.lease, state).await?;
        }
        let Counts {
            pages,
            records,
            messages,
        } = result.counts;
        let Outcome {
            incoming,
            run,
            bytes,
            ..
        } = &result;
        tracing::info!(
            incoming,
            run,
            pages,
            records,
            messages,
            bytes,
            "run completed"
        );
        Ok(result)
    }

    fn header(&self, checkpoint: &Checkpoint) -> RunHeader {
        RunHeader {
            incoming: self.connection.incoming.clone(),
            entity: self.connection.entity.clone(),
            source: checkpoint.source.clone(),
            run: checkpoint.run.clone(),
            sync: checkpoint.sync.clone(),
        }
    }
}

fn outcome(
    incoming: &str,
    run: &str,
    status: Status,
    chains: &[Chain],
    reason: Option<String>,
) -> Outcome {
    Outcome {
        incoming: incoming.to_owned(),
        run: run.to_owned(),
        status,
        counts: chains.iter().map(|chain| chain.counts).sum(),
        bytes: chains.iter().map(|chain| chain.bytes).sum(),
        reason,
    }
}

/// The checkpoint is stored at most so often while pages come in.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
