//! The contents of the dead-letter queues.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::dead_letter::DeadLetter;
use super::outgoing::Outgoing;
use crate::arguments::ParkedFilter;
use crate::error::Error;
use crate::pass;

/// The contents of one dead-letter queue.
pub(crate) struct QueueContents {
    /// The name of its outgoing connection.
    pub(crate) name: String,
    pub(crate) queue: String,
    /// The selected messages, the oldest first.
    pub(crate) letters: Vec<DeadLetter>,
    pub(crate) others: usize,
    pub(crate) unseen: usize,
}

/// The messages with the same reason and code.
pub(crate) struct Group<'a> {
    pub(crate) reason: Option<&'a str>,
    pub(crate) code: Option<&'a str>,
    pub(crate) count: u64,
    pub(crate) oldest: Timestamp,
    pub(super) entities: BTreeSet<&'a str>,
}

/// A whole message, and where it was found.
pub(crate) struct Found {
    pub(crate) letter: DeadLetter,
    pub(crate) body: String,
    /// The message with its body and attributes.
    pub(crate) json: Value,
}

impl Group<'_> {
    pub(crate) fn entities(&self) -> String {
        let entities: Vec<&str> = self.entities.iter().copied().collect();
        entities.join(", ")
    }
}

/// The parked messages that fit the selection.
pub(crate) async fn look(
    outgoing: &[Outgoing],
    chosen: &ParkedFilter,
) -> Result<Vec<QueueContents>, Error> {
    let mut shelves = Vec::new();
    for outgoing in outgoing {
        let (mut letters, mut others) = (Vec::new(), 0);
        let unseen = pass::look(&outgoing.parked, |message| {
            let letter = DeadLetter::of(message);
            if chosen.fits(&letter) {
                letters.push(letter);
            } else {
                others += 1;
            }
        })
        .await?;
        letters.sort_by_key(|letter| letter.parked);
        shelves.push(QueueContents {
            name: outgoing.name.clone(),
            queue: outgoing.parked.name().to_owned(),
            letters,
            others,
            unseen,
        });
    }
    Ok(shelves)
}

/// Groups of letters, the largest first.
pub(crate) fn groups(letters: &[DeadLetter]) -> Vec<Group<'_>> {
    let mut groups = BTreeMap::new();
    for letter in letters {
        let (reason, code) = (letter.reason.as_deref(), letter.code.as_deref());
        let group = groups.entry((reason, code)).or_insert_with(|| Group {
            reason,
            code,
            count: 0,
            oldest: letter.parked,
            entities: BTreeSet::new(),
        });
        group.count += 1;
        group.oldest = group.oldest.min(letter.parked);
        group.entities.insert(&letter.entity);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// Finds a message by its id.
pub(crate) async fn find(outgoing: &[Outgoing], id: &str) -> Result<Found, Error> {
    let mut unseen = 0;
    for outgoing in outgoing {
        let mut found = None;
        unseen += pass::look(&outgoing.parked, |message| {
            if message.id == id {
                found = Some(Found {
                    letter: DeadLetter::of(message),
                    body: message.body.clone(),
                    json: message.json(),
                });
            }
        })
        .await?;
        if let Some(mut found) = found {
            found.json["queue"] = outgoing.parked.name().into();
            return Ok(found);
        }
    }
    let hidden = if unseen > 0 {
        format!("; about {unseen} more cannot be seen behind the first ten of their groups")
    } else {
        String::new()
    };
    Err(Error::Other(format!(
        "message {id} is not parked{hidden}; `protimectl parked` lists what is"
    )))
}
