//! Checks bodies against their model and the business rules.

use jiff::civil::Date;
use serde_json::Value;

use crate::documentation::{Entity, Property};
use crate::state::State;

/// Minutes of the day. The day before and the day after are allowed too (`concepts/clocking-model`).
const EXTENDED_MINUTES: std::ops::RangeInclusive<i64> = -1440..=2880;

/// The properties of a clocking that only one kind has.
const ONLY_WITH: [(&str, &str); 3] = [
    ("reason", "Reason"),
    ("isOpen", "Reason"),
    ("activityLevels", "Activity"),
];

/// Reports missing fields, wrong types and wrong values.
pub(crate) fn validate(entity: &Entity, properties: &[Property], body: &Value) -> Vec<String> {
    // §7.2: Model validation
    // §1.2: clockings and assignments accept −1440…2880
    let mut errors = Vec::new();
    for property in properties {
        let name = &property.name;
        let mut found = Vec::new();
        collect(body, name, &mut found);
        if found.is_empty() && property.required == Some(true) {
            errors.push(format!("{name} is required"));
        }
        let fits = |value: &Value| match property.kind.as_str() {
            // An id, or a custom external reference (section 13).
            "integer" if name == "usageReference.id" => value.is_i64() || value.is_string(),
            "integer" if name.ends_with("TimeInMinutes") || name == "timeOfDayInMinutes" => value
                .as_i64()
                .is_some_and(|minutes| EXTENDED_MINUTES.contains(&minutes)),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            _ => value.is_string(),
        };
        let values = property.values();
        let is_listed = |value: &Value| {
            let text = value.as_str();
            values.is_empty() || text.is_some_and(|text| values.iter().any(|known| known == text))
        };
        if !found.iter().all(|value| fits(value) && is_listed(value)) {
            errors.push(format!("{name} is not valid"));
        }
    }
    if entity.name == "clockings" {
        for (property, kind) in ONLY_WITH {
            if !body[property].is_null() && body["kind"] != kind {
                errors.push(format!("{property} comes with the kind {kind} only"));
            }
        }
    }
    errors
}

/// Finds the values at `a.b`, `a[].b` or `[].b`. A null counts as absent.
fn collect<'a>(value: &'a Value, path: &str, found: &mut Vec<&'a Value>) {
    let (name, rest) = path
        .split_once('.')
        .map_or((path, None), |(name, rest)| (name, Some(rest)));
    let member = match name.strip_suffix("[]") {
        Some("") => value,
        Some(name) => &value[name],
        None => &value[name],
    };
    match (member, rest) {
        (Value::Null, _) => {}
        (member, None) => found.push(member),
        (Value::Array(items), Some(rest)) => {
            for item in items {
                collect(item, rest, found);
            }
        }
        (member, Some(rest)) => collect(member, rest, found),
    }
}

/// The business rules that a valid body breaks. `id` is the id of the written record.
pub(crate) fn rules(
    state: &mut State,
    entity: &'static Entity,
    body: &Value,
    id: &str,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let person = body["person"]["id"].as_i64();
    if person.is_some_and(|id| !state.has_person(id)) {
        reasons.push("person: there is no such person".to_owned());
    }
    if let Some(date) = body["date"].as_str().or_else(|| body["from"].as_str()) {
        match date.parse::<Date>() {
            Err(_) => reasons.push("date: not a date".to_owned()),
            // Every calendar is closed until 2020.
            Ok(date) if date < jiff::civil::date(2020, 1, 1) => {
                reasons.push("date: the period is closed".to_owned());
            }
            Ok(_) => {}
        }
    }
    match entity.name.as_str() {
        "webhooks" => {
            reasons.extend(webhook(body));
            reasons.extend(second_webhook(state, entity, body));
        }
        "activity-definitions" => reasons.extend(activity_definition(state, entity, body, id)),
        _ => {}
    }
    reasons
}

/// Whether there is one for the collection, and a second one is refused.
fn second_webhook(state: &mut State, entity: &'static Entity, body: &Value) -> Option<String> {
    if !state.settings.one_webhook_per_collection {
        return None;
    }
    let webhooks = state.collection(entity);
    let is_first = webhooks.records.iter().all(|record| {
        let known = webhooks.value(record);
        known["collectionName"] != body["collectionName"] || known["status"] == "Disabled"
    });
    (!is_first).then(|| "collectionName: it has a webhook already".to_owned())
}

fn webhook(body: &Value) -> Option<String> {
    // §6.2: HTTPS required
    let url = body["destinationUrl"].as_str().unwrap_or_default();
    (!url.starts_with("https://")).then(|| "destinationUrl: HTTPS is required".to_owned())
}

fn activity_definition(
    state: &mut State,
    entity: &'static Entity,
    body: &Value,
    id: &str,
) -> Vec<String> {
    // §9: `dataEntryCode` and `externalReference` of an activity definition: 16 characters
    let mut reasons = Vec::new();
    for field in ["dataEntryCode", "externalReference"] {
        let Some(value) = body[field].as_str() else {
            continue;
        };
        if value.chars().count() > 16 {
            reasons.push(format!("{field}: more than 16 characters"));
        }
        let collection = state.collection(entity);
        let is_taken = collection.records.iter().any(|record| {
            let known = collection.value(record);
            let is_own = record.id == id || known["externalReference"] == id;
            known[field] == value && !is_own
        });
        if is_taken {
            reasons.push(format!("{field}: another definition has it"));
        }
    }
    let dates = (body["activeFrom"].as_str(), body["activeUntil"].as_str());
    if let (Some(from), Some(until)) = dates
        && until <= from
    {
        reasons.push("activeUntil: not after activeFrom".to_owned());
    }
    reasons
}
