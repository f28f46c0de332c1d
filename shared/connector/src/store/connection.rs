//! The state of a connection.

use std::collections::HashMap;

use jiff::Timestamp;
use protime::Effort;
use serde::{Deserialize, Serialize};

use super::item::{Item, string_of};
use super::{Chains, KeptText, StateError, connection_id};
use crate::contract::page_message::Counts;

/// What a run leaves behind for the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// A run that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// An established delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// The last run that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
    /// The last of `takeover` that have acted, with the fingerprints of their connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takeovers: Vec<String>,
    /// Whether consumers are yet to be told to forget what they have of a delta that ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync_is_due: bool,
}

/// How far a run has come. It never points past what SQS has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of the event that started the run.
    pub fingerprint: String,
    /// The run's id.
    pub run: String,
    /// When it was due.
    pub scheduled: Timestamp,
    /// When it began; unknown of runs that an earlier release began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The event that started it, by which any invocation can go on; earlier releases kept it in the continuation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<KeptText>,
    /// What it loads.
    #[serde(rename = "sync")]
    pub load: LoadKind,
    /// The URL of the collection or resource.
    pub source: String,
    /// The request's parameters as the transformer left them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<KeptText>,
    /// The independent requests of the run.
    pub chains: Chains,
    /// What it took so far, apart from what attempts took that died.
    #[serde(default)]
    pub effort: Effort,
    /// Whether its last attempt left it to the next one, rather than failed or died.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
}

/// What a run loads, as its messages say in `sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// Everything, every time.
    Full,
    /// Everything, as the beginning of a delta.
    Initial,
    /// What changed.
    Delta,
}

impl LoadKind {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Initial => "initial",
            Self::Delta => "delta",
        }
    }
}

/// An established delta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Where changes are polled next.
    pub link: String,
    /// When Protime sent the link.
    pub polled: Timestamp,
    /// Of the event that started the delta.
    pub fingerprint: String,
    /// The parameters of the request that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<KeptText>,
}

/// A run that completed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// Its id.
    pub run: String,
    /// When it was due.
    pub scheduled: Timestamp,
    /// What it did.
    pub counts: Counts,
}

/// A run that could not start when it was due, since another was under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Its id.
    pub run: String,
    /// When it was due.
    pub scheduled: Timestamp,
    /// Its event.
    pub event: KeptText,
    /// Whether a ring asked for it, and so for nothing but what is new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ring: bool,
}

impl ConnectionState {
    /// Remembers that a `takeover` has acted.
    pub fn taken_over(&mut self, takeover: String) {
        const KEPT: usize = 20;
        self.takeovers.push(takeover);
        let surplus = self.takeovers.len().saturating_sub(KEPT);
        self.takeovers.drain(..surplus);
    }

    pub(super) fn to_json(&self) -> String {
        // State is plain data with string keys, which always is JSON.
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

/// The runs that are due, by when they were. What cannot be read is left out: it would keep the connection from running.
pub(super) fn due_of(item: &Item) -> Vec<Due> {
    let map = item.get("due").and_then(|due| due.as_m().ok());
    let texts = map.into_iter().flat_map(HashMap::values);
    let texts = texts.filter_map(|due| due.as_s().ok());
    let mut due: Vec<Due> = texts
        .filter_map(|json| serde_json::from_str(json).ok())
        .collect();
    due.sort_by(|one, other| (one.scheduled, &one.run).cmp(&(other.scheduled, &other.run)));
    due
}
