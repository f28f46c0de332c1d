//! Logs: one flat JSON object per line, with Lambda's request id.

use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates that follow the configured level. Other crates log only warnings and errors.
const OURS: [&str; 5] = [
    "protime",
    "connector",
    "subscriber",
    "publisher",
    "doorbell",
];
/// The runtime's span carries the request id, so it is enabled at every level.
const RUNTIME_SPAN: &str = "lambda_runtime::layers::trace";

/// The target under which the runtime logs a function's error. A line about a panic has the field `error`.
const RUNTIME_FAILURES: &str = "lambda_runtime::layers::panic";

/// Starts logging to standard output, at the level of the environment variable `LOG_LEVEL`: `trace`, `debug`,
/// `info` (the default), `warn` or `error`.
pub fn init() {
    let wanted = std::env::var("LOG_LEVEL").unwrap_or_default();
    let level = wanted.parse::<Level>().ok();
    subscriber(level.unwrap_or(Level::INFO), std::io::stdout).init();
    if level.is_none() && !wanted.is_empty() {
        tracing::warn!(
            "environment variable LOG_LEVEL: needs trace, debug, info, warn or error; using info"
        );
    }
}

/// The namespace of the metrics: the stack's name, from the environment variable `METRICS_NAMESPACE`.
pub fn namespace() -> String {
    let name = std::env::var("METRICS_NAMESPACE").unwrap_or_default();
    if name.is_empty() {
        "protime-connector".to_owned()
    } else {
        name
    }
}

/// The subscriber that [`init`] installs, writing to `writer`.
pub fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let others = LevelFilter::from_level(level.min(Level::WARN));
    let events = Targets::new()
        .with_default(others)
        .with_targets(OURS.map(|name| (name, level)));
    let everything = events.with_target(RUNTIME_SPAN, level.max(Level::INFO));
    // A function logs its own errors with more fields, so the runtime's line is dropped.
    let once = everything.and(filter_fn(|metadata| {
        metadata.target() != RUNTIME_FAILURES || metadata.fields().field("error").is_some()
    }));
    tracing_subscriber::registry().with(Lines { level, writer }.with_filter(once))
}

struct Lines<W> {
    level: Level,
    writer: W,
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > self.level {
            return;
        }
        let mut line = Fields::default();
        line.insert("timestamp", format!("{:.3}", Timestamp::now()));
        line.insert("level", metadata.level().as_str());
        line.insert("target", metadata.target());
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                line.0.extend(fields.clone());
            }
        }
        event.record(&mut line);
        // There is nowhere to report a log line that could not be written.
        let _ = writeln!(self.writer.make_writer(), "{}", Value::Object(line.0));
    }
}

impl Fields {
    fn insert(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), format!("{value:?}"));
    }
}
