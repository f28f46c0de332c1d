//! Selects the documented path that takes the given parameters, and fills it in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::RequestError;
use crate::catalogue::{Entity, Method, Operation};
use crate::query::PathParameters;

/// RFC 3986 leaves only the unreserved characters as they are; all others are percent-encoded.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The operation whose path takes exactly the given parameters.
pub(super) fn choose(
    entity: &'static Entity,
    method: Method,
    path: &PathParameters,
) -> Result<(&'static Operation, String), RequestError> {
    let candidates: Vec<&'static Operation> = entity.with_method(method).collect();
    if candidates.is_empty() {
        return Err(RequestError::UnknownMethod {
            method,
            entity: entity.name.to_owned(),
            documented: documented_methods(entity),
        });
    }
    let same_length = candidates
        .iter()
        .find(|operation| operation.path_parameters().count() == path.len());
    if let Some(operation) = same_length {
        let names: Vec<&str> = operation.path_parameters().collect();
        let filled = fill(entity.name, operation.path, &names, path)?;
        for name in &names {
            let Some(allowed) = operation.path_values.get(name) else {
                continue;
            };
            let value = value_of(name, &names, path).unwrap_or_default();
            if !allowed.contains(&value) {
                return Err(path_error(
                    entity.name,
                    format!("`{name}` cannot be `{value}`"),
                    &format!("allowed: {}", allowed.join(", ")),
                ));
            }
        }
        return Ok((operation, filled));
    }
    let given = path.names().collect::<Vec<_>>().join(", ");
    let problem = if given.is_empty() {
        "none given".to_owned()
    } else {
        format!("`{given}` given")
    };
    let needed = candidates
        .iter()
        .map(|operation| operation.path)
        .collect::<Vec<_>>()
        .join(" or ");
    Err(path_error(
        entity.name,
        problem,
        &format!("{method} takes {needed} (the last may be called `id`)"),
    ))
}

fn documented_methods(entity: &Entity) -> String {
    let mut methods: Vec<&str> = Vec::new();
    for operation in &entity.operations {
        if !methods.contains(&operation.method.as_str()) {
            methods.push(operation.method.as_str());
        }
    }
    if methods.is_empty() {
        "none".to_owned()
    } else {
        methods.join(", ")
    }
}

/// The last parameter of every path may be given as `id`, whatever its documented name is.
fn value_of<'a>(name: &str, names: &[&str], path: &'a PathParameters) -> Option<&'a str> {
    let by_alias = || {
        (names.last() == Some(&name))
            .then(|| path.get("id"))
            .flatten()
    };
    path.get(name).or_else(by_alias)
}

pub(super) fn fill(
    entity: &str,
    template: &str,
    names: &[&str],
    path: &PathParameters,
) -> Result<String, RequestError> {
    let needed = || match names {
        [] => "no path parameters are needed".to_owned(),
        names => format!("needed: {} (the last may be called `id`)", names.join(", ")),
    };
    let mut filled = template.to_owned();
    for name in names {
        let Some(value) = value_of(name, names, path) else {
            return Err(path_error(
                entity,
                format!("`{name}` is missing"),
                &needed(),
            ));
        };
        if value.is_empty() || matches!(value, "." | "..") {
            return Err(path_error(
                entity,
                format!("`{name}` is empty or a dot segment"),
                &needed(),
            ));
        }
        filled = filled.replace(
            &format!("{{{name}}}"),
            &utf8_percent_encode(value, PATH_SEGMENT).to_string(),
        );
    }
    if path.len() > names.len() {
        let unknown = path
            .names()
            .find(|given| !names.contains(given) && *given != "id")
            .unwrap_or("id");
        return Err(path_error(
            entity,
            format!("`{unknown}` is unknown"),
            &needed(),
        ));
    }
    Ok(filled)
}

fn path_error(entity: &str, problem: String, needed: &str) -> RequestError {
    RequestError::PathParameters {
        entity: entity.to_owned(),
        problem,
        needed: needed.to_owned(),
    }
}

pub(super) fn parameters_of(template: &str) -> impl Iterator<Item = &str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
}
