//! The doorbell: a function URL that Protime's webhooks call, and that lets a connection run at once.
//!
//! How Protime signs a delivery, and what it looks like, is not documented in what we have. So a delivery is a ring and no
//! more: something has changed, ask Protime. Who rings is known by the path alone, `/<token>`, whose token has 128 random
//! bits ([`Doors`]). Nothing else of the request is looked at but its method and how long its body is, and nothing of it is
//! passed on or logged. A forged ring costs one early poll.
//!
//! | request | answer | what happens |
//! |---|---|---|
//! | `POST`, right path | 204, as soon as the ring is in the queue | one message, `{"ring": "<connection>"}` |
//! | the same, and a body over [`LARGEST_BODY`] | 413 | nothing |
//! | any other path or method | 404, whatever is wrong | nothing |
//! | `POST`, right path, and SQS takes no message | 502, by Lambda | an error line, and the alarm; Protime may deliver again |

mod config;
mod doors;
mod error;
mod request;

use connector::aws::queue::{Message, Queue};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

pub use config::{Config, ConfigError};
pub use doors::{Doors, DoorsError, token_hash};
pub use error::{Diagnosis, Error, Kind};
pub use request::{LARGEST_BODY, Request};

/// What all invocations of an environment share.
#[derive(Debug)]
pub struct Doorbell {
    /// Where rings go.
    pub rings: Queue,
    /// Who may ring.
    pub doors: Doors,
}

/// An answer without a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Of HTTP.
    pub status_code: u16,
}

impl Answer {
    const RUNG: Self = Self { status_code: 204 };
    const NOT_FOUND: Self = Self { status_code: 404 };
    const TOO_LARGE: Self = Self { status_code: 413 };
}

impl Doorbell {
    /// Puts a ring into the queue if the request is one. What fails for a passing reason is tried again until `deadline`.
    pub async fn answer(&self, request: &Request, deadline: Instant) -> Result<Answer, Error> {
        let incoming = self.doors.behind(request.token());
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
        Ok(Answer::RUNG)
    }
}
