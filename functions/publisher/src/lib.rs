//! The publisher writes a batch of publish requests to Protime: each message on its own, and each write once.
//!
//! A delivery ends in one of three ways. The message is written, or acknowledged where a transformer wants nothing
//! written. It is parked: moved to the dead-letter queue with its reason. Or it is deferred: SQS delivers it again
//! later.
//!
//! - [`Publisher::publish`] takes a batch apart. `handling` finds each message's verdict, and `ending` carries it out.
//! - `decision` holds the rules, without side effects: what is sent, looked up, deferred or parked, and why.
//! - [`IdempotencyStore`] remembers writes, [`CircuitBreaker`] spares Protime, [`DeadLetter`] says why one is parked.

mod attempt;
mod circuit_breaker;
mod comparison;
mod config;
mod dead_letter;
mod decision;
mod deferral;
mod delivery;
mod ending;
mod handling;
mod idempotency_store;
mod invocation;
mod look_up;
mod message_record;
mod payload;
mod report;
mod results;
mod write_record;

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use connector::aws::credentials::HttpClients;
use connector::aws::queue::{Queue, is_fifo};
use connector::contract::outgoing::{OutgoingConnection, OutgoingError};
use connector::metrics::Metrics;
use connector::store::Pause;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use deferral::Deferral;
use delivery::Delivery;
use ending::{Handling, Verdict};
use report::Tally;

pub use circuit_breaker::{CircuitBreaker, Permit, Trouble};
pub use config::{Config, ConfigError, MOST_RECEIVES, Rules, SETTLE_AFTER};
pub use dead_letter::{Answer, DeadLetter, Reason};
pub use deferral::Kind;
pub use idempotency_store::{IdempotencyStore, StoreError};
pub use invocation::Invocation;
pub use write_record::CompletedWrite;

/// The most messages in one event of the publish queue.
const CONCURRENCY: usize = 10;
/// After the deadline, calls to AWS that have no limit of their own may take so long.
const HANGING_TIME: Duration = Duration::from_secs(2);
/// After the deadline, giving messages back to SQS may take so long. Lambda ends the invocation a second later.
const RETURNING_TIME: Duration = Duration::from_secs(4);

/// The resources that all invocations of an execution environment share.
pub struct Publisher {
    /// HTTP clients, by the name of their secret.
    pub clients: HttpClients,
    /// Changes the visibility timeout of deferred messages.
    pub sqs: aws_sdk_sqs::Client,
    /// The publish queue's URL.
    pub publish_queue: String,
    /// The dead-letter queue, for parked messages.
    pub dead_letters: Queue,
    /// The queue for results. None if nobody wants results.
    pub results: Option<Queue>,
    /// Remembers writes and messages, so that a redelivery writes nothing twice.
    pub store: IdempotencyStore,
    /// Defaults for what messages leave out. While they are wrong, every message is deferred.
    pub outgoing: Result<Arc<OutgoingConnection>, OutgoingError>,
    /// Stops calls while Protime is down.
    pub breaker: CircuitBreaker,
    /// Writes the metric lines.
    pub metrics: Metrics,
    /// Settings that hold for every message.
    pub rules: Rules,
}

/// An event that cannot be answered message by message.
#[derive(Debug, thiserror::Error)]
pub enum MalformedEvent {
    /// A record lacks a field that every SQS record has.
    #[error(
        "a record of the event has no messageId, receiptHandle or body; the whole batch is tried again"
    )]
    Record,
    /// The event comes from another source than SQS.
    #[error(
        "the event is not one that SQS sends; put publish requests on the publish queue, whose messages invoke the function"
    )]
    NotFromSqs,
}

impl MalformedEvent {
    /// Logs the error and returns it.
    #[must_use]
    pub fn logged(self) -> Self {
        tracing::error!(kind = "MalformedEvent", error = %self, "the event cannot be used");
        self
    }
}

impl From<MalformedEvent> for lambda_runtime::Diagnostic {
    fn from(error: MalformedEvent) -> Self {
        Self {
            error_type: "MalformedEvent".to_owned(),
            error_message: error.to_string(),
        }
    }
}

impl Publisher {
    /// Publishes a batch. The response names the messages that SQS is to deliver again.
    ///
    /// Messages of a FIFO queue's group are written one after the other. After a deferral the rest of the group waits
    /// as well.
    pub async fn publish(
        &self,
        event: &SqsEvent,
        invocation: &Invocation,
    ) -> Result<SqsBatchResponse, MalformedEvent> {
        let deliveries = event
            .records
            .iter()
            .map(Delivery::new)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| MalformedEvent::Record.logged())?;
        let tally = Tally::default();
        let pause = self.store.pause(invocation.clock.now()).await;
        let publish = |group| self.publish_group(group, &pause, invocation, &tally);
        // A message that was delivered often may be what kills the function. So each such message is handled alone.
        let (counted, others): (Vec<_>, Vec<_>) = self
            .groups(deliveries)
            .into_iter()
            .partition(|group| group.iter().any(Delivery::is_counted));
        let others = futures_util::stream::iter(others)
            .map(publish)
            .buffer_unordered(CONCURRENCY);
        let counted = futures_util::stream::iter(counted).then(publish);
        let deferred: Vec<_> = others.chain(counted).collect().await;
        let mut response = SqsBatchResponse::default();
        for id in deferred.into_iter().flatten() {
            response.add_failure(id);
        }
        self.report(tally);
        Ok(response)
    }

    /// Publishes the messages of one group. Returns the ids of those that SQS has to deliver again.
    async fn publish_group<'a>(
        &self,
        group: Vec<Delivery<'a>>,
        pause: &Result<Option<Pause>, StoreError>,
        invocation: &Invocation,
        tally: &Tally,
    ) -> Vec<&'a str> {
        for (index, delivery) in group.iter().enumerate() {
            let handling = Handling {
                publisher: self,
                delivery,
                invocation,
                token: invocation.token(),
                tally,
                pause,
                is_counted: Cell::new(false),
                ended_before: OnceCell::new(),
            };
            // A call that AWS does not answer must not take the time that the whole batch needs for its report. Whoever
            // stops here counts as an attempt that died.
            let handled = timeout_at(
                invocation.deadline + HANGING_TIME,
                Box::pin(handling.handle()),
            )
            .await;
            let Err(deferral) = handled.unwrap_or_else(|_| Err(Deferral::unanswered())) else {
                continue;
            };
            let now = invocation.clock.now();
            let delay = deferral.delay(delivery, now, &self.rules);
            deferral.log(delivery.id, delay);
            tally.deferred(&deferral, delivery.age(now));
            let waiting = &group[index..];
            let until = invocation.deadline + RETURNING_TIME;
            for delivery in waiting {
                self.change_visibility(delivery, delay, until).await;
            }
            return waiting.iter().map(|delivery| delivery.id).collect();
        }
        Vec::new()
    }

    /// Makes a message visible again after `delay`.
    async fn change_visibility(&self, delivery: &Delivery<'_>, delay: Duration, until: Instant) {
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
        let change = self
            .sqs
            .change_message_visibility()
            .queue_url(&self.publish_queue)
            .receipt_handle(delivery.receipt)
            .visibility_timeout(seconds);
        let error = match timeout_at(until, change.send()).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => connector::aws::describe(&error),
            Err(_) => "no answer before the invocation's deadline".to_owned(),
        };
        tracing::warn!(
            messageId = delivery.id,
            error,
            "the visibility timeout is not changed; the message comes back after the queue's own timeout"
        );
    }

    /// Groups the messages of a FIFO queue by message group, in order. On a standard queue each message stands alone,
    /// even if producers set groups for fairness.
    fn groups<'a>(&self, deliveries: Vec<Delivery<'a>>) -> Vec<Vec<Delivery<'a>>> {
        let is_fifo = is_fifo(&self.publish_queue);
        let mut groups: Vec<Vec<Delivery<'_>>> = Vec::new();
        let mut group_of: HashMap<&str, usize> = HashMap::new();
        for delivery in deliveries {
            let new = groups.len();
            let group = delivery.group().filter(|_| is_fifo);
            let place = group.map_or(new, |group| *group_of.entry(group).or_insert(new));
            if place == new {
                groups.push(Vec::new());
            }
            groups[place].push(delivery);
        }
        groups
    }
}
