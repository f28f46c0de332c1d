//! Changes: each is planned, described and made after a confirmation.
//!
//! The console itself keeps the planned change until it is confirmed, so that a browser cannot alter it. A confirmation
//! works once: sent twice, it changes nothing more.

use std::path::PathBuf;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use indicatif::ProgressBar;
use jiff::Timestamp;

use super::pages::percent_encoded;
use super::security::{Fields, secret};
use super::site::{Place, Site};
use super::{Console, held};
use crate::arguments::ParkedFilter;
use crate::commands::parked::{self, Moved, NewFile, Plan};
use crate::commands::run;
use crate::error::Error;
use crate::wording::counted;

/// At more open questions, the oldest are dropped.
const MOST_PENDING: usize = 20;

/// The changes that the console can make.
enum Change {
    Run {
        incoming: String,
    },
    /// Sends back messages that were parked before the question.
    SendBack {
        chosen: ParkedFilter,
        before: Timestamp,
    },
    SetAside {
        chosen: ParkedFilter,
        before: Timestamp,
        to: PathBuf,
    },
}

/// The changes that wait for a confirmation, by the token that confirms them.
#[derive(Default)]
pub(super) struct PendingChanges(Vec<(String, Change)>);

impl PendingChanges {
    fn keep(&mut self, change: Change) -> Result<String, Error> {
        let id = secret::<16>()?;
        self.0.push((id.clone(), change));
        let surplus = self.0.len().saturating_sub(MOST_PENDING);
        self.0.drain(..surplus);
        Ok(id)
    }

    fn take(&mut self, id: &str) -> Option<Change> {
        let place = self.0.iter().position(|(known, _)| known == id)?;
        Some(self.0.remove(place).1)
    }
}

#[derive(Template)]
#[template(path = "ask.html")]
struct Ask {
    site: Site,
    /// The change in words, such as `run connection x now`.
    what: String,
    id: String,
    back: String,
}

/// A change and its description.
struct Planned {
    change: Change,
    what: String,
}

impl Change {
    /// The page that shows the outcome.
    fn page(&self, base: &str) -> String {
        match self {
            Self::Run { incoming } => {
                format!("{base}/connection?name={}", percent_encoded(incoming))
            }
            Self::SendBack { .. } | Self::SetAside { .. } => format!("{base}/parked"),
        }
    }
}

/// Describes a change and waits for its confirmation.
pub(super) async fn ask(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    console.page(asked(&console, &fields).await)
}

async fn asked(console: &Console, fields: &Fields) -> Result<Ask, Error> {
    let Planned { change, what } = plan(console, fields).await?;
    let back = change.page(console.guard.base());
    let id = held(&console.asked).keep(change)?;
    Ok(Ask {
        site: console.site(Place::None),
        what,
        id,
        back,
    })
}

async fn plan(console: &Console, fields: &Fields) -> Result<Planned, Error> {
    let what = fields.get("what").unwrap_or_default();
    if what == "run" {
        let name = fields.get("name").unwrap_or_default();
        let incoming = console.stack.connection(name).await?.incoming;
        let what = run::what(&incoming);
        let change = Change::Run { incoming };
        return Ok(Planned { change, what });
    }
    let before = Timestamp::now();
    let chosen = chosen(fields)?;
    let plan = Plan::of(&parked::find(&console.stack)?, &chosen).await?;
    if plan.is_nothing() {
        return Err(Error::Other(
            "no parked message matches the filter".to_owned(),
        ));
    }
    match what {
        "redrive" => {
            let what = plan.to_send_back();
            let change = Change::SendBack { chosen, before };
            Ok(Planned { change, what })
        }
        "skip" => {
            let to = new_file(before)?;
            let what = plan.to_move_to_file(&to);
            let change = Change::SetAside { chosen, before, to };
            Ok(Planned { change, what })
        }
        _ => Err(Error::Usage(
            "unknown change; go back to the page and use its buttons".to_owned(),
        )),
    }
}

/// A file in the folder in which the console was started. A browser cannot choose it.
fn new_file(now: Timestamp) -> Result<PathBuf, Error> {
    let folder = std::env::current_dir().map_err(|error| Error::Other(error.to_string()))?;
    let milliseconds = now.as_millisecond();
    Ok(folder.join(format!("skipped-{milliseconds}.jsonl")))
}

/// The parked messages that a page selects.
pub(super) fn chosen(fields: &Fields) -> Result<ParkedFilter, Error> {
    let text = |name| fields.filled(name).map(str::to_owned);
    let since = fields.filled("since").map(str::parse).transpose();
    let since = since.map_err(|error| Error::Usage(format!("parked since: {error}")))?;
    Ok(ParkedFilter {
        reason: text("reason"),
        code: text("code"),
        entity: text("entity"),
        since,
        id: text("id"),
    })
}

/// Makes a change that was confirmed.
pub(super) async fn make(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let change = held(&console.asked).take(fields.get("id").unwrap_or_default());
    let Some(change) = change else {
        let problem = "this change was made already, or has expired; start it again from its page";
        return console.problem(&Error::Usage(problem.to_owned()));
    };
    let page = change.page(console.guard.base());
    match made(&console, change).await {
        Ok(notice) => {
            *held(&console.notice) = Some(notice);
            Redirect::to(&page).into_response()
        }
        Err(error) => console.problem(&error),
    }
}

async fn made(console: &Console, change: Change) -> Result<String, Error> {
    let stack = &console.stack;
    let bar = ProgressBar::hidden();
    match change {
        Change::Run { incoming } => {
            let source = stack.connection(&incoming).await?;
            let event = run::event(&source)?;
            run::begin(stack, &event).await?;
            Ok(format!("{incoming} was started."))
        }
        Change::SendBack { chosen, before } => {
            let outgoing = parked::find(stack)?;
            let moved = parked::send_back(&outgoing, &chosen, before, &bar).await;
            told(moved, "sent back to the publish queue")
        }
        Change::SetAside { chosen, before, to } => {
            let outgoing = parked::find(stack)?;
            let file = NewFile::new(&to)?;
            let moved = parked::move_to_file(&outgoing, &chosen, file, before, &bar).await;
            told(moved, &format!("written to {} and deleted", to.display()))
        }
    }
}

fn told(Moved { total, result }: Moved, done: &str) -> Result<String, Error> {
    let taken = counted(total.taken as u64, "message");
    match result {
        Ok(()) => {
            let mut told = format!("{taken} {done}, {} left.", total.left);
            if total.is_incomplete {
                told += " The pass did not reach all messages in time; repeat the command.";
            }
            if total.put_behind > 0 {
                told += " To see past others, some of these went to the end of their groups, in their order.";
            }
            Ok(told)
        }
        Err(error) if total.taken > 0 => {
            Err(Error::Other(format!("{taken} {done} before this: {error}")))
        }
        Err(error) => Err(error),
    }
}
