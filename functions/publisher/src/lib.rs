//! The publisher: a batch of publish requests is written to Protime, each for itself and each once.
//!
//! A message ends in one of three ways: written (or acknowledged, where a transformer wants nothing written), parked
//! in the dead-letter queue with its reason, or deferred, which SQS delivers again later.

mod attempt;
mod breaker;
mod deferral;
mod delivery;
mod look_up;
mod outgoing;
mod parking;
mod publish_request;
mod report;
mod results;
mod write_record;

use std::collections::HashMap;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use connector::aws::credentials::{CredentialsError, HttpClients};
use connector::aws::queue::{Message, Queue};
use connector::metrics::Metrics;
use connector::transformer::RunError;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use attempt::Attempt;
use deferral::Deferral;
use delivery::Delivery;
use report::{Ended, Tally};
use results::Subject;

pub use attempt::SETTLE_AFTER;
pub use breaker::Breaker;
pub use deferral::Kind;
pub use outgoing::{OutgoingConnection, OutgoingError};
pub use parking::{Parking, Reason};
pub use publish_request::{InvalidRequest, PublishRequest};
pub use write_record::{Begun, DoneWrite, RecordError, WriteRecords};

/// As many messages as an event of the publish queue holds.
const CONCURRENCY: usize = 10;
/// While Protime is out, a message waits no longer than the circuit breaker does for its first deliveries; after that
/// longer and longer, so that an outage of days does not use up the queue's `maxReceiveCount`.
const PAUSED_DELIVERIES: u32 = 20;
/// SQS deletes a message after 14 days, so one this old is parked.
const OLDEST: SignedDuration = SignedDuration::from_hours(13 * 24);

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
    /// Where results are sent, if anywhere.
    pub results: Option<Queue>,
    /// What is remembered of writes.
    pub records: WriteRecords,
    /// What messages may leave out. While it is wrong, every message is deferred.
    pub outgoing: Result<OutgoingConnection, OutgoingError>,
    /// Spares a Protime that is out.
    pub breaker: Breaker,
    /// Where metrics are written.
    pub metrics: Metrics,
    /// How long after an attempt a slow write would have shown; [`SETTLE_AFTER`] but for settings.
    pub settle_after: SignedDuration,
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

/// How a message ended.
enum Verdict {
    Written(DoneWrite),
    /// An earlier attempt whose answer was lost has written, as a look-up shows.
    Settled(DoneWrite),
    /// It was written before; SQS or its producer has sent it again.
    WrittenBefore(DoneWrite),
    Acknowledged,
    /// To be parked; then the write's record is forgotten, so that what comes under its key again is a new write.
    Parked(Parking),
    /// To be parked without an attempt: if there is a record under its key, it is another write's.
    ParkedForeign(Parking),
    Deferred(Deferral),
}

impl Verdict {
    fn deferred(kind: Kind, because: impl Into<String>) -> Self {
        Self::Deferred(Deferral::new(kind, because))
    }
}

impl Publisher {
    /// Publishes a batch. The response names the messages that SQS is to deliver again.
    ///
    /// Messages of a FIFO queue's group are written one after the other; after a deferral the rest of the group waits
    /// as well.
    pub async fn publish(
        &self,
        event: &SqsEvent,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<SqsBatchResponse, MalformedEvent> {
        let deliveries = event
            .records
            .iter()
            .map(Delivery::new)
            .collect::<Option<Vec<_>>>()
            .ok_or(MalformedEvent)
            .inspect_err(|error| tracing::error!(%error, "the event cannot be used"))?;
        let mut groups: Vec<Vec<Delivery<'_>>> = Vec::new();
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        for delivery in deliveries {
            let new = groups.len();
            let place = delivery
                .group()
                .map_or(new, |group| *group_of.entry(group).or_insert(new));
            if place == new {
                groups.push(Vec::new());
            }
            groups[place].push(delivery);
        }
        let tally = Tally::default();
        let mut outcomes = futures_util::stream::iter(&groups)
            .map(|group| self.settle_group(group, now, deadline, &tally))
            .buffer_unordered(CONCURRENCY);
        let mut response = SqsBatchResponse::default();
        while let Some(deferred) = outcomes.next().await {
            for id in deferred {
                response.add_failure(id);
            }
        }
        drop(outcomes);
        self.report(tally);
        Ok(response)
    }

    /// The ids of the messages that are to come again.
    async fn settle_group<'a>(
        &self,
        group: &[Delivery<'a>],
        now: Timestamp,
        deadline: Instant,
        tally: &Tally,
    ) -> Vec<&'a str> {
        for (index, delivery) in group.iter().enumerate() {
            if let Some(deferral) = self.settle(delivery, now, deadline, tally).await {
                let delay = deferral.delay(delivery.receive_count());
                deferral.log(delivery.id, delay);
                tally.deferred(&deferral);
                for waiting in &group[index..] {
                    self.hide(waiting, delay).await;
                }
                return group[index..].iter().map(|delivery| delivery.id).collect();
            }
        }
        Vec::new()
    }

    /// Ends the message, or tells why it has to wait.
    async fn settle(
        &self,
        delivery: &Delivery<'_>,
        now: Timestamp,
        deadline: Instant,
        tally: &Tally,
    ) -> Option<Deferral> {
        let message_id = delivery.id;
        let (subject, verdict) = self.process(delivery, now, deadline).await;
        let forget = matches!(verdict, Verdict::Parked(_));
        let verdict = match verdict {
            Verdict::Deferred(deferral) if delivery.age(now) > OLDEST => {
                let because = deferral.because;
                let message = format!("deferred for 13 days, lastly because: {because}");
                Verdict::Parked(Parking::new(Reason::Expired, &message))
            }
            verdict => verdict,
        };
        let counted = Ended::of(&verdict);
        let what = match verdict {
            Verdict::WrittenBefore(_) => "written before; this delivery writes nothing",
            _ => "written",
        };
        let (ended, result) = match verdict {
            Verdict::Deferred(deferral) => return Some(deferral),
            Verdict::Acknowledged => {
                tracing::info!(
                    messageId = message_id,
                    "acknowledged: the transformer wants nothing written"
                );
                return None;
            }
            Verdict::Written(write) | Verdict::Settled(write) | Verdict::WrittenBefore(write) => {
                tracing::info!(
                    messageId = message_id,
                    method = subject.method,
                    entity = subject.entity,
                    status = write.status,
                    location = write.location,
                    "{what}"
                );
                (Ok(()), subject.published(&write))
            }
            Verdict::Parked(parking) | Verdict::ParkedForeign(parking) => {
                // The explanation may quote the message, so it is on the parked message and not in the log.
                let (reason, refusal) = (parking.reason.as_str(), parking.refusal.as_ref());
                tracing::warn!(
                    messageId = message_id,
                    reason,
                    status = refusal.map(|refusal| refusal.status),
                    code = refusal.and_then(|refusal| refusal.code.as_deref()),
                    "parked"
                );
                let parked =
                    parking.to_message(message_id, delivery.body, &subject.idempotency_key);
                let parked = Message {
                    group: delivery.group().unwrap_or(message_id).to_owned(),
                    ..parked
                };
                (
                    self.dead_letters.send(parked, deadline).await,
                    subject.rejected(&parking),
                )
            }
        };
        if let Err(error) = ended {
            let because = format!("parking failed: {error}");
            return Some(Deferral::new(Kind::DeadLetterQueue, because));
        }
        if let Some(counted) = counted {
            tally.ended(counted, delivery.age(now));
        }
        // Only now: a message that is neither parked nor remembered would be written blindly.
        if forget && let Err(error) = self.records.forget(&subject.id).await {
            tracing::warn!(messageId = message_id, %error, "the parked write is not forgotten; sent back, it is looked up first");
        }
        let Some(results) = &self.results else {
            return None;
        };
        match results.send(result, deadline).await {
            Ok(()) => None,
            Err(error) => Some(Deferral::new(
                Kind::ResultsQueue,
                format!("sending the result failed: {error}"),
            )),
        }
    }

    /// Finds out how the message ends.
    async fn process(
        &self,
        delivery: &Delivery<'_>,
        now: Timestamp,
        deadline: Instant,
    ) -> (Subject, Verdict) {
        let key = delivery.idempotency_key();
        let mut subject = Subject {
            id: key.clone(),
            idempotency_key: key,
            ..Subject::default()
        };
        let invalid = |error: InvalidRequest| {
            Verdict::ParkedForeign(Parking::new(Reason::Invalid, &error.to_string()))
        };
        let outgoing = match &self.outgoing {
            Ok(outgoing) => outgoing,
            Err(error) => {
                return (
                    subject,
                    Verdict::deferred(Kind::InvalidOutgoing, error.to_string()),
                );
            }
        };
        let request = match PublishRequest::from_body(delivery.body, outgoing) {
            Ok(Some(request)) => request,
            Ok(None) => return (subject, Verdict::Acknowledged),
            Err(InvalidRequest::Transform(error @ RunError::Unavailable(_))) => {
                let because = error.to_string();
                return (subject, Verdict::deferred(Kind::Transformer, because));
            }
            Err(error) => return (subject, invalid(error)),
        };
        if let Some(key) = &request.idempotency_key {
            subject.idempotency_key.clone_from(key);
        }
        let id = request.record_id(&subject.idempotency_key);
        subject.id.clone_from(&id);
        subject.method = Some(request.method.as_str());
        subject.entity = Some(request.entity.clone());
        subject.correlation.clone_from(&request.correlation);

        let client = match self.clients.get(&request.client).await {
            Ok(client) => client,
            Err(error) => return (subject, without_client(outgoing, &error)),
        };
        let settings = client.settings().await;
        let resolved = match request.resolve(&settings.scopes) {
            Ok(resolved) => resolved,
            Err(error) => return (subject, invalid(error)),
        };
        for warning in &resolved.warnings {
            tracing::warn!(messageId = delivery.id, "{warning}");
        }
        if let Some(pause) = self.breaker.pause(&request.client, now) {
            let after = pause.try_into().ok().map(|pause: Duration| {
                pause.max(deferral::backoff(
                    delivery.receive_count().saturating_sub(PAUSED_DELIVERIES),
                ))
            });
            let because = "Protime is out; it is asked again shortly";
            let deferral = Deferral::new(Kind::ProtimeUnavailable, because).after(after);
            return (subject, Verdict::Deferred(deferral));
        }
        let attempt = Attempt {
            publisher: self,
            client: &client,
            settings: &settings,
            request: &request,
            resolved: &resolved,
            id: &id,
            now,
            deadline,
            deliveries: delivery.receive_count(),
        };
        let verdict = attempt.make().await;
        // Without state nothing more is written; what was written is settled by a look-up.
        (
            subject,
            verdict.unwrap_or_else(|error| Verdict::deferred(Kind::State, error.to_string())),
        )
    }

    /// Makes a message visible again after a while.
    async fn hide(&self, delivery: &Delivery<'_>, delay: Duration) {
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
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

/// A client that the message names may be a mistake of the producer; one that the function is deployed with is the
/// operator's to mend, and the messages wait for it.
fn without_client(outgoing: &OutgoingConnection, error: &CredentialsError) -> Verdict {
    let message = error.to_string();
    match error {
        CredentialsError::NotFound { .. } if outgoing.client.is_none() => {
            Verdict::ParkedForeign(Parking::new(Reason::Invalid, &message))
        }
        _ => Verdict::deferred(Kind::Credentials, message),
    }
}
