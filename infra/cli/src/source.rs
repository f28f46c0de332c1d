//! Reads connections from the stack's schedules or from a file.

use std::io::Read as _;
use std::path::Path;

use connector::contract::connection::IncomingConnection;
use connector::store::Watched;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::Value;

use crate::error::Error;
use crate::stack::Stack;

/// Parallel calls of `GetSchedule`. AWS answers a thousand a second; this many stay well below that.
const SCHEDULES_AT_ONCE: usize = 20;

/// An incoming connection, as it is deployed or as a file holds it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The connection's name, if the event has one.
    pub(crate) incoming: String,
    /// The event that the subscriber gets, as JSON.
    pub(crate) event: String,
    pub(crate) schedule: Option<Schedule>,
}

/// When a connection runs.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) expression: String,
    pub(crate) time_zone: String,
    pub(crate) is_enabled: bool,
    pub(crate) created: Option<Timestamp>,
}

impl Source {
    fn new(event: String, schedule: Option<Schedule>) -> Self {
        let parsed: Value = serde_json::from_str(&event).unwrap_or_default();
        let incoming = parsed["incoming"].as_str().unwrap_or("?").to_owned();
        Self {
            incoming,
            event,
            schedule,
        }
    }

    /// Reads the event from a file or from standard input.
    pub(crate) fn read(file: &str) -> Result<Self, Error> {
        Ok(Self::new(text(file)?, None))
    }

    /// The event with other fields. A null removes a field.
    pub(crate) fn with(&self, fields: Value) -> Result<String, Error> {
        let wrong = |_| {
            Error::Connection(format!(
                "connection `{}`: its event is not a JSON object",
                self.incoming
            ))
        };
        let mut event: serde_json::Map<String, Value> =
            serde_json::from_str(&self.event).map_err(wrong)?;
        let Value::Object(fields) = fields else {
            return Ok(self.event.clone());
        };
        for (name, value) in fields {
            if value.is_null() {
                event.remove(&name);
            } else {
                event.insert(name, value);
            }
        }
        Ok(Value::Object(event).to_string())
    }

    /// Parses the event as the function does.
    pub(crate) fn connection(&self, now: Timestamp) -> Result<IncomingConnection, Error> {
        let connection = IncomingConnection::from_event(&self.event, "preview", now);
        connection.map_err(|error| Error::Run(error.into()))
    }
}

/// Whether an argument names a file rather than a deployed connection.
pub(crate) fn is_file(argument: &str) -> bool {
    argument == "-"
        || argument.contains('/')
        || Path::new(argument).extension().is_some() && Path::new(argument).exists()
}

/// Reads a file. The name `-` means standard input.
pub(crate) fn text(file: &str) -> Result<String, Error> {
    let unreadable = |error: std::io::Error| Error::Usage(format!("{file}: {error}"));
    if file == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

impl Stack {
    /// The connections of all schedules, by name.
    pub(crate) async fn connections(&self) -> Result<Vec<Source>, Error> {
        let scheduler = aws_sdk_scheduler::Client::new(&self.account.config);
        let asked: Vec<_> = self
            .schedules()
            .map(|(group, name)| {
                (
                    scheduler.get_schedule().group_name(group).name(name),
                    name.to_owned(),
                )
            })
            .collect();
        let answers: Vec<_> = stream::iter(asked)
            .map(|(asked, name)| async move {
                let schedule = asked.send().await;
                schedule.map_err(|error| Error::aws(format!("schedule {name}"), &error))
            })
            .buffered(SCHEDULES_AT_ONCE)
            .try_collect()
            .await?;
        let mut connections = Vec::new();
        for schedule in answers {
            let input = schedule.target.and_then(|target| target.input);
            let Some(event) = input.filter(|input| !is_watch(input)) else {
                continue;
            };
            let created = schedule.creation_date.map(|date| date.secs());
            let described = Schedule {
                expression: schedule.schedule_expression.unwrap_or_default(),
                time_zone: schedule
                    .schedule_expression_timezone
                    .unwrap_or_else(|| "UTC".to_owned()),
                is_enabled: schedule
                    .state
                    .is_none_or(|state| state.as_str() == "ENABLED"),
                created: created.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            };
            connections.push(Source::new(event, Some(described)));
        }
        connections.sort_by(|one, other| one.incoming.cmp(&other.incoming));
        Ok(connections)
    }

    /// A connection by name, or from a file.
    pub(crate) async fn source(&self, argument: &str) -> Result<Source, Error> {
        if is_file(argument) {
            Source::read(argument)
        } else {
            self.connection(argument).await
        }
    }

    /// A connection by name.
    pub(crate) async fn connection(&self, name: &str) -> Result<Source, Error> {
        let known = self.connections().await?;
        if let Some(found) = known.iter().find(|source| source.incoming == name) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = known
            .iter()
            .map(|source| source.incoming.as_str())
            .collect();
        let hint = match protime::nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("the stack's schedules run: {}", names.join(", ")),
        };
        Err(Error::Connection(format!(
            "connection `{name}`: unknown; {hint}"
        )))
    }

    /// The stored state of a connection. `None` if it has a schedule but has never run.
    pub(crate) async fn known(&self, name: &str) -> Result<Option<Watched>, Error> {
        let known = self.state()?.connection(name).await;
        let known = known.map_err(subscriber::Error::from)?;
        if known.is_none() {
            self.connection(name).await?;
        }
        Ok(known)
    }
}

fn is_watch(input: &str) -> bool {
    let event: Value = serde_json::from_str(input).unwrap_or_default();
    event["watch"] == true
}
