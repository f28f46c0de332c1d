//! The doorbell: Protime's webhooks call its function URL, and a connection runs at once.
//!
//! The documentation that we have describes neither the form nor the signature of a delivery. So a delivery is a ring
//! and no more: something has changed, ask Protime. The path alone, `/<token>`, tells which connection is rung. A token
//! has 128 random bits ([`TokenHashes`]). The doorbell reads only the path, the method and the length of the body. It passes
//! on and logs nothing of the request. A forged ring costs one early poll.
//!
//! | request | answer | what happens |
//! |---|---|---|
//! | `POST`, right path | 204, as soon as the ring is in the queue | one message, `{"ring": "<connection>"}` |
//! | `POST`, right path, body over [`LARGEST_BODY`] | 413 | nothing |
//! | any other path or method | 404, without saying what is wrong | nothing |
//! | `POST`, right path, but SQS does not take the message | 502, by Lambda | an error line and the alarm; Protime may deliver again |

mod config;
mod error;
mod request;
mod token_hashes;

use connector::aws::queue::{Message, Queue};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

pub use config::{Config, ConfigError};
pub use error::{Diagnosis, Error, Kind};
pub use request::{LARGEST_BODY, Request};
pub use token_hashes::{TokenHashes, TokenHashesError, token_hash};

/// The state that all invocations in an environment share.
#[derive(Debug)]
pub struct Doorbell {
    /// The queue of rings, which the subscriber reads.
    pub rings: Queue,
    /// The connections that can be rung, with the hashes of their tokens.
    pub token_hashes: TokenHashes,
}

/// The HTTP response, as Lambda expects it from a function with a URL. It has no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status: 204, 404 or 413.
    pub status_code: u16,
}

impl Answer {
    const NO_CONTENT: Self = Self { status_code: 204 };
    const NOT_FOUND: Self = Self { status_code: 404 };
    const TOO_LARGE: Self = Self { status_code: 413 };
}

impl Doorbell {
    /// Sends a ring to the queue if the request is one. Transient errors of SQS are retried until `deadline`.
    pub async fn answer(&self, request: &Request, deadline: Instant) -> Result<Answer, Error> {
        let incoming = self.token_hashes.connection_of(request.token());
        let Some(incoming) = incoming.filter(|_| request.is_post()) else {
            tracing::debug!("no ring: another path or method");
            return Ok(Answer::NOT_FOUND);
        };
        if request.is_too_large() {
            tracing::warn!(incoming, "no ring: its body is larger than any delivery");
            return Ok(Answer::TOO_LARGE);
        }
        let message = Message {
            id: incoming.to_owned(),
            group: incoming.to_owned(),
            body: json!({"ring": incoming}).to_string().into(),
            attributes: Vec::new(),
            delay_seconds: 0,
        };
        self.rings.send(message, deadline).await?;
        tracing::info!(incoming, "rung");
        Ok(Answer::NO_CONTENT)
    }
}
