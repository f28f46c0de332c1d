//! The publisher: a batch of publish requests is written to Protime, each for itself and each once.
//!
//! A message ends in one of three ways: written (or acknowledged, where a transformer wants nothing written), parked
//! in the dead-letter queue with its reason, or deferred, which SQS delivers again later.
//!
//! - [`Publisher::publish`] takes a batch apart; `handling` leads each message to its verdict, `ending` does what the verdict
//!   asks for.
//! - `decision` has the rules, without any effects: what is sent, looked up, deferred or parked, and why.
//! - [`IdempotencyStore`] remembers writes, [`CircuitBreaker`] spares Protime, [`DeadLetter`] explains.

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

/// As many messages as an event of the publish queue holds.
const CONCURRENCY: usize = 10;

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
    /// What is remembered of writes and of messages.
    pub store: IdempotencyStore,
    /// What messages may leave out. While it is wrong, every message is deferred.
    pub outgoing: Result<Arc<OutgoingConnection>, OutgoingError>,
    /// Spares a Protime that is out.
    pub breaker: CircuitBreaker,
    /// Where metrics are written.
    pub metrics: Metrics,
    /// What holds for every message.
    pub rules: Rules,
}

/// An event without the ids that a batch response needs.
#[derive(Debug, thiserror::Error)]
pub enum MalformedEvent {
    /// A record lacks what every one of SQS has.
    #[error(
        "a record of the event has no messageId, receiptHandle or body; the whole batch is tried again"
    )]
    Record,
    /// It comes from somewhere else.
    #[error(
        "the event is not one that SQS sends; put publish requests on the publish queue, whose messages invoke the function"
    )]
    NotFromSqs,
}

impl MalformedEvent {
    /// The same, told in the log.
    #[must_use]
    pub fn logged(self) -> Self {
        tracing::error!(error = %self, "the event cannot be used");
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
    /// Messages of a FIFO queue's group are written one after the other; after a deferral the rest of the group waits
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
        let pause = self.pause(invocation).await;
        let pause = pause.as_ref();
        let publish = |group| self.publish_group(group, pause, invocation, &tally);
        // One that comes so often may be what ends the function: each of these is alone when it is handled.
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

    /// The pause that an operator has set. Where the table cannot be asked, the first write finds that out.
    async fn pause(&self, invocation: &Invocation) -> Option<Pause> {
        let pause = self.store.pause(invocation.clock.now()).await;
        pause.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether publishing is paused is not known");
            None
        })
    }

    /// The ids of the messages that are to come again.
    async fn publish_group<'a>(
        &self,
        group: Vec<Delivery<'a>>,
        pause: Option<&Pause>,
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
            let Err(deferral) = Box::pin(handling.handle()).await else {
                continue;
            };
            let now = invocation.clock.now();
            let delay = deferral.delay(delivery, now, &self.rules);
            deferral.log(delivery.id, delay);
            tally.deferred(&deferral, delivery.age(now));
            let waiting = &group[index..];
            for delivery in waiting {
                self.change_visibility(delivery, delay).await;
            }
            return waiting.iter().map(|delivery| delivery.id).collect();
        }
        Vec::new()
    }

    /// Makes a message visible again after a while.
    async fn change_visibility(&self, delivery: &Delivery<'_>, delay: Duration) {
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

    /// Messages of one group of a FIFO queue together, in their order; others each for itself, also where producers name
    /// groups for fairness.
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
