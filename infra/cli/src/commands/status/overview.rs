//! The state of all connections and queues.

use aws_sdk_sqs::types::QueueAttributeName;
use connector::store::{Pause, RunStatus, SeenWebhook, Watched};
use jiff::Timestamp;

use crate::error::Error;
use crate::output::Tone;
use crate::source::Source;
use crate::stack::Stack;
use crate::wording::{duration, relative};

/// A delta that is not polled for 72 hours is lost. The overview warns from this age on.
const OLD_DELTA_HOURS: i64 = 48;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionStatus {
    Fresh,
    Running,
    Waiting,
    Paused,
    Overdue,
    Failed,
    GivenUp,
    NeverRun,
}

impl ConnectionStatus {
    pub(crate) fn of(watched: Option<&Watched>, now: Timestamp) -> Self {
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

    pub(crate) fn word(self) -> &'static str {
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

    pub(crate) fn is_healthy(self) -> bool {
        !matches!(self, Self::Overdue | Self::Failed | Self::GivenUp)
    }

    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Fresh | Self::Running => Tone::Good,
            Self::Waiting | Self::Paused | Self::NeverRun => Tone::Warning,
            Self::Overdue | Self::Failed | Self::GivenUp => Tone::Bad,
        }
    }
}

/// Reads the state of everything once.
pub(crate) async fn look(stack: &Stack) -> Result<Overview, Error> {
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
    Ok(Overview {
        stack: stack.name.clone(),
        connections: connections(&stack.connections().await?, &watched, now),
        watched,
        unreadable,
        pause,
        queues: queues(stack).await?,
        now,
    })
}

/// The state of the whole stack.
pub(crate) struct Overview {
    pub(crate) stack: String,
    pub(crate) connections: Vec<StatusRow>,
    /// The stored states of the connections that have run.
    pub(crate) watched: Vec<Watched>,
    /// Problems with stored connections that this release cannot read.
    pub(crate) unreadable: Vec<String>,
    /// The pause of all publishing, if there is one.
    pub(crate) pause: Option<Pause>,
    /// The number of messages in each queue, by logical id.
    pub(crate) queues: Vec<(String, u64)>,
    pub(crate) now: Timestamp,
}

impl Overview {
    pub(crate) fn is_healthy(&self) -> bool {
        let needs_nobody = |(name, count): &(String, u64)| *count == 0 || !needs_attention(name);
        self.unreadable.is_empty()
            && self
                .connections
                .iter()
                .all(|told| told.standing.is_healthy())
            && self.queues.iter().all(needs_nobody)
    }
}

/// The state of one connection, as the table shows it.
pub(crate) struct StatusRow {
    pub(crate) name: String,
    pub(crate) standing: ConnectionStatus,
    pub(crate) last: Option<Timestamp>,
    pub(crate) next: Option<Timestamp>,
    pub(crate) note: String,
}

impl StatusRow {
    /// The state of a connection that has a schedule, has run, or both.
    pub(crate) fn of(
        name: &str,
        source: Option<&Source>,
        known: Option<&Watched>,
        now: Timestamp,
    ) -> Self {
        let schedule = source.and_then(|source| source.schedule.as_ref());
        Self {
            name: name.to_owned(),
            standing: ConnectionStatus::of(known, now),
            last: known.and_then(|known| known.history.last_completed()),
            next: schedule.and_then(|schedule| schedule.next(now)),
            note: known.map(|known| note(known, now)).unwrap_or_default(),
        }
    }
}

fn connections(sources: &[Source], watched: &[Watched], now: Timestamp) -> Vec<StatusRow> {
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
        StatusRow::of(name, source, known, now)
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
            "Protime's `Retry-After` ends {}",
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
    if let Some(webhook) = watched.webhook.as_ref() {
        notes.extend(webhook_note(webhook, now));
    }
    notes.join("; ")
}

fn webhook_note(webhook: &SeenWebhook, now: Timestamp) -> Option<String> {
    if !webhook.needs_renewal(now) {
        return None;
    }
    Some(match webhook.days_left(now) {
        _ if webhook.is_disabled => "its webhook is disabled; protimectl webhooks renew".to_owned(),
        Some(days) if days >= 0 => {
            format!("its webhook ends in {days} days; protimectl webhooks renew")
        }
        _ => "its webhook has ended; protimectl webhooks renew".to_owned(),
    })
}

/// The number of messages in each queue, by logical id.
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
pub(crate) fn needs_attention(queue: &str) -> bool {
    queue.contains("DeadLetter") || queue.contains("Failure")
}
