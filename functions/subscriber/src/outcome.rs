//! What an invocation returns.

use connector::contract::connection::IncomingConnection;
use connector::store::Checkpoint;
use connector::store::Counts;
use jiff::Timestamp;
use serde::Serialize;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// The connection's name.
    pub incoming: String,
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub status: Status,
    /// What the whole run has done.
    #[serde(flatten)]
    pub counts: Counts,
    /// Decoded bytes of Protime's responses.
    pub bytes: u64,
    /// Independent requests that it was split into.
    pub chains: u32,
    /// Requests to Protime, those that failed included.
    pub requests: u64,
    /// Those of them that asked again for what had failed.
    pub retries: u64,
    /// Seconds since it began, hand-overs included.
    pub seconds: f64,
    /// Seconds that requests waited because Protime, or its failures, asked for it; of all chains together.
    pub waited: f64,
    /// Why a run was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How an invocation that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The last page is in the queue.
    Completed,
    /// Time was up; a further invocation goes on.
    Continued,
    /// There was nothing to do, or not now.
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
    /// A run that has come as far as its checkpoint.
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

    /// A run that was not run.
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
