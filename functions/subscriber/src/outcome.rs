//! What an invocation returns.

use connector::connection::IncomingConnection;
use connector::page_message::Counts;
use connector::store::Checkpoint;
use serde::Serialize;

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    pub(crate) fn of(checkpoint: &Checkpoint, incoming: &str, status: Status) -> Self {
        Self {
            incoming: incoming.to_owned(),
            run: checkpoint.run.clone(),
            status,
            counts: counts(checkpoint),
            bytes: checkpoint.chains.iter().map(|chain| chain.bytes).sum(),
            reason: None,
        }
    }

    /// A run that was not run.
    pub(crate) fn skipped(connection: &IncomingConnection, reason: String) -> Self {
        tracing::warn!(
            incoming = connection.incoming,
            run = connection.run,
            reason,
            "run skipped"
        );
        Self {
            incoming: connection.incoming.clone(),
            run: connection.run.clone(),
            status: Status::Skipped,
            counts: Counts::default(),
            bytes: 0,
            reason: Some(reason),
        }
    }
}

/// What a run has done so far.
pub(crate) fn counts(checkpoint: &Checkpoint) -> Counts {
    checkpoint.chains.iter().map(|chain| chain.counts).sum()
}
