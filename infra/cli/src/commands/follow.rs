//! Starts a run, and waits for its end on request.

use std::time::Duration;

use connector::contract::connection::IncomingConnection;
use connector::store::{RunRecord, RunStatus, Watched};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::error::{Code, Error};
use crate::output::{Report, hint};
use crate::stack::Stack;
use crate::wording::counted;

/// How often the state of the run is read.
const AGAIN: Duration = Duration::from_secs(1);
/// A run that has not begun after this time counts as failed.
const LONGEST_START: SignedDuration = SignedDuration::from_mins(5);
/// A read of several windows is done when all windows are.
const WINDOWS: &str = "{bar:30} {pos} of {len} windows, {msg}, {elapsed}";
/// With one request, the number of pages is unknown.
const RECORDS: &str = "{spinner} {msg}, {per_sec}, {elapsed}";

pub(crate) async fn start(
    stack: &Stack,
    name: &str,
    event: &str,
    follow: bool,
) -> Result<Report, Error> {
    if follow {
        return until_ended(stack, name, event).await;
    }
    let answer = begin(stack, event).await?;
    let text = format!("`{name}` was started; `protimectl runs {name}` shows how it goes\n");
    Ok(Report::new(
        json!({"incoming": name, "request": answer}),
        text,
    ))
}

/// Starts a run asynchronously. Returns the request id.
pub(crate) async fn begin(stack: &Stack, event: &str) -> Result<String, Error> {
    // An asynchronous start returns no errors of the event, so it is parsed here first.
    IncomingConnection::from_event(event, "run", Timestamp::now())
        .map_err(subscriber::Error::from)?;
    stack.start(event.to_owned()).await
}

/// Starts a run and waits for its end.
async fn until_ended(stack: &Stack, name: &str, event: &str) -> Result<Report, Error> {
    let state = stack.state()?;
    let before = Timestamp::now();
    begin(stack, event).await?;
    let bar = ProgressBar::new_spinner();
    bar.set_message(format!("`{name}` is starting"));
    loop {
        let known = state
            .connection(name)
            .await
            .map_err(subscriber::Error::from)?;
        let record = known.as_ref().and_then(|known| since(known, before));
        match (&known, record) {
            (Some(known), Some(record)) => {
                let is_running = known.is_running(Timestamp::now());
                if record.status != RunStatus::Started && !is_running {
                    bar.finish_and_clear();
                    return Ok(over(name, record));
                }
                show(&bar, known, record);
            }
            _ if Timestamp::now().duration_since(before) > LONGEST_START => {
                return Err(Error::Other(format!(
                    "nothing is heard of `{name}`: it may be paused, or wait behind another run; `protimectl status` and `protimectl failed` show more"
                )));
            }
            _ => {}
        }
        bar.tick();
        tokio::time::sleep(AGAIN).await;
    }
}

/// The newest run that began or ended after `then`.
fn since(known: &Watched, then: Timestamp) -> Option<&RunRecord> {
    let mut runs = known.history.runs.iter().rev();
    runs.find(|run| run.started >= then || run.ended.is_some_and(|ended| ended >= then))
}

fn show(bar: &ProgressBar, known: &Watched, record: &RunRecord) {
    let chains = known
        .state
        .checkpoint
        .as_ref()
        .map(|checkpoint| &checkpoint.chains);
    let counts = chains.map_or(record.counts, connector::store::Chains::counts);
    let template = match chains {
        Some(chains) if chains.count() > 1 => {
            bar.set_length(chains.count().into());
            bar.set_position(chains.finished().into());
            WINDOWS
        }
        _ => {
            bar.set_position(counts.records);
            RECORDS
        }
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let (pages, records) = (
        counted(counts.pages, "page"),
        counted(counts.records, "record"),
    );
    bar.set_message(format!("{}: {pages}, {records}", record.run));
}

fn over(name: &str, record: &RunRecord) -> Report {
    let counts = record.counts;
    let json = json!({"incoming": name, "run": record.run, "status": record.status, "counts": counts, "error": record.error});
    match &record.error {
        Some(error) if record.status == RunStatus::Failed => {
            hint("Lambda tries twice more, after one and two minutes");
            let text = format!("{} failed: {}: {}\n", record.run, error.kind, error.message);
            Report::new(json, text).with_code(Code::Other)
        }
        _ => {
            let text = format!(
                "{} completed: {}, {}, {}\n",
                record.run,
                counted(counts.pages, "page"),
                counted(counts.records, "record"),
                counted(counts.messages, "message")
            );
            Report::new(json, text)
        }
    }
}
