//! The page of parked publish requests.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::super::Console;
use super::super::changes::chosen;
use super::super::security::Fields;
use super::super::site::{Place, Site};
use super::{When, percent_encoded};
use crate::arguments::ParkedFilter;
use crate::commands::parked::{self, DeadLetter, QueueContents};
use crate::error::Error;
use crate::excerpt::excerpt;
use crate::wording::counted;

/// How many parked messages are shown for each queue. A filter finds the others.
const MOST_SHOWN: usize = 50;
const LONGEST_TEXT: usize = 120;

#[derive(Template)]
#[template(path = "parked.html")]
struct Page {
    site: Site,
    filter: Filter,
    shelves: Vec<QueueView>,
    /// Whether any message can be sent back or skipped.
    has_fitting: bool,
}

/// The filter, as its form shows it.
struct Filter {
    reason: String,
    code: String,
    entity: String,
    since: String,
    /// The same filter as a URL's query.
    query: String,
}

struct QueueView {
    name: String,
    groups: Vec<GroupRow>,
    letters: Vec<DeadLetterRow>,
    /// Notes about messages that are not shown.
    rest: Vec<String>,
}

struct GroupRow {
    messages: String,
    reason: String,
    code: String,
    oldest: When,
    entities: String,
}

struct DeadLetterRow {
    id: String,
    parked: When,
    reason: String,
    code: String,
    entity: String,
    why: String,
}

pub(in crate::console) async fn list(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    console.page(page(&console, &fields).await)
}

async fn page(console: &Console, fields: &Fields) -> Result<Page, Error> {
    let chosen = ParkedFilter {
        id: None,
        ..chosen(fields)?
    };
    let now = Timestamp::now();
    let shelves = parked::look(&parked::find(&console.stack)?, &chosen).await?;
    Ok(Page {
        site: console.site_after_change(Place::Parked),
        filter: Filter::of(&chosen),
        has_fitting: shelves
            .iter()
            .any(|shelf| !shelf.letters.is_empty() || shelf.unseen > 0),
        shelves: shelves
            .iter()
            .map(|shelf| QueueView::new(shelf, now))
            .collect(),
    })
}

impl Filter {
    fn of(chosen: &ParkedFilter) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let since = chosen.since.map(|since| format!("{since:.0}"));
        let mut filter = Self {
            reason: text(&chosen.reason),
            code: text(&chosen.code),
            entity: text(&chosen.entity),
            since: since.unwrap_or_default(),
            query: String::new(),
        };
        let fields = [
            ("reason", &filter.reason),
            ("code", &filter.code),
            ("entity", &filter.entity),
            ("since", &filter.since),
        ];
        let query = fields.map(|(name, value)| format!("&{name}={}", percent_encoded(value)));
        filter.query = query.concat();
        filter
    }
}

impl QueueView {
    fn new(shelf: &QueueContents, now: Timestamp) -> Self {
        let groups = parked::groups(&shelf.letters);
        let groups = groups.iter().map(|group| GroupRow {
            messages: counted(group.count, "message"),
            reason: group.reason.unwrap_or("no reason").to_owned(),
            code: excerpt(group.code.unwrap_or("-"), LONGEST_TEXT),
            oldest: When::new(group.oldest, now),
            entities: group.entities(),
        });
        let mut rest = Vec::new();
        let hidden = shelf.letters.len().saturating_sub(MOST_SHOWN);
        if hidden > 0 {
            rest.push(format!("{hidden} more are not shown; filter to see them."));
        }
        if shelf.others > 0 {
            rest.push(format!("{} more do not match the filter.", shelf.others));
        }
        if shelf.unseen > 0 {
            let unseen = counted(shelf.unseen as u64, "more message");
            rest.push(format!(
                "About {unseen} cannot be seen behind the first ten of their groups."
            ));
        }
        let letters = shelf.letters.iter().take(MOST_SHOWN);
        Self {
            name: shelf.name.clone(),
            groups: groups.collect(),
            letters: letters
                .map(|letter| DeadLetterRow::new(letter, now))
                .collect(),
            rest,
        }
    }
}

impl DeadLetterRow {
    fn new(letter: &DeadLetter, now: Timestamp) -> Self {
        let text = |text: Option<&str>| excerpt(text.unwrap_or("-"), LONGEST_TEXT);
        Self {
            id: letter.id.clone(),
            parked: When::new(letter.parked, now),
            reason: text(letter.reason.as_deref().or(Some("no reason"))),
            code: text(letter.code.as_deref()),
            entity: text(Some(&letter.entity)),
            why: text(Some(&letter.why())),
        }
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    site: Site,
    id: String,
    parked: When,
    why: String,
    attributes: Vec<(String, String)>,
    /// The body, if it was asked for.
    body: Option<String>,
    bytes: usize,
}

pub(in crate::console) async fn message(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    console.page(found(&console, &fields).await)
}

async fn found(console: &Console, fields: &Fields) -> Result<MessagePage, Error> {
    let id = fields.get("id").unwrap_or_default();
    let found = parked::find_message(&parked::find(&console.stack)?, id).await?;
    let attributes = found.json["attributes"].as_object().into_iter().flatten();
    let attributes = attributes.map(|(name, value)| {
        let text = value["value"].as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| value["bytes"].to_string());
        (name.clone(), text)
    });
    Ok(MessagePage {
        site: console.site_after_change(Place::Parked),
        id: found.letter.id.clone(),
        parked: When::new(found.letter.parked, Timestamp::now()),
        why: found.letter.why(),
        attributes: attributes.collect(),
        bytes: found.body.len(),
        body: (fields.get("body") == Some("shown")).then_some(found.body),
    })
}
