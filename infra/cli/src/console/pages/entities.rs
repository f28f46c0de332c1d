//! The page of entities and their operations.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use protime::catalogue::{Entity, FilterField, Operation, catalogue};

use super::super::Console;
use super::super::security::Fields;
use super::super::site::{Place, Site};
use crate::commands::entities::{DOCUMENTATION, spelled, unknown};
use crate::error::Error;

#[derive(Template)]
#[template(path = "entities.html")]
struct Page {
    site: Site,
    /// Each entity's name with the kinds of its operations.
    entities: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "entity.html")]
struct EntityPage {
    site: Site,
    entity: &'static Entity,
    operations: Vec<OperationView>,
    personal: Option<&'static str>,
}

struct OperationView {
    operation: &'static Operation,
    scopes: String,
    /// Each filter field with its operators.
    filters: Vec<(&'static FilterField, String)>,
    documentation: String,
}

pub(in crate::console) async fn list(State(console): State<Arc<Console>>) -> Response {
    let entities = catalogue().entities().iter();
    console.page(Ok(Page {
        site: console.site(Place::Entities),
        entities: entities
            .map(|entity| (entity.name, kinds(entity)))
            .collect(),
    }))
}

fn kinds(entity: &Entity) -> String {
    let operations = entity.operations.iter();
    let kinds = operations.map(|operation| operation.kind.to_string());
    kinds.collect::<Vec<_>>().join(", ")
}

pub(in crate::console) async fn show(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    let name = fields.get("name").unwrap_or_default();
    let entity = catalogue().entity(name);
    let entity = entity.ok_or_else(|| Error::Connection(unknown(name)));
    console.page(entity.map(|entity| EntityPage {
        site: console.site(Place::Entities),
        entity,
        operations: entity.operations.iter().map(OperationView::new).collect(),
        personal: (entity.personal_properties().next().is_some()).then(|| catalogue().personal),
    }))
}

impl OperationView {
    fn new(operation: &'static Operation) -> Self {
        let filters = operation.filters.iter().flatten();
        Self {
            operation,
            scopes: operation.needed_scopes().join(" or "),
            filters: filters
                .map(|field| (field, spelled(field).join(" ")))
                .collect(),
            documentation: format!("{DOCUMENTATION}{}", operation.source),
        }
    }
}
