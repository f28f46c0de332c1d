//! Metrics: log lines in the embedded metric format of `CloudWatch`
//! (`AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html`).
//!
//! [`Metric`] is the only list of names; a test compares the template's alarms and dashboard with it. Lines are written
//! at every log level, and contain nothing about a person.
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

/// Most values of one metric in one line; a limit of the format.
const MOST_VALUES: usize = 100;

/// All metrics of the stack. Their namespace is the stack's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub enum Metric {
    /// Watch: seconds since a connection became overdue; 0 if it is not.
    SecondsOverdue,
    /// Watch: seconds since a delta was last polled, the oldest one counts; 0 if there is none.
    DeltaAge,
    /// Watch: runs that have begun and have not ended.
    UnfinishedRuns,
    /// Watch: unfinished runs that the watch no longer resumes.
    RunsGivenUp,
    /// Watch: connections that an operator has paused.
    ConnectionsPaused,
    /// Subscriber: runs that ended with all their pages in the queue.
    RunsCompleted,
    /// Subscriber: invocations that failed.
    RunsFailed,
    /// Subscriber: runs skipped because of another run, a pause, or a completed run with the same id.
    RunsSkipped,
    /// Subscriber: responses of Protime whose records SQS has accepted, including empty ones.
    Pages,
    /// Subscriber: records that SQS has accepted, in total and per connection.
    Records,
    /// Subscriber: size of Protime's responses in bytes, after decoding.
    Bytes,
    /// Subscriber: time from the start of a run to its completion, including waits and hand-overs.
    RunDuration,
    /// Both: time until Protime answered a request, in milliseconds.
    ProtimeLatency,
    /// Both: responses with status 429.
    ProtimeThrottled,
    /// Both: responses with a status of 500 or above, and requests without a response.
    ProtimeErrors,
    /// Both: invocations or messages that found the client id, the client secret or the scopes rejected.
    ClientRejected,
    /// Publisher: messages that Protime has written.
    Written,
    /// Publisher: deliveries that were deferred.
    Deferred,
    /// Publisher: messages whose response was lost, and whose write an earlier attempt had made.
    Settled,
    /// Publisher: parked messages, by reason.
    Parked,
    /// Publisher: time from sending a message until it is written or parked, in seconds.
    QueueWait,
    /// Publisher: age of the oldest deferred message in a batch; 0 if none was deferred. SQS's own metric leaves such
    /// messages out from the third delivery on.
    DeferredAge,
    /// Publisher: deliveries that failed for a reason that only the operator can remove.
    PublisherErrors,
}

impl Metric {
    /// The metric's name in `CloudWatch`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The metric's unit, as `CloudWatch` names it.
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

    /// The sets of dimensions for this metric. `CloudWatch` bills each value of a dimension as another metric.
    pub fn dimensions(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Records => &[&[], &["incoming"]],
            Self::Parked => &[&["reason"]],
            _ => &[&[]],
        }
    }
}

/// The metrics and fields of one log line.
#[derive(Debug, Default)]
pub struct Line {
    metrics: Vec<(Metric, Value)>,
    properties: Map<String, Value>,
}

impl Line {
    /// A line without metrics or fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value of a metric.
    #[must_use]
    pub fn value(mut self, metric: Metric, value: impl Into<Value>) -> Self {
        self.metrics.push((metric, value.into()));
        self
    }

    /// Adds a field for Logs Insights. It is also the value of the dimension with that name.
    #[must_use]
    pub fn property(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    /// The line in the embedded metric format.
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

/// Writes the metric lines of an execution environment. Clones share one writer.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    namespace: String,
    clock: Clock,
    writer: Mutex<Box<dyn Write + Send>>,
    requests: Mutex<Requests>,
}

/// Requests to Protime since the last line that reported them.
#[derive(Default)]
struct Requests {
    latencies: Vec<u64>,
    throttled: u64,
    errors: u64,
}

impl Metrics {
    /// Writes to `writer`; in a function that is standard output.
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

    /// Writes a line, without the requests to Protime.
    pub fn write(&self, line: Line) {
        let line = line.into_json(&self.0.namespace, &self.0.clock);
        // There is nowhere to report a line that could not be written.
        let _ = writeln!(lock(&self.0.writer), "{line}");
    }

    /// Writes a line, together with the requests to Protime since the last such line.
    pub fn write_with_requests(&self, line: Line) {
        let requests = std::mem::take(&mut *lock(&self.0.requests));
        self.write(requests.add_to(line));
    }

    /// An observer for the Protime client. It collects requests for the next [`Self::write_with_requests`].
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
