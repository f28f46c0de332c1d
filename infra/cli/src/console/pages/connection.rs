//! The page of a connection: its state, its requests and its runs, with check and preview.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use connector::store::{DELTA_LIFE, Watched};
use jiff::Timestamp;
use serde_json::Value;
use tokio::runtime::Handle;

use super::super::Console;
use super::super::charts::{Chart, charts};
use super::super::security::Fields;
use super::super::site::{Place, Site};
use super::{RunRow, When, Word};
use crate::commands::check;
use crate::commands::preview::{FirstPage, Reading};
use crate::commands::status::StatusRow;
use crate::error::Error;
use crate::source::Source;
use crate::wording::{counted, duration};

/// How many records a preview shows, if they are asked for.
const RECORDS: usize = 3;

#[derive(Template)]
#[template(path = "connection.html")]
struct Page {
    site: Site,
    name: String,
    status: Word,
    note: String,
    last: Option<When>,
    next: Option<When>,
    schedule: Option<String>,
    delta: Option<String>,
    unfinished: Option<String>,
    /// The deployed event. `None` if no schedule runs the connection.
    event: Option<String>,
    runs: Vec<RunRow>,
    charts: Vec<Chart>,
}

pub(in crate::console) async fn show(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let name = fields.get("name").unwrap_or_default();
    console.page(page(&console, name).await)
}

async fn page(console: &Console, name: &str) -> Result<Page, Error> {
    let stack = &console.stack;
    let now = Timestamp::now();
    let known = stack.known(name).await?;
    let sources = stack.connections().await?;
    let source = sources.iter().find(|source| source.incoming == name);
    let told = StatusRow::of(name, source, known.as_ref(), now);
    let runs = || {
        known
            .iter()
            .flat_map(|known| known.history.runs.iter().rev())
    };
    Ok(Page {
        site: console.site_after_change(Place::None),
        name: name.to_owned(),
        status: (told.standing.word(), told.standing.tone()).into(),
        note: told.note,
        last: told.last.map(|time| When::new(time, now)),
        next: told.next.map(|time| When::new(time, now)),
        schedule: source.and_then(schedule),
        delta: known.as_ref().and_then(|known| delta(known, now)),
        unfinished: known
            .as_ref()
            .and_then(Watched::unfinished)
            .map(str::to_owned),
        event: source.map(event),
        runs: runs().map(|run| RunRow::new(name, run, now)).collect(),
        charts: charts(runs(), None, now),
    })
}

fn schedule(source: &Source) -> Option<String> {
    let schedule = source.schedule.as_ref()?;
    let off = if schedule.is_enabled {
        ""
    } else {
        ", disabled"
    };
    Some(format!(
        "{} ({}){off}",
        schedule.expression, schedule.time_zone
    ))
}

fn delta(known: &Watched, now: Timestamp) -> Option<String> {
    let delta = known.state.delta.as_ref()?;
    let age = now.duration_since(delta.polled);
    let expires = duration(DELTA_LIFE);
    Some(format!(
        "polled {} ago; it expires {expires} after its last poll",
        duration(age)
    ))
}

/// The event, indented if it is JSON.
fn event(source: &Source) -> String {
    match serde_json::from_str::<Value>(&source.event) {
        Ok(event) => format!("{event:#}"),
        Err(_) => source.event.clone(),
    }
}

#[derive(Template)]
#[template(path = "check.html")]
struct CheckPage {
    site: Site,
    name: String,
    verdicts: Vec<VerdictRow>,
    is_healthy: bool,
}

struct VerdictRow {
    part: String,
    result: Word,
    message: String,
}

/// Checks the connection inside the function.
pub(in crate::console) async fn check(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let name = fields.get("name").unwrap_or_default();
    console.page(checked(&console, name).await)
}

async fn checked(console: &Console, name: &str) -> Result<CheckPage, Error> {
    let source = console.stack.connection(name).await?;
    let checked = check::inside(&console.stack, &source).await?;
    let row = |verdict: &subscriber::Verdict| VerdictRow {
        part: check::part(verdict),
        result: check::word(verdict.result).into(),
        message: verdict.message.clone(),
    };
    Ok(CheckPage {
        site: console.site(Place::None),
        name: name.to_owned(),
        verdicts: checked.verdicts.iter().map(row).collect(),
        is_healthy: checked.fault().is_none(),
    })
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    site: Site,
    name: String,
    warnings: Vec<String>,
    page: Option<FirstPage>,
    /// Whether the records were asked for.
    shows_records: bool,
    summary: String,
}

/// Reads the first page. Its records are shown only on request.
pub(in crate::console) async fn preview(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let name = fields.get("name").unwrap_or_default().to_owned();
    let shows_records = fields.get("records") == Some("shown");
    // A read of Protime stays on its thread, but pages may move between threads.
    let (runtime, of_page) = (Handle::current(), console.clone());
    let read = tokio::task::spawn_blocking(move || {
        runtime.block_on(previewed(&of_page, &name, shows_records))
    });
    let page = read.await.map_err(|error| Error::Other(error.to_string()));
    console.page(page.flatten())
}

async fn previewed(
    console: &Console,
    name: &str,
    shows_records: bool,
) -> Result<PreviewPage, Error> {
    let now = Timestamp::now();
    let reading = Reading::deployed(&console.stack, name, now).await?;
    let most = if shows_records { RECORDS } else { 0 };
    let page = reading.first_page(most, now).await?;
    Ok(PreviewPage {
        site: console.site(Place::None),
        name: name.to_owned(),
        warnings: reading.warnings,
        shows_records,
        summary: page.as_ref().map(summary).unwrap_or_default(),
        page,
    })
}

fn summary(page: &FirstPage) -> String {
    let records = counted(page.records, "record");
    let messages = counted(page.messages, "message");
    let more = if page.has_more {
        ", more pages follow"
    } else {
        ""
    };
    format!("{records} in {messages}, {} bytes{more}", page.bytes)
}
