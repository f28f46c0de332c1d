//! External references (`reference/external-references`): requested in the query, or used in bodies in place of ids.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::data::{Collection, Record, camel_case};
use crate::documentation::{Entity, Operation, documentation};
use crate::route::Call;

/// The collection of the references that stand beside the ids of an object of that name.
const OBJECTS: [(&str, &str); 18] = [
    ("person", "people"),
    ("terminal", "terminals"),
    ("reason", "absence-definitions"),
    ("absenceDefinition", "absence-definitions"),
    ("requestedAbsenceDefinition", "absence-definitions"),
    ("resultingAbsenceDefinition", "absence-definitions"),
    ("activityDefinition", "activity-definitions"),
    ("parent", "activity-definitions"),
    ("shiftDefinition", "shift-definitions"),
    ("counterDefinition", "counter-definitions"),
    ("counterGroup", "counter-groups"),
    ("breakDefinition", "break-definitions"),
    ("department", "departments"),
    ("employer", "employers"),
    ("job", "jobs"),
    ("jobCategory", "job-categories"),
    ("sector", "sectors"),
    ("workLocation", "work-locations"),
];

/// References of operations whose own pages could not be read. The lists come from other pages.
const SUPPLEMENT: [(&str, &[&str]); 5] = [
    // §absence-groups: External references work on get-by-id only
    ("absence-groups", &[]),
    (
        "absences",
        &["people", "shift-definitions", "absence-definitions"],
    ),
    ("breaks", &["people"]),
    ("calculated-totals", &["people"]),
    (
        "historical-fields",
        &[
            "people",
            "departments",
            "employers",
            "jobs",
            "job-categories",
            "sectors",
            "work-locations",
        ],
    ),
];

/// The field of a record that holds a predefined reference.
const FIELDS: [(&str, &str, &str); 7] = [
    ("people", "@badge-number", "badgeNumber"),
    ("people", "@employee-number", "employeeNumber"),
    ("absence-definitions", "@absence-code", "code"),
    ("activity-definitions", "@data-entry-code", "dataEntryCode"),
    (
        "activity-definitions",
        "@external-reference",
        "externalReference",
    ),
    ("counter-definitions", "@counter-code", "code"),
    ("shift-definitions", "@shift-code", "code"),
];

/// One requested reference, such as `(people,@badge-number)` in `(people,@badge-number)(terminals,@external-code)`.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) collection: String,
    pub(crate) reference: String,
}

/// The references that the query requests, or the error answer if the operation does not support one.
pub(crate) fn asked(
    call: &Call,
    entity: &Entity,
    operation: &Operation,
) -> Result<Vec<Asked>, Answer> {
    // §8.2: Several, concatenated **without separator**
    // §8.3: an unsupported predefined one → `400`
    let Some(text) = call.get("externalReferences") else {
        return Ok(Vec::new());
    };
    let malformed = || {
        Answer::refused(&["externalReferences must be written (collection,reference)".to_owned()])
    };
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .ok_or_else(malformed)?;
    let mut asked = Vec::new();
    for pair in inner.split(")(") {
        let (collection, reference) = pair.split_once(',').ok_or_else(malformed)?;
        let (collection, reference) = (collection.trim(), reference.trim());
        let is_known = !reference.starts_with('@')
            || known_of(collection).iter().any(|known| known == reference);
        if reference.is_empty()
            || !is_known
            || !is_supported(entity, operation, collection, reference)
            || category(call).is_some_and(|of| collection != of && collection != "people")
        {
            let reason = format!("({collection},{reference}) is not supported here");
            return Err(Answer::refused(&[reason]));
        }
        asked.push(Asked {
            collection: collection.to_owned(),
            reference: reference.to_owned(),
        });
    }
    Ok(asked)
}

/// The collection that a list of all people's histories is about.
fn category(call: &Call) -> Option<&'static str> {
    // §13.1: custom references of the entity type asked for
    let category = call.path.rsplit('/').next()?.strip_suffix("-histories")?;
    collection_of(&camel_case(category))
}

fn known_of(collection: &str) -> &'static [String] {
    // The ids in restrictions are those of activity definitions.
    let collection = match collection {
        "activity-restrictions" => "activity-definitions",
        other => other,
    };
    documentation().predefined(collection)
}

fn is_supported(entity: &Entity, operation: &Operation, collection: &str, reference: &str) -> bool {
    if let Some(supported) = &operation.external_references {
        return supported.iter().any(|supported| {
            let is_listed = supported.predefined.iter().any(|known| known == reference);
            supported.collection == collection
                && (is_listed || (supported.custom && !reference.starts_with('@')))
        });
    }
    let supplement = SUPPLEMENT.iter().find(|(name, _)| *name == entity.name);
    match (supplement, &entity.external_references) {
        (Some((_, supported)), _) => supported.contains(&collection),
        (None, Some(supported)) => supported.iter().any(|known| known == collection),
        (None, None) => false,
    }
}

/// The references that writes have set. All other objects have a reference made from their id.
#[derive(Default)]
pub(crate) struct References {
    /// By collection, reference and id. `None` means that the object has no such reference.
    written: HashMap<(String, String, String), Option<String>>,
}

impl References {
    pub(crate) fn value(&self, collection: &str, reference: &str, id: &str) -> Option<String> {
        // §8.6: a missing value does not fail but yields objects without a reference
        let key = (collection.to_owned(), reference.to_owned(), id.to_owned());
        let written = self.written.get(&key);
        written.cloned().unwrap_or_else(|| made(reference, id))
    }

    pub(crate) fn set(&mut self, asked: &Asked, id: &str, value: &str) {
        let Asked {
            collection,
            reference,
        } = asked;
        let key = (collection.clone(), reference.clone(), id.to_owned());
        self.written.insert(key, Some(value.to_owned()));
    }

    /// Stores the fields of a record that are references.
    pub(crate) fn follow(&mut self, collection: &str, id: &str, record: &Value) {
        for (of, reference, field) in FIELDS {
            if of == collection {
                let key = (collection.to_owned(), reference.to_owned(), id.to_owned());
                let value = record[field].as_str().map(str::to_owned);
                self.written.insert(key, value);
            }
        }
    }

    /// The record that has this reference.
    pub(crate) fn find<'a>(
        &self,
        collection: &'a Collection,
        asked: &Asked,
        value: &str,
    ) -> Option<&'a Record> {
        collection.records.iter().find(|record| {
            let found = self.value(&asked.collection, &asked.reference, &record.id);
            found.as_deref() == Some(value)
        })
    }
}

/// A reference made from the id, always the same. It has at most 16 characters, the limit of `activity-definitions`.
fn made(reference: &str, id: &str) -> Option<String> {
    let number = match id.rsplit_once('-') {
        Some((_, last)) => u64::from_str_radix(last, 16).ok()?,
        None => id.parse().ok()?,
    };
    Some(match reference {
        "@badge-number" => format!("{number:07}"),
        "@employee-number" => format!("E{number:05}"),
        _ => match reference.strip_prefix('@') {
            Some(name) => {
                let initials = name.split('-').filter_map(|word| word.chars().next());
                let initials: String = initials.collect();
                format!("{}{number}", initials.to_ascii_uppercase())
            }
            None => format!("{reference}-{id}"),
        },
    })
}

/// The value of a field that holds a predefined reference.
pub(crate) fn field(collection: &str, field: &str, id: &str) -> Option<String> {
    let (_, reference, _) = FIELDS
        .iter()
        .find(|(of, _, name)| *of == collection && *name == field)?;
    made(reference, id)
}

/// The collection of the objects with that name.
pub(crate) fn collection_of(object: &str) -> Option<&'static str> {
    let found = OBJECTS.iter().find(|(name, _)| *name == object);
    found.map(|(_, collection)| *collection)
}

/// Adds the requested references to the text of records and leaves everything else as it was.
pub(crate) fn render(
    references: &References,
    collection: &Collection,
    entity: &Entity,
    record: &Record,
    asked: &[Asked],
) -> Bytes {
    // §8.2: each matching nested object gets an `externalReferences` object beside `id`
    let mut text = String::from_utf8_lossy(&collection.text(record)).into_owned();
    for asked in asked {
        let added = |id: &str| {
            let value = references.value(&asked.collection, &asked.reference, id.trim_matches('"'));
            let value = value.map_or_else(
                || json!({}),
                |value| json!({asked.reference.as_str(): value}),
            );
            format!(r#","externalReferences":{value}"#)
        };
        for (object, of) in OBJECTS {
            if of == asked.collection {
                text = beside_ids(&text, object, added);
            }
        }
        if entity.name == asked.collection
            && let Some(end) = text.rfind('}')
        {
            text.insert_str(end, &added(&record.id));
        }
    }
    text.into()
}

fn beside_ids(text: &str, object: &str, added: impl Fn(&str) -> String) -> String {
    let start = format!(r#""{object}":{{"id":"#);
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&start) {
        let id = &after[..after.find(['}', ',']).unwrap_or(after.len())];
        result += &[before, &start, id, &added(id)].concat();
        rest = &after[id.len()..];
    }
    result + rest
}
