//! The record of a write under its idempotency key, and what an attempt may do because of it.

use aws_sdk_dynamodb::types::AttributeValue;
use connector::store::item::{Item, count_of, number_of, string_of, time_of};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::look_up::Progress;
use crate::payload::PayloadHash;

/// After this many attempts without a verdict, the write is given up.
pub(crate) const MOST_CRASHES: u64 = 3;

/// A record as stored. If there is none, all fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WriteRecord {
    /// Whether the table has the record.
    pub(crate) exists: bool,
    /// The token of the last attempt. Attempts of earlier releases had none.
    pub(crate) owner: Option<String>,
    /// The end of the current attempt's lease. An attempt ends with its invocation.
    pub(crate) lease_until: Option<Timestamp>,
    /// The finished write. None before it is finished.
    pub(crate) done: Option<CompletedWrite>,
    /// The hash of the payload that was written, or may have been.
    pub(crate) payload: Option<String>,
    /// The id of the message that made the last attempt. Unknown for earlier releases.
    pub(crate) message: Option<String>,
    /// What the last attempt left for the next one.
    pub(crate) waiting: Waiting,
    /// Attempts without a verdict so far, including the current one.
    pub(crate) attempts: u64,
    /// When the write was given up, and whether Protime refused it.
    pub(crate) parked: Option<ParkedWrite>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParkedWrite {
    pub(crate) at: Timestamp,
    /// Whether Protime has certainly not written.
    pub(crate) is_refused: bool,
}

/// What an attempt leaves for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Since when it is unknown whether Protime has written.
    pub(crate) uncertain: Option<Timestamp>,
    /// How often Protime has answered with a conflict.
    pub(crate) conflicts: u32,
    /// The progress of a look-up.
    pub(crate) look_up: Option<Progress>,
}

impl Waiting {
    /// Whether the next attempt starts like a first one.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The outcome of a finished write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedWrite {
    /// The HTTP status of Protime's response.
    pub status: u16,
    /// The `Location` header of a created record. None for updates and deletions.
    pub location: Option<String>,
}

/// An attempt that asks to write, with its message and payload.
#[derive(Debug)]
pub(crate) struct Claimant<'a> {
    /// The SQS id of the message.
    pub(crate) message_id: &'a str,
    /// When the message was sent.
    pub(crate) sent: Timestamp,
    /// The token of this attempt; no other attempt has it.
    pub(crate) token: &'a str,
    pub(crate) payload: &'a PayloadHash,
}

/// What an attempt may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BeginOutcome {
    /// Go on, with what earlier attempts left.
    Attempt(Waiting),
    /// Nothing: the write is finished.
    Completed(CompletedWrite),
    /// Nothing yet: another attempt may be writing until this time.
    Elsewhere(Timestamp),
    /// Nothing: another message used the key with another payload.
    OtherPayload,
    /// Nothing: an earlier attempt at this message may have written another payload. Holds the record's owner.
    ChangedPayload(Option<String>),
    /// Nothing: several attempts ended without a verdict. Holds the record's owner.
    Crashed(Option<String>),
    /// Nothing: this message is parked, or about to be.
    ParkedItself,
    /// Nothing: a message with the same key was parked after this one was sent, since its outcome is unknown.
    ParkedTwin,
}

impl WriteRecord {
    /// Parses an item, including one of an earlier release.
    pub(crate) fn of(item: &Item) -> Self {
        let done = number_of(item, "done").map(|status| CompletedWrite {
            status: u16::try_from(status).unwrap_or_default(),
            location: string_of(item, "location").map(str::to_owned),
        });
        let text = |name| string_of(item, name).map(str::to_owned);
        let look_up = string_of(item, "look_up");
        Self {
            exists: !item.is_empty(),
            owner: text("owner"),
            lease_until: time_of(item, "lease_until"),
            done,
            payload: text("payload"),
            message: text("message"),
            waiting: Waiting {
                uncertain: time_of(item, "uncertain"),
                conflicts: u32::try_from(count_of(item, "conflicts")).unwrap_or(u32::MAX),
                look_up: look_up.and_then(|json| serde_json::from_str(json).ok()),
            },
            attempts: count_of(item, "attempts"),
            parked: time_of(item, "parked").map(|at| ParkedWrite {
                at,
                is_refused: count_of(item, "refused") > 0,
            }),
        }
    }

    /// The other message that made the last attempt, if that attempt left the write undecided.
    pub(crate) fn message_left_by(&self, claimant: &Claimant<'_>) -> Option<&str> {
        let is_open = self.done.is_none() && self.parked.is_none();
        let other = self.message.as_deref().filter(|_| is_open);
        other.filter(|other| *other != claimant.message_id)
    }

    /// What an attempt may do, given the stored record.
    pub(crate) fn begin(&self, claimant: &Claimant<'_>, now: Timestamp) -> BeginOutcome {
        if self.owner.as_deref() == Some(claimant.token) && self.lease_until.is_some() {
            // This attempt has begun; the response that said so was lost.
            return BeginOutcome::Attempt(self.waiting.clone());
        }
        let is_same_payload = self
            .payload
            .as_ref()
            .is_none_or(|payload| claimant.payload.is(payload));
        let is_same_message = self.message.as_deref() == Some(claimant.message_id);
        if let Some(done) = &self.done {
            return if is_same_payload || is_same_message {
                BeginOutcome::Completed(done.clone())
            } else {
                BeginOutcome::OtherPayload
            };
        }
        if let Some(until) = self.lease_until.filter(|until| *until >= now) {
            return BeginOutcome::Elsewhere(until);
        }
        if let Some(parked) = &self.parked {
            // A message that was sent after the parking is a new write. A message that waited in the queue meanwhile is
            // not.
            return if claimant.sent >= parked.at {
                BeginOutcome::Attempt(Waiting::default())
            } else if is_same_message {
                BeginOutcome::ParkedItself
            } else if parked.is_refused {
                BeginOutcome::Attempt(Waiting::default())
            } else {
                BeginOutcome::ParkedTwin
            };
        }
        let waiting = Waiting {
            // A lease that nobody released belonged to an attempt that died, perhaps after it had written.
            uncertain: self.waiting.uncertain.max(self.lease_until),
            ..self.waiting.clone()
        };
        // A write that certainly did not happen blocks nothing.
        if waiting.uncertain.is_some() && !is_same_payload {
            return if is_same_message {
                BeginOutcome::ChangedPayload(self.owner.clone())
            } else {
                BeginOutcome::OtherPayload
            };
        }
        if self.attempts >= MOST_CRASHES {
            return BeginOutcome::Crashed(self.owner.clone());
        }
        BeginOutcome::Attempt(waiting)
    }

    /// The record while the attempt of `claimant` runs.
    pub(crate) fn begun(
        &self,
        claimant: &Claimant<'_>,
        waiting: Waiting,
        until: Timestamp,
    ) -> Self {
        Self {
            exists: true,
            owner: Some(claimant.token.to_owned()),
            lease_until: Some(until),
            done: None,
            payload: Some(claimant.payload.canonical.clone()),
            message: Some(claimant.message_id.to_owned()),
            waiting,
            attempts: if self.parked.is_some() {
                1
            } else {
                self.attempts + 1
            },
            parked: None,
        }
    }

    /// The attributes to set, and the names of those to remove.
    pub(crate) fn attributes(&self) -> (Vec<(&'static str, AttributeValue)>, Vec<&'static str>) {
        use connector::store::item::{number, text, time};
        let count = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
        let Waiting {
            uncertain,
            conflicts,
            look_up,
        } = &self.waiting;
        let look_up = look_up.as_ref().and_then(|progress| {
            let json = serde_json::to_string(progress).ok()?;
            Some(text(&json))
        });
        let done = self.done.as_ref();
        let location = done.and_then(|done| done.location.as_deref());
        let all = [
            ("owner", self.owner.as_deref().map(text)),
            ("lease_until", self.lease_until.map(time)),
            ("done", done.map(|done| number(done.status.into()))),
            ("location", location.map(text)),
            ("payload", self.payload.as_deref().map(text)),
            ("message", self.message.as_deref().map(text)),
            ("uncertain", uncertain.map(time)),
            (
                "conflicts",
                (*conflicts > 0).then(|| count(u64::from(*conflicts))),
            ),
            ("look_up", look_up),
            (
                "attempts",
                (self.attempts > 0).then(|| count(self.attempts)),
            ),
            ("parked", self.parked.as_ref().map(|parked| time(parked.at))),
            (
                "refused",
                self.parked
                    .as_ref()
                    .map(|parked| number(parked.is_refused.into())),
            ),
            // Only earlier releases wrote this attribute.
            ("attempted", None),
        ];
        let mut lacking = Vec::new();
        let mut present = Vec::new();
        for (name, value) in all {
            match value {
                Some(value) => present.push((name, value)),
                None => lacking.push(name),
            }
        }
        (present, lacking)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::ToSpan;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn payload(json: &'static str) -> PayloadHash {
        PayloadHash::of(Some(&Bytes::from_static(json.as_bytes())))
    }

    fn claimant<'a>(message_id: &'a str, payload: &'a PayloadHash) -> Claimant<'a> {
        Claimant {
            message_id,
            sent: NOW,
            token: "mine",
            payload,
        }
    }

    fn underway(payload: &PayloadHash) -> WriteRecord {
        let other = Claimant {
            token: "other",
            ..claimant("m", payload)
        };
        WriteRecord::default().begun(&other, Waiting::default(), NOW + 1.minute())
    }

    #[test]
    fn the_first_attempt_knows_nothing() {
        let payload = payload("1");
        let begun = WriteRecord::default().begin(&claimant("m", &payload), NOW);
        assert_eq!(begun, BeginOutcome::Attempt(Waiting::default()));
    }

    #[test]
    fn an_attempt_that_died_may_have_written_until_its_end() {
        let payload = payload("1");
        let record = underway(&payload);
        let ends = NOW + 1.minute();
        let claimant = claimant("m", &payload);
        assert_eq!(record.begin(&claimant, NOW), BeginOutcome::Elsewhere(ends));
        let BeginOutcome::Attempt(waiting) = record.begin(&claimant, ends + 1.second()) else {
            panic!("it may go on")
        };
        assert_eq!(waiting.uncertain, Some(ends));
    }

    #[test]
    fn an_attempt_recognises_itself() {
        let payload = payload("1");
        let claimant = claimant("m", &payload);
        let waiting = Waiting {
            conflicts: 2,
            ..Waiting::default()
        };
        let record = WriteRecord::default().begun(&claimant, waiting.clone(), NOW + 1.minute());
        assert_eq!(record.begin(&claimant, NOW), BeginOutcome::Attempt(waiting));
    }

    #[test]
    fn another_payload_matters_only_where_something_may_have_been_written() {
        let (one, other) = (payload("1"), payload("2"));
        let mut record = WriteRecord {
            lease_until: None,
            ..underway(&one)
        };
        let same_message = claimant("m", &other);
        let other_message = claimant("n", &other);
        for claimant in [&same_message, &other_message] {
            assert!(matches!(
                record.begin(claimant, NOW),
                BeginOutcome::Attempt(_)
            ));
        }
        record.waiting.uncertain = Some(NOW);
        let owner = Some("other".to_owned());
        assert_eq!(
            record.begin(&same_message, NOW),
            BeginOutcome::ChangedPayload(owner)
        );
        assert_eq!(
            record.begin(&other_message, NOW),
            BeginOutcome::OtherPayload
        );
        record.done = Some(CompletedWrite::default());
        assert_eq!(
            record.begin(&same_message, NOW),
            BeginOutcome::Completed(CompletedWrite::default()),
            "a transformer was edited after the write"
        );
        assert_eq!(
            record.begin(&other_message, NOW),
            BeginOutcome::OtherPayload
        );
    }

    #[test]
    fn what_is_sent_after_a_message_was_parked_is_a_new_write() {
        let payload = payload("1");
        let mut record = WriteRecord {
            lease_until: None,
            parked: Some(ParkedWrite {
                at: NOW + 1.second(),
                is_refused: false,
            }),
            ..underway(&payload)
        };
        let begin = |record: &WriteRecord, message, sent| {
            let claimant = Claimant {
                sent,
                ..claimant(message, &payload)
            };
            record.begin(&claimant, NOW + 1.minute())
        };
        assert_eq!(begin(&record, "m", NOW), BeginOutcome::ParkedItself);
        assert_eq!(begin(&record, "n", NOW), BeginOutcome::ParkedTwin);
        let anew = BeginOutcome::Attempt(Waiting::default());
        assert_eq!(begin(&record, "n", NOW + 1.second()), anew);
        record.parked.as_mut().unwrap().is_refused = true;
        assert_eq!(begin(&record, "n", NOW), anew);
        assert_eq!(begin(&record, "m", NOW), BeginOutcome::ParkedItself);
    }

    #[test]
    fn three_attempts_without_a_verdict_are_enough() {
        let payload = payload("1");
        let mut record = underway(&payload);
        let later = NOW + 1.hour();
        record.attempts = MOST_CRASHES - 1;
        let claimant = claimant("m", &payload);
        assert!(matches!(
            record.begin(&claimant, later),
            BeginOutcome::Attempt(_)
        ));
        record.attempts = MOST_CRASHES;
        let owner = Some("other".to_owned());
        assert_eq!(record.begin(&claimant, later), BeginOutcome::Crashed(owner));
    }
}
