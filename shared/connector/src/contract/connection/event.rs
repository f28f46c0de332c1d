//! Reads an incoming connection from an event, and names the field that is wrong.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use protime::Fields;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ConnectionError, IncomingConnection, SyncMode};
use crate::contract::parameters::empty_object;
use crate::contract::shape::{self, Kind, Member, ShapeError, optional, required};
use crate::transformer::Transformer;

/// More requests at once would not be faster, and Protime may limit rates.
const MOST_CONCURRENT: u8 = 32;
const LONGEST_NAME: usize = 80;
/// The beginning of a context attribute that `EventBridge` Scheduler replaces in its input. Local stand-ins do not
/// replace it.
const UNFILLED: &str = "<aws.scheduler.";
const TEXT: &[Kind] = &[Kind::Text];
const EVENT: &[Member] = &[
    required("incoming", TEXT),
    required("client", TEXT),
    required("entity", TEXT),
    optional("path", &[Kind::Object]),
    optional("query", &[Kind::Object]),
    optional("transform", TEXT),
    optional("pagination", &[Kind::Flag]),
    optional("sync", TEXT),
    optional("time_zone", TEXT),
    optional("queue", TEXT),
    optional("run", TEXT),
    optional("scheduled", TEXT),
    optional("window", TEXT),
    optional("concurrency", &[Kind::Number]),
    optional("takeover", &[Kind::Flag, Kind::Text]),
    optional("fresh", TEXT),
    optional("fields", &[Kind::Array]),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    incoming: String,
    client: String,
    entity: String,
    path: Option<Box<RawValue>>,
    query: Option<Box<RawValue>>,
    transform: Option<String>,
    pagination: Option<bool>,
    sync: Option<String>,
    time_zone: Option<String>,
    queue: Option<String>,
    run: Option<String>,
    scheduled: Option<String>,
    window: Option<String>,
    concurrency: Option<u8>,
    takeover: Option<Takeover>,
    fresh: Option<String>,
    fields: Option<Box<RawValue>>,
}

/// `true`, or a text. It acts again when the text changes.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`takeover` needs true, false or a text")]
enum Takeover {
    Flag(bool),
    Text(String),
}

impl Takeover {
    /// The value that has to change before it acts again.
    fn value(self) -> Option<String> {
        match self {
            Self::Flag(is_on) => is_on.then(|| "true".to_owned()),
            Self::Text(text) => Some(text).filter(|text| !text.is_empty()),
        }
    }
}

impl IncomingConnection {
    /// Parses an event. `request_id` replaces an absent run, and `now` an absent scheduled time.
    pub fn from_event(
        json: &str,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Self, ConnectionError> {
        shape::check(json, EVENT)?;
        let event: Event = serde_json::from_str(json)
            .map_err(|error| ConnectionError::Shape(error.to_string()))?;
        check_names(&event)?;
        let sync = sync(event.sync.as_deref())?;
        if sync == SyncMode::Delta {
            check_delta(&event)?;
        }
        let filled = |value: Option<String>| {
            value.filter(|text| !text.is_empty() && !text.starts_with(UNFILLED))
        };
        let scheduled = filled(event.scheduled)
            .as_deref()
            .map(scheduled)
            .transpose()?;
        // A schedule that fires twice starts the same run.
        let run = filled(event.run).unwrap_or_else(|| match scheduled {
            Some(scheduled) => format!("{}@{scheduled:.0}", event.incoming),
            None => request_id.to_owned(),
        });
        Ok(Self {
            name: event.incoming,
            secret_name: event.client,
            entity: event.entity,
            pagination: event.pagination.unwrap_or(true),
            time_zone: time_zone(event.time_zone.as_deref())?,
            queue: event.queue.filter(|url| !url.is_empty()),
            run,
            scheduled: scheduled.unwrap_or(now),
            is_scheduled: scheduled.is_some(),
            fresh: event.fresh.as_deref().map(fresh).transpose()?,
            sync,
            window: event.window.as_deref().map(window).transpose()?,
            concurrency: concurrency(event.concurrency)?,
            fields: event.fields.as_deref().map(fields).transpose()?,
            takeover: event.takeover.and_then(Takeover::value),
            path: event.path.unwrap_or_else(empty_object),
            query: event.query.unwrap_or_else(empty_object),
            transform: event
                .transform
                .as_deref()
                .map(Transformer::incoming)
                .transpose()?,
            program: event.transform,
        })
    }
}

fn sync(value: Option<&str>) -> Result<SyncMode, ConnectionError> {
    match value {
        None | Some("full") => Ok(SyncMode::Full),
        Some("delta") => Ok(SyncMode::Delta),
        Some(other) => {
            let problem = format!("unknown value \"{other}\"; allowed: \"full\", \"delta\"");
            Err(field_error("sync", problem))
        }
    }
}

/// Refuses fields that cannot be combined with a delta, which Protime itself keeps.
fn check_delta(event: &Event) -> Result<(), ConnectionError> {
    if event.window.is_some() {
        let problem = "a delta is one request; leave the window out";
        return Err(field_error("window", problem));
    }
    if event.pagination == Some(false) {
        let problem = "a delta is read to its end, where its link is; leave pagination out";
        return Err(field_error("pagination", problem));
    }
    Ok(())
}

fn concurrency(value: Option<u8>) -> Result<usize, ConnectionError> {
    let concurrency = value.unwrap_or(4);
    if (1..=MOST_CONCURRENT).contains(&concurrency) {
        Ok(usize::from(concurrency))
    } else {
        let problem = format!("needs 1 to {MOST_CONCURRENT}");
        Err(field_error("concurrency", problem))
    }
}

fn time_zone(name: Option<&str>) -> Result<TimeZone, ConnectionError> {
    let name = name.unwrap_or("Europe/Brussels");
    TimeZone::get(name).map_err(|_| {
        let problem = format!("unknown zone \"{name}\"; use a name such as \"Europe/Brussels\"");
        field_error("time_zone", problem)
    })
}

fn scheduled(text: &str) -> Result<Timestamp, ConnectionError> {
    text.parse().map_err(|_| {
        let problem =
            format!("\"{text}\" is not an RFC 3339 time such as \"2026-11-23T10:00:00Z\"");
        field_error("scheduled", problem)
    })
}

/// Parses a list of property paths.
fn fields(json: &RawValue) -> Result<Fields, ConnectionError> {
    let paths: Vec<String> = serde_json::from_str(json.get()).map_err(|_| {
        field_error(
            "fields",
            "needs a list of paths such as [\"person.id\", \"date\"]",
        )
    })?;
    Fields::new(paths).map_err(|error| field_error("fields", error.to_string()))
}

/// Parses an ISO 8601 period of at least a day, such as `P1M`.
fn window(text: &str) -> Result<Span, ConnectionError> {
    let problem = || {
        field_error(
            "window",
            format!("\"{text}\" is not a period of days, weeks, months or years such as \"P1M\""),
        )
    };
    // Only ISO 8601: the parser also accepts friendlier forms, which Protime does not document.
    let span: Span = Some(text)
        .filter(|text| text.starts_with('P'))
        .and_then(|text| text.parse().ok())
        .ok_or_else(problem)?;
    let has_time = span.get_hours() != 0 || span.get_minutes() != 0 || span.get_seconds() != 0;
    if span.is_zero() || span.is_negative() || has_time {
        Err(problem())
    } else {
        Ok(span)
    }
}

/// Parses an ISO 8601 period such as `PT26H`. A day has 24 hours here.
fn fresh(text: &str) -> Result<SignedDuration, ConnectionError> {
    Some(text)
        .filter(|text| text.starts_with('P'))
        .and_then(|text| text.parse::<Span>().ok())
        .and_then(|span| {
            span.to_duration(SpanRelativeTo::days_are_24_hours())
                .ok()
        })
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| {
            field_error(
                "fresh",
                format!(
                    "\"{text}\" is not a period of hours, days or weeks such as \"PT26H\" or \"P2D\""
                ),
            )
        })
}

/// Checks that names are valid.
fn check_names(event: &Event) -> Result<(), ConnectionError> {
    for (field, value) in [
        ("incoming", &event.incoming),
        ("client", &event.client),
        ("entity", &event.entity),
    ] {
        if value.trim().is_empty() {
            return Err(field_error(field, "empty"));
        }
    }
    if !is_name(&event.incoming) {
        return Err(field_error(
            "incoming",
            format!("needs 1 to {LONGEST_NAME} of A-Z a-z 0-9 . _ -"),
        ));
    }
    if let Some(queue) = event.queue.as_deref().filter(|queue| !queue.is_empty()) {
        check_queue(queue)?;
    }
    Ok(())
}

/// Checks that `queue` is a URL. People mix it up with the queue's name and its ARN.
fn check_queue(queue: &str) -> Result<(), ConnectionError> {
    let path = queue
        .strip_prefix("https://")
        .or_else(|| queue.strip_prefix("http://"));
    let segments = path.map_or(0, |path| {
        path.split('/').filter(|part| !part.is_empty()).count()
    });
    if segments >= 2 {
        return Ok(());
    }
    let found = if queue.starts_with("arn:") {
        "an ARN"
    } else if path.is_some() {
        "another URL"
    } else {
        "a name"
    };
    Err(field_error(
        "queue",
        format!(
            "needs the queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/name; found {found}"
        ),
    ))
}

/// Whether the text is a valid name. Names are parts of keys, of ids and of FIFO message groups.
pub fn is_name(text: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_legal)
}

fn field_error(field: &'static str, problem: impl Into<String>) -> ConnectionError {
    ConnectionError::Field {
        field: field.into(),
        problem: problem.into(),
    }
}

impl From<ShapeError> for ConnectionError {
    fn from(wrong: ShapeError) -> Self {
        match wrong {
            ShapeError::Whole(problem) => Self::Shape(problem),
            ShapeError::Member { name, problem } => Self::Field {
                field: name,
                problem,
            },
        }
    }
}
