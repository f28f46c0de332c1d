//! Publish requests that were parked: listed, shown, sent back, or skipped.

mod letter;
mod moving;
mod outgoing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::letter::Letter;
use self::outgoing::Outgoing;
use crate::arguments::{Chosen, Parked, ParkedAction, StackArguments};
use crate::error::Error;
use crate::excerpt::excerpt;
use crate::output::{FAINT, HEADING, Report, hint, styled, table};
use crate::pass;
use crate::stack::Stack;
use crate::wording::{counted, relative};

/// So much of Protime's reasons is shown in a table.
const LONGEST_MESSAGE: usize = 80;

pub(crate) async fn parked(arguments: &Parked, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let outgoing = outgoing::find(&stack)?;
    match &arguments.action {
        None => list(&outgoing, &Chosen::default()).await,
        Some(ParkedAction::List(chosen)) => list(&outgoing, chosen).await,
        Some(ParkedAction::Show { id }) => show(&outgoing, id).await,
        Some(ParkedAction::Redrive { chosen, change }) => {
            moving::redrive(&outgoing, chosen, change).await
        }
        Some(ParkedAction::Skip { chosen, to, change }) => {
            moving::skip(&outgoing, chosen, to, change).await
        }
    }
}

/// What lies in one dead-letter queue.
struct Shelf<'a> {
    outgoing: &'a Outgoing,
    /// Those that were asked for, the oldest first.
    letters: Vec<Letter>,
    others: usize,
    unseen: usize,
}

async fn list(outgoing: &[Outgoing], chosen: &Chosen) -> Result<Report, Error> {
    let mut shelves = Vec::new();
    for outgoing in outgoing {
        let (mut letters, mut others) = (Vec::new(), 0);
        let unseen = pass::look(&outgoing.parked, |message| {
            let letter = Letter::of(message);
            if chosen.fits(&letter) {
                letters.push(letter);
            } else {
                others += 1;
            }
        })
        .await?;
        letters.sort_by_key(|letter| letter.parked);
        shelves.push(Shelf {
            outgoing,
            letters,
            others,
            unseen,
        });
    }
    Ok(listed(&shelves))
}

fn listed(shelves: &[Shelf<'_>]) -> Report {
    let now = Timestamp::now();
    let (mut text, mut json) = (String::new(), Vec::new());
    for shelf in shelves {
        if shelves.len() > 1 {
            let _ = writeln!(text, "{}", styled(HEADING, &shelf.outgoing.name));
        }
        let groups = groups(&shelf.letters);
        if shelf.letters.is_empty() {
            text += if shelf.others > 0 {
                "Nothing of what is parked fits.\n"
            } else {
                "Nothing is parked.\n"
            };
        } else {
            text += &grouped(&groups, now);
            text.push('\n');
            text += &one_by_one(&shelf.letters, now);
        }
        if shelf.others > 0 {
            let others = format!("{} more do not fit.", shelf.others);
            let _ = writeln!(text, "{}", styled(FAINT, others));
        }
        if shelf.unseen > 0 {
            let unseen = counted(shelf.unseen as u64, "more message");
            let _ = writeln!(
                text,
                "About {unseen} cannot be seen behind the first ten of their groups."
            );
        }
        json.push(json!({
            "outgoing": shelf.outgoing.name, "queue": shelf.outgoing.parked.name(),
            "groups": groups.iter().map(Group::json).collect::<Value>(), "messages": shelf.letters,
            "others": shelf.others, "unseen": shelf.unseen,
        }));
    }
    if shelves.iter().any(|shelf| !shelf.letters.is_empty()) {
        hint("protimectl parked show ID shows one whole.");
    }
    Report::new(json!({"parked": json}), text)
}

/// Those with one reason and one code.
struct Group<'a> {
    reason: Option<&'a str>,
    code: Option<&'a str>,
    count: u64,
    oldest: Timestamp,
    entities: BTreeSet<&'a str>,
}

impl Group<'_> {
    fn json(&self) -> Value {
        json!({
            "reason": self.reason, "code": self.code, "count": self.count, "oldest": self.oldest,
            "entities": self.entities,
        })
    }
}

fn groups(letters: &[Letter]) -> Vec<Group<'_>> {
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

fn grouped(groups: &[Group<'_>], now: Timestamp) -> String {
    let rows = groups.iter().map(|group| {
        let entities: Vec<&str> = group.entities.iter().copied().collect();
        [
            counted(group.count, "message"),
            reason(group.reason),
            or_dash(group.code),
            relative(group.oldest, now),
            entities.join(", "),
        ]
    });
    table(["parked", "reason", "code", "oldest", "entities"], rows)
}

fn one_by_one(letters: &[Letter], now: Timestamp) -> String {
    let head = [
        "id", "parked", "reason", "status", "code", "entity", "key", "why",
    ];
    let rows = letters.iter().map(|letter| {
        [
            letter.id.clone(),
            relative(letter.parked, now),
            reason(letter.reason.as_deref()),
            or_dash(letter.status.as_deref()),
            or_dash(letter.code.as_deref()),
            letter.entity.clone(),
            excerpt(&letter.idempotency_key, LONGEST_MESSAGE),
            excerpt(&letter.why(), LONGEST_MESSAGE),
        ]
    });
    table(head, rows)
}

/// What SQS parked by itself has none.
fn reason(reason: Option<&str>) -> String {
    reason.unwrap_or("no reason").to_owned()
}

fn or_dash(text: Option<&str>) -> String {
    excerpt(text.unwrap_or("-"), LONGEST_MESSAGE)
}

async fn show(outgoing: &[Outgoing], id: &str) -> Result<Report, Error> {
    let mut unseen = 0;
    for outgoing in outgoing {
        let (mut found, mut json) = (None, Value::Null);
        unseen += pass::look(&outgoing.parked, |message| {
            if message.id == id {
                found = Some((Letter::of(message), message.body.clone()));
                json = message.json();
            }
        })
        .await?;
        if let Some((letter, body)) = found {
            json["queue"] = outgoing.parked.name().into();
            return Ok(shown(&letter, &body, &json));
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

fn shown(letter: &Letter, body: &str, json: &Value) -> Report {
    let mut text = format!("{}\n", styled(HEADING, &letter.id));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<16} {value}");
    };
    line("parked", &format!("{:.0}", letter.parked));
    if let Some(group) = json["group"].as_str() {
        line("group", group);
    }
    for (name, value) in json["attributes"].as_object().into_iter().flatten() {
        match value["value"].as_str() {
            Some(value) => line(name, value),
            None => line(name, &value["bytes"].to_string()),
        }
    }
    let _ = writeln!(text, "\n{body}");
    Report::new(json!({"message": json}), text)
}
