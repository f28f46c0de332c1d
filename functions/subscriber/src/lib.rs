//! The subscriber: one invocation reads one incoming connection, page by page, and sends the pages to SQS.

mod error;
mod invocation;
mod run;

use connector::credentials::HttpClients;

pub use error::{Diagnosis, Error};
pub use invocation::Invocation;
pub use run::Outcome;

/// What all invocations of an environment share.
pub struct Subscriber {
    /// HTTP clients by the name of their secret.
    pub clients: HttpClients,
    /// For the queue of any connection.
    pub sqs: aws_sdk_sqs::Client,
    /// Where pages go unless the connection names another queue.
    pub pages_queue: String,
}
