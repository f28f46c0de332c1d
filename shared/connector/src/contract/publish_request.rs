//! Publish requests: the messages that producers put on the publish queue.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use protime::catalogue::catalogue;
use protime::{Method, PathParameters, Query, RequestError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::outgoing::{OutgoingConnection, OutgoingError, writing_method};
use super::shape::{self, Kind, Member, Members, ShapeError, optional};
use crate::transformer::RunError;

/// A write to Protime: a message, completed by the outgoing connection.
#[derive(Debug)]
pub struct PublishRequest {
    /// The name of the secret that holds the HTTP client.
    pub client: String,
    /// The HTTP method of the write.
    pub method: Method,
    /// The entity to write.
    pub entity: String,
    /// Values for the placeholders of the path.
    pub path: PathParameters,
    /// Parameters of the query string.
    pub query: Query,
    /// The body for Protime, byte for byte as written. Only a `DELETE` may have none.
    pub payload: Option<Bytes>,
    /// The idempotency key. None: the message's id is the key.
    pub idempotency_key: Option<String>,
    /// Any JSON for the producer's own use, which the result returns.
    pub correlation: Option<Box<RawValue>>,
    /// The fields that the outgoing connection has filled in.
    pub defaults: Defaults,
}

/// The fields of a request that the outgoing connection has filled in. A mistake in them is the operator's to correct.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults {
    /// Whether `path` is the outgoing connection's.
    pub path: bool,
    /// Whether `query` is the outgoing connection's.
    pub query: bool,
}

/// What a message says of itself, even if it is not a valid publish request. Its result names these.
#[derive(Debug, Default)]
pub struct Labels {
    /// The HTTP method.
    pub method: Option<String>,
    /// The entity to write.
    pub entity: Option<String>,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
    /// Any JSON for the producer's own use.
    pub correlation: Option<Box<RawValue>>,
}

impl Labels {
    /// Reads what can be read. Members that are missing, of another kind or given twice are left out.
    pub fn of(json: &str) -> Self {
        let Ok(Members(members)) = serde_json::from_str(json) else {
            return Self::default();
        };
        let only = |name: &str| {
            let mut found = members.iter().filter(|(found, _)| found == name);
            let first = found.next();
            first
                .filter(|_| found.next().is_none())
                .map(|(_, value)| *value)
        };
        let text = |name: &str| {
            let text: String = serde_json::from_str(only(name)?.get()).ok()?;
            Some(text).filter(|text| !text.is_empty())
        };
        Self {
            method: text("method"),
            entity: text("entity"),
            idempotency_key: text("idempotencyKey"),
            correlation: only("correlation")
                .filter(|value| value.get() != "null")
                .map(ToOwned::to_owned),
        }
    }
}

/// Why a message is not a publish request that can be sent.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// The body is not a single JSON object.
    #[error("not a publish request{origin}: {problem}")]
    Shape {
        /// Says that a transformer returned it; empty if none did.
        origin: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// The transformer failed on the message.
    #[error("transform: {0}")]
    Transform(#[from] RunError),
    /// The transformer returned several requests.
    #[error(
        "transform: returned more than one value; it must return one publish request, or `empty` to write nothing"
    )]
    Several,
    /// A field is missing or wrong.
    #[error("field `{field}`: {problem}")]
    Field {
        /// The name of the field.
        field: Cow<'static, str>,
        /// What is wrong with the value, and what the field needs.
        problem: String,
    },
    /// Protime's documented rules do not allow the request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A default of the outgoing connection does not fit the request.
    #[error(transparent)]
    Outgoing(#[from] OutgoingError),
}

const TEXT: &[Kind] = &[Kind::Text];
const REQUEST: &[Member] = &[
    optional("client", TEXT),
    optional("method", TEXT),
    optional("entity", TEXT),
    optional("path", &[Kind::Object]),
    optional("query", &[Kind::Object]),
    // An array replaces a whole set (`reference/collections/activities/activity-definitions/restrictions/put`).
    optional("payload", &[Kind::Object, Kind::Array]),
    optional("idempotencyKey", TEXT),
    optional(
        "correlation",
        &[
            Kind::Object,
            Kind::Array,
            Kind::Text,
            Kind::Number,
            Kind::Flag,
        ],
    ),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    client: Option<String>,
    method: Option<String>,
    entity: Option<String>,
    path: Option<PathParameters>,
    query: Option<Query>,
    payload: Option<Box<RawValue>>,
    idempotency_key: Option<String>,
    correlation: Option<Box<RawValue>>,
}

impl PublishRequest {
    /// Parses a message's body. None if the transformer wants nothing written.
    pub fn from_body(
        body: &str,
        outgoing: &OutgoingConnection,
    ) -> Result<Option<Self>, InvalidRequest> {
        let json = Self::json_of(body, outgoing)?;
        json.map(|json| Self::from_json(&json, outgoing))
            .transpose()
    }

    /// The JSON of a request: the message's body, or what the transformer makes of it. None if the transformer wants
    /// nothing written.
    pub fn json_of<'a>(
        body: &'a str,
        outgoing: &OutgoingConnection,
    ) -> Result<Option<Cow<'a, str>>, InvalidRequest> {
        let Some(transform) = &outgoing.transform else {
            return Ok(Some(body.into()));
        };
        let not_json = |error: serde_json::Error| InvalidRequest::Shape {
            origin: "",
            problem: format!("not JSON, line {}, column {}", error.line(), error.column()),
        };
        let body: &RawValue = serde_json::from_str(body).map_err(not_json)?;
        let mut requests = transform.run_outgoing(body.get())?;
        match (requests.pop(), requests.is_empty()) {
            (None, _) => Ok(None),
            (Some(request), true) => Ok(Some(request.into())),
            (Some(_), false) => Err(InvalidRequest::Several),
        }
    }

    /// Parses a request, and completes it by the outgoing connection.
    pub fn from_json(json: &str, outgoing: &OutgoingConnection) -> Result<Self, InvalidRequest> {
        let origin = if outgoing.transform.is_some() {
            " (returned by the transformer)"
        } else {
            ""
        };
        shape::check(json, REQUEST).map_err(|wrong| match wrong {
            ShapeError::Whole(problem) => InvalidRequest::Shape { origin, problem },
            ShapeError::Member { name, problem } => InvalidRequest::Field {
                field: name,
                problem,
            },
        })?;
        let json: Json = serde_json::from_str(json).map_err(|error| InvalidRequest::Shape {
            origin,
            problem: error.to_string(),
        })?;
        if let (Some(given), Some(fixed)) = (&json.client, &outgoing.client)
            && given != fixed
        {
            return Err(field(
                "client",
                "set by the outgoing connection, which a message cannot override; leave it out",
            ));
        }
        let is_same = |given: &Option<String>, fixed: &Option<String>| {
            given.is_none() || fixed.is_none() || given == fixed
        };
        // Where a message writes to another operation, the parameters may fit the connection's own.
        let is_own_operation =
            is_same(&json.entity, &outgoing.entity) && is_same(&json.method, &outgoing.method);
        let defaults = Defaults {
            path: json.path.is_none() && outgoing.path.is_some() && is_own_operation,
            query: json.query.is_none() && outgoing.query.is_some() && is_own_operation,
        };
        let is_fixed = json.entity.is_none() && json.method.is_none();
        let entity = required("entity", json.entity, outgoing.entity.as_ref())?;
        let method = required("method", json.method, outgoing.method.as_ref())?;
        let method = writing_method(&method).map_err(|problem| field("method", problem))?;
        if method == Method::Post && entity == "webhooks" {
            let (field, problem) = (
                "entity".into(),
                "webhooks cannot be created yet: the answer holds a key that is shown once".into(),
            );
            return Err(if is_fixed {
                OutgoingError::Field { field, problem }.into()
            } else {
                InvalidRequest::Field { field, problem }
            });
        }
        if method != Method::Delete && json.payload.is_none() {
            return Err(field("payload", format!("missing; {method} needs one")));
        }
        Ok(Self {
            client: required("client", json.client, outgoing.client.as_ref())?,
            method,
            entity,
            path: json
                .path
                .or_else(|| outgoing.path.clone())
                .unwrap_or_default(),
            query: json
                .query
                .or_else(|| outgoing.query.clone())
                .unwrap_or_default(),
            payload: json
                .payload
                .map(|payload| Bytes::from(String::from(Box::<str>::from(payload)))),
            idempotency_key: json.idempotency_key.filter(|key| !key.is_empty()),
            correlation: json.correlation,
            defaults,
        })
    }

    /// The key of the write's record: a hash of its scope, and the idempotency key.
    pub fn record_id(&self, key: &str) -> String {
        let Self {
            client,
            method,
            entity,
            path,
            ..
        } = self;
        // However `path` is written, the write is the same.
        let operations = catalogue().entity(entity).into_iter();
        let documented = operations
            .flat_map(|entity| entity.with_method(*method))
            .find_map(|operation| {
                let names: Vec<_> = operation.path_parameters().collect();
                path.named_as(&names)
            });
        let path = documented.as_ref().unwrap_or(path);
        format!(
            "write/{}/{key}",
            crate::hash([format!("{client}\n{method}\n{entity}\n{path:?}")])
        )
    }

    /// Builds the request to Protime, and checks it against the catalogue.
    pub fn resolve(&self, scopes: &[String]) -> Result<protime::Request, InvalidRequest> {
        let target = protime::Target {
            entity: &self.entity,
            path: &self.path,
            query: self.query.clone(),
        };
        let request = protime::Request::write(self.method, target, scopes);
        let mut request = request.map_err(|error| self.invalid(error))?;
        let payload = self.payload.as_deref().unwrap_or_default();
        // An array gets no warnings about members.
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_slice(payload).unwrap_or_default();
        if let Some(operation) = request.operation {
            let names = members.keys().map(String::as_str);
            request.warnings.extend(operation.unknown_members(names));
        }
        Ok(request)
    }

    /// Blames the outgoing connection for a field that it has filled in.
    fn invalid(&self, error: RequestError) -> InvalidRequest {
        let field = match &error {
            RequestError::PathParameters { .. } if self.defaults.path => "path",
            RequestError::Query { .. } | RequestError::ExternalReferences(_)
                if self.defaults.query =>
            {
                "query"
            }
            _ => return error.into(),
        };
        InvalidRequest::Outgoing(OutgoingError::Field {
            field: field.into(),
            problem: error.to_string(),
        })
    }
}

fn required(
    name: &'static str,
    given: Option<String>,
    default: Option<&String>,
) -> Result<String, InvalidRequest> {
    given
        .or_else(|| default.cloned())
        .ok_or_else(|| field(name, "missing, and the outgoing connection has none"))
}

fn field(field: &'static str, problem: impl Into<String>) -> InvalidRequest {
    InvalidRequest::Field {
        field: field.into(),
        problem: problem.into(),
    }
}
