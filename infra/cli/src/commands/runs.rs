//! `runs`: the last runs.

use std::fmt::Write as _;

use connector::store::{RunRecord, RunStatus, Watched};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::arguments::{Runs, StackArguments};
use crate::error::Error;
use crate::output::{HEADING, Report, Tone, styled, table};
use crate::stack::Stack;
use crate::wording::{duration, relative};

pub(crate) async fn runs(arguments: &Runs, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let state = stack.state()?;
    let now = Timestamp::now();
    let Some(name) = &arguments.connection else {
        let known = state.connections().await.map_err(subscriber::Error::from)?;
        let known: Vec<Watched> = known.into_iter().flatten().collect();
        return Ok(listed(&known, now));
    };
    let known = state
        .connection(name)
        .await
        .map_err(subscriber::Error::from)?;
    let Some(known) = known else {
        // If the name is wrong, this fails with the names that exist.
        stack.connection(name).await?;
        return Ok(listed(&[], now));
    };
    let Some(run) = &arguments.run else {
        return Ok(listed(std::slice::from_ref(&known), now));
    };
    match known.history.run(run) {
        Some(record) => Ok(one(name, record)),
        None => Err(unknown(name, run)),
    }
}

fn listed(known: &[Watched], now: Timestamp) -> Report {
    let mut runs: Vec<(&str, &RunRecord)> = Vec::new();
    for watched in known {
        let of = watched.history.runs.iter();
        runs.extend(of.map(|run| (watched.incoming.as_str(), run)));
    }
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.started));
    let rows = runs.iter().map(|(_, run)| {
        let took = took(run).map(duration);
        let error = run.error.as_ref().map(|error| error.kind.clone());
        [
            run.run.clone(),
            styled_status(run),
            relative(run.started, now),
            took.unwrap_or_default(),
            run.counts.records.to_string(),
            error.unwrap_or_default(),
        ]
    });
    let text = table(["run", "status", "began", "took", "records", "error"], rows);
    let json = runs.iter().map(|(incoming, run)| json_of(incoming, run));
    Report::new(json!({"runs": json.collect::<Value>()}), text)
}

fn styled_status(run: &RunRecord) -> String {
    let (word, tone) = word(run.status);
    styled(tone.style(), word)
}

/// The word and colour for a status.
pub(crate) fn word(status: RunStatus) -> (&'static str, Tone) {
    match status {
        RunStatus::Completed => ("completed", Tone::Good),
        RunStatus::Started => ("begun", Tone::Warning),
        RunStatus::Failed => ("failed", Tone::Bad),
    }
}

/// The duration of the run. `None` if it has not ended.
pub(crate) fn took(run: &RunRecord) -> Option<SignedDuration> {
    run.ended.map(|ended| ended.duration_since(run.started))
}

/// The error for a run that the connection's history lacks.
pub(crate) fn unknown(incoming: &str, run: &str) -> Error {
    Error::Connection(format!(
        "run `{run}`: not among the last runs of `{incoming}`; `protimectl runs {incoming}` lists them"
    ))
}

fn json_of(incoming: &str, run: &RunRecord) -> Value {
    json!({
        "incoming": incoming, "run": run.run, "status": run.status, "scheduled": run.scheduled, "started": run.started,
        "ended": run.ended, "counts": run.counts, "error": run.error,
    })
}

fn one(incoming: &str, run: &RunRecord) -> Report {
    let mut text = format!("{}  {}\n", styled(HEADING, &run.run), styled_status(run));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10} {value}");
    };
    if let Some(scheduled) = run.scheduled {
        line("scheduled", format!("{scheduled:.0}"));
    }
    line("began", format!("{:.0}", run.started));
    if let Some(ended) = run.ended {
        line("ended", format!("{ended:.0}"));
    }
    line("pages", run.counts.pages.to_string());
    line("records", run.counts.records.to_string());
    line("messages", run.counts.messages.to_string());
    if let Some(error) = &run.error {
        line("error", format!("{}: {}", error.kind, error.message));
        line(
            "to do",
            format!("see `{}` in infra/OPERATIONS.md", error.kind),
        );
    }
    Report::new(json!({"run": json_of(incoming, run)}), text)
}
