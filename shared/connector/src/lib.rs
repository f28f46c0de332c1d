//! Code that the functions of the Protime connector share: three main modules and a few helpers.
//!
//! - [`contract`]: the documents that users write and read. An incoming connection becomes page messages, which are
//!   `CloudEvents`. A publish request, completed by an outgoing connection, becomes a write.
//! - [`store`]: the state in `DynamoDB`, and who may write it.
//! - [`aws`]: HTTP clients from Secrets Manager, and SQS queues.
//!
//! The table in [`after_lost_response`] says what to do with a write whose response was lost. Transformers are jq programs
//! ([`transformer`]). Logs and metrics are JSON lines ([`telemetry`], [`metrics`]).
//!
//! ```
//! use connector::contract::connection::IncomingConnection;
//!
//! let event = r#"{"incoming": "departments", "client": "protime/acme", "entity": "departments"}"#;
//! let connection = IncomingConnection::from_event(event, "request-1", "2026-11-23T10:00:00Z".parse()?)?;
//! assert_eq!(connection.run, "request-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod after_lost_response;
pub mod aws;
pub mod clock;
pub mod contract;
pub mod invocation;
pub mod metrics;
pub mod store;
pub mod telemetry;
pub mod transformer;

/// The first 16 hex digits of the SHA-256 of all pieces, concatenated. Enough to tell values apart, but not against
/// forgery.
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
