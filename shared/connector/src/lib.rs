//! What the functions of the Protime connector share, in three rooms and a few things beside them.
//!
//! - [`contract`]: what users write and read. An incoming connection becomes pages, which are `CloudEvents`; a publish
//!   request, completed by an outgoing connection, becomes a write.
//! - [`store`]: what is kept in `DynamoDB`, and who may write it.
//! - [`aws`]: HTTP clients from Secrets Manager, and queues.
//!
//! What to do with a write whose answer was lost is a table ([`after_uncertain`]). Transformers are jq programs ([`transformer`]), logs are JSON lines ([`telemetry`]), metrics as well ([`metrics`]).
//!
//! ```
//! use connector::contract::connection::IncomingConnection;
//!
//! let event = r#"{"incoming": "departments", "client": "protime/acme", "entity": "departments"}"#;
//! let connection = IncomingConnection::from_event(event, "request-1", "2026-11-23T10:00:00Z".parse()?)?;
//! assert_eq!(connection.run, "request-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod after_uncertain;
pub mod aws;
pub mod clock;
pub mod contract;
pub mod invocation;
pub mod metrics;
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
