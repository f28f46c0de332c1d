//! The watch: reports on all connections, and resumes stranded runs.

use connector::metrics::{Line, Metric};
use connector::store::{MOST_RESCUES, Watched};
use jiff::Timestamp;
use serde::Serialize;

use crate::continuation::Continuation;
use crate::report::Identity;
use crate::{Error, Invocation, Subscriber};

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
    pub async fn watch(&self, invocation: &Invocation) -> Result<Report, Error> {
        let connections = self
            .state
            .connections()
            .await
            .map_err(Error::from)
            .inspect_err(|error| self.report_failure(&Identity::default(), error))?;
        let now = invocation.clock.now();
        let mut report = Report::default();
        let mut failed = None;
        for watched in connections {
            let watched = match watched {
                Ok(watched) => watched,
                Err(error) => {
                    let error = Error::from(error);
                    self.report_failure(&Identity::default(), &error);
                    failed = Some(error);
                    continue;
                }
            };
            let found = ConnectionReport::of(&watched, now);
            self.metrics.write(found.line());
            if watched
                .webhook
                .as_ref()
                .is_some_and(|webhook| webhook.needs_renewal(now))
            {
                tracing::warn!(
                    incoming = watched.incoming,
                    webhookDaysLeft = found.webhook_days_left,
                    webhookDisabled = found.webhook_disabled,
                    "the webhook is disabled or ends soon; run protimectl webhooks renew"
                );
            }
            report.connections.push(found);
            match self.rescue(&watched, invocation).await {
                Ok(run) => report.rescued.extend(run),
                Err(error) => {
                    let identity = Identity {
                        incoming: Some(watched.incoming),
                        ..Identity::default()
                    };
                    self.report_failure(&identity, &error);
                    failed = Some(error);
                }
            }
        }
        self.metrics.write(report.line());
        failed.map_or(Ok(report), Err)
    }

    /// Sends the continuation of a stranded run, and returns its id. None if the run is not stranded, or somebody else
    /// goes on with it.
    async fn rescue(
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
            "the run was stranded; it goes on"
        );
        let continuation = Continuation::new(&watched.incoming, run, generation);
        self.send_continuation(&continuation, now, invocation)
            .await?;
        Ok(Some(run.to_owned()))
    }
}
