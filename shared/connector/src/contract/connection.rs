//! Incoming connections: what a schedule asks the subscriber to read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use protime::Fields;
use protime::catalogue::catalogue;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::parameters::{Parameters, ParametersError, empty_object, parse_parameters};
use super::shape::{self, Kind, Member, Wrong, optional, required};
use crate::store::ConnectionState;
use crate::transformer::{CompileError, Schedule, Transformer};

/// More would not be faster, and Protime may limit rates.
const MOST_CONCURRENT: u8 = 32;
const LONGEST_NAME: usize = 80;
/// What `EventBridge` Scheduler replaces in an input; local stand-ins pass it through.
const UNFILLED: &str = "<aws.scheduler.";

/// An incoming connection, as one invocation of the subscriber gets it.
#[derive(Debug)]
pub struct IncomingConnection {
    /// Its name, the `subject` of its messages.
    pub incoming: String,
    /// The name of the secret that holds the HTTP client.
    pub client: String,
    /// The entity to read, or a path such as `/new-collection`.
    pub entity: String,
    /// Whether `nextLink` is followed.
    pub pagination: bool,
    /// The zone that the dates of a transformer are in.
    pub time_zone: TimeZone,
    /// The URL of a queue other than the stack's.
    pub queue: Option<String>,
    /// What every message id of the run begins with.
    pub run: String,
    /// When the run was due.
    pub scheduled: Timestamp,
    /// Whether a schedule started the run, rather than a person.
    pub is_scheduled: bool,
    /// After how long without a completed run the connection is overdue; none for what its schedule suggests.
    pub fresh: Option<SignedDuration>,
    /// Whether everything is read, or only what changed.
    pub sync: Sync,
    /// The longest span of dates in one request.
    pub window: Option<Span>,
    /// How many independent requests are under way at once.
    pub concurrency: usize,
    /// The properties of records that are sent; none for all.
    pub fields: Option<Fields>,
    /// Ends another connection's delta in favour of this one, or starts its own anew.
    takeover: Option<String>,
    path: Box<RawValue>,
    query: Box<RawValue>,
    program: Option<String>,
    transform: Option<Transformer>,
}

/// What a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Everything, every time.
    Full,
    /// Everything once, then changes.
    Delta,
}

/// An event that is not an incoming connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Not one JSON object.
    #[error("incoming connection: {0}")]
    Shape(String),
    /// A field has a value that cannot be used.
    #[error("incoming connection, field `{field}`: {problem}")]
    Field {
        /// Which.
        field: Cow<'static, str>,
        /// Why, and what is needed.
        problem: String,
    },
    /// The transformer is not jq.
    #[error("incoming connection, field `transform`: {0}")]
    Transform(#[from] CompileError),
}

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

/// `true`, or a text that acts again when it is changed.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`takeover` needs true, false or a text")]
enum Takeover {
    Flag(bool),
    Text(String),
}

impl IncomingConnection {
    /// Reads an event. `request_id` and `now` stand in for an absent run and scheduled time.
    pub fn from_event(
        json: &str,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Self, ConnectionError> {
        shape::check(json, EVENT)?;
        let event: Event = serde_json::from_str(json)
            .map_err(|error| ConnectionError::Shape(error.to_string()))?;
        check_names(&event)?;
        let sync = match event.sync.as_deref() {
            None | Some("full") => Sync::Full,
            Some("delta") => Sync::Delta,
            Some(other) => {
                let problem = format!("unknown value \"{other}\"; allowed: \"full\", \"delta\"");
                return Err(field_error("sync", problem));
            }
        };
        let window = event.window.as_deref().map(window).transpose()?;
        if window.is_some() && sync == Sync::Delta {
            return Err(field_error(
                "window",
                "a delta is one request; leave the window out",
            ));
        }
        if event.pagination == Some(false) && sync == Sync::Delta {
            return Err(field_error(
                "pagination",
                "a delta is read to its end, where its link is; leave pagination out",
            ));
        }
        let concurrency = event.concurrency.unwrap_or(4);
        if !(1..=MOST_CONCURRENT).contains(&concurrency) {
            return Err(field_error(
                "concurrency",
                format!("needs 1 to {MOST_CONCURRENT}"),
            ));
        }
        let zone = event.time_zone.as_deref().unwrap_or("Europe/Brussels");
        let time_zone = TimeZone::get(zone).map_err(|_| {
            field_error(
                "time_zone",
                format!("unknown zone \"{zone}\"; use a name such as \"Europe/Brussels\""),
            )
        })?;
        let filled = |value: Option<String>| {
            value.filter(|text| !text.is_empty() && !text.starts_with(UNFILLED))
        };
        let scheduled = filled(event.scheduled)
            .map(|text| {
                text.parse::<Timestamp>().map_err(|_| {
                    field_error(
                        "scheduled",
                        format!(
                            "\"{text}\" is not an RFC 3339 time such as \"2026-11-23T10:00:00Z\""
                        ),
                    )
                })
            })
            .transpose()?;
        // A schedule that fires twice is one run.
        let run = filled(event.run).unwrap_or_else(|| match scheduled {
            Some(scheduled) => format!("{}@{scheduled:.0}", event.incoming),
            None => request_id.to_owned(),
        });
        Ok(Self {
            incoming: event.incoming,
            client: event.client,
            entity: event.entity,
            pagination: event.pagination.unwrap_or(true),
            time_zone,
            queue: event.queue.filter(|url| !url.is_empty()),
            run,
            scheduled: scheduled.unwrap_or(now),
            is_scheduled: scheduled.is_some(),
            fresh: event.fresh.as_deref().map(fresh).transpose()?,
            sync,
            window,
            concurrency: usize::from(concurrency),
            fields: event.fields.as_deref().map(fields).transpose()?,
            takeover: match event.takeover {
                Some(Takeover::Flag(true)) => Some("true".to_owned()),
                Some(Takeover::Text(text)) if !text.is_empty() => Some(text),
                _ => None,
            },
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

    /// What a run was started by, leaving aside when, how fast and by which right: an unfinished run is only
    /// continued by a connection with the same.
    pub fn fingerprint(&self) -> String {
        let normal = |json: &RawValue| {
            serde_json::from_str::<serde_json::Value>(json.get()).unwrap_or_default()
        };
        let mut parts = json!([
            self.client,
            self.entity,
            normal(&self.path),
            normal(&self.query),
            self.program,
            self.pagination,
            self.sync == Sync::Delta,
            self.time_zone.iana_name(),
            self.queue,
            self.window.map(|window| window.to_string()),
        ]);
        // Connections without fields keep the fingerprint that releases before fields gave them.
        if let (Some(parts), Some(fields)) = (parts.as_array_mut(), &self.fields) {
            parts.push(json!(fields.paths()));
        }
        crate::hash([parts.to_string()])
    }

    /// What is not wrong, but probably not meant: paths of `fields` that are not documented, and personal data that is sent
    /// because there are no `fields`.
    pub fn warnings(&self) -> Vec<String> {
        let Some(entity) = catalogue().entity(&self.entity) else {
            return Vec::new();
        };
        if let Some(fields) = &self.fields {
            return fields.warnings(entity);
        }
        let personal: Vec<&str> = entity.personal_properties().collect();
        if personal.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "fields: not given, so personal data is sent: {}; name the properties that consumers need",
            personal.join(", ")
        )]
    }

    /// What is remembered of `takeover` once it has acted; none if it has, or if there is none. It acts once for each value
    /// and fingerprint, so that it may stay in a schedule.
    pub fn unused_takeover(&self, state: &ConnectionState) -> Option<String> {
        let takeover = self.takeover.as_ref()?;
        let acted = crate::hash([takeover.as_str(), "/", self.fingerprint().as_str()]);
        (!state.takeovers.contains(&acted)).then_some(acted)
    }

    /// Whether a transformer may change the request from run to run.
    pub fn has_transformer(&self) -> bool {
        self.transform.is_some()
    }

    /// The request parameters as they are written, before any transformer.
    pub fn written_parameters(&self) -> Result<Parameters, ParametersError> {
        parse_parameters(&self.given(), "request parameters")
    }

    fn given(&self) -> String {
        format!(r#"{{"path":{},"query":{}}}"#, self.path, self.query)
    }

    /// The request parameters, run through the transformer if there is one.
    ///
    /// `last` is the scheduled time of the last completed run.
    pub fn parameters(&self, last: Option<Timestamp>) -> Result<Parameters, ParametersError> {
        let Some(transform) = &self.transform else {
            return self.written_parameters();
        };
        let schedule = Schedule {
            now: self.scheduled,
            last,
            incoming: &self.incoming,
            time_zone: self.time_zone.clone(),
        };
        let outputs = transform.run_incoming(&self.given(), &schedule)?;
        match outputs.as_slice() {
            [output] => parse_parameters(output, "transform"),
            outputs => Err(ParametersError::Count(outputs.len())),
        }
    }
}

/// What a schedule's event says of its connection, whenever it is run: the event without `run`, `scheduled` and `takeover`.
/// None for an event without `scheduled`, which a person has sent: it may ask for something else.
pub fn event_of_schedule(event: &str) -> Option<String> {
    // Values stay as they are written: the order of query parameters is kept.
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(event).ok()?;
    fields.remove("scheduled")?;
    fields.remove("run");
    fields.remove("takeover");
    serde_json::to_string(&fields).ok()
}

/// Paths of properties.
fn fields(json: &RawValue) -> Result<Fields, ConnectionError> {
    let paths: Vec<String> = serde_json::from_str(json.get()).map_err(|_| {
        field_error(
            "fields",
            "needs a list of paths such as [\"person.id\", \"date\"]",
        )
    })?;
    Fields::new(paths).map_err(|error| field_error("fields", error.to_string()))
}

/// An ISO 8601 period of whole days or more, such as `P1M`.
fn window(text: &str) -> Result<Span, ConnectionError> {
    let problem = || {
        field_error(
            "window",
            format!("\"{text}\" is not a period of days, weeks, months or years such as \"P1M\""),
        )
    };
    // Only ISO 8601: there are friendlier forms, but Protime's users would look them up in vain.
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

/// An ISO 8601 period such as `PT26H`; days have 24 hours here.
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

/// What names something has to be a name.
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

/// The URL of a queue, which people mix up with its name and its ARN.
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

impl From<Wrong> for ConnectionError {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Whole(problem) => Self::Shape(problem),
            Wrong::Member { name, problem } => Self::Field {
                field: name,
                problem,
            },
        }
    }
}

/// Whether a connection can be called so. Names are parts of keys, of ids and of FIFO message groups.
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
