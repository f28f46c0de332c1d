//! The reasons why a request is not sent.

use crate::API_PATH;
use crate::catalogue::Method;
use crate::filter::ParseError;
use crate::split::SplitError;

/// A request that Protime would refuse, or one that names something unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The catalogue has no entity of this name.
    #[error("entity `{entity}`: unknown; {hint}")]
    UnknownEntity {
        /// The name that was given.
        entity: String,
        /// The entity that was probably meant, otherwise all known ones.
        hint: String,
    },
    /// The documentation has no such method for the entity.
    #[error("method `{method}`: not documented for entity `{entity}`; documented: {documented}")]
    UnknownMethod {
        /// The method that was asked for.
        method: Method,
        /// The name of the entity.
        entity: String,
        /// The documented methods, separated by commas.
        documented: String,
    },
    /// The entity was given as a path, but the text is not a path.
    #[error(
        "entity `{0}`: not a path; write segments without `?`, `#`, `.` or `..`, such as \"/new-collection\" or \"/new-collection/{{id}}\""
    )]
    BadPath(String),
    /// The path starts with [`API_PATH`], which is added to every request.
    #[error(
        "entity `{path}`: begins with {API_PATH}, which every request has; leave it out: \"{rest}\""
    )]
    WithApiPath {
        /// The path that was given.
        path: String,
        /// The path or entity to write instead.
        rest: String,
    },
    /// The path parameters fit none of the entity's documented paths.
    #[error("path parameters of `{entity}`: {problem}; {needed}")]
    PathParameters {
        /// The name of the entity.
        entity: String,
        /// What is wrong with the parameters.
        problem: String,
        /// The paths or values that are documented.
        needed: String,
    },
    /// The filter cannot be parsed.
    #[error(transparent)]
    FilterSyntax(#[from] ParseError),
    /// The filter contradicts the documentation.
    #[error("{0}")]
    Filter(String),
    /// The client lacks the scope that the operation needs.
    #[error(
        "scope: {operation} needs {needed}, which is not among the client's scopes; add it to `scopes` of the secret (Protime must have granted it)"
    )]
    Scope {
        /// Method and path of the operation.
        operation: String,
        /// The scopes of which one is needed.
        needed: String,
    },
    /// The read cannot be split as Protime demands or the connection asks.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The documentation has no delta for this entity and these path parameters.
    #[error(
        "sync: entity `{0}` has no documented delta for a list without path parameters; use \"full\""
    )]
    NoDelta(String),
    /// A query parameter resembles a documented one and is probably misspelt.
    #[error("query parameter `{parameter}`: did you mean `{meant}`?")]
    Query {
        /// The parameter that was given.
        parameter: String,
        /// The documented parameter that was probably meant.
        meant: &'static str,
    },
    /// The request asks for external references that Protime does not have.
    #[error("query parameter `externalReferences`: {0}")]
    ExternalReferences(String),
    /// No record can match the filter.
    #[error("{0}, so that no record can match; correct the filter")]
    MatchesNothing(String),
    /// The connector sets this query parameter itself.
    #[error("query parameter `{0}`: set by the connector; {1}")]
    ReservedQuery(String, &'static str),
}
