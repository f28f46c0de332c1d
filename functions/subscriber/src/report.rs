//! What an invocation tells the operator: one line of metrics, and one error line if it failed.

use connector::contract::connection::IncomingConnection;
use connector::metrics::{Line, Metric};
use connector::store::Counts;
use serde::Deserialize;

use crate::{Error, Outcome, Status, Subscriber};

/// What an invocation has done, even if it fails.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Pages, records and messages that SQS accepted in this invocation.
    pub(crate) counts: Counts,
    /// Size of the responses in bytes, after decoding.
    pub(crate) bytes: u64,
    /// Seconds that each completed run took. Runs that an earlier release began are missing.
    pub(crate) durations: Vec<f64>,
    pub(crate) completed: u64,
}

/// The connection and run of an invocation, as far as they are known.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Identity {
    pub(crate) incoming: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) client: Option<String>,
}

impl Identity {
    /// The identity in an event that cannot be parsed as a connection.
    pub(crate) fn of_event(event: &str) -> Self {
        serde_json::from_str(event).unwrap_or_default()
    }
}

impl From<&IncomingConnection> for Identity {
    fn from(connection: &IncomingConnection) -> Self {
        Self {
            incoming: Some(connection.name.clone()),
            run: Some(connection.run.clone()),
            client: Some(connection.secret_name.clone()),
        }
    }
}

impl Subscriber {
    /// Writes the metrics of an invocation, and logs its error.
    pub(crate) fn report(
        &self,
        connection: &IncomingConnection,
        result: &Result<Outcome, Error>,
        tally: Tally,
    ) {
        let is_skipped = |outcome: &Outcome| outcome.status == Status::Skipped;
        let error = result.as_ref().err();
        let mut line = Line::new()
            .value(Metric::RunsCompleted, tally.completed)
            .value(Metric::RunsFailed, u64::from(error.is_some()))
            .value(
                Metric::RunsSkipped,
                u64::from(result.as_ref().is_ok_and(is_skipped)),
            )
            .value(Metric::Pages, tally.counts.pages)
            .value(Metric::Records, tally.counts.records)
            .value(Metric::Bytes, tally.bytes)
            .value(
                Metric::ClientRejected,
                u64::from(error.is_some_and(Error::is_client_rejected)),
            )
            .property("incoming", connection.name.as_str())
            .property("run", connection.run.as_str())
            .property("client", connection.secret_name.as_str())
            .property("entity", connection.entity.as_str())
            .property(
                "status",
                result
                    .as_ref()
                    .map_or("failed", |outcome| outcome.status.name()),
            );
        if !tally.durations.is_empty() {
            line = line.value(Metric::RunDuration, tally.durations);
        }
        if let Some(error) = error {
            line = line.property("kind", error.kind().name());
            log(&connection.into(), error);
        }
        self.metrics.write_with_requests(line);
    }

    /// Reports an invocation that failed before its connection was known.
    pub(crate) fn report_failure(&self, identity: &Identity, error: &Error) {
        log(identity, error);
        let line = Line::new()
            .value(Metric::RunsFailed, 1)
            .property("kind", error.kind().name());
        self.metrics.write(line);
    }
}

/// Logs a failure once, with the fields that infra/OPERATIONS.md searches for.
fn log(identity: &Identity, error: &Error) {
    let Identity {
        incoming,
        run,
        client,
    } = identity;
    tracing::error!(kind = error.kind().name(), incoming, run, client, %error, "run failed");
}
