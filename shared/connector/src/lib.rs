//! What the functions of the Protime connector share.
//!
//! An incoming connection ([`connection`]) is read with an HTTP client from Secrets Manager ([`credentials`]);
//! its pages become `CloudEvents` ([`page_message`]) that are sent to SQS ([`queue`]). Transformers are jq programs
//! ([`transformer`]), logs are JSON lines ([`telemetry`]).
//!
//! ```
//! use connector::connection::IncomingConnection;
//!
//! let event = r#"{"incoming": "departments", "client": "protime/acme", "entity": "departments"}"#;
//! let connection = IncomingConnection::from_event(event, "request-1", "2026-11-23T10:00:00Z".parse()?)?;
//! assert_eq!(connection.run, "request-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod aws;
pub mod aws_http;
pub mod clock;
pub mod connection;
pub mod credentials;
pub mod invocation;
pub mod metrics;
pub mod page_message;
pub mod queue;
pub mod store;
pub mod telemetry;
pub mod transformer;

/// The first 16 hex digits of SHA-256 of all pieces together: enough to tell things apart that nobody forges.
pub fn hash(pieces: impl IntoIterator<Item: AsRef<[u8]>>) -> String {
    use sha2::Digest;
    let mut digest = sha2::Sha256::new();
    for piece in pieces {
        digest.update(piece);
    }
    digest
        .finalize()
        .iter()
        .take(8)
        .fold(String::with_capacity(16), |mut hex, byte| {
            use std::fmt::Write;
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
