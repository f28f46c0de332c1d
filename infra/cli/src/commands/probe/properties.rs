//! Questions whether records have the documented properties.

use std::collections::BTreeSet;

use protime::catalogue::{Entity, Property};
use serde_json::Value;

use super::ask::{List, Reply};
use super::known::Known;
use super::questions::Finding;
use super::shape::{is_word, kind};

/// A property and how it differs from the documentation.
type Differences = BTreeSet<(String, String)>;

pub(super) fn differences(known: &mut Known, _: &[Reply]) -> Vec<Finding> {
    known.lists.iter().flat_map(of_list).collect()
}

fn of_list(list: &List) -> Vec<Finding> {
    let entity = list.entity;
    let finding = |what: &str, seen: &str| Finding {
        entity: entity.name,
        ..Finding::general(what, seen)
    };
    let records = list.first.records().map_or(&[][..], Vec::as_slice);
    let mut differences = Differences::new();
    for record in records {
        compare(entity, record, "", &mut differences);
    }
    match (records, differences.is_empty()) {
        ([], _) => vec![finding("record", "none came")],
        (_, true) => vec![finding("record", "as documented")],
        (_, false) => differences
            .iter()
            .map(|(name, seen)| finding(name, seen))
            .collect(),
    }
}

/// Compares as deep as the documentation describes the record.
fn compare(entity: &Entity, value: &Value, prefix: &str, differences: &mut Differences) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let shown = if is_word(name) { name } else { "?" };
        let path = format!("{prefix}{shown}");
        let (inside, inside_items) = (format!("{path}."), format!("{path}[]."));
        let has_documented = |prefix: &str| {
            let mut properties = entity.properties.iter();
            properties.any(|property| property.name.starts_with(prefix))
        };
        match (documented(entity, &path), value) {
            (_, Value::Null) => {}
            (Some(property), value) if fits(property, value) => {}
            (Some(property), value) => {
                let seen = format!("documented as {}, came as {}", property.kind, kind(value));
                differences.insert((path, seen));
            }
            (None, Value::Object(_)) if has_documented(&inside) => {
                compare(entity, value, &inside, differences);
            }
            (None, Value::Array(items)) if has_documented(&inside_items) => {
                for item in items {
                    compare(entity, item, &inside_items, differences);
                }
            }
            (None, value) => {
                differences.insert((path, format!("not documented, came as {}", kind(value))));
            }
        }
    }
}

fn documented<'e>(entity: &'e Entity, path: &str) -> Option<&'e Property> {
    let mut properties = entity.properties.iter();
    properties.find(|property| property.name == path)
}

fn fits(property: &Property, value: &Value) -> bool {
    match property.kind {
        "integer" => value.is_i64(),
        // Dates and GUIDs are JSON strings too.
        documented if documented.starts_with("string") || documented == "date" => value.is_string(),
        documented => documented == kind(value),
    }
}
