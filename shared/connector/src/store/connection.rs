//! The state of a connection.

use jiff::Timestamp;
use protime::Effort;
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::item::{Item, string_of};
use super::{Chains, StateError, StoredText, connection_id};

/// The state that a run leaves for the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// How far the unfinished run has come. None if no run is unfinished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// The established delta. None if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// The last completed run. None if none has completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// The last values of `takeover` that have acted, hashed with the fingerprints of their connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takeovers: Vec<String>,
    /// Whether a resync message is due: consumers have to forget a delta that ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync_is_due: bool,
}

/// How far a run has come. It never points beyond what SQS has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Fingerprint of the connection that the run reads.
    pub fingerprint: String,
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// When the run was due.
    pub scheduled: Timestamp,
    /// When the run began. None if an earlier release began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The event of the run, so that any invocation can resume it. Earlier releases kept it only in the continuation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<StoredText>,
    /// What the run loads.
    #[serde(rename = "sync")]
    pub load: LoadKind,
    /// The URL of the collection or resource, without its query.
    pub source: String,
    /// The request parameters as the transformer returned them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<StoredText>,
    /// The independent requests of the run, and how far each has come.
    pub chains: Chains,
    /// Requests, retries and waits so far, except those of attempts that died.
    #[serde(default)]
    pub effort: Effort,
    /// Whether the last attempt handed the run over, and did not fail or die.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
}

/// What a run loads; the attribute `sync` of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// Everything, in a run without a delta.
    Full,
    /// Everything, as the first load of a delta.
    Initial,
    /// Changes since the last poll of a delta.
    Delta,
}

impl LoadKind {
    /// The value of the attribute `sync`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Initial => "initial",
            Self::Delta => "delta",
        }
    }
}

/// A delta that Protime has started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The URL of the next poll.
    pub link: String,
    /// When Protime sent the link. It expires 72 hours later.
    pub polled: Timestamp,
    /// Fingerprint of the connection that started the delta.
    pub fingerprint: String,
    /// Which of Protime's deltas it is: host, client and collection. None in items of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The request parameters that started the delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<StoredText>,
}

/// The last completed run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// When the run was due.
    pub scheduled: Timestamp,
    /// Totals of the run.
    pub counts: Counts,
}

impl ConnectionState {
    /// Stores that a `takeover` has acted.
    pub fn record_takeover(&mut self, takeover: String) {
        const KEPT: usize = 20;
        self.takeovers.push(takeover);
        let surplus = self.takeovers.len().saturating_sub(KEPT);
        self.takeovers.drain(..surplus);
    }

    pub(super) fn to_json(&self) -> String {
        // Plain data with string keys always serialises to JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn of(item: &Item, incoming: &str) -> Result<Self, StateError> {
        let Some(json) = string_of(item, "state") else {
            return Ok(Self::default());
        };
        serde_json::from_str(json).map_err(|source| StateError::Malformed {
            id: connection_id(incoming),
            source,
        })
    }
}
