//! The subscriber: one invocation reads one incoming connection, page by page, and sends the pages to SQS.
//!
//! An event is one of these:
//!
//! - an incoming connection ([`Subscriber::run`]);
//! - a continuation of a run, from SQS ([`Subscriber::continue_runs`]);
//! - rings of the doorbell, from SQS ([`Subscriber::answer_rings`]);
//! - `{"watch": true}` ([`Subscriber::watch`]);
//! - `{"check": <incoming connection>}` ([`Subscriber::check`]).
//!
//! # The states of a run
//!
//! ```text
//!                 plan                  transfer                 announce_completion
//!   leased ──────────────────▶ begun ─────────────▶ all sent ─────────────────────────▶ announced
//!     ▲ │                      ▲   │                                                       │
//!     │ └── resume ────────────┘   │ hand_over (time is up)                                │ record_completion
//!     │                            │ or fail (keeps the checkpoint)                        ▼
//!     └──────────── waiting ◀──────┘                                                   completed
//!        by continuation, the watch,
//!        Lambda's retry or the next schedule; an error that ends the run drops its checkpoint
//! ```
//!
//! A run is *begun* as long as its checkpoint is stored. The state that a message reports is stored before
//! the message is sent. The watch finds a run that dies between the two.
//!
//! The table of [`Error`] says what happens to a run that fails.

mod check;
mod continuation;
mod error;
mod invocation;
mod outcome;
mod plan;
mod report;
mod ring;
mod run;
mod start;
mod transfer;
mod watch;

use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::metrics::Metrics;
use connector::store::StateTable;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use report::Identity;

pub use check::{Check, CheckResult, Fault, Part, Verdict};
pub use error::{Diagnosis, Error, Kind};
pub use invocation::Invocation;
pub use outcome::{Outcome, Status};
pub use plan::reads;
pub use run::CHECKPOINT_INTERVAL;
pub use watch::{ConnectionReport, Report};

/// The resources that all invocations of an execution environment share.
pub struct Subscriber {
    /// HTTP clients, by the name of their secret.
    pub clients: HttpClients,
    /// Sends to the queue of any connection.
    pub sqs: aws_sdk_sqs::Client,
    /// The URL of the queue for pages, unless the connection names another.
    pub pages_queue: String,
    /// The state that outlives an invocation.
    pub state: StateTable,
    /// The queue of continuations: a run that needs more time goes on in a further invocation.
    pub continuations: Queue,
    /// Writes the metric lines.
    pub metrics: Metrics,
    /// The shortest time between two writes of the checkpoint while pages come in. It is [`CHECKPOINT_INTERVAL`] except
    /// in tests.
    pub checkpoint_interval: Duration,
}

/// The fields that tell the sorts of events apart. An incoming connection has no field of these names.
#[derive(Deserialize)]
struct EventKind<'a> {
    #[serde(borrow)]
    watch: Option<&'a RawValue>,
    #[serde(borrow)]
    check: Option<&'a RawValue>,
    #[serde(rename = "Records")]
    records: Option<IgnoredAny>,
}

impl Subscriber {
    /// Handles an event of any sort.
    pub async fn handle(&self, event: &RawValue, invocation: &Invocation) -> Result<Value, Error> {
        let text = event.get();
        let answer = match serde_json::from_str(text) {
            Ok(EventKind {
                watch: Some(watch), ..
            }) => match watch.get() {
                "true" => serde_json::to_value(self.watch(invocation).await?),
                _ => return Err(self.unknown_event(Error::UnknownEvent)),
            },
            Ok(EventKind {
                check: Some(connection),
                ..
            }) => serde_json::to_value(self.check(connection.get(), invocation).await),
            Ok(EventKind {
                records: Some(_), ..
            }) => match serde_json::from_str::<SqsEvent>(text) {
                Ok(event) if ring::are_rings(&event.records) => {
                    serde_json::to_value(self.answer_rings(&event, invocation).await?)
                }
                Ok(event) if !event.records.is_empty() => {
                    serde_json::to_value(self.continue_runs(&event, invocation).await?)
                }
                _ => return Err(self.unknown_event(Error::UnknownEvent)),
            },
            _ => serde_json::to_value(self.run(text, invocation).await?),
        };
        answer.map_err(Error::Continuation)
    }

    /// Logs and counts an event that is none of these sorts, and returns its error.
    pub fn unknown_event(&self, error: Error) -> Error {
        self.report_failure(&Identity::default(), &error);
        error
    }
}
