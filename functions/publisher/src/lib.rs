//! The publisher: a batch of publish requests is written to Protime, each for itself.
//!
//! A message ends in one of three ways: written (or acknowledged, where a transformer wants nothing written),
//! parked in the dead-letter queue with its reason, or deferred, which SQS delivers again later.

mod outgoing;
mod parking;
mod publish_request;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use connector::credentials::{CredentialsError, HttpClients};
use connector::queue::Queue;
use futures_util::StreamExt;
use protime::{Method, Refusal};
use tokio::time::Instant;

pub use outgoing::{OutgoingConnection, OutgoingError};
pub use parking::{Parking, Reason};
pub use publish_request::{InvalidRequest, PublishRequest};

/// The longest that SQS can hide a message is 12 hours, counted from its delivery.
const LONGEST_VISIBILITY: Duration = Duration::from_hours(11);
/// As many messages as an event of the publish queue holds.
const CONCURRENCY: usize = 10;
const FIRST_DEFERRAL: Duration = Duration::from_secs(1);
const LONGEST_DEFERRAL: Duration = Duration::from_mins(15);

/// What all invocations of an environment share.
pub struct Publisher {
    /// HTTP clients by the name of their secret.
    pub clients: HttpClients,
    /// For the visibility of deferred messages.
    pub sqs: aws_sdk_sqs::Client,
    /// The publish queue's URL.
    pub publish_queue: String,
    /// Where messages are parked.
    pub dead_letters: Queue,
    /// What messages may leave out.
    pub outgoing: OutgoingConnection,
}

/// An event without the ids that a batch response needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "a record of the event has no messageId, receiptHandle or body; the whole batch is tried again"
)]
pub struct MalformedEvent;

impl From<MalformedEvent> for lambda_runtime::Diagnostic {
    fn from(error: MalformedEvent) -> Self {
        Self {
            error_type: "MalformedEvent".to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// A message as the event source delivers it.
struct Delivery<'a> {
    id: &'a str,
    receipt: &'a str,
    body: &'a str,
    message: &'a SqsMessage,
}

/// How a message ended.
enum Verdict {
    Written,
    Acknowledged,
    Parked(Parking),
    Deferred {
        after: Option<Duration>,
        because: String,
    },
}

impl Publisher {
    /// Publishes a batch. The response names the messages that SQS is to deliver again.
    pub async fn publish(
        &self,
        event: &SqsEvent,
        deadline: Instant,
    ) -> Result<SqsBatchResponse, MalformedEvent> {
        let deliveries = event
            .records
            .iter()
            .map(Delivery::new)
            .collect::<Option<Vec<_>>>()
            .ok_or(MalformedEvent)?;
        let mut response = SqsBatchResponse::default();
        let mut outcomes = futures_util::stream::iter(&deliveries)
            .map(|delivery| async move { (delivery, self.settle(delivery, deadline).await) })
            .buffer_unordered(CONCURRENCY);
        while let Some((delivery, settled)) = outcomes.next().await {
            if !settled {
                response.add_failure(delivery.id);
            }
        }
        Ok(response)
    }

    /// Whether the message is done with.
    async fn settle(&self, delivery: &Delivery<'_>, deadline: Instant) -> bool {
        let message_id = delivery.id;
        let (idempotency_key, verdict) = self.write(delivery, deadline).await;
        match verdict {
            Verdict::Written => true,
            Verdict::Acknowledged => {
                tracing::info!(
                    messageId = message_id,
                    "acknowledged: the transformer wants nothing written"
                );
                true
            }
            Verdict::Parked(parking) => {
                // The explanation may quote the message, so it is on the parked message and not in the log.
                let (reason, refusal) = (parking.reason.as_str(), parking.refusal.as_ref());
                tracing::warn!(
                    messageId = message_id,
                    reason,
                    status = refusal.map(|refusal| refusal.status),
                    code = refusal.and_then(|refusal| refusal.code.as_deref()),
                    "parked"
                );
                let parked = parking.into_message(message_id, delivery.body, &idempotency_key);
                match self.dead_letters.send(parked, deadline).await {
                    Ok(()) => true,
                    Err(error) => {
                        self.defer(delivery, None, &format!("parking failed: {error}"))
                            .await;
                        false
                    }
                }
            }
            Verdict::Deferred { after, because } => {
                self.defer(delivery, after, &because).await;
                false
            }
        }
    }

    /// Writes what the message asks for. The idempotency key goes with it wherever it is parked.
    async fn write(&self, delivery: &Delivery<'_>, deadline: Instant) -> (String, Verdict) {
        let key = delivery.idempotency_key();
        let invalid = |error: InvalidRequest| {
            Verdict::Parked(Parking {
                reason: Reason::Invalid,
                message: error.to_string(),
                refusal: None,
            })
        };
        let request = match PublishRequest::from_body(delivery.body, &self.outgoing) {
            Ok(Some(request)) => request,
            Ok(None) => return (key, Verdict::Acknowledged),
            Err(error) => return (key, invalid(error)),
        };
        let key = request.idempotency_key.clone().unwrap_or(key);
        let client = match self.clients.get(&request.client).await {
            Ok(client) => client,
            Err(error) => return (key, self.without_client(&error)),
        };
        let resolved = match request.resolve(&client.settings().await.scopes) {
            Ok(resolved) => resolved,
            Err(error) => return (key, invalid(error)),
        };
        for warning in &resolved.warnings {
            tracing::warn!(messageId = delivery.id, "{warning}");
        }
        let verdict = match client.write(&resolved, request.payload, deadline).await {
            Ok(written) => {
                tracing::info!(
                    messageId = delivery.id, method = %request.method, entity = request.entity,
                    status = written.status, location = written.location, "written"
                );
                Verdict::Written
            }
            Err(error) => {
                if matches!(error, protime::Error::BaseUriChanged) {
                    self.clients.forget(&request.client).await;
                }
                verdict(request.method, error)
            }
        };
        (key, verdict)
    }

    /// A client that the message names may be a mistake of the producer; one that the function is deployed
    /// with is the operator's to mend, and the messages wait for it.
    fn without_client(&self, error: &CredentialsError) -> Verdict {
        let message = error.to_string();
        match error {
            CredentialsError::NotFound { .. } if self.outgoing.client.is_none() => {
                Verdict::Parked(Parking {
                    reason: Reason::Invalid,
                    message,
                    refusal: None,
                })
            }
            _ => Verdict::Deferred {
                after: None,
                because: message,
            },
        }
    }

    /// Makes the message visible again after a while, longer with every delivery.
    async fn defer(&self, delivery: &Delivery<'_>, after: Option<Duration>, because: &str) {
        let delay = after
            .unwrap_or_else(|| backoff(delivery.receive_count()))
            .min(LONGEST_VISIBILITY);
        // Rounded up, so that no message comes back at once.
        let seconds = i32::try_from(delay.as_secs() + 1).unwrap_or(i32::MAX);
        tracing::warn!(
            messageId = delivery.id,
            delaySeconds = seconds,
            because,
            "deferred"
        );
        let change = self
            .sqs
            .change_message_visibility()
            .queue_url(&self.publish_queue)
            .receipt_handle(delivery.receipt)
            .visibility_timeout(seconds);
        if let Err(error) = change.send().await {
            // Then it comes back when the queue's own visibility timeout is over.
            tracing::warn!(
                messageId = delivery.id,
                error = connector::aws::describe(&error),
                "visibility not changed"
            );
        }
    }
}

/// What an unsuccessful write means for its message.
fn verdict(method: Method, error: protime::Error) -> Verdict {
    let status = error.refusal().map(|refusal| refusal.status);
    let uncertain = matches!(error, protime::Error::Transport { sent: true, .. })
        || matches!(status, Some(500 | 502 | 504));
    if uncertain && method == Method::Post {
        let message = format!(
            "it is not known whether Protime wrote this, so it was not sent again: {error}"
        );
        return parked(Reason::UnknownOutcome, message, error);
    }
    let because = error.to_string();
    let after = error.retry_after();
    match status {
        Some(429 | 500..) => Verdict::Deferred {
            after,
            because: format!("Protime answered {}", status.unwrap_or_default()),
        },
        Some(409) if method == Method::Put => Verdict::Deferred {
            after,
            because: "Protime answered 409".to_owned(),
        },
        Some(_) => parked(
            Reason::Refused,
            error
                .refusal()
                .map_or(because, |refusal| refusal.message.clone()),
            error,
        ),
        None => Verdict::Deferred { after, because },
    }
}

fn parked(reason: Reason, message: String, error: protime::Error) -> Verdict {
    let refusal: Option<Refusal> = match error {
        protime::Error::Refused(refusal) => Some(*refusal),
        _ => None,
    };
    Verdict::Parked(Parking {
        reason,
        message,
        refusal,
    })
}

/// One second doubling to fifteen minutes, with full jitter.
fn backoff(receive_count: u32) -> Duration {
    let doubled = FIRST_DEFERRAL.saturating_mul(1 << receive_count.saturating_sub(1).min(16));
    doubled.min(LONGEST_DEFERRAL).mul_f64(fastrand::f64())
}

impl<'a> Delivery<'a> {
    fn new(message: &'a SqsMessage) -> Option<Self> {
        let id = message.message_id.as_deref().filter(|id| !id.is_empty())?;
        let receipt = message.receipt_handle.as_deref()?;
        Some(Self {
            id,
            receipt,
            body: message.body.as_deref()?,
            message,
        })
    }

    /// The message attribute of that name, else the message's id.
    fn idempotency_key(&self) -> String {
        let attribute = self.message.message_attributes.get("idempotencyKey");
        let key = attribute
            .and_then(|attribute| attribute.string_value.clone())
            .filter(|key| !key.is_empty());
        key.unwrap_or_else(|| self.id.to_owned())
    }

    fn receive_count(&self) -> u32 {
        let count = self.message.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }
}
