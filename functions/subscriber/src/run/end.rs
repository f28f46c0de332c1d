//! How a run ends: completed, or handed over to a further invocation.

use std::time::Duration;

use connector::contract::connection::IncomingConnection;
use connector::store::{
    Checkpoint, Delta, DueOutcome, Ending, Failure, LastRun, LoadKind, RunRecord, RunStatus,
    StateError,
};
use jiff::Timestamp;
use protime::Client;

use super::{Run, header};
use crate::continuation::Continuation;
use crate::start::run_of_another;
use crate::{Error, Outcome, Status, plan};

/// How often to write the history when other attempts write it at the same time.
const HISTORY_ATTEMPTS: u32 = 3;

impl Run<'_> {
    /// Hands the run over to a further invocation.
    pub(super) async fn hand_over(
        &mut self,
        reason: Option<protime::Error>,
    ) -> Result<Outcome, Error> {
        let wait = reason.as_ref().and_then(protime::Error::retry_after);
        let wait = wait.max(self.wait);
        // The requested run follows the unfinished one. If it cannot, the unfinished one goes on all the same.
        let stored = if self.is_own() {
            Ok(())
        } else {
            self.store_as_due().await
        };
        if let Some(checkpoint) = &mut self.state.checkpoint {
            checkpoint.handed_over = true;
        }
        let until = self.release(wait).await?;
        let incoming = &self.connection.name;
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
        stored?;
        Ok(Outcome::of(
            checkpoint,
            incoming,
            Status::Continued,
            self.invocation.clock.now(),
        ))
    }

    /// Stores the state, and releases the lease with a new generation. Returns when the next attempt may start.
    pub(super) async fn release(&mut self, wait: Option<Duration>) -> Result<Timestamp, Error> {
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
        self.is_released = true;
        Ok(not_before.unwrap_or(now))
    }

    /// Tells consumers that the run is complete. The checkpoint is stored first, so that a repeated message has the
    /// same counts.
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
            Some(request) => match table.stored_text(request).await {
                // A delta may outlive the items that hold its request.
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
        let incoming = &self.connection.name;
        Ok(Outcome::of(checkpoint, incoming, Status::Completed, now))
    }

    /// Drops the checkpoint of a completed run, and starts the next due run.
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
            self.release(None).await?;
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

    /// Releases the lease of a run that need not start and is no longer due.
    pub(super) async fn skip(&mut self, reason: String) -> Result<Outcome, Error> {
        let ending = Ending {
            now: self.invocation.clock.now(),
            not_before: None,
            progressed: false,
        };
        let run = Some(self.connection.run.as_str());
        let table = &self.subscriber.state;
        table.release(&self.lease, None, ending, run).await?;
        self.is_released = true;
        self.begin_due().await;
        Ok(Outcome::skipped(self.connection, reason))
    }

    /// Stores the requested run as due, unless it has completed before.
    async fn store_as_due(&self) -> Result<(), Error> {
        if self.done_before()?.is_some() {
            return Ok(());
        }
        let remembered = self
            .subscriber
            .store_as_due(self.connection, self.event, self.invocation)
            .await?;
        match remembered {
            DueOutcome::Due => Ok(()),
            DueOutcome::TooMany => Err(Error::TooManyDue(self.connection.name.clone())),
            DueOutcome::OfAnother => Err(run_of_another(self.connection)),
            // The lease has expired meanwhile, so nobody would start the stored run.
            DueOutcome::Free => Err(Error::Contended(self.connection.name.clone())),
        }
    }

    /// Stores the link of the next poll, and restarts the delta's 72 hours.
    async fn keep_delta(&mut self, checkpoint: &Checkpoint, client: &Client) -> Result<(), Error> {
        let Some(link) = checkpoint.chains.delta_link() else {
            return Ok(());
        };
        let now = self.invocation.clock.now();
        let key = plan::delta_key(self.connection, &client.settings());
        let table = &self.subscriber.state;
        table.renew_delta(&key, &self.connection.name, now).await?;
        self.state.delta = Some(Delta {
            link: link.to_owned(),
            polled: now,
            fingerprint: checkpoint.fingerprint.clone(),
            key: Some(key),
            request: checkpoint.request.clone(),
        });
        Ok(())
    }

    /// Starts the next due run. If that fails, the watch starts it.
    pub(super) async fn begin_due(&self) {
        if let Err(error) = self.send_due().await {
            tracing::warn!(%error, "the continuation of the next due run is not sent; the watch starts that run");
        }
    }

    async fn send_due(&self) -> Result<(), Error> {
        let incoming = &self.connection.name;
        let now = self.invocation.clock.now();
        let Some((due, generation)) = self.subscriber.state.next_due(incoming, now).await? else {
            return Ok(());
        };
        let continuation = Continuation::new(incoming, &due.run, generation);
        self.subscriber
            .send_continuation(&continuation, now, self.invocation)
            .await
    }

    /// Writes the status of the checkpoint's run to the history.
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
                    let own = std::mem::take(&mut self.history);
                    self.history = table.history(&incoming).await?;
                    // A run that failed before its plan knows neither, and must not erase them.
                    if self.has_planned {
                        (self.history.fresh, self.history.event) = (own.fresh, own.event);
                    }
                }
                result => return result,
            }
        }
        let incoming = self.connection.name.clone();
        Err(StateError::HistoryChanged(incoming))
    }
}

/// The time before which Protime must not be asked again.
pub(super) fn not_before(now: Timestamp, wait: Option<Duration>) -> Option<Timestamp> {
    wait.map(|wait| now.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

fn log_completion(connection: &IncomingConnection, checkpoint: &Checkpoint, now: Timestamp) {
    let outcome = Outcome::of(checkpoint, &connection.name, Status::Completed, now);
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
