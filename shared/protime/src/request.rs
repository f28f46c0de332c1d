//! Requests, resolved from an entity's name and parameters and checked before anything is sent.

use jiff::Span;
use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::API_PATH;
use crate::catalogue::{Certainty, Entity, Method, Operation, OperationKind, catalogue};
use crate::filter::{Filter, ParseError, Severity, check};
use crate::nearest::nearest;
use crate::page::Shape;
use crate::query::{PathParameters, Query};
use crate::references;
use crate::split;

/// Everything but the unreserved characters of RFC 3986.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request that may be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// The path below the API's version, parameters filled in and percent-encoded: `/clockings/7`.
    pub path: String,
    /// The query string.
    pub query: Query,
    /// The documented call, or none for an entity given as a path.
    pub operation: Option<&'static Operation>,
    /// What is not documented and may be refused.
    pub warnings: Vec<String>,
}

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
    /// The read cannot be split into windows as asked.
    #[error("window: {0}")]
    Window(String),
    /// The read would take too many requests.
    #[error(
        "query.filter: the read takes more than {most} requests ({windows} spans of dates, each with as many requests as its list of ids needs); choose a longer `window`, or shorten the list"
    )]
    TooManyParts {
        /// Into how many spans of dates it is split.
        windows: usize,
        /// How many requests are allowed.
        most: usize,
    },
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

impl Request {
    /// A read: the path parameters decide between a list and a single record.
    ///
    /// `today` is used for rules that depend on the date.
    pub fn read(
        entity: &str,
        path: &PathParameters,
        query: Query,
        scopes: &[String],
        today: Date,
    ) -> Result<Self, RequestError> {
        if query
            .keys()
            .any(|key| key == "delta" || key == "deltaToken")
        {
            return Err(RequestError::ReservedQuery(
                "delta".to_owned(),
                "use \"sync\": \"delta\" of the connection",
            ));
        }
        if entity.starts_with('/') {
            return Self::unchecked(entity, path, query);
        }
        let known = known_entity(entity)?;
        let (operation, filled) = choose(known, Method::Get, path)?;
        Self::checked(known, operation, filled, query, scopes, today)
    }

    /// A list, as the requests that Protime allows: a date range above its year and long lists of ids are split.
    ///
    /// `window` asks for smaller ranges of dates.
    pub fn split_read(
        entity: &str,
        path: &PathParameters,
        query: &Query,
        scopes: &[String],
        today: Date,
        window: Option<Span>,
        base_uri: &Url,
    ) -> Result<Vec<Self>, RequestError> {
        let read = |query| Self::read(entity, path, query, scopes, today);
        let operation = match catalogue().entity(entity) {
            Some(known) => choose(known, Method::Get, path)?.0,
            None if window.is_some() => {
                return Err(RequestError::Window(
                    "the entity is not in the catalogue".to_owned(),
                ));
            }
            None => return Ok(vec![read(query.clone())?]),
        };
        // Of the whole: a part of it can be contradictory, and then has no record.
        if let Some(contradiction) = contradiction(query, operation)? {
            return Err(RequestError::MatchesNothing(contradiction));
        }
        split::requests(entity, path, query, window, base_uri, &read, operation)
    }

    /// The start of a delta: a list with the flag `delta` (`how-to/track-changes-with-delta`).
    pub fn delta(
        entity: &str,
        path: &PathParameters,
        query: Query,
        scopes: &[String],
        today: Date,
    ) -> Result<Self, RequestError> {
        let known = known_entity(entity)?;
        let operation = known
            .operation(OperationKind::Delta)
            .filter(|_| path.is_empty())
            .ok_or_else(|| RequestError::NoDelta(entity.to_owned()))?;
        if let Some(contradiction) = contradiction(&query, operation)? {
            return Err(RequestError::MatchesNothing(contradiction));
        }
        let request = Self::checked(
            known,
            operation,
            operation.path.to_owned(),
            query,
            scopes,
            today,
        )?;
        Ok(Self {
            query: request.query.with_flag("delta"),
            ..request
        })
    }

    /// Why no record can match the filter of a read, if so.
    pub fn contradiction(entity: &str, path: &PathParameters, query: &Query) -> Option<String> {
        let (operation, _) = choose(known_entity(entity).ok()?, Method::Get, path).ok()?;
        contradiction(query, operation).ok().flatten()
    }

    /// The URL of the collection or resource that a read is about.
    pub fn source(
        entity: &str,
        path: &PathParameters,
        base_uri: &Url,
    ) -> Result<Url, RequestError> {
        let (_, filled) = choose(known_entity(entity)?, Method::Get, path)?;
        let mut url = base_uri.clone();
        url.set_path(&format!("{API_PATH}{filled}"));
        url.set_query(None);
        Ok(url)
    }

    /// The URL of the collection whose delta is polled.
    pub fn delta_source(entity: &str, base_uri: &Url) -> Result<Url, RequestError> {
        let operation = known_entity(entity)?
            .operation(OperationKind::Delta)
            .ok_or_else(|| RequestError::NoDelta(entity.to_owned()))?;
        let mut url = base_uri.clone();
        url.set_path(&format!("{API_PATH}{}", operation.path));
        url.set_query(None);
        Ok(url)
    }

    fn checked(
        known: &Entity,
        operation: &'static Operation,
        path: String,
        query: Query,
        scopes: &[String],
        today: Date,
    ) -> Result<Self, RequestError> {
        let mut warnings = Vec::new();
        inferred(known, operation, &mut warnings);
        check_scope(operation, scopes, &mut warnings)?;
        check_filter(&query, operation, today, &mut warnings)?;
        check_query(&query, known.name, operation, &mut warnings)?;
        Ok(Self {
            method: Method::Get,
            path,
            query,
            operation: Some(operation),
            warnings,
        })
    }

    /// A request of which only the length of the URL matters.
    pub(crate) fn unfilled(
        operation: &'static Operation,
        path: &PathParameters,
        query: Query,
    ) -> Self {
        let filled = operation
            .path_parameters()
            .filter_map(|name| path.get(name))
            .collect::<String>();
        Self {
            method: Method::Get,
            path: format!("{}{filled}", operation.path),
            query,
            operation: Some(operation),
            warnings: Vec::new(),
        }
    }

    /// A write: method and entity must be in the catalogue.
    pub fn write(
        method: Method,
        entity: &str,
        path: &PathParameters,
        query: Query,
        scopes: &[String],
    ) -> Result<Self, RequestError> {
        let known = known_entity(entity)?;
        let (operation, filled) = choose(known, method, path)?;
        let mut warnings = Vec::new();
        inferred(known, operation, &mut warnings);
        check_scope(operation, scopes, &mut warnings)?;
        check_query(&query, known.name, operation, &mut warnings)?;
        Ok(Self {
            method,
            path: filled,
            query,
            operation: Some(operation),
            warnings,
        })
    }

    /// Its URL at a tenant's origin.
    pub fn url(&self, base_uri: &Url) -> Url {
        let mut url = base_uri.clone();
        url.set_path(&format!("{API_PATH}{}", self.path));
        let query = self.query.encoded();
        url.set_query((!query.is_empty()).then_some(&query));
        url
    }

    /// What it has to be answered with.
    pub fn shape(&self) -> Shape {
        match self.operation.map(|operation| operation.kind) {
            Some(OperationKind::List | OperationKind::ListForPerson | OperationKind::Delta) => {
                Shape::List
            }
            _ => Shape::Any,
        }
    }

    fn unchecked(entity: &str, path: &PathParameters, query: Query) -> Result<Self, RequestError> {
        let segments_are_plain = entity[1..].split('/').all(|segment| {
            !segment.is_empty()
                && !matches!(segment, "." | "..")
                && !segment.contains(['?', '#', '\\', '%'])
        });
        if !segments_are_plain {
            return Err(RequestError::BadPath(entity.to_owned()));
        }
        if let Some(rest) = entity.strip_prefix(API_PATH) {
            let meant = catalogue().entity(rest.trim_start_matches('/'));
            return Err(RequestError::WithApiPath {
                path: entity.to_owned(),
                rest: meant.map_or(rest, |entity| entity.name).to_owned(),
            });
        }
        let known = catalogue().entity(&entity[1..]).map(|entity| entity.name);
        let names: Vec<&str> = parameters_of(entity).collect();
        let filled = fill(entity, entity, &names, path)?;
        let warning = known.map_or_else(
            || format!("entity `{entity}`: not in the catalogue; path, filter and scopes are not checked"),
            |known| format!("entity `{entity}`: as a path it is sent unchecked; `{known}` is checked"),
        );
        Ok(Self {
            method: Method::Get,
            path: filled,
            query,
            operation: None,
            warnings: vec![warning],
        })
    }
}

fn known_entity(name: &str) -> Result<&'static Entity, RequestError> {
    catalogue().entity(name).ok_or_else(|| {
        let names = || catalogue().entities().iter().map(|entity| entity.name);
        let hint = nearest(name, names()).map_or_else(
            || {
                let known = names().collect::<Vec<_>>().join(", ");
                format!(
                    "known: {known}. One that is not in the catalogue can be read as a path, such as \"/{name}\""
                )
            },
            |meant| format!("did you mean `{meant}`?"),
        );
        RequestError::UnknownEntity {
            entity: name.to_owned(),
            hint,
        }
    })
}

/// Parameters that nobody documents are sent, but for those that are nearly one that is: what they were to do would be
/// left undone silently.
fn check_query(
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
        // One that other entities take may be sent.
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

/// The operation whose path takes exactly the given parameters.
fn choose(
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

/// The last parameter of every entity may be called `id`, whatever its documented name.
fn value_of<'a>(name: &str, names: &[&str], path: &'a PathParameters) -> Option<&'a str> {
    let by_alias = || {
        (names.last() == Some(&name))
            .then(|| path.get("id"))
            .flatten()
    };
    path.get(name).or_else(by_alias)
}

fn fill(
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

fn parameters_of(template: &str) -> impl Iterator<Item = &str> {
    template
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
}

fn inferred(entity: &Entity, operation: &Operation, warnings: &mut Vec<String>) {
    if operation.certainty == Certainty::Inferred {
        warnings.push(format!(
            "entity `{}`: {} {} is inferred, not documented",
            entity.name, operation.method, operation.path
        ));
    }
}

fn check_scope(
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

/// Why no record can match a filter, if so.
fn contradiction(query: &Query, operation: &Operation) -> Result<Option<String>, RequestError> {
    let filter: Option<Filter> = query.get("filter").map(str::parse).transpose()?;
    Ok(filter.and_then(|filter| filter.contradiction(operation)))
}

fn check_filter(
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
