//! What an invocation returns.

use connector::contract::connection::IncomingConnection;
use connector::store::Checkpoint;
use connector::store::Counts;
use jiff::Timestamp;
use serde::Serialize;

/// The result of a run, as the invocation returns it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The name of the incoming connection.
    pub incoming: String,
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// How this invocation ended.
    pub status: Status,
    /// Totals of the whole run, over all its invocations.
    #[serde(flatten)]
    pub counts: Counts,
    /// Size of Protime's responses in bytes, after decoding.
    pub bytes: u64,
    /// Independent requests that the run was split into.
    pub chains: u32,
    /// Requests to Protime, including failed ones.
    pub requests: u64,
    /// Requests that repeated a failed one; included in `requests`.
    pub retries: u64,
    /// Seconds since the run began, including hand-overs.
    pub seconds: f64,
    /// Seconds that requests waited after failures, or because Protime asked for it; the sum of all chains.
    pub waited: f64,
    /// Why the run was skipped. None otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an invocation that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The queue holds all pages of the run.
    Completed,
    /// The time was up; a further invocation goes on.
    Continued,
    /// There was nothing to do, or the run has to wait.
    Skipped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Continued => "continued",
            Self::Skipped => "skipped",
        }
    }
}

impl Outcome {
    /// The outcome of a run at its checkpoint.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        incoming: &str,
        status: Status,
        now: Timestamp,
    ) -> Self {
        let chains = &checkpoint.chains;
        let started = checkpoint.started.unwrap_or(now);
        Self {
            incoming: incoming.to_owned(),
            run: checkpoint.run.clone(),
            status,
            counts: chains.counts(),
            bytes: chains.bytes(),
            chains: chains.count(),
            requests: checkpoint.effort.requests,
            retries: checkpoint.effort.retries,
            seconds: now.duration_since(started).as_secs_f64(),
            waited: checkpoint.effort.waited.as_secs_f64(),
            reason: None,
        }
    }

    /// The outcome of a run that did not start, which is also logged as a warning.
    pub(crate) fn skipped(connection: &IncomingConnection, reason: String) -> Self {
        tracing::warn!(
            incoming = connection.name,
            run = connection.run,
            reason,
            "run skipped"
        );
        Self {
            incoming: connection.name.clone(),
            run: connection.run.clone(),
            status: Status::Skipped,
            counts: Counts::default(),
            bytes: 0,
            chains: 0,
            requests: 0,
            retries: 0,
            seconds: 0.0,
            waited: 0.0,
            reason: Some(reason),
        }
    }
}
