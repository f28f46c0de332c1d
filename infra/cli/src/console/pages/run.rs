//! The page of a run: its progress, its result, the reason of a failure and the advice.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use connector::store::Chains;
use jiff::Timestamp;

use super::super::Console;
use super::super::security::Fields;
use super::super::site::{Place, Site};
use super::{When, Word};
use crate::advice::{self, Advice};
use crate::commands::runs;
use crate::error::Error;
use crate::wording::duration;

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    site: Site,
    incoming: String,
    run: String,
    status: Word,
    scheduled: Option<When>,
    began: When,
    took: Option<String>,
    pages: u64,
    records: u64,
    messages: u64,
    progress: Option<Progress>,
    error: Option<Failed>,
}

/// The progress of a run that has not finished.
struct Progress {
    windows: u32,
    finished: u32,
    is_running: bool,
}

struct Failed {
    kind: String,
    message: String,
    advice: Option<Advice>,
}

pub(in crate::console) async fn show(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let incoming = fields.get("connection").unwrap_or_default();
    let run = fields.get("run").unwrap_or_default();
    console.page(page(&console, incoming, run).await)
}

async fn page(console: &Console, incoming: &str, run: &str) -> Result<Page, Error> {
    let known = console.stack.known(incoming).await?;
    let known = known.ok_or_else(|| runs::unknown(incoming, run))?;
    let record = known.history.run(run);
    let record = record.ok_or_else(|| runs::unknown(incoming, run))?;
    let now = Timestamp::now();
    let checkpoint = known.state.checkpoint.as_ref();
    let chains = checkpoint.filter(|checkpoint| checkpoint.run == run);
    let chains = chains.map(|checkpoint| &checkpoint.chains);
    // While a run is under way, the stored chains are newer than its record.
    let counts = chains.map_or(record.counts, Chains::counts);
    let failed = record.error.as_ref().map(|error| Failed {
        kind: error.kind.clone(),
        message: error.message.clone(),
        advice: advice::on(&error.kind),
    });
    Ok(Page {
        site: console.site(Place::None),
        incoming: incoming.to_owned(),
        run: run.to_owned(),
        status: runs::word(record.status).into(),
        scheduled: record.scheduled.map(|time| When::new(time, now)),
        began: When::new(record.started, now),
        took: runs::took(record).map(duration),
        pages: counts.pages,
        records: counts.records,
        messages: counts.messages,
        progress: chains.map(|chains| Progress {
            windows: chains.count(),
            finished: chains.finished(),
            is_running: known.is_running(now),
        }),
        error: failed,
    })
}
