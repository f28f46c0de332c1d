//! `run` and `backfill`: a connection, now.

use std::time::Duration;

use connector::contract::connection::IncomingConnection;
use connector::store::RunStatus;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::arguments::{Backfill, Run, StackArguments};
use crate::confirm::confirm;
use crate::error::{Code, Error};
use crate::output::{Report, hint};
use crate::source::Source;
use crate::stack::Stack;
use crate::wording::counted;

/// How often a run is looked at that is followed.
const AGAIN: Duration = Duration::from_secs(1);
/// A run that is followed and has not begun after this is given up.
const LONGEST_START: SignedDuration = SignedDuration::from_mins(5);

pub(crate) async fn run(arguments: &Run, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let source = stack.source(&arguments.connection).await?;
    let what = format!("run connection `{}` now", source.incoming);
    if !confirm(&arguments.change, &what)? {
        return Ok(Report::undone());
    }
    let fields = json!({"run": null, "scheduled": null, "takeover": null});
    let event = source.with(fields)?;
    started(&stack, &source.incoming, &event, arguments.follow).await
}

/// The same connection under another name, so that its own runs and their times stay what they are.
pub(crate) async fn backfill(
    arguments: &Backfill,
    stack: &StackArguments,
) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let source = stack.source(&arguments.connection).await?;
    let Backfill { from, to, .. } = arguments;
    if from > to {
        return Err(Error::Usage(format!("--from {from} is after --to {to}")));
    }
    let name = format!("{}-backfill", source.incoming);
    let what = format!(
        "read `{}` from {from} to {to} again, as connection `{name}`",
        source.incoming
    );
    if !confirm(&arguments.change, &what)? {
        return Ok(Report::undone());
    }
    let event = between(&source, *from, *to)?;
    let fields = json!({
        "incoming": name, "run": format!("{name}@{}", Timestamp::now()), "window": arguments.window.as_deref().unwrap_or("P1M"),
        "sync": null, "takeover": null, "scheduled": null, "fresh": null,
    });
    let event = Source { event, ..source }.with(fields)?;
    started(&stack, &name, &event, arguments.follow).await
}

/// The event that reads these dates, whatever its own filter of dates is: `transform` puts them in its place.
pub(crate) fn between(
    source: &Source,
    from: jiff::civil::Date,
    to: jiff::civil::Date,
) -> Result<String, Error> {
    let event: Value = serde_json::from_str(&source.event)
        .map_err(|error| Error::Connection(format!("connection: not JSON: {error}")))?;
    let range = format!("date ge '{from}' and date le '{to}'");
    let program = format!(
        ".query.filter = ([(.query.filter // \"\" | split(\" and \")[] | select(startswith(\"date \") | not) | select(. != \"\")), {range:?}] | join(\" and \"))"
    );
    let transform = match event["transform"].as_str() {
        Some(own) => format!("({own}) | {program}"),
        None => program,
    };
    source.with(json!({"transform": transform, "sync": null}))
}

async fn started(stack: &Stack, name: &str, event: &str, follow: bool) -> Result<Report, Error> {
    // Nobody would hear of what Lambda is not asked to wait for.
    IncomingConnection::from_event(event, "run", Timestamp::now())
        .map_err(subscriber::Error::from)?;
    if follow {
        return followed(stack, name, event).await;
    }
    let answer = stack.start(event.to_owned()).await?;
    let text = format!("`{name}` was started; `protimectl runs {name}` shows how it goes\n");
    Ok(Report::new(
        json!({"incoming": name, "request": answer}),
        text,
    ))
}

/// Waits for a run until it has ended.
async fn followed(stack: &Stack, name: &str, event: &str) -> Result<Report, Error> {
    let state = stack.state()?;
    let before = Timestamp::now();
    stack.start(event.to_owned()).await?;
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    loop {
        let known = state
            .connection(name)
            .await
            .map_err(subscriber::Error::from)?;
        let runs = known.as_ref().map_or(&[][..], |known| &known.history.runs);
        let is_running = known
            .as_ref()
            .is_some_and(|known| known.is_running(Timestamp::now()));
        let record = runs
            .iter()
            .rev()
            .find(|run| run.started >= before || run.ended.is_some_and(|ended| ended >= before));
        if let Some(record) = record {
            let counts = record.counts;
            bar.set_message(format!(
                "{}: {} pages, {} records",
                record.run, counts.pages, counts.records
            ));
            if record.status != RunStatus::Started && !is_running {
                bar.finish_and_clear();
                return Ok(over(name, record));
            }
        } else if Timestamp::now().duration_since(before) > LONGEST_START {
            return Err(Error::Other(format!(
                "nothing is heard of `{name}`: it may be paused, or wait behind another run; `protimectl status` and `protimectl failed` show more"
            )));
        } else {
            bar.set_message(format!("`{name}` is starting"));
        }
        bar.tick();
        tokio::time::sleep(AGAIN).await;
    }
}

fn over(name: &str, record: &connector::store::RunRecord) -> Report {
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
