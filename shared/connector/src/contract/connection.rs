//! Incoming connections: the documents that tell the subscriber what to read.

mod event;

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use protime::Fields;
use protime::catalogue::catalogue;
use serde_json::json;
use serde_json::value::RawValue;

pub use self::event::is_name;
use super::parameters::{Parameters, ParametersError, parse_parameters};
use crate::store::ConnectionState;
use crate::transformer::{CompileError, Schedule, Transformer};

/// An incoming connection, parsed from the event of one invocation.
#[derive(Debug)]
pub struct IncomingConnection {
    /// The connection's name, which is the `subject` of its messages.
    pub name: String,
    /// The name of the secret that holds the HTTP client.
    pub secret_name: String,
    /// The entity to read, or a path such as `/new-collection`.
    pub entity: String,
    /// Whether the run follows `nextLink`.
    pub pagination: bool,
    /// The time zone of the dates that a transformer computes.
    pub time_zone: TimeZone,
    /// The URL of the queue for pages. None for the stack's own queue.
    pub queue: Option<String>,
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// When the run was due.
    pub scheduled: Timestamp,
    /// Whether a schedule started the run, rather than a person.
    pub is_scheduled: bool,
    /// The connection is overdue after this long without a completed run. None: its schedule decides.
    pub fresh: Option<SignedDuration>,
    /// Whether a run reads everything, or only changes.
    pub sync: SyncMode,
    /// The longest date range of one request. None sets no limit beyond Protime's own.
    pub window: Option<Span>,
    /// The most independent requests at once.
    pub concurrency: usize,
    /// The properties of records that are sent. None for all.
    pub fields: Option<Fields>,
    /// Ends another connection's delta, or restarts its own. It acts once for each value.
    takeover: Option<String>,
    path: Box<RawValue>,
    query: Box<RawValue>,
    program: Option<String>,
    transform: Option<Transformer>,
}

/// What a run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// A run reads everything.
    Full,
    /// The first run reads everything, later ones only what changed.
    Delta,
}

/// Why an event is not an incoming connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The event is not a single JSON object.
    #[error("incoming connection: {0}")]
    Shape(String),
    /// The value of a field cannot be used.
    #[error("incoming connection, field `{field}`: {problem}")]
    Field {
        /// The name of the field.
        field: Cow<'static, str>,
        /// What is wrong with the value, and what the field needs.
        problem: String,
    },
    /// The transformer is not a jq program.
    #[error("incoming connection, field `transform`: {0}")]
    Transform(#[from] CompileError),
}

impl IncomingConnection {
    /// Hash of the fields that decide which records are read, and where they go. Schedule, concurrency and takeover are
    /// excluded. An unfinished run is continued only by a connection with the same fingerprint.
    pub fn fingerprint(&self) -> String {
        let normal = |json: &RawValue| {
            serde_json::from_str::<serde_json::Value>(json.get()).unwrap_or_default()
        };
        let mut parts = json!([
            self.secret_name,
            self.entity,
            normal(&self.path),
            normal(&self.query),
            self.program,
            self.pagination,
            self.sync == SyncMode::Delta,
            self.time_zone.iana_name(),
            self.queue,
            self.window.map(|window| window.to_string()),
        ]);
        // Without `fields`, the fingerprint stays as in releases that had no `fields`.
        if let (Some(parts), Some(fields)) = (parts.as_array_mut(), &self.fields) {
            parts.push(json!(fields.paths()));
        }
        crate::hash([parts.to_string()])
    }

    /// Likely mistakes that are not errors: undocumented paths in `fields`, and personal data that is sent without
    /// `fields`.
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

    /// The value to store once `takeover` has acted. None if it has acted already, or is absent. It acts once for each
    /// value and fingerprint, so it may stay in a schedule.
    pub fn unused_takeover(&self, state: &ConnectionState) -> Option<String> {
        let takeover = self.takeover.as_ref()?;
        let acted = crate::hash([takeover.as_str(), "/", self.fingerprint().as_str()]);
        (!state.takeovers.contains(&acted)).then_some(acted)
    }

    /// Whether the connection has `takeover`, with which a completed run may be repeated.
    pub fn has_takeover(&self) -> bool {
        self.takeover.is_some()
    }

    /// Whether a transformer computes the request of each run.
    pub fn has_transformer(&self) -> bool {
        self.transform.is_some()
    }

    /// The request parameters as written, before any transformer.
    pub fn written_parameters(&self) -> Result<Parameters, ParametersError> {
        parse_parameters(&self.given(), "request parameters")
    }

    fn given(&self) -> String {
        format!(r#"{{"path":{},"query":{}}}"#, self.path, self.query)
    }

    /// The request parameters, computed by the transformer if there is one.
    ///
    /// `last` is the scheduled time of the last completed run.
    pub fn parameters(&self, last: Option<Timestamp>) -> Result<Parameters, ParametersError> {
        let Some(transform) = &self.transform else {
            return self.written_parameters();
        };
        let schedule = Schedule {
            now: self.scheduled,
            last,
            incoming: &self.name,
            time_zone: self.time_zone.clone(),
        };
        let outputs = transform.run_incoming(&self.given(), &schedule)?;
        match outputs.as_slice() {
            [output] => parse_parameters(output, "transform"),
            outputs => Err(ParametersError::Count(outputs.len())),
        }
    }
}

/// The part of a schedule's event that is the same in every run: all fields but `run`, `scheduled` and `takeover`. None
/// for an event without `scheduled`: a person has sent it, and it may differ from the schedule.
pub fn event_of_schedule(event: &str) -> Option<String> {
    // Values stay as they are written: the order of query parameters is kept.
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(event).ok()?;
    fields.remove("scheduled")?;
    fields.remove("run");
    fields.remove("takeover");
    serde_json::to_string(&fields).ok()
}
