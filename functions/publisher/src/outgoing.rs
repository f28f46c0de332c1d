use connector::transformer::{CompileError, Transformer};
use protime::{PathParameters, Query};
use serde::Deserialize;

/// An outgoing connection: what messages may leave out, from the environment variable `OUTGOING`.
#[derive(Debug, Default)]
pub struct OutgoingConnection {
    /// The name of the secret that holds the HTTP client. If set, messages cannot choose another.
    pub client: Option<String>,
    /// `POST`, `PUT` or `DELETE`.
    pub method: Option<String>,
    /// The entity to write.
    pub entity: Option<String>,
    /// Path parameters.
    pub path: Option<PathParameters>,
    /// The query.
    pub query: Option<Query>,
    /// Turns a message's body into a publish request.
    pub transform: Option<Transformer>,
}

/// An outgoing connection that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    /// Not the documented JSON.
    #[error(
        "environment variable OUTGOING: {0}; it is JSON with any of client, method, entity, path, query, transform"
    )]
    Json(#[from] serde_json::Error),
    /// The transformer is not jq.
    #[error("environment variable OUTGOING, field `transform`: {0}")]
    Transform(#[from] CompileError),
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
    /// Reads the variable's value; an empty one means that messages say everything themselves.
    pub fn from_json(json: &str) -> Result<Self, OutgoingError> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        let Json {
            client,
            method,
            entity,
            path,
            query,
            transform,
        } = serde_json::from_str(json)?;
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
