//! Requests: built from an entity's name and parameters, and checked before anything is sent.

mod check;
mod error;
mod path;

use jiff::Span;
use jiff::civil::Date;
use url::Url;

use self::check::{check_filter, check_query, check_scope, contradiction, inferred};
pub use self::error::RequestError;
use self::path::{choose, fill, parameters_of};
use crate::API_PATH;
use crate::catalogue::{Entity, Method, Operation, OperationKind, catalogue};
use crate::filter::Filter;
use crate::nearest::nearest;
use crate::page::Shape;
use crate::query::{PathParameters, Query};
use crate::settings::Settings;
use crate::split::{self, SplitError};

/// A request that may be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// GET for reads; for writes, the documented method that the caller chose.
    pub method: Method,
    /// The path below the API's version, parameters filled in and percent-encoded: `/clockings/7`.
    pub path: String,
    /// The query string, before it is encoded.
    pub query: Query,
    /// The operation in the catalogue. `None` for an entity given as a path.
    pub operation: Option<&'static Operation>,
    /// What the documentation does not confirm, so that Protime may refuse it.
    pub warnings: Vec<String>,
}

/// The subject of a request, as users name it.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The entity's name in the catalogue. For a read, also the path of an entity that the catalogue lacks.
    pub entity: &'a str,
    /// The path parameters, which select one of the entity's documented paths.
    pub path: &'a PathParameters,
    /// The query string, before it is encoded.
    pub query: Query,
}

/// What a request is checked against, besides the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The scopes in the client's settings.
    pub scopes: &'a [String],
    /// The tenant's origin, which counts towards the length of a URL.
    pub base_uri: &'a Url,
    /// Some rules depend on the date, such as the earliest start of a delta.
    pub today: Date,
}

impl<'a> Context<'a> {
    /// Takes the scopes and the origin from a client's settings.
    pub fn of(settings: &'a Settings, today: Date) -> Self {
        Self {
            scopes: &settings.scopes,
            base_uri: &settings.base_uri,
            today,
        }
    }
}

impl Request {
    /// A read. The path parameters decide whether it is a list or a single record.
    pub fn read(target: Target<'_>, context: &Context<'_>) -> Result<Self, RequestError> {
        if target
            .query
            .keys()
            .any(|key| key == "delta" || key == "deltaToken")
        {
            return Err(RequestError::ReservedQuery(
                "delta".to_owned(),
                "use \"sync\": \"delta\" of the connection",
            ));
        }
        if target.entity.starts_with('/') {
            return Self::unchecked(target);
        }
        let known = known_entity(target.entity)?;
        let (operation, filled) = choose(known, Method::Get, target.path)?;
        Self::checked(known, operation, filled, target.query, context)
    }

    /// A list, split into requests that Protime allows: its date range exceeds a year, or its list of ids is long.
    ///
    /// `window` asks for shorter ranges of dates than the documented limit.
    pub fn split_read(
        target: Target<'_>,
        window: Option<Span>,
        context: &Context<'_>,
    ) -> Result<Vec<Self>, RequestError> {
        let Some(known) = catalogue().entity(target.entity) else {
            return match window {
                Some(_) => Err(no_window("the entity is not in the catalogue".to_owned())),
                None => Ok(vec![Self::read(target, context)?]),
            };
        };
        let (operation, filled) = choose(known, Method::Get, target.path)?;
        let Some(written) = target.query.get("filter") else {
            return match window {
                Some(_) => Err(no_window(format!(
                    "entity `{}` is read without a filter",
                    known.name
                ))),
                None => Ok(vec![Self::read(target, context)?]),
            };
        };
        let filter: Filter = written.parse()?;
        // The whole filter is checked: a part of it can be contradictory, and then simply matches no record.
        if let Some(contradiction) = filter.contradiction(operation) {
            return Err(RequestError::MatchesNothing(contradiction));
        }
        let filtered = |filter: &Filter| target.query.clone().with("filter", &filter.to_string());
        let url_length = |filter: &Filter| {
            url(context.base_uri, &filled, &filtered(filter))
                .as_str()
                .len()
        };
        let parts = split::split(&filter, operation, window, &url_length)?;
        // A filter that needs no split is sent as the user wrote it.
        if parts == [filter] {
            return Ok(vec![Self::read(target, context)?]);
        }
        let part = |filter| {
            let query = filtered(filter);
            Self::read(
                Target {
                    query,
                    ..target.clone()
                },
                context,
            )
        };
        parts.iter().map(part).collect()
    }

    /// The start of a delta: a list with the flag `delta` (`how-to/track-changes-with-delta`).
    pub fn delta(target: Target<'_>, context: &Context<'_>) -> Result<Self, RequestError> {
        let known = known_entity(target.entity)?;
        let operation = known
            .operation(OperationKind::Delta)
            .filter(|_| target.path.is_empty())
            .ok_or_else(|| RequestError::NoDelta(target.entity.to_owned()))?;
        if let Some(contradiction) = contradiction(&target.query, operation)? {
            return Err(RequestError::MatchesNothing(contradiction));
        }
        let path = operation.path.to_owned();
        let request = Self::checked(known, operation, path, target.query, context)?;
        Ok(Self {
            query: request.query.with_flag("delta"),
            ..request
        })
    }

    /// The reason why no record can match the filter of a read. `None` if a record can.
    pub fn contradiction(target: &Target<'_>) -> Option<String> {
        let known = known_entity(target.entity).ok()?;
        let (operation, _) = choose(known, Method::Get, target.path).ok()?;
        contradiction(&target.query, operation).ok().flatten()
    }

    /// The URL of the collection or resource that a read addresses.
    pub fn source(
        entity: &str,
        path: &PathParameters,
        base_uri: &Url,
    ) -> Result<Url, RequestError> {
        let (_, filled) = choose(known_entity(entity)?, Method::Get, path)?;
        Ok(url(base_uri, &filled, &Query::default()))
    }

    /// The URL of the collection whose delta is polled.
    pub fn delta_source(entity: &str, base_uri: &Url) -> Result<Url, RequestError> {
        let operation = known_entity(entity)?
            .operation(OperationKind::Delta)
            .ok_or_else(|| RequestError::NoDelta(entity.to_owned()))?;
        Ok(url(base_uri, operation.path, &Query::default()))
    }

    /// A write. Method and entity must be in the catalogue.
    pub fn write(
        method: Method,
        target: Target<'_>,
        scopes: &[String],
    ) -> Result<Self, RequestError> {
        let known = known_entity(target.entity)?;
        let (operation, path) = choose(known, method, target.path)?;
        let mut warnings = Vec::new();
        inferred(known, operation, &mut warnings);
        check_scope(operation, scopes, &mut warnings)?;
        check_query(&target.query, known.name, operation, &mut warnings)?;
        Ok(Self {
            method,
            path,
            query: target.query,
            operation: Some(operation),
            warnings,
        })
    }

    /// The complete URL at a tenant's origin.
    pub fn url(&self, base_uri: &Url) -> Url {
        url(base_uri, &self.path, &self.query)
    }

    /// The shape that a successful answer must have.
    pub fn shape(&self) -> Shape {
        match self.operation.map(|operation| operation.kind) {
            Some(OperationKind::List | OperationKind::ListForPerson | OperationKind::Delta) => {
                Shape::List
            }
            _ => Shape::Any,
        }
    }

    /// A read of an entity in the catalogue, checked against the documentation.
    fn checked(
        known: &Entity,
        operation: &'static Operation,
        path: String,
        query: Query,
        context: &Context<'_>,
    ) -> Result<Self, RequestError> {
        let mut warnings = Vec::new();
        inferred(known, operation, &mut warnings);
        check_scope(operation, context.scopes, &mut warnings)?;
        check_filter(&query, operation, context.today, &mut warnings)?;
        check_query(&query, known.name, operation, &mut warnings)?;
        Ok(Self {
            method: Method::Get,
            path,
            query,
            operation: Some(operation),
            warnings,
        })
    }

    /// A read of a path that the catalogue lacks. Only the path's form is checked.
    fn unchecked(target: Target<'_>) -> Result<Self, RequestError> {
        let entity = target.entity;
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
        let filled = fill(entity, entity, &names, target.path)?;
        let warning = known.map_or_else(
            || format!("entity `{entity}`: not in the catalogue; path, filter and scopes are not checked"),
            |known| format!("entity `{entity}`: as a path it is sent unchecked; `{known}` is checked"),
        );
        Ok(Self {
            method: Method::Get,
            path: filled,
            query: target.query,
            operation: None,
            warnings: vec![warning],
        })
    }
}

fn no_window(problem: String) -> RequestError {
    SplitError::Window(problem).into()
}

fn url(base_uri: &Url, path: &str, query: &Query) -> Url {
    let mut url = base_uri.clone();
    url.set_path(&format!("{API_PATH}{path}"));
    let query = query.encoded();
    url.set_query((!query.is_empty()).then_some(&query));
    url
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
