//! The watch: reports on all connections, and resumes stranded runs.

use connector::metrics::{Line, Metric};
use connector::store::{CONNECTIONS_PER_CALL, MOST_RESCUES, Watched};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::continuation::Continuation;
use crate::report::Identity;
use crate::{Error, Invocation, Subscriber};

/// Stranded runs that are resumed at the same time.
const RESCUES_AT_ONCE: usize = 10;

/// The result of one pass of the watch.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// All connections, in the order of their names.
    pub connections: Vec<ConnectionReport>,
    /// The ids of the runs that this watch resumed.
    pub rescued: Vec<String>,
}

/// The state of one connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionReport {
    /// The name of the incoming connection.
    pub incoming: String,
    /// When a run last completed. None if none has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_completed: Option<Timestamp>,
    /// Seconds since the connection became overdue; 0 if it is not.
    pub seconds_overdue: i64,
    /// Seconds since the delta was polled. None without a delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta_age_seconds: Option<i64>,
    /// The run that has begun or is due, and has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
    /// How often the watch resumed that run without progress.
    pub rescues: u64,
    /// Whether the watch no longer resumes that run.
    pub given_up: bool,
    /// The end of the operator's pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
    /// The days until the webhook ends that rings the connection. None without a webhook, or if Protime does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_days_left: Option<i64>,
    /// Whether that webhook is disabled, so that it rings no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub webhook_disabled: bool,
}

impl ConnectionReport {
    fn of(watched: &Watched, now: Timestamp) -> Self {
        let delta = watched.state.delta.as_ref();
        let is_paused = watched.is_paused(now);
        let overdue = watched.history.overdue(now).filter(|_| !is_paused);
        let webhook = watched.webhook.as_ref();
        Self {
            incoming: watched.incoming.clone(),
            last_completed: watched.history.last_completed(),
            seconds_overdue: overdue.map_or(0, |overdue| overdue.as_secs().max(1)),
            delta_age_seconds: delta.map(|delta| now.duration_since(delta.polled).as_secs()),
            unfinished: watched.unfinished().map(str::to_owned),
            rescues: watched.rescues,
            given_up: watched.is_given_up(now),
            paused_until: watched.paused_until.filter(|_| is_paused),
            webhook_days_left: webhook.and_then(|webhook| webhook.days_left(now)),
            webhook_disabled: webhook.is_some_and(|webhook| webhook.is_disabled),
        }
    }

    fn line(&self) -> Line {
        let age = self.delta_age_seconds;
        let line = Line::new()
            .value(Metric::SecondsOverdue, self.seconds_overdue)
            .value(Metric::DeltaAge, age.unwrap_or(0))
            .property("incoming", self.incoming.as_str())
            .property("rescues", self.rescues)
            .property("givenUp", self.given_up);
        let line = match self.webhook_days_left {
            Some(days) => line.property("webhookDaysLeft", days),
            None => line,
        };
        let line = if self.webhook_disabled {
            line.property("webhookDisabled", true)
        } else {
            line
        };
        let texts = [
            ("unfinished", self.unfinished.clone()),
            (
                "lastCompleted",
                self.last_completed.map(|time| time.to_string()),
            ),
            (
                "pausedUntil",
                self.paused_until.map(|time| time.to_string()),
            ),
        ];
        texts
            .into_iter()
            .fold(line, |line, (name, text)| match text {
                Some(text) => line.property(name, text),
                None => line,
            })
    }
}

impl Report {
    /// Every watch writes these gauges, so that missing data shows a watch that failed.
    fn line(&self) -> Line {
        let count = |is: &dyn Fn(&ConnectionReport) -> bool| {
            self.connections.iter().filter(|found| is(found)).count()
        };
        let most = |of: &dyn Fn(&ConnectionReport) -> i64| {
            self.connections.iter().map(of).max().unwrap_or(0)
        };
        Line::new()
            .value(Metric::SecondsOverdue, most(&|found| found.seconds_overdue))
            .value(
                Metric::DeltaAge,
                most(&|found| found.delta_age_seconds.unwrap_or(0)),
            )
            .value(
                Metric::UnfinishedRuns,
                count(&|found| found.unfinished.is_some()),
            )
            .value(Metric::RunsGivenUp, count(&|found| found.given_up))
            .value(
                Metric::ConnectionsPaused,
                count(&|found| found.paused_until.is_some()),
            )
            .property("connections", self.connections.len())
    }
}

impl Subscriber {
    /// Reports on all connections, and resumes stranded runs. A failure of one connection does not stop the others; the
    /// last error is returned at the end.
    ///
    /// It keeps the states of few connections at a time: together they can exceed the function's memory.
    pub async fn watch(&self, invocation: &Invocation) -> Result<Report, Error> {
        let unreadable = |error| {
            let error = Error::from(error);
            self.report_failure(&Identity::default(), &error);
            error
        };
        let names = self.state.connection_names().await.map_err(unreadable)?;
        let mut report = Report::default();
        let mut failed = None;
        for names in names.chunks(CONNECTIONS_PER_CALL) {
            let connections = self.state.connections_named(names).await;
            let mut readable = Vec::new();
            for watched in connections.map_err(unreadable)? {
                match watched {
                    Ok(watched) => {
                        report
                            .connections
                            .push(reported(&watched, invocation.clock.now()));
                        readable.push(watched);
                    }
                    Err(error) => failed = Some(unreadable(error)),
                }
            }
            let rescues = readable
                .iter()
                .map(|watched| self.rescue(watched, invocation));
            let mut rescues = stream::iter(rescues).buffered(RESCUES_AT_ONCE);
            while let Some(rescue) = rescues.next().await {
                match rescue {
                    Ok(run) => report.rescued.extend(run),
                    Err(error) => failed = Some(error),
                }
            }
        }
        // A watch that fails writes none of the gauges, so that they are missing.
        for connection in &report.connections {
            self.metrics.write(connection.line());
        }
        self.metrics.write(report.line());
        failed.map_or(Ok(report), Err)
    }

    /// Resumes a stranded run. Returns its id. None if the run is not stranded, or somebody else goes on with it.
    async fn rescue(
        &self,
        watched: &Watched,
        invocation: &Invocation,
    ) -> Result<Option<String>, Error> {
        let rescued = self.send_rescue(watched, invocation).await;
        rescued.inspect_err(|error| {
            let identity = Identity {
                incoming: Some(watched.incoming.clone()),
                ..Identity::default()
            };
            self.report_failure(&identity, error);
        })
    }

    async fn send_rescue(
        &self,
        watched: &Watched,
        invocation: &Invocation,
    ) -> Result<Option<String>, Error> {
        let now = invocation.clock.now();
        let Some(run) = watched.unfinished().filter(|_| watched.is_stranded(now)) else {
            return Ok(None);
        };
        let watch = format!("{}/{:016x}", invocation.request_id, fastrand::u64(..));
        let Some(generation) = self.state.rescue(watched, &watch, now).await? else {
            return Ok(None);
        };
        tracing::warn!(
            incoming = watched.incoming,
            run,
            rescue = watched.rescues + 1,
            most = MOST_RESCUES,
            "the run is stranded; the watch sends its continuation"
        );
        let continuation = Continuation::new(&watched.incoming, run, generation);
        self.send_continuation(&continuation, now, invocation)
            .await?;
        Ok(Some(run.to_owned()))
    }
}

/// Reports on one connection, and warns if its webhook ends soon.
fn reported(watched: &Watched, now: Timestamp) -> ConnectionReport {
    let found = ConnectionReport::of(watched, now);
    let webhook = watched.webhook.as_ref();
    if webhook.is_some_and(|webhook| webhook.needs_renewal(now)) {
        tracing::warn!(
            incoming = watched.incoming,
            webhookDaysLeft = found.webhook_days_left,
            webhookDisabled = found.webhook_disabled,
            "the webhook is disabled or ends soon; run protimectl webhooks renew"
        );
    }
    found
}
