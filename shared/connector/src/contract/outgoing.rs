//! Outgoing connections: the fields that all publish requests of one queue share.

use std::borrow::Cow;

use super::shape::{self, Kind, Member, ShapeError, optional};
use crate::transformer::{CompileError, Transformer};
use protime::catalogue::catalogue;
use protime::{Method, PathParameters, Query};
use serde::Deserialize;

/// An outgoing connection: defaults for what messages leave out, from the environment variable `OUTGOING`.
#[derive(Debug, Default)]
pub struct OutgoingConnection {
    /// The name of the secret that holds the HTTP client. If set, messages cannot choose another.
    pub client: Option<String>,
    /// The default method: `POST`, `PUT` or `DELETE`.
    pub method: Option<String>,
    /// The entity to write, unless the message names one.
    pub entity: Option<String>,
    /// Path parameters, unless the message has some.
    pub path: Option<PathParameters>,
    /// Query parameters, unless the message has some.
    pub query: Option<Query>,
    /// The jq program that turns a message's body into a publish request.
    pub transform: Option<Transformer>,
}

/// Why an outgoing connection cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// The value is not a single JSON object.
    #[error("environment variable OUTGOING: {0}")]
    Shape(String),
    /// The transformer is not a jq program.
    #[error("environment variable OUTGOING, field `transform`: {0}")]
    Transform(#[from] CompileError),
    /// No message could be sent with the value of a field.
    #[error("environment variable OUTGOING, field `{field}`: {problem}")]
    Field {
        /// The name of the field.
        field: Cow<'static, str>,
        /// What is wrong with the value, and what the field needs.
        problem: String,
    },
}

const TEXT: &[Kind] = &[Kind::Text];
const OUTGOING: &[Member] = &[
    optional("client", TEXT),
    optional("method", TEXT),
    optional("entity", TEXT),
    optional("path", &[Kind::Object]),
    optional("query", &[Kind::Object]),
    optional("transform", TEXT),
];

impl From<ShapeError> for OutgoingError {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    client: Option<String>,
    method: Option<String>,
    entity: Option<String>,
    path: Option<PathParameters>,
    query: Option<Query>,
    transform: Option<String>,
}

impl OutgoingConnection {
    /// Parses the variable's value. An empty one gives no defaults.
    pub fn from_json(json: &str) -> Result<Self, OutgoingError> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        shape::check(json, OUTGOING)?;
        let Json {
            client,
            method,
            entity,
            path,
            query,
            transform,
        } = serde_json::from_str(json).map_err(|error| OutgoingError::Shape(error.to_string()))?;
        check(method.as_deref(), entity.as_deref())?;
        let transform = transform
            .as_deref()
            .map(Transformer::outgoing)
            .transpose()?;
        Ok(Self {
            client,
            method,
            entity,
            path,
            query,
            transform,
        })
    }
}

/// Finds what would be wrong with every message, before the first one arrives.
fn check(method: Option<&str>, entity: Option<&str>) -> Result<(), OutgoingError> {
    let wrong = |field: &'static str, problem| OutgoingError::Field {
        field: field.into(),
        problem,
    };
    let method = method
        .map(writing_method)
        .transpose()
        .map_err(|problem| wrong("method", problem))?;
    let Some(name) = entity else {
        return Ok(());
    };
    let Some(entity) = catalogue().entity(name) else {
        return Err(wrong("entity", format!("unknown entity \"{name}\"")));
    };
    match method {
        Some(method) if entity.with_method(method).next().is_none() => Err(wrong(
            "method",
            format!("{method} is not documented for `{name}`"),
        )),
        _ => Ok(()),
    }
}

/// Parses the method of a write.
pub(super) fn writing_method(name: &str) -> Result<Method, String> {
    match name {
        "POST" => Ok(Method::Post),
        "PUT" => Ok(Method::Put),
        "DELETE" => Ok(Method::Delete),
        other => Err(format!(
            "unknown method \"{other}\"; allowed: POST, PUT, DELETE"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_message_could_be_sent_with_is_found_at_once() {
        for (json, field) in [
            (r#"{"method": "PATCH"}"#, "method"),
            (r#"{"entity": "clocking"}"#, "entity"),
            (r#"{"entity": "people", "method": "POST"}"#, "method"),
            (r#"{"transform": ".a["}"#, "transform"),
        ] {
            let error = OutgoingConnection::from_json(json).unwrap_err().to_string();
            assert!(error.contains(&format!("field `{field}`")), "{error}");
        }
        for json in ["", "{}", r#"{"entity": "clockings", "method": "POST"}"#] {
            assert!(OutgoingConnection::from_json(json).is_ok(), "{json}");
        }
    }
}
