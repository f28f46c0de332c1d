//! Continuations: messages that let a run go on, or a due run begin, in a further invocation.
//!
//! A continuation starts only the run that it names. A stale one is acknowledged: the watch finds unfinished runs.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use connector::aws::queue::{LONGEST_DELIVERY_DELAY, Message};
use connector::contract::connection::IncomingConnection;
use connector::store::{Acquired, Attempt, Ending, Leased, StateTable};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::report::Identity;
use crate::run::Run;
use crate::{Error, Invocation, Subscriber};

/// After a failure, a continuation is delivered again after this many seconds times its deliveries.
const RETRY_SECONDS: i32 = 60;

/// The body of a continuation message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Continuation {
    pub(crate) incoming: String,
    pub(crate) run: String,
    /// The generation of the lease when it was sent. It is stale in a later generation.
    pub(crate) generation: u64,
    /// Continuations of earlier releases carry the run's event, which the checkpoint holds now.
    #[serde(default, skip_serializing)]
    event: Option<Box<RawValue>>,
}

impl Continuation {
    pub(crate) fn new(incoming: &str, run: &str, generation: u64) -> Self {
        Self {
            incoming: incoming.to_owned(),
            run: run.to_owned(),
            generation,
            event: None,
        }
    }

    fn message(&self, delay_seconds: u32) -> Result<Message, Error> {
        Ok(Message {
            id: format!("{}/{}", self.run, self.generation),
            group: self.incoming.clone(),
            body: serde_json::to_string(self)
                .map_err(Error::Continuation)?
                .into(),
            attributes: Vec::new(),
            delay_seconds,
        })
    }

    /// The connection of the named run, with the event that began it or is to begin it. None if there is no such run.
    async fn connection(
        &self,
        leased: &Leased,
        table: &StateTable,
    ) -> Result<Option<(IncomingConnection, String)>, Error> {
        let begun = leased.state.checkpoint.as_ref();
        let begun = begun.filter(|checkpoint| checkpoint.run == self.run);
        let due = leased.due.iter().find(|due| due.run == self.run);
        let newest;
        let (event, scheduled) = match (begun, due) {
            (Some(checkpoint), _) => (checkpoint.event.as_ref(), checkpoint.scheduled),
            // A ring's run uses the schedule's newest event, not the one from when the ring came.
            (None, Some(due)) if due.is_ring => {
                newest = table.history(&self.incoming).await?.event;
                (Some(newest.as_ref().unwrap_or(&due.event)), due.scheduled)
            }
            (None, Some(due)) => (Some(&due.event), due.scheduled),
            (None, None) => return Ok(None),
        };
        let event = match (event, &self.event) {
            (Some(event), _) => table.stored_text(event).await?,
            (None, Some(carried)) => carried.get().to_owned(),
            (None, None) => return Ok(None),
        };
        let mut connection = IncomingConnection::from_event(&event, &self.run, scheduled)?;
        connection.run.clone_from(&self.run);
        connection.scheduled = scheduled;
        Ok(Some((connection, event)))
    }
}

impl Subscriber {
    /// Continues the runs that the messages name.
    pub async fn continue_runs(
        &self,
        event: &SqsEvent,
        invocation: &Invocation,
    ) -> Result<SqsBatchResponse, Error> {
        for message in &event.records {
            if let Err(error) = self.continue_run(message, invocation).await {
                self.delay(message, RETRY_SECONDS * deliveries(message))
                    .await;
                return Err(error);
            }
        }
        Ok(SqsBatchResponse::default())
    }

    async fn continue_run(
        &self,
        message: &SqsMessage,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let body = message.body.as_deref().unwrap_or_default();
        let continuation: Continuation = serde_json::from_str(body)
            .map_err(Error::Continuation)
            .inspect_err(|error| self.report_failure(&Identity::default(), error))?;
        let named = Identity {
            incoming: Some(continuation.incoming.clone()),
            run: Some(continuation.run.clone()),
            ..Identity::default()
        };
        let leased = self
            .lease_for(&continuation, invocation)
            .await
            .inspect_err(|error| self.report_failure(&named, error))?;
        let Some(leased) = leased else {
            return Ok(());
        };
        match continuation.connection(&leased, &self.state).await {
            Ok(Some((connection, event))) => {
                let run = Run::new(self, &connection, &event, invocation, *leased);
                self.execute(run).await?;
                Ok(())
            }
            Ok(None) => {
                self.release_lease(&leased, None, invocation).await;
                acknowledge(&continuation, "the run that it names is over");
                Ok(())
            }
            Err(error) => {
                // An event that cannot be parsed will never parse.
                let over = matches!(error, Error::Connection(_));
                let over = Some(continuation.run.as_str()).filter(|_| over);
                self.release_lease(&leased, over, invocation).await;
                self.report_failure(&named, &error);
                Err(error)
            }
        }
    }

    /// The lease, if the run can go on now. If the run has to wait, a new continuation is sent with a delay, or the
    /// watch takes over.
    async fn lease_for(
        &self,
        continuation: &Continuation,
        invocation: &Invocation,
    ) -> Result<Option<Box<Leased>>, Error> {
        let Continuation {
            incoming,
            run,
            generation,
            ..
        } = continuation;
        let attempt = Attempt::new(&invocation.request_id, run);
        let now = invocation.clock.now();
        let acquired = self
            .state
            .acquire(incoming, &attempt, now, invocation.ends, Some(*generation))
            .await?;
        let until = match acquired {
            Acquired::Leased(leased) => match leased.not_before {
                Some(until) if until > now => {
                    self.release_lease(&leased, None, invocation).await;
                    until
                }
                _ => return Ok(Some(leased)),
            },
            Acquired::Busy { until, .. } => until,
            Acquired::Paused(_) => {
                acknowledge(
                    continuation,
                    "the connection is paused; the watch continues the run afterwards",
                );
                return Ok(None);
            }
            Acquired::Stale => {
                acknowledge(continuation, "the run has gone on without it, or has ended");
                return Ok(None);
            }
        };
        self.wait_again(continuation, until, invocation).await?;
        Ok(None)
    }

    /// Replaces a continuation that came too early. It makes a single request: a retry could leave several continuations,
    /// and each would send more. If none is left, the watch continues the run.
    async fn wait_again(
        &self,
        continuation: &Continuation,
        until: Timestamp,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let Some(message) = delayed(continuation, until, invocation)? else {
            return Ok(());
        };
        if let Err(error) = self.continuations.send_once(message).await {
            tracing::warn!(
                incoming = continuation.incoming,
                run = continuation.run,
                %error,
                "SQS may not have the continuation; without it, the watch continues the run"
            );
        }
        Ok(())
    }

    /// Sends a continuation that is delivered at `until`. If that is beyond SQS's longest delay, the watch goes on with
    /// the run.
    pub(crate) async fn send_continuation(
        &self,
        continuation: &Continuation,
        until: Timestamp,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        if let Some(message) = delayed(continuation, until, invocation)? {
            self.continuations
                .send(message, invocation.deadline)
                .await?;
        }
        Ok(())
    }

    /// Releases a lease that is not used. `over` names a run that is no longer due.
    pub(crate) async fn release_lease(
        &self,
        leased: &Leased,
        over: Option<&str>,
        invocation: &Invocation,
    ) {
        let ending = Ending {
            now: invocation.clock.now(),
            not_before: leased.not_before,
            progressed: false,
        };
        let released = self.state.release(&leased.lease, None, ending, over).await;
        if let Err(error) = released {
            tracing::warn!(%error, "the lease is not released; it expires by itself");
        }
    }

    /// Lets a ring that failed come again soon, rather than after the visibility timeout of its queue.
    pub(crate) async fn retry_ring(&self, message: &SqsMessage) {
        let url = queue_beside(self.continuations.url(), message);
        let seconds = RETRY_SECONDS * deliveries(message);
        self.change_visibility(message, &url, seconds).await;
    }

    async fn delay(&self, message: &SqsMessage, seconds: i32) {
        let url = self.continuations.url();
        self.change_visibility(message, url, seconds).await;
    }

    async fn change_visibility(&self, message: &SqsMessage, queue: &str, seconds: i32) {
        let change = self.sqs.change_message_visibility().queue_url(queue);
        let change = change
            .receipt_handle(message.receipt_handle.clone().unwrap_or_default())
            .visibility_timeout(seconds);
        if let Err(error) = change.send().await {
            // The message returns after the queue's own visibility timeout.
            tracing::warn!(
                error = connector::aws::describe(&error),
                "visibility not changed"
            );
        }
    }
}

/// A continuation to be delivered at `until`. None if that is beyond SQS's longest delay.
fn delayed(
    continuation: &Continuation,
    until: Timestamp,
    invocation: &Invocation,
) -> Result<Option<Message>, Error> {
    let wait = until.duration_since(invocation.clock.now());
    let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
    let delay = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    if delay > LONGEST_DELIVERY_DELAY {
        tracing::info!(
            incoming = continuation.incoming,
            run = continuation.run,
            until = %until,
            "the run waits longer than SQS can delay a message; the watch continues it"
        );
        return Ok(None);
    }
    continuation.message(delay).map(Some)
}

fn acknowledge(continuation: &Continuation, because: &str) {
    tracing::info!(
        incoming = continuation.incoming,
        run = continuation.run,
        generation = continuation.generation,
        because,
        "a continuation is acknowledged"
    );
}

/// The URL of the queue that a message came from, which is one of the same account and region.
fn queue_beside(url: &str, message: &SqsMessage) -> String {
    let arn = message.event_source_arn.as_deref().unwrap_or_default();
    let name = arn.rsplit(':').next().unwrap_or_default();
    match url.rsplit_once('/') {
        Some((account, _)) => format!("{account}/{name}"),
        None => name.to_owned(),
    }
}

fn deliveries(message: &SqsMessage) -> i32 {
    let count = message.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}
