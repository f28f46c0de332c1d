//! The record of a message: how often it was attempted, and what is left to do once it has ended.

use connector::store::item::{Item, count_of, string_of};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dead_letter::{DeadLetter, Reason};
use crate::results::ResultContext;
use crate::write_record::{CompletedWrite, ParkedWrite};

/// What the store knows of a message. An ordinary message has no record.
#[derive(Debug, Default)]
pub(crate) struct MessageRecord {
    /// Attempts that did not end normally, including the current one.
    pub(crate) attempts: u64,
    /// The message's end. None before it ends.
    pub(crate) ended: Option<Ended>,
}

/// A message that has ended, with its remaining steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The token of the attempt that holds this record.
    pub(crate) token: String,
    /// Stored as `subject` since the first release.
    #[serde(rename = "subject")]
    pub(crate) context: ResultContext,
    pub(crate) outcome: Outcome,
    pub(crate) stage: Stage,
    pub(crate) at: Timestamp,
}

/// The final outcome of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    Written(CompletedWrite),
    Parked {
        letter: Box<DeadLetter>,
        /// None if the write's record stays as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        given_up: Option<GivenUp>,
    },
}

/// The record of a write that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUp {
    pub(crate) id: String,
    /// The token of the attempt that owned the record. Attempts of earlier releases had none.
    pub(crate) owner: Option<String>,
    /// Whether Protime has certainly not written.
    pub(crate) is_refused: bool,
}

/// The last finished step of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// The verdict is stored.
    Decided,
    /// The write is done, or the message is in the dead-letter queue.
    Done,
    /// The result is sent, if the function has a results queue.
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
    /// When the message was parked because its attempts died. None if it was not.
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
        // Plain data with string keys always serialises to JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}
