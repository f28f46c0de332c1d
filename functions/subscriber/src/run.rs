//! A run that holds the lease, step by step, as the crate's documentation shows. An unfinished run is finished before
//! the new one starts.

mod delta;
mod end;
mod fail;

use std::cell::Cell;
use std::time::Duration;

use connector::aws::queue::Queue;
use connector::contract::connection::{IncomingConnection, event_of_schedule};
use connector::contract::page_message::RunHeader;
use connector::store::{
    Checkpoint, ConnectionState, DeltaClaim, Failure, History, Lease, Leased, LoadKind, RunStatus,
    StateError,
};
use protime::{Client, Effort};

use crate::plan;
use crate::report::Tally;
use crate::start::run_of_another;
use crate::transfer::{Stopped, Transfer};
use crate::{Error, Invocation, Kind, Outcome, Status, Subscriber};

/// The shortest time between two writes of the checkpoint while pages come in.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// A run that holds the lease. It owns all known state of its connection.
pub(crate) struct Run<'a> {
    subscriber: &'a Subscriber,
    pub(crate) connection: &'a IncomingConnection,
    /// The connection's event, to be kept in the checkpoint.
    event: &'a str,
    invocation: &'a Invocation,
    queue: Queue,
    lease: Lease,
    state: ConnectionState,
    /// The state before the checkpoint was dropped. The table keeps this state until a new checkpoint is stored.
    before_drop: Option<ConnectionState>,
    /// Whether the history has this run's event and `fresh`.
    has_planned: bool,
    /// The wait that Protime asked for in this attempt.
    wait: Option<Duration>,
    history: History,
    /// Whether the lease has been released.
    is_released: bool,
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
            before_drop: None,
            history: History::default(),
            has_planned: false,
            wait: None,
            is_released: false,
            tally: Tally::default(),
        }
    }

    /// Runs to the end, or as far as the time allows. Either way the lease is released.
    pub(crate) async fn execute(&mut self) -> Result<Outcome, Error> {
        let result = self.steps().await;
        if let Err(error) = &result {
            if !self.is_released && !matches!(error, Error::State(StateError::LeaseLost(_))) {
                self.fail(error).await;
            }
            if matches!(error, Error::Protime(protime::Error::BaseUriChanged)) {
                self.subscriber.clients.forget(&self.connection.secret_name);
            }
        }
        result
    }

    async fn steps(&mut self) -> Result<Outcome, Error> {
        let incoming = &self.connection.name;
        self.history = self.subscriber.state.history(incoming).await?;
        let client = self
            .subscriber
            .clients
            .get(&self.connection.secret_name)
            .await?;
        if self.connection.queue.is_some() {
            self.queue = self.queue.clone().with_own_size_limit().await?;
        }
        self.drop_other_version();
        self.drop_taken_over();
        loop {
            if self.state.checkpoint.is_none() {
                if let Some(reason) = self.done_before()? {
                    return self.skip(reason).await;
                }
                self.plan(&client).await?;
            } else if !self.resume(&client).await? {
                continue;
            }
            let is_own = self.is_own();
            let outcome = self.finish(&client).await?;
            if is_own || outcome.status == Status::Continued {
                return Ok(outcome);
            }
        }
    }

    /// Whether the checkpoint belongs to the requested run, and not to an earlier one.
    fn is_own(&self) -> bool {
        let checkpoint = self.state.checkpoint.as_ref();
        checkpoint.is_none_or(|checkpoint| checkpoint.run == self.connection.run)
    }

    /// Drops an unfinished run of another version of the connection. Only the same version may continue it, and the new
    /// version may be the corrected one.
    fn drop_other_version(&mut self) {
        let fingerprint = self.connection.fingerprint();
        let checkpoint = self.state.checkpoint.as_ref();
        if checkpoint.is_some_and(|checkpoint| checkpoint.fingerprint != fingerprint) {
            self.drop_checkpoint(
                "an unfinished run of an earlier version of the connection is dropped",
            );
        }
    }

    /// Drops the checkpoint, but keeps the state from before until another checkpoint is stored. Consumers have part of
    /// a delta's load, which does not belong to the next one, so a resync is due.
    fn drop_checkpoint(&mut self, message: &str) {
        let before = self.state.clone();
        if let Some(checkpoint) = self.state.checkpoint.take() {
            self.state.resync_is_due |= checkpoint.load != LoadKind::Full;
            self.before_drop = Some(before);
            tracing::warn!(run = checkpoint.run, "{message}");
        }
    }

    /// The reason to skip the run: it has completed before.
    fn done_before(&self) -> Result<Option<String>, Error> {
        let connection = self.connection;
        let completed = self
            .history
            .run(&connection.run)
            .filter(|record| record.status == RunStatus::Completed);
        match completed {
            None => Ok(None),
            Some(record) if record.fingerprint != connection.fingerprint() => {
                Err(run_of_another(connection))
            }
            Some(_) if connection.unused_takeover(&self.state).is_some() => Ok(None),
            Some(_) => Ok(Some("this run has completed before".to_owned())),
        }
    }

    /// Plans the requests to Protime, and stores the plan before anything is sent.
    async fn plan(&mut self, client: &Client) -> Result<(), Error> {
        let settings = client.settings();
        let now = self.invocation.clock.now();
        let table = &self.subscriber.state;
        let planned = plan::plan(self.connection, &settings, &mut self.state, table, now).await?;
        let checkpoint = Checkpoint {
            started: Some(now),
            event: Some(table.store_text(&self.connection.name, self.event).await?),
            ..planned
        };
        self.has_planned = true;
        self.history.fresh = self.connection.fresh;
        // An older event that comes again is not what the schedule runs now.
        let newest = self
            .history
            .runs
            .iter()
            .filter_map(|run| run.scheduled)
            .max();
        let is_newest = newest.is_none_or(|newest| newest <= self.connection.scheduled);
        if let Some(event) = event_of_schedule(self.event).filter(|_| is_newest) {
            let kept = table.store_text(&self.connection.name, &event).await?;
            self.history.event = Some(kept);
        }
        let before_drop = self.before_drop.as_ref();
        if let Some(dropped) = before_drop.and_then(|before| before.checkpoint.clone()) {
            let run = &self.connection.run;
            let message =
                format!("dropped when run `{run}` of another version of the connection began");
            self.record(
                &dropped,
                RunStatus::Failed,
                Some(Failure {
                    kind: Kind::Dropped.name().to_owned(),
                    message,
                }),
            )
            .await?;
        }
        self.record(&checkpoint, RunStatus::Started, None).await?;
        if let Some(takeover) = self.connection.unused_takeover(&self.state) {
            self.state.record_takeover(takeover);
        }
        self.state.checkpoint = Some(checkpoint);
        self.before_drop = None;
        let run = &self.connection.run;
        table.begin(&mut self.lease, &self.state, run).await?;
        Ok(())
    }

    /// Resumes an unfinished run. False if its checkpoint is useless and dropped.
    async fn resume(&mut self, client: &Client) -> Result<bool, Error> {
        let is_own = self.is_own();
        let Some(checkpoint) = &mut self.state.checkpoint else {
            return Ok(false);
        };
        checkpoint.handed_over = false;
        if !is_own {
            tracing::info!(
                unfinished = checkpoint.run,
                "finishing an unfinished run first"
            );
        }
        if checkpoint.load == LoadKind::Full {
            return Ok(true);
        }
        let now = self.invocation.clock.now();
        let settings = client.settings();
        let table = &self.subscriber.state;
        if plan::claim(self.connection, &settings, table, now, false).await? == DeltaClaim::Kept {
            return Ok(true);
        }
        // Another connection took over the delta, and so ended this one.
        self.state.checkpoint = None;
        self.state.delta = None;
        self.state.resync_is_due = true;
        Ok(false)
    }

    /// Transfers the rest of a run, then ends it or hands it over.
    async fn finish(&mut self, client: &Client) -> Result<Outcome, Error> {
        let mut stopped = self.transfer(client).await;
        if stopped.as_ref().is_err_and(|error| self.has_expired(error)) {
            self.load_anew(client).await?;
            stopped = self.transfer(client).await;
        }
        match stopped.map_err(|error| self.with_way_out(error))? {
            Stopped::AtTheEnd => {
                let outcome = self.announce_completion().await?;
                self.record_completion(client).await?;
                Ok(outcome)
            }
            // Another invocation would also read no page. The pages of an earlier run that this one finished first do
            // count, so it then hands over.
            Stopped::OutOfTime(reason) if self.tally.counts.pages == 0 => {
                Err(reason.map_or(Error::NoProgress, Error::Protime))
            }
            Stopped::OutOfTime(reason) => self.hand_over(reason).await,
        }
    }

    async fn transfer(&mut self, client: &Client) -> Result<Stopped, Error> {
        let Some(checkpoint) = &self.state.checkpoint else {
            return Ok(Stopped::AtTheEnd);
        };
        let header = header(self.connection, checkpoint, &self.queue);
        if checkpoint.load == LoadKind::Initial && self.state.resync_is_due {
            let resync = header.resync_message(self.invocation.clock.now());
            self.queue.send(resync, self.invocation.deadline).await?;
            self.state.resync_is_due = false;
        }
        let transfer = Transfer {
            client,
            header: &header,
            queue: &self.queue,
            table: &self.subscriber.state,
            lease: &self.lease,
            pagination: self.connection.pagination,
            concurrency: self.connection.concurrency,
            checkpoint_interval: self.subscriber.checkpoint_interval,
            clock: &self.invocation.clock,
            fetch_until: self.invocation.fetch_until,
            deadline: self.invocation.deadline,
            effort: Cell::default(),
        };
        let stopped = Box::pin(transfer.run(&mut self.state, &mut self.tally)).await;
        let effort = transfer.effort.get();
        if let Some(checkpoint) = &mut self.state.checkpoint {
            let efforts = [checkpoint.effort, effort];
            checkpoint.effort = efforts.into_iter().sum::<Effort>();
        }
        // Several requests may have failed, and only one error is reported.
        self.wait = client.retry_after();
        stopped
    }
}

fn header(connection: &IncomingConnection, checkpoint: &Checkpoint, queue: &Queue) -> RunHeader {
    RunHeader {
        incoming: connection.name.clone(),
        entity: connection.entity.clone(),
        source: checkpoint.source.clone(),
        run: checkpoint.run.clone(),
        load: checkpoint.load,
        fields: connection.fields.clone(),
        largest_message: queue.largest_message(),
    }
}
