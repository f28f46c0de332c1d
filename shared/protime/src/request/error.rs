//! Why a request is not sent.

use crate::API_PATH;
use crate::catalogue::Method;
use crate::filter::ParseError;
use crate::split::SplitError;

/// A request that Protime would refuse, or that names something which does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such entity in the catalogue.
    #[error("entity `{entity}`: unknown; {hint}")]
    UnknownEntity {
        /// As given.
        entity: String,
        /// The one that was probably meant, else all that are known.
        hint: String,
    },
    /// The entity cannot be used with that method.
    #[error("method `{method}`: not documented for entity `{entity}`; documented: {documented}")]
    UnknownMethod {
        /// As given.
        method: Method,
        /// As given.
        entity: String,
        /// What is.
        documented: String,
    },
    /// An entity given as a path that is none.
    #[error(
        "entity `{0}`: not a path; write segments without `?`, `#`, `.` or `..`, such as \"/new-collection\" or \"/new-collection/{{id}}\""
    )]
    BadPath(String),
    /// A path that begins as every URL of the API does.
    #[error(
        "entity `{path}`: begins with {API_PATH}, which every request has; leave it out: \"{rest}\""
    )]
    WithApiPath {
        /// As given.
        path: String,
        /// What is meant.
        rest: String,
    },
    /// The path parameters fit no documented path.
    #[error("path parameters of `{entity}`: {problem}; {needed}")]
    PathParameters {
        /// As given.
        entity: String,
        /// What is wrong.
        problem: String,
        /// What is needed.
        needed: String,
    },
    /// The filter cannot be parsed.
    #[error(transparent)]
    FilterSyntax(#[from] ParseError),
    /// The filter contradicts the documentation.
    #[error("{0}")]
    Filter(String),
    /// The client lacks the scope.
    #[error(
        "scope: {operation} needs {needed}, which is not among the client's scopes; add it to `scopes` of the secret (Protime must have granted it)"
    )]
    Scope {
        /// Method and path.
        operation: String,
        /// One of these.
        needed: String,
    },
    /// The read cannot be split as Protime demands or the connection asks.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The entity has no delta.
    #[error(
        "sync: entity `{0}` has no documented delta for a list without path parameters; use \"full\""
    )]
    NoDelta(String),
    /// A query parameter that is nearly a documented one.
    #[error("query parameter `{parameter}`: did you mean `{meant}`?")]
    Query {
        /// As given.
        parameter: String,
        /// What is documented.
        meant: &'static str,
    },
    /// External references that Protime does not have.
    #[error("query parameter `externalReferences`: {0}")]
    ExternalReferences(String),
    /// No record can match the filter.
    #[error("{0}, so that no record can match; correct the filter")]
    MatchesNothing(String),
    /// A query parameter that belongs to the connector.
    #[error("query parameter `{0}`: set by the connector; {1}")]
    ReservedQuery(String, &'static str),
}
