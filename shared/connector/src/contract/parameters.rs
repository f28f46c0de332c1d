//! Request parameters: the values in the path and the query string of a read.

use protime::{PathParameters, Query};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::{self, Kind, Member, ShapeError, optional};
use crate::transformer::RunError;

const RETURNED: &[Member] = &[
    optional("path", &[Kind::Object]),
    optional("query", &[Kind::Object]),
];

/// Why request parameters could not be computed.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The transformer failed while it ran.
    #[error("transform: {0}")]
    Run(#[from] RunError),
    /// The transformer did not return exactly one object.
    #[error(
        "transform: returned {0} values; it must return one object like {{\"path\": {{}}, \"query\": {{}}}}"
    )]
    Count(usize),
    /// The value is not an object with `path` and `query`.
    #[error("{origin}: {problem}")]
    Shape {
        /// Where the value comes from: the connection or its transformer.
        origin: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
}

/// Request parameters, as the transformer returned them.
#[derive(Debug, Clone)]
pub struct Parameters {
    /// Values for the placeholders of the path.
    pub path: PathParameters,
    /// Parameters of the query string.
    pub query: Query,
    /// Both as `{"path": ..., "query": ...}`, for the completion message.
    pub json: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Returned {
    path: Option<Box<RawValue>>,
    query: Option<Box<RawValue>>,
}

pub(super) fn parse_parameters(
    json: &str,
    origin: &'static str,
) -> Result<Parameters, ParametersError> {
    let wrong = |problem: String| ParametersError::Shape { origin, problem };
    shape::check(json, RETURNED).map_err(|error| {
        wrong(match error {
            ShapeError::Whole(problem) => {
                format!(r#"{problem} like {{"path": {{}}, "query": {{}}}}"#)
            }
            ShapeError::Member { name, problem } => format!("`{name}`: {problem}"),
        })
    })?;
    let unreadable = |error: serde_json::Error| wrong(without_place(&error));
    let returned: Returned = serde_json::from_str(json).map_err(unreadable)?;
    let path = returned.path.unwrap_or_else(empty_object);
    let query = returned.query.unwrap_or_else(empty_object);
    Ok(Parameters {
        path: serde_json::from_str(path.get()).map_err(unreadable)?,
        query: serde_json::from_str(query.get()).map_err(unreadable)?,
        json: format!(r#"{{"path":{path},"query":{query}}}"#),
    })
}

/// Removes line and column from an error: nobody has seen that JSON as text.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

pub(super) fn empty_object() -> Box<RawValue> {
    #[expect(clippy::expect_used, reason = "the text is a constant and valid JSON")]
    RawValue::from_string("{}".to_owned()).expect("an empty object is JSON")
}
