//! What is remembered of a message: how often it was tried, and what is left to do once it has ended.

use connector::store::item::{Item, count_of, string_of};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dead_letter::{DeadLetter, Reason};
use crate::results::ResultContext;
use crate::write_record::{CompletedWrite, ParkedWrite};

/// A message, as far as it is remembered. The ordinary one is not.
#[derive(Debug, Default)]
pub(crate) struct MessageRecord {
    /// Attempts that did not end by themselves, the present one included.
    pub(crate) attempts: u64,
    /// How it ended.
    pub(crate) ended: Option<Ended>,
}

/// A message that has ended, and has something left to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// Of the attempt that has it.
    pub(crate) token: String,
    /// Stored as `subject` since the first release.
    #[serde(rename = "subject")]
    pub(crate) context: ResultContext,
    pub(crate) outcome: Outcome,
    pub(crate) stage: Stage,
    pub(crate) at: Timestamp,
}

/// How a message ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Written(CompletedWrite),
    Parked {
        letter: Box<DeadLetter>,
        /// None if its record stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given_up: Option<GivenUp>,
    },
}

/// A record of a write that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(crate) id: String,
    /// The token of the attempt that had it; those of earlier releases had none.
    pub(crate) owner: Option<String>,
    /// Whether Protime certainly has not written.
    pub(crate) is_refused: bool,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// The verdict is known.
    Decided,
    /// The write is done, or the message is in the dead-letter queue.
    Done,
    /// Whoever wants the result has it.
    Told,
}

impl MessageRecord {
    pub(crate) fn of(item: &Item) -> Self {
        let ended = string_of(item, "ended");
        Self {
            attempts: count_of(item, "attempts"),
            ended: ended.and_then(|json| serde_json::from_str(json).ok()),
        }
    }
}

impl Ended {
    /// When the message was parked because its attempts died; none if it was not.
    pub(crate) fn crashed(&self) -> Option<ParkedWrite> {
        let Outcome::Parked { letter, .. } = &self.outcome else {
            return None;
        };
        (letter.reason == Reason::Crashed).then_some(ParkedWrite {
            at: self.at,
            is_refused: false,
        })
    }

    pub(crate) fn to_json(&self) -> String {
        // Plain data with string keys always is JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
