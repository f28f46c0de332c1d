//! How everything stands, on one screen.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use connector::store::{Pause, RunStatus, Watched};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{StackArguments, Status};
use crate::error::{Code, Error};
use crate::output::{BAD, FAINT, GOOD, HEADING, Report, WARNING, styled, table};
use crate::source::Source;
use crate::stack::Stack;
use crate::wording::{counted, duration, relative};

/// How often `--watch` looks again.
const AGAIN: Duration = Duration::from_secs(5);
/// A delta that nobody polls for 72 hours is lost.
const OLD_DELTA_HOURS: i64 = 48;

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    Running,
    Waiting,
    Paused,
    Overdue,
    Failed,
    GivenUp,
    NeverRun,
}

impl Standing {
    fn of(watched: Option<&Watched>, now: Timestamp) -> Self {
        let Some(watched) = watched else {
            return Self::NeverRun;
        };
        let last = watched.history.runs.last();
        if watched.is_paused(now) {
            Self::Paused
        } else if watched.is_running(now) {
            Self::Running
        } else if watched.is_given_up(now) {
            Self::GivenUp
        } else if watched.history.overdue(now).is_some() {
            Self::Overdue
        } else if last.is_some_and(|run| run.status == RunStatus::Failed) {
            Self::Failed
        } else if watched.unfinished().is_some() {
            Self::Waiting
        } else if watched.history.last_completed().is_none() {
            Self::NeverRun
        } else {
            Self::Fresh
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Overdue => "overdue",
            Self::Failed => "failed",
            Self::GivenUp => "given up",
            Self::NeverRun => "never run",
        }
    }

    fn is_healthy(self) -> bool {
        !matches!(self, Self::Overdue | Self::Failed | Self::GivenUp)
    }

    fn style(self) -> anstyle::Style {
        match self {
            Self::Fresh | Self::Running => GOOD,
            Self::Waiting | Self::Paused | Self::NeverRun => WARNING,
            Self::Overdue | Self::Failed | Self::GivenUp => BAD,
        }
    }
}

pub(crate) async fn status(arguments: &Status, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    loop {
        let report = look(&stack).await?;
        if !arguments.watch {
            let code = if arguments.fail {
                report.code
            } else {
                Code::Ok
            };
            return Ok(report.with_code(code));
        }
        // Of a terminal, the screen; of anything else, one after the other.
        anstream::print!("\x1b[2J\x1b[H{}", report.text);
        tokio::time::sleep(AGAIN).await;
    }
}

async fn look(stack: &Stack) -> Result<Report, Error> {
    let now = Timestamp::now();
    let state = stack.state()?;
    let known = state.connections().await.map_err(subscriber::Error::from)?;
    let pause = state
        .publishing_pause(now)
        .await
        .map_err(subscriber::Error::from)?;
    let mut unreadable = Vec::new();
    let mut watched = Vec::new();
    for connection in known {
        match connection {
            Ok(connection) => watched.push(connection),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    let screen = Screen {
        stack: &stack.name,
        connections: connections(&stack.connections().await?, &watched, now),
        unreadable,
        pause,
        queues: queues(stack).await?,
        now,
    };
    Ok(screen.report())
}

/// All that is told.
struct Screen<'a> {
    stack: &'a str,
    connections: Vec<Told>,
    /// What is wrong with items of connections that this release cannot read.
    unreadable: Vec<String>,
    /// Of all publishing.
    pause: Option<Pause>,
    /// How many messages lie in each queue, by logical id.
    queues: Vec<(String, u64)>,
    now: Timestamp,
}

/// What is told of a connection.
struct Told {
    name: String,
    standing: Standing,
    last: Option<Timestamp>,
    next: Option<Timestamp>,
    note: String,
}

fn connections(sources: &[Source], watched: &[Watched], now: Timestamp) -> Vec<Told> {
    let mut names: Vec<&str> = sources
        .iter()
        .map(|source| source.incoming.as_str())
        .collect();
    names.extend(watched.iter().map(|watched| watched.incoming.as_str()));
    names.sort_unstable();
    names.dedup();
    let told = names.into_iter().map(|name| {
        let known = watched.iter().find(|watched| watched.incoming == name);
        let source = sources.iter().find(|source| source.incoming == name);
        let schedule = source.and_then(|source| source.schedule.as_ref());
        Told {
            name: name.to_owned(),
            standing: Standing::of(known, now),
            last: known.and_then(|known| known.history.last_completed()),
            next: schedule.and_then(|schedule| schedule.next(now)),
            note: known.map(|known| note(known, now)).unwrap_or_default(),
        }
    });
    told.collect()
}

fn note(watched: &Watched, now: Timestamp) -> String {
    let mut notes = Vec::new();
    if let Some(until) = watched.paused_until.filter(|until| *until > now) {
        let reason = watched.paused_because.clone().unwrap_or_default();
        notes.push(Pause { until, reason }.to_string());
    }
    if let Some(overdue) = watched.history.overdue(now) {
        notes.push(format!("overdue for {}", duration(overdue)));
    }
    if let Some(run) = watched.unfinished() {
        notes.push(format!("run {run} is not finished"));
    }
    if let Some(until) = watched.not_before.filter(|until| *until > now) {
        notes.push(format!(
            "Protime asked to be left alone, {}",
            relative(until, now)
        ));
    }
    let last = watched.history.runs.last();
    if let Some(error) = last.and_then(|run| run.error.as_ref()) {
        notes.push(format!("{}: {}", error.kind, error.message));
    }
    if let Some(delta) = &watched.state.delta {
        let age = now.duration_since(delta.polled);
        if age.as_hours() >= OLD_DELTA_HOURS {
            notes.push(format!(
                "its delta was polled {} ago, and expires after 72 hours",
                duration(age)
            ));
        }
    }
    notes.join("; ")
}

/// How many messages lie in each queue, by logical id.
async fn queues(stack: &Stack) -> Result<Vec<(String, u64)>, Error> {
    let sqs = stack.account.sqs();
    let mut counts = Vec::new();
    for (name, url) in stack.queues() {
        let visible = QueueAttributeName::ApproximateNumberOfMessages;
        let hidden = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let asked = sqs.get_queue_attributes().queue_url(url);
        let asked = asked
            .attribute_names(visible.clone())
            .attribute_names(hidden.clone());
        let answer = asked
            .send()
            .await
            .map_err(|error| Error::aws(format!("queue {url}"), &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name| {
            attributes
                .get(name)
                .and_then(|count: &String| count.parse::<u64>().ok())
        };
        let count = count(&visible).unwrap_or(0) + count(&hidden).unwrap_or(0);
        counts.push((name.to_owned(), count));
    }
    Ok(counts)
}

/// A queue in which no message should stay.
fn needs_attention(queue: &str) -> bool {
    queue.contains("DeadLetter") || queue.contains("Failure")
}

impl Screen<'_> {
    fn is_healthy(&self) -> bool {
        let needs_nobody = |(name, count): &(String, u64)| *count == 0 || !needs_attention(name);
        self.unreadable.is_empty()
            && self
                .connections
                .iter()
                .all(|told| told.standing.is_healthy())
            && self.queues.iter().all(needs_nobody)
    }

    fn report(&self) -> Report {
        let code = if self.is_healthy() {
            Code::Ok
        } else {
            Code::Unhealthy
        };
        Report::new(self.json(), self.text()).with_code(code)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", styled(HEADING, format!("Stack {}", self.stack)));
        let time = |time: Option<Timestamp>| {
            time.map_or_else(|| "-".to_owned(), |time| relative(time, self.now))
        };
        let rows = self.connections.iter().map(|told| {
            [
                told.name.clone(),
                styled(told.standing.style(), told.standing.word()),
                time(told.last),
                time(told.next),
                told.note.clone(),
            ]
        });
        text += &table(["connection", "status", "completed", "next run", ""], rows);
        for error in &self.unreadable {
            let _ = writeln!(text, "{} {error}", styled(BAD, "unreadable"));
        }
        let publishing = match &self.pause {
            None => styled(GOOD, "on"),
            Some(pause) => styled(WARNING, pause),
        };
        let _ = writeln!(text, "\npublishing: {publishing}\n");
        let rows = self.queues.iter().map(|(name, count)| {
            let style = match (*count, needs_attention(name)) {
                (0, _) => FAINT,
                (_, true) => BAD,
                (_, false) => GOOD,
            };
            [name.clone(), styled(style, counted(*count, "message"))]
        });
        text + &table(["queue", "holds"], rows)
    }

    fn json(&self) -> Value {
        let connections = self.connections.iter().map(|told| {
            json!({
                "incoming": told.name, "stands": told.standing.word(), "lastCompleted": told.last, "nextRun": told.next,
                "note": told.note,
            })
        });
        let queues = self.queues.iter();
        let queues: serde_json::Map<String, Value> = queues
            .map(|(name, count)| (name.clone(), (*count).into()))
            .collect();
        json!({
            "stack": self.stack, "healthy": self.is_healthy(), "connections": connections.collect::<Value>(), "queues": queues,
            "publishingPausedUntil": self.pause.as_ref().map(|pause| pause.until), "unreadable": self.unreadable,
        })
    }
}
