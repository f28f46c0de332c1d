//! Checks scope, filter and query parameters against the documentation. A documented rule that is broken is an error;
//! one that is only inferred leads to a warning.

use jiff::civil::Date;

use super::RequestError;
use crate::catalogue::{Certainty, Entity, Operation, catalogue};
use crate::filter::{Filter, Severity, check};
use crate::nearest::nearest;
use crate::query::Query;
use crate::references;

pub(super) fn inferred(entity: &Entity, operation: &Operation, warnings: &mut Vec<String>) {
    if operation.certainty == Certainty::Inferred {
        warnings.push(format!(
            "entity `{}`: {} {} is inferred, not documented",
            entity.name, operation.method, operation.path
        ));
    }
}

pub(super) fn check_scope(
    operation: &Operation,
    scopes: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), RequestError> {
    let prefix = catalogue().scope_prefix();
    let needed: Vec<String> = operation
        .scopes
        .iter()
        .map(|scope| format!("{prefix}{scope}"))
        .collect();
    if needed.is_empty() || needed.iter().any(|scope| scopes.contains(scope)) {
        return Ok(());
    }
    let error = RequestError::Scope {
        operation: format!("{} {}", operation.method, operation.path),
        needed: needed.join(" or "),
    };
    match operation.scope_certainty {
        Certainty::Documented => Err(error),
        Certainty::Inferred => {
            warnings.push(format!(
                "{error} (the scope's name is inferred, not documented)"
            ));
            Ok(())
        }
    }
}

/// The reason why no record can match the filter, if there is one.
pub(super) fn contradiction(
    query: &Query,
    operation: &Operation,
) -> Result<Option<String>, RequestError> {
    let filter: Option<Filter> = query.get("filter").map(str::parse).transpose()?;
    Ok(filter.and_then(|filter| filter.contradiction(operation)))
}

pub(super) fn check_filter(
    query: &Query,
    operation: &Operation,
    today: Date,
    warnings: &mut Vec<String>,
) -> Result<(), RequestError> {
    let filter: Option<Filter> = query.get("filter").map(str::parse).transpose()?;
    let mut errors = Vec::new();
    for problem in check(filter.as_ref(), operation, today) {
        match problem.severity {
            Severity::Error => errors.push(problem.message),
            Severity::Warning => warnings.push(problem.message),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(RequestError::Filter(errors.join("; ")))
    }
}

/// An undocumented parameter is sent. One that resembles a documented parameter is refused: Protime would ignore the
/// misspelt name silently.
pub(super) fn check_query(
    query: &Query,
    entity: &str,
    operation: &Operation,
    warnings: &mut Vec<String>,
) -> Result<(), RequestError> {
    if let Some(asked) = query.get("externalReferences") {
        let checked = references::check(asked, entity, operation);
        match (checked, operation.certainty) {
            (Ok(open), _) => warnings.extend(open),
            (Err(problem), Certainty::Documented) => {
                return Err(RequestError::ExternalReferences(problem));
            }
            (Err(problem), Certainty::Inferred) => {
                warnings.push(format!("query parameter `externalReferences`: {problem}"));
            }
        }
    }
    let documented = catalogue().query_parameters();
    for key in query.keys().filter(|key| !operation.query.contains(key)) {
        // A parameter that other entities document may be sent.
        let is_known = documented.contains(key);
        let meant = nearest(key, documented.iter().copied()).filter(|_| !is_known);
        match meant {
            Some(meant) if operation.certainty == Certainty::Documented => {
                return Err(RequestError::Query {
                    parameter: key.to_owned(),
                    meant,
                });
            }
            Some(meant) => warnings.push(format!(
                "query parameter `{key}`: did you mean `{meant}`? It is sent as it is"
            )),
            None => warnings.push(format!(
                "query parameter `{key}`: not documented for `{entity}`; it is sent all the same"
            )),
        }
    }
    Ok(())
}
