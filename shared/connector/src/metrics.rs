//! Metrics: log lines in the embedded metric format of `CloudWatch`
//! (`AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html`).
//!
//! [`Metric`] is the one list of names: the template's alarms and dashboard are held against it by a test. A line is
//! written whatever the log level is, and carries nothing about a person.
//!
//! ```
//! use connector::clock::Clock;
//! use connector::metrics::{Line, Metric, Metrics};
//!
//! let metrics = Metrics::new("protime-connector", Clock::default(), std::io::stdout());
//! metrics.write(Line::new().value(Metric::Pages, 3).property("incoming", "clockings"));
//! ```

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use strum::{IntoStaticStr, VariantArray};

use crate::clock::Clock;

/// The most values that a metric can have in one line (the format's limit).
const MOST_VALUES: usize = 100;

/// Every metric of the stack, in the namespace that is named as the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub enum Metric {
    /// Watch: how long a connection has been overdue; 0 if none is.
    SecondsOverdue,
    /// Watch: how long ago the delta was polled that was not polled for longest; 0 if there is none.
    DeltaAge,
    /// Watch: runs that have begun and have not ended.
    UnfinishedRuns,
    /// Watch: unfinished runs that are not started again any more.
    RunsGivenUp,
    /// Watch: connections that somebody has paused.
    ConnectionsPaused,
    /// Subscriber: runs that ended with all their pages in the queue.
    RunsCompleted,
    /// Subscriber: invocations that failed.
    RunsFailed,
    /// Subscriber: runs that another run, a pause or an earlier run of the same id made needless.
    RunsSkipped,
    /// Subscriber: responses of Protime whose records SQS has accepted, empty ones included.
    Pages,
    /// Subscriber: records that SQS has accepted; also for each connection.
    Records,
    /// Subscriber: decoded bytes of Protime's responses.
    Bytes,
    /// Subscriber: from a run's first request to its completion, waiting and hand-overs included.
    RunDuration,
    /// Both: how long Protime took to answer a request.
    ProtimeLatency,
    /// Both: answers with status 429.
    ProtimeThrottled,
    /// Both: answers with a status from 500 on, and requests without an answer.
    ProtimeErrors,
    /// Both: invocations or messages that found client id, client secret or scopes rejected.
    ClientRejected,
    /// Publisher: messages that Protime has written.
    Written,
    /// Publisher: deliveries of messages that will come again.
    Deferred,
    /// Publisher: messages whose answer was lost and whose record was found by a look-up.
    Settled,
    /// Publisher: messages that were parked, by reason.
    Parked,
    /// Publisher: how long a message has waited in the queue when it is written or parked.
    QueueWait,
    /// Publisher: how old the oldest of a batch's deferred messages is, which SQS's own metric leaves out from the third
    /// delivery on; 0 if none was deferred.
    DeferredAge,
    /// Publisher: deliveries that failed for something that only the operator can mend.
    PublisherErrors,
}

impl Metric {
    /// Its name in `CloudWatch`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// One of the units of `CloudWatch`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::SecondsOverdue
            | Self::DeltaAge
            | Self::RunDuration
            | Self::QueueWait
            | Self::DeferredAge => "Seconds",
            Self::ProtimeLatency => "Milliseconds",
            Self::Bytes => "Bytes",
            _ => "Count",
        }
    }

    /// The sets of dimensions under which it is found. Each value of a dimension is a metric of its own, and costs as
    /// much.
    pub fn dimensions(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Records => &[&[], &["incoming"]],
            Self::Parked => &[&["reason"]],
            _ => &[&[]],
        }
    }
}

/// What one line tells.
#[derive(Debug, Default)]
pub struct Line {
    metrics: Vec<(Metric, Value)>,
    properties: Map<String, Value>,
}

impl Line {
    /// A line that tells nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a metric's value.
    #[must_use]
    pub fn value(mut self, metric: Metric, value: impl Into<Value>) -> Self {
        self.metrics.push((metric, value.into()));
        self
    }

    /// Adds a field for Logs Insights, or the value of a dimension.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// The line as JSON.
    fn into_json(self, namespace: &str, clock: &Clock) -> Value {
        let mut sets: Vec<&[&str]> = Vec::new();
        for set in self
            .metrics
            .iter()
            .flat_map(|(metric, _)| metric.dimensions())
        {
            if !sets.contains(set) {
                sets.push(set);
            }
        }
        let directives: Vec<Value> = sets
            .into_iter()
            .map(|set| {
                let metrics: Vec<Value> = self
                    .metrics
                    .iter()
                    .filter(|(metric, _)| metric.dimensions().contains(&set))
                    .map(|(metric, _)| json!({"Name": metric.name(), "Unit": metric.unit()}))
                    .collect();
                json!({"Namespace": namespace, "Dimensions": [set], "Metrics": metrics})
            })
            .collect();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({"Timestamp": clock.now().as_millisecond(), "CloudWatchMetrics": directives}),
        );
        line.extend(self.properties);
        for (metric, value) in self.metrics {
            line.insert(metric.name().to_owned(), value);
        }
        Value::Object(line)
    }
}

/// Where the lines of an environment go.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    namespace: String,
    clock: Clock,
    writer: Mutex<Box<dyn Write + Send>>,
    requests: Mutex<Requests>,
}

/// What became of requests to Protime since they were last told.
#[derive(Default)]
struct Requests {
    latencies: Vec<u64>,
    throttled: u64,
    errors: u64,
}

impl Metrics {
    /// Writes to `writer`, which is standard output in a function.
    pub fn new(
        namespace: impl Into<String>,
        clock: Clock,
        writer: impl Write + Send + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            namespace: namespace.into(),
            clock,
            writer: Mutex::new(Box::new(writer)),
            requests: Mutex::default(),
        }))
    }

    /// Writes a line.
    pub fn write(&self, line: Line) {
        let line = line.into_json(&self.0.namespace, &self.0.clock);
        // There is nowhere to report that a line could not be written.
        let _ = writeln!(lock(&self.0.writer), "{line}");
    }

    /// Writes a line, and with it what became of the requests to Protime since the last one.
    pub fn write_with_requests(&self, line: Line) {
        let requests = std::mem::take(&mut *lock(&self.0.requests));
        self.write(requests.add_to(line));
    }

    /// What the Protime client tells of its requests, remembered until the next [`Self::write_with_requests`].
    pub fn observer(&self) -> protime::Observer {
        let metrics = self.clone();
        Arc::new(move |exchange| {
            let mut requests = lock(&metrics.0.requests);
            requests.count(exchange);
            if requests.latencies.len() == MOST_VALUES {
                let full = std::mem::take(&mut *requests);
                drop(requests);
                metrics.write(full.add_to(Line::new()));
            }
        })
    }
}

impl Requests {
    fn count(&mut self, exchange: protime::Exchange) {
        self.latencies.push(milliseconds(exchange.duration));
        match exchange.status {
            Some(429) => self.throttled += 1,
            Some(500..) | None => self.errors += 1,
            Some(_) => {}
        }
    }

    fn add_to(self, line: Line) -> Line {
        let line = line
            .value(Metric::ProtimeThrottled, self.throttled)
            .value(Metric::ProtimeErrors, self.errors);
        if self.latencies.is_empty() {
            line
        } else {
            line.value(Metric::ProtimeLatency, self.latencies)
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
