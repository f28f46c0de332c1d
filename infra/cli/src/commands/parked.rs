//! `parked`: lists, shows, sends back or skips parked publish requests.

mod dead_letter;
mod moving;
mod outgoing;
mod queue_contents;

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::dead_letter::DeadLetter;
pub(crate) use self::moving::{Moved, NewFile, Plan, move_to_file, send_back};
pub(crate) use self::outgoing::{Outgoing, find};
pub(crate) use self::queue_contents::{
    Found, Group, QueueContents, find as find_message, groups, look,
};
use crate::arguments::{Parked, ParkedAction, ParkedFilter, StackArguments};
use crate::error::Error;
use crate::excerpt::excerpt;
use crate::output::{FAINT, HEADING, Report, hint, styled, table};
use crate::stack::Stack;
use crate::wording::{counted, relative};

/// In characters. The table cuts Protime's longer reasons.
const LONGEST_MESSAGE: usize = 80;

pub(crate) async fn parked(arguments: &Parked, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let outgoing = find(&stack)?;
    match &arguments.action {
        None => list(&outgoing, &ParkedFilter::default()).await,
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

async fn list(outgoing: &[Outgoing], chosen: &ParkedFilter) -> Result<Report, Error> {
    Ok(listed(&queue_contents::look(outgoing, chosen).await?))
}

fn listed(shelves: &[QueueContents]) -> Report {
    let now = Timestamp::now();
    let (mut text, mut json) = (String::new(), Vec::new());
    for shelf in shelves {
        if shelves.len() > 1 {
            let _ = writeln!(text, "{}", styled(HEADING, &shelf.name));
        }
        let groups = queue_contents::groups(&shelf.letters);
        if shelf.letters.is_empty() {
            text += if shelf.others > 0 {
                "No parked message matches.\n"
            } else {
                "Nothing is parked.\n"
            };
        } else {
            text += &grouped(&groups, now);
            text.push('\n');
            text += &one_by_one(&shelf.letters, now);
        }
        if shelf.others > 0 {
            let others = format!("{} more do not match the filter.", shelf.others);
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
            "outgoing": shelf.name, "queue": shelf.queue,
            "groups": groups.iter().map(Group::json).collect::<Value>(), "messages": shelf.letters,
            "others": shelf.others, "unseen": shelf.unseen,
        }));
    }
    if shelves.iter().any(|shelf| !shelf.letters.is_empty()) {
        hint("protimectl parked show ID shows one whole.");
    }
    Report::new(json!({"parked": json}), text)
}

impl Group<'_> {
    fn json(&self) -> Value {
        json!({
            "reason": self.reason, "code": self.code, "count": self.count, "oldest": self.oldest,
            "entities": self.entities,
        })
    }
}

fn grouped(groups: &[Group<'_>], now: Timestamp) -> String {
    let rows = groups.iter().map(|group| {
        [
            counted(group.count, "message"),
            reason(group.reason),
            or_dash(group.code),
            relative(group.oldest, now),
            group.entities(),
        ]
    });
    table(["parked", "reason", "code", "oldest", "entities"], rows)
}

fn one_by_one(letters: &[DeadLetter], now: Timestamp) -> String {
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

/// The reason in words. SQS gives none to a message that it moved to the dead-letter queue by itself.
fn reason(reason: Option<&str>) -> String {
    reason.unwrap_or("no reason").to_owned()
}

fn or_dash(text: Option<&str>) -> String {
    excerpt(text.unwrap_or("-"), LONGEST_MESSAGE)
}

async fn show(outgoing: &[Outgoing], id: &str) -> Result<Report, Error> {
    let Found { letter, body, json } = queue_contents::find(outgoing, id).await?;
    Ok(shown(&letter, &body, &json))
}

fn shown(letter: &DeadLetter, body: &str, json: &Value) -> Report {
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
