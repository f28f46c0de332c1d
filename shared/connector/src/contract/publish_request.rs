//! Publish requests: the messages that producers put on the publish queue.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use protime::{Method, PathParameters, Query};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::outgoing::{OutgoingConnection, writing_method};
use super::shape::{self, Kind, Member, ShapeError, optional};
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
    Request(#[from] protime::RequestError),
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
        let Some(transform) = &outgoing.transform else {
            return Self::from_json(body, "", outgoing).map(Some);
        };
        let not_json = |error: serde_json::Error| InvalidRequest::Shape {
            origin: "",
            problem: format!("not JSON, line {}, column {}", error.line(), error.column()),
        };
        let body: &RawValue = serde_json::from_str(body).map_err(not_json)?;
        match transform.run_outgoing(body.get())?.as_slice() {
            [] => Ok(None),
            [request] => {
                Self::from_json(request, " (returned by the transformer)", outgoing).map(Some)
            }
            _ => Err(InvalidRequest::Several),
        }
    }

    fn from_json(
        json: &str,
        origin: &'static str,
        outgoing: &OutgoingConnection,
    ) -> Result<Self, InvalidRequest> {
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
        let entity = required("entity", json.entity, outgoing.entity.as_ref())?;
        let method = required("method", json.method, outgoing.method.as_ref())?;
        let method = writing_method(&method).map_err(|problem| field("method", problem))?;
        if method == Method::Post && entity == "webhooks" {
            return Err(field(
                "entity",
                "webhooks cannot be created yet: the answer holds a key that is shown once",
            ));
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
        let mut request = protime::Request::write(self.method, target, scopes)?;
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
