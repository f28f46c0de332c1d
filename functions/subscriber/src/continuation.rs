//! Continuations: messages by which a run goes on in a further invocation.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use connector::connection::IncomingConnection;
use connector::queue::Message;
use connector::state::Acquired;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Invocation, Subscriber};

/// After a failure, a continuation comes again after this, times the number of its deliveries.
const RETRY_SECONDS: i32 = 60;

/// What a continuation says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Continuation {
    incoming: String,
    /// In which hand-over it was sent: in a later one it is stale.
    generation: u64,
    run: String,
    scheduled: Timestamp,
    event: Box<RawValue>,
}

impl Continuation {
    pub(crate) fn new(
        connection: &IncomingConnection,
        event: &str,
        generation: u64,
    ) -> Result<Self, Error> {
        Ok(Self {
            incoming: connection.incoming.clone(),
            generation,
            run: connection.run.clone(),
            scheduled: connection.scheduled,
            event: RawValue::from_string(event.to_owned()).map_err(Error::Continuation)?,
        })
    }

    pub(crate) fn into_message(self) -> Result<Message, Error> {
        Ok(Message {
            id: format!("{}/{}", self.run, self.generation),
            group: self.incoming.clone(),
            body: serde_json::to_string(&self)
                .map_err(Error::Continuation)?
                .into(),
            attributes: Vec::new(),
        })
    }
}

impl Subscriber {
    /// Goes on with the runs that the messages name. Those that have to wait are delivered again later.
    pub async fn continue_runs(
        &self,
        event: &SqsEvent,
        invocation: &Invocation,
    ) -> Result<SqsBatchResponse, Error> {
        let mut response = SqsBatchResponse::default();
        for message in &event.records {
            match self.continue_run(message, invocation).await {
                Ok(None) => {}
                Ok(Some(seconds)) => {
                    self.delay(message, seconds).await;
                    response.add_failure(message.message_id.clone().unwrap_or_default());
                }
                Err(error) => {
                    self.delay(message, RETRY_SECONDS * deliveries(message))
                        .await;
                    return Err(error);
                }
            }
        }
        Ok(response)
    }

    /// Goes on with a run; some seconds to wait if another has the lease.
    async fn continue_run(
        &self,
        message: &SqsMessage,
        invocation: &Invocation,
    ) -> Result<Option<i32>, Error> {
        let body = message.body.as_deref().unwrap_or_default();
        let continuation: Continuation = serde_json::from_str(body).map_err(Error::Continuation)?;
        let Continuation {
            generation,
            run,
            scheduled,
            event,
            ..
        } = continuation;
        let connection = IncomingConnection::from_event(event.get(), &run, scheduled)?;
        match self
            .run_leased(&connection, event.get(), invocation, Some(generation))
            .await?
        {
            Ok(_) => Ok(None),
            Err(Acquired::Busy(until)) => {
                let seconds = until.duration_since(invocation.now).as_secs() + 1;
                Ok(Some(i32::try_from(seconds).unwrap_or(RETRY_SECONDS).max(1)))
            }
            Err(_) => {
                tracing::info!(
                    incoming = connection.incoming,
                    run,
                    generation,
                    "a stale continuation is acknowledged"
                );
                Ok(None)
            }
        }
    }

    async fn delay(&self, message: &SqsMessage, seconds: i32) {
        let change = self
            .sqs
            .change_message_visibility()
            .queue_url(self.continuations.url());
        let change = change
            .receipt_handle(message.receipt_handle.clone().unwrap_or_default())
            .visibility_timeout(seconds);
        if let Err(error) = change.send().await {
            // Then it comes back when the queue's own visibility timeout is over.
            tracing::warn!(
                error = connector::aws::describe(&error),
                "visibility not changed"
            );
        }
    }
}

fn deliveries(message: &SqsMessage) -> i32 {
    let count = message.attributes.get("ApproximateReceiveCount");
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}
