//! The subscriber: one invocation reads one incoming connection, page by page, and sends the pages to SQS.

mod continuation;
mod error;
mod invocation;
mod plan;
mod run;
mod transfer;

use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use connector::credentials::HttpClients;
use connector::queue::Queue;
use connector::state::StateTable;
use serde_json::Value;
use serde_json::value::RawValue;

pub use error::{Diagnosis, Error};
pub use invocation::Invocation;
pub use run::{CHECKPOINT_INTERVAL, Outcome, Status};

/// What all invocations of an environment share.
pub struct Subscriber {
    /// HTTP clients by the name of their secret.
    pub clients: HttpClients,
    /// For the queue of any connection.
    pub sqs: aws_sdk_sqs::Client,
    /// Where pages go unless the connection names another queue.
    pub pages_queue: String,
    /// What outlives an invocation.
    pub state: StateTable,
    /// By which runs that outlast an invocation go on.
    pub continuations: Queue,
    /// How often the checkpoint is stored while pages come in; [`CHECKPOINT_INTERVAL`] but for tests.
    pub checkpoint_interval: Duration,
}

impl Subscriber {
    /// Handles an incoming connection, or continuations of runs as SQS delivers them.
    pub async fn handle(&self, event: &RawValue, invocation: &Invocation) -> Result<Value, Error> {
        let text = event.get();
        // No incoming connection has a field of that name.
        let answer = match serde_json::from_str::<SqsEvent>(text) {
            Ok(continuations) => {
                serde_json::to_value(self.continue_runs(&continuations, invocation).await?)
            }
            Err(_) => serde_json::to_value(self.run(text, invocation).await?),
        };
        answer.map_err(Error::Continuation)
    }
}
