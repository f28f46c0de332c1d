//! The page of all connections and queues.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::super::Console;
use super::super::charts::{Chart, charts};
use super::super::site::{Place, Site};
use super::{When, Word};
use crate::commands::status::{self, StatusRow, needs_attention};
use crate::error::Error;
use crate::excerpt::excerpt;
use crate::output::Tone;
use crate::wording::counted;

/// The longest note that this page shows, in characters. The page of the connection shows it whole.
const LONGEST_NOTE: usize = 300;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    site: Site,
    is_healthy: bool,
    connections: Vec<Row>,
    unreadable: Vec<String>,
    pause: Option<String>,
    queues: Vec<Held>,
    charts: Vec<Chart>,
}

struct Row {
    name: String,
    status: Word,
    last: Option<When>,
    next: Option<When>,
    note: String,
}

struct Held {
    queue: String,
    messages: String,
    class: &'static str,
}

pub(in crate::console) async fn show(State(console): State<Arc<Console>>) -> Response {
    console.page(page(&console).await)
}

async fn page(console: &Console) -> Result<Page, Error> {
    let seen = status::look(&console.stack).await?;
    let parked = console.parked_times().await?;
    let now = seen.now;
    let runs = seen.watched.iter().flat_map(|known| &known.history.runs);
    let row = |told: &StatusRow| Row {
        name: told.name.clone(),
        status: (told.standing.word(), told.standing.tone()).into(),
        last: told.last.map(|time| When::new(time, now)),
        next: told.next.map(|time| When::new(time, now)),
        note: excerpt(&told.note, LONGEST_NOTE),
    };
    Ok(Page {
        site: console.site_after_change(Place::Overview),
        is_healthy: seen.is_healthy(),
        connections: seen.connections.iter().map(row).collect(),
        pause: seen.pause.as_ref().map(ToString::to_string),
        queues: seen.queues.iter().map(held).collect(),
        charts: charts(runs, Some(&parked), now),
        unreadable: seen.unreadable,
    })
}

fn held((queue, count): &(String, u64)) -> Held {
    let tone = match (*count, needs_attention(queue)) {
        (0, _) => Tone::Faint,
        (_, true) => Tone::Bad,
        (_, false) => Tone::Good,
    };
    Held {
        queue: queue.clone(),
        messages: counted(*count, "message"),
        class: tone.class(),
    }
}
