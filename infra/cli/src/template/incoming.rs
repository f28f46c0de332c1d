//! Checks incoming connections: reads them and makes their requests as the subscriber would.

use connector::contract::connection::{ConnectionError, IncomingConnection};
use connector::store::Counts;
use connector::store::{ConnectionState, LastRun};
use jiff::{Timestamp, ToSpan as _};
use protime::Settings;
use serde_json::Value;

use super::document::Document;
use super::finding::Finding;
use super::json;
use super::queue;
use super::request;
use super::text::{Span, Text};

/// The facts about a connection that are compared with other connections.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) incoming: Option<(String, Span)>,
    /// The client, the entity and the place that names them, for a delta.
    pub(super) delta: Option<(String, String, Span)>,
    /// Whether it is certainly deployed, rather than under a condition.
    pub(super) is_deployed: bool,
}

/// Whether the JSON is meant to be an incoming connection.
pub(super) fn is_meant(json: &str) -> bool {
    let event: Value = serde_json::from_str(json).unwrap_or_default();
    ["incoming", "entity", "client"]
        .iter()
        .any(|name| event.get(name).is_some())
}

/// Whether the JSON is another event of the subscriber.
pub(super) fn is_other_event(json: &str) -> bool {
    let event: Value = serde_json::from_str(json).unwrap_or_default();
    event["watch"] == true || event.get("check").is_some()
}

/// Checks a connection and returns the facts about it.
pub(super) fn check(
    document: &Document<'_>,
    settings: &Settings,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Known {
    let name = document.known_string("incoming");
    let label = match &name {
        Some((name, _)) => format!("connection `{name}`"),
        None => "connection".to_owned(),
    };
    if let Some(connection) = read(document, &label, now, findings) {
        ask(document, &label, &connection, settings, findings);
    }
    if let Some((queue, span)) = document.known_string("queue")
        && let Some(problem) = queue::wrong_name(&queue)
    {
        let message = format!("{label}, field `queue`: {problem}");
        findings.push(Finding::mistake(span, message));
    }
    Known {
        incoming: name,
        delta: delta(document),
        is_deployed: true,
    }
}

/// Reads the connection. An unknown field is reported and left out, so that the others are checked too.
fn read(
    document: &Document<'_>,
    label: &str,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) -> Option<IncomingConnection> {
    let mut event = document.text.as_str().to_owned();
    loop {
        let error = match IncomingConnection::from_event(&event, "check", now) {
            Ok(connection) => return Some(connection),
            Err(error) => error,
        };
        let (place, message) = match &error {
            ConnectionError::Shape(problem) => {
                (document.beginning(), format!("{label}: {problem}"))
            }
            ConnectionError::Field { field, problem } => (
                document.field(field, problem),
                format!("{label}, field `{field}`: {problem}"),
            ),
            ConnectionError::Transform(error) => {
                let message = format!("{label}, field `transform`: {error}");
                let place = document.first_of(&[&["transform"]]);
                let exact = document.in_program(error.line, error.column, 1);
                if let Some(finding) = document.mistake(place, message) {
                    let span = exact.unwrap_or(finding.span);
                    findings.push(Finding { span, ..finding });
                }
                return None;
            }
        };
        findings.extend(document.mistake(place, message));
        match &error {
            ConnectionError::Field { field, problem } if problem.starts_with("unknown;") => {
                event = json::without(&event, field);
            }
            _ => return None,
        }
    }
}

/// Makes the requests of the first run and of a later one.
fn ask(
    document: &Document<'_>,
    label: &str,
    connection: &IncomingConnection,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) {
    let before = connection.scheduled.checked_sub(24.hours()).ok();
    let last = before.map(|scheduled| LastRun {
        run: "last".to_owned(),
        scheduled,
        counts: Counts::default(),
    });
    let later = ConnectionState {
        last,
        ..ConnectionState::default()
    };
    warn(
        document,
        label,
        connection,
        &connection.warnings(),
        findings,
    );
    let mut states = vec![ConnectionState::default()];
    if connection.has_transformer() {
        states.push(later);
    }
    for state in &states {
        match subscriber::reads(connection, state, settings) {
            Ok(requests) => {
                for request in &requests {
                    warn(document, label, connection, &request.warnings, findings);
                }
            }
            Err(error) => {
                let wrong = request::findings(document, connection, label, &error);
                findings.extend(wrong);
                return;
            }
        }
    }
}

fn warn(
    document: &Document<'_>,
    label: &str,
    connection: &IncomingConnection,
    warnings: &[String],
    findings: &mut Vec<Finding>,
) {
    for warning in warnings {
        let place = request::place_of_words(document, connection, warning);
        let finding = place.finding(format!("{label}: {warning}"));
        findings
            .extend(finding.map(|Finding { span, message, .. }| Finding::warning(span, message)));
    }
}

fn delta(document: &Document<'_>) -> Option<(String, String, Span)> {
    let (sync, span) = document.known_string("sync")?;
    let (client, _) = document.known_string("client")?;
    let (entity, _) = document.known_string("entity")?;
    (sync == "delta").then_some((client, entity, span))
}

/// Reports a client whose secret the functions may not read.
pub(super) fn check_client(
    document: &Document<'_>,
    prefix: Option<&Text>,
    findings: &mut Vec<Finding>,
) {
    let known = prefix.filter(|prefix| !prefix.has_placeholder(0..prefix.as_str().len()));
    let (Some(prefix), Some((client, span))) = (known, document.known_string("client")) else {
        return;
    };
    let prefix = prefix.as_str();
    if !client.trim().is_empty() && !client.starts_with(prefix) {
        let message = format!(
            "client `{client}`: does not begin with `{prefix}` (ClientSecretPrefix), so that the functions may not read the secret"
        );
        findings.push(Finding::mistake(span, message));
    }
}
