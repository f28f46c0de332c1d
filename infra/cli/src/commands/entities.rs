//! `entities`: the operations, filters and scopes of each entity.

use std::fmt::Write as _;

use protime::catalogue::{Entity, FilterField, Operation, catalogue};
use serde_json::{Value, json};

use crate::arguments::Entities;
use crate::error::Error;
use crate::output::{FAINT, HEADING, Report, WARNING, styled, table};

pub(crate) const DOCUMENTATION: &str = "https://documentation.myprotime.eu/protimeapi/";

pub(crate) fn list(Entities { entity }: &Entities) -> Result<Report, Error> {
    let Some(name) = entity else {
        return Ok(all());
    };
    if let Some(entity) = catalogue().entity(name) {
        return Ok(one(entity));
    }
    Err(Error::Connection(unknown(name)))
}

/// The message for a name that no entity has.
pub(crate) fn unknown(name: &str) -> String {
    let names = catalogue().entities().iter().map(|entity| entity.name);
    let hint = match protime::nearest(name, names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`protimectl entities` lists them".to_owned(),
    };
    format!("entity `{name}`: unknown; {hint}")
}

fn all() -> Report {
    let entities = catalogue().entities();
    let rows = entities.iter().map(|entity| {
        let kinds = entity
            .operations
            .iter()
            .map(|operation| operation.kind.to_string());
        [entity.name.to_owned(), kinds.collect::<Vec<_>>().join(", ")]
    });
    let text = table(["entity", "operations"], rows);
    let json = entities
        .iter()
        .map(|entity| json!({"entity": entity.name, "operations": operations(entity)}));
    Report::new(json!({"entities": json.collect::<Value>()}), text)
}

fn operations(entity: &Entity) -> Value {
    entity.operations.iter().map(described).collect()
}

fn described(operation: &Operation) -> Value {
    let filters = operation.filters.as_ref().map(|fields| {
        let fields = fields.iter().map(|field| {
            json!({"name": field.name, "operators": spelled(field), "required": field.required})
        });
        fields.collect::<Value>()
    });
    json!({
        "operation": operation.kind.to_string(),
        "method": operation.method.as_str(),
        "path": operation.path,
        "scopes": operation.needed_scopes(),
        "filters": filters,
        "query": operation.query,
        "page": format!("{DOCUMENTATION}{}", operation.source),
    })
}

/// The field's operators, as a filter writes them.
pub(crate) fn spelled(field: &FilterField) -> Vec<String> {
    field.operators.iter().map(ToString::to_string).collect()
}

fn one(entity: &Entity) -> Report {
    let mut text = format!("{}\n", styled(HEADING, entity.name));
    for operation in &entity.operations {
        let _ = writeln!(
            text,
            "\n{} {}  {}",
            operation.method.as_str(),
            operation.path,
            styled(FAINT, operation.kind)
        );
        let _ = writeln!(text, "  scope   {}", operation.needed_scopes().join(" or "));
        for field in operation.filters.iter().flatten() {
            let required = if field.required { ", required" } else { "" };
            let operators = spelled(field).join(" ");
            let _ = writeln!(text, "  filter  {} ({operators}{required})", field.name);
        }
        for property in &operation.body {
            let required = if property.required { ", required" } else { "" };
            let _ = writeln!(
                text,
                "  body    {} ({}{required})",
                property.name, property.kind
            );
        }
        let _ = writeln!(text, "  page    {DOCUMENTATION}{}", operation.source);
    }
    if !entity.properties.is_empty() {
        let _ = writeln!(text, "\nProperties of a record, as `fields` names them");
    }
    for property in &entity.properties {
        let kind = property.kind;
        let personal = if property.personal {
            format!("  {}", styled(WARNING, "personal"))
        } else {
            String::new()
        };
        let _ = writeln!(text, "  {} ({kind}){personal}", property.name);
    }
    if entity.personal_properties().next().is_some() {
        let _ = writeln!(text, "\n{}", catalogue().personal);
    }
    let properties = entity.properties.iter().map(|property| {
        json!({"name": property.name, "type": property.kind, "personal": property.personal})
    });
    let properties: Value = properties.collect();
    Report::new(
        json!({"entity": entity.name, "operations": operations(entity), "properties": properties}),
        text,
    )
}
