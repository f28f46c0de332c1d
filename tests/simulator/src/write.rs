//! Creating, updating and deleting, validated against the catalogue.

use protime::catalogue::{Entity, Method, Operation, OperationKind, Property};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::list;
use crate::route::{Call, body_json};
use crate::state::State;

pub(crate) fn write(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    let has_body = !operation.body.is_empty();
    let mut body = match body_json(call) {
        Ok(body) => body,
        Err(answer) if has_body => return answer,
        Err(_) => Value::Null,
    };
    if has_body {
        if let Err(reasons) = resolve(&mut body) {
            return Answer::refused(&reasons);
        }
        let errors = validate(&operation.body, &body);
        if !errors.is_empty() {
            return Answer::not_valid(&errors);
        }
        let reasons = business_rules(state, &body);
        if !reasons.is_empty() {
            return Answer::refused(&reasons);
        }
    }
    let success = operation.success.first().copied().unwrap_or(204);
    if entity.name.contains('/') {
        return write_document(state, entity, operation, call, body);
    }
    match operation.kind {
        OperationKind::Create => create(state, entity, body, call),
        OperationKind::Delete => delete(state, entity, call, success),
        _ => update(state, entity, operation, body, call),
    }
}

fn create(state: &mut State, entity: &'static Entity, mut body: Value, call: &Call) -> Answer {
    let version = state.next_version();
    let count = state.collection(entity).records.len();
    let is_guid = entity
        .properties
        .iter()
        .any(|property| property.name == "id" && property.kind.contains("GUID"));
    let number = 1_000_000_000 + count as u64;
    let id = if is_guid {
        format!("00000000-0000-4000-9000-{number:012x}")
    } else {
        number.to_string()
    };
    body["id"] = if is_guid {
        Value::from(id.clone())
    } else {
        Value::from(number)
    };
    body["changeVersion"] = version.into();
    let is_webhook = entity.name == "webhooks";
    for property in &entity.properties {
        if property.name == "status" {
            body["status"] = if is_webhook {
                "Enabled".into()
            } else {
                "Active".into()
            };
        }
    }
    if is_webhook {
        body["validUntil"] = "2099-01-01T00:00:00+01:00".into();
    }
    state.collection(entity).put(&body);
    let location = format!("{}/{id}", call.path);
    let answer = if is_webhook {
        // The key's JSON name is not documented.
        body["privateKey"] = "simulated-private-key".into();
        Answer::json(201, &body)
    } else {
        Answer::empty(201)
    };
    answer.with_header("location", location)
}

fn update(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    mut body: Value,
    call: &Call,
) -> Answer {
    let references = match list::references(call) {
        Ok(references) => references,
        Err(answer) => return answer,
    };
    let version = state.next_version();
    let collection = state.collection(entity);
    let found = match list::find(collection, entity, &references, call.last_parameter()) {
        Ok(found) => found.map(|record| collection.value(record)),
        Err(answer) => return answer,
    };
    let Some(old) = found else {
        if operation.kind == OperationKind::Upsert && !references.is_empty() {
            return create(state, entity, body, call);
        }
        return Answer::error(404, "NotFound", "The resource does not exist.");
    };
    // Read-only properties are ignored and stay; writable ones that are missing are erased.
    body["id"] = old["id"].clone();
    body["changeVersion"] = version.into();
    collection.put(&body);
    Answer::json(200, &body)
}

fn delete(state: &mut State, entity: &'static Entity, call: &Call, success: u16) -> Answer {
    let version = state.next_version();
    if state
        .collection(entity)
        .remove(call.last_parameter(), version)
    {
        return Answer::empty(success);
    }
    // Documented for assignments, which answer 400 to an unknown id.
    let status = if entity.name == "assignments" {
        400
    } else {
        404
    };
    Answer::error(status, "NotFound", "The resource does not exist.")
}

/// Usages and restrictions of an activity definition, which have no ids of their own.
pub(crate) fn document(state: &mut State, entity: &Entity, call: &Call) -> Answer {
    let items = state.documents.get(&call.path).cloned().unwrap_or_default();
    let kind = entity.name.rsplit('/').next().unwrap_or_default();
    Answer::json(
        200,
        &json!({"activityDefinitionId": {"id": call.last_parameter()}, kind: items}),
    )
}

fn write_document(
    state: &mut State,
    entity: &Entity,
    operation: &Operation,
    call: &Call,
    body: Value,
) -> Answer {
    let success = operation.success.first().copied().unwrap_or(200);
    let items = state.documents.entry(call.path.clone()).or_default();
    if entity.name.ends_with("/restrictions") {
        *items = body.as_array().cloned().unwrap_or_default();
        return Answer::empty(success);
    }
    let same = |item: &Value, from: &str| {
        item["activityUsageKind"] == body["activityUsageKind"]
            && item["usageReference"] == body["usageReference"]
            && item["from"] == body[from]
    };
    match operation.method {
        Method::Post => {
            if items.iter().any(|item| overlaps(item, &body)) {
                return Answer::refused(&["the period overlaps another usage".to_owned()]);
            }
            items.push(body);
        }
        Method::Put => match items.iter_mut().find(|item| same(item, "originalFrom")) {
            Some(item) => {
                item["from"] = body["updatedFrom"].clone();
                item["until"] = body["updatedUntil"].clone();
            }
            None => return Answer::error(404, "NotFound", "There is no such usage."),
        },
        _ => {
            let before = items.len();
            items.retain(|item| !same(item, "from"));
            if items.len() == before {
                return Answer::error(404, "NotFound", "There is no such usage.");
            }
        }
    }
    Answer::empty(success)
}

fn overlaps(one: &Value, other: &Value) -> bool {
    let until = |usage: &Value| {
        usage["until"]
            .as_str()
            .filter(|text| !text.is_empty())
            .unwrap_or("9999")
            .to_owned()
    };
    let from = |usage: &Value| usage["from"].as_str().unwrap_or_default().to_owned();
    one["activityUsageKind"] == other["activityUsageKind"]
        && one["usageReference"] == other["usageReference"]
        && from(one) <= until(other)
        && from(other) <= until(one)
}

/// Replaces `{"externalReferences": {...}}` by the id it stands for. People's references are those of
/// [`crate::data::external_reference`]; others end in their id.
fn resolve(value: &mut Value) -> Result<(), Vec<String>> {
    match value {
        Value::Object(members) => {
            if let Some(Value::Object(references)) = members.get("externalReferences") {
                let text = references
                    .values()
                    .next()
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
                let id = digits.parse::<u64>().ok().filter(|id| *id > 0);
                let Some(id) = id else {
                    return Err(vec!["an external reference is unknown".to_owned()]);
                };
                members.remove("externalReferences");
                members.insert("id".to_owned(), id.into());
            }
            members.values_mut().try_for_each(resolve)
        }
        Value::Array(items) => items.iter_mut().try_for_each(resolve),
        _ => Ok(()),
    }
}

/// Missing fields, wrong types and wrong values, by the catalogue's rows.
fn validate(properties: &[Property], body: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for property in properties {
        let mut found = Vec::new();
        collect(body, property.name, &mut found);
        if found.is_empty() && property.required {
            errors.push(format!("{} is required", property.name));
        }
        for value in found {
            let fits = match property.kind {
                "integer" => value.is_i64(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "object" => value.is_object(),
                _ => value.is_string() || value.is_number(),
            };
            let listed = property.values.is_empty()
                || value
                    .as_str()
                    .is_some_and(|text| property.values.contains(&text));
            if !(fits && listed) {
                errors.push(format!("{} is not valid", property.name));
            }
        }
    }
    let time = &body["timeOfDayInMinutes"];
    if time
        .as_i64()
        .is_some_and(|minutes| !(-1440..=2880).contains(&minutes))
    {
        errors.push("timeOfDayInMinutes must be between -1440 and 2880".to_owned());
    }
    errors
}

/// The values at `a.b`, `a[].b` or `[].b`; null counts as absent.
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

fn business_rules(state: &State, body: &Value) -> Vec<String> {
    let mut reasons = Vec::new();
    let people = i64::from(state.options.people);
    if body["person"]["id"]
        .as_i64()
        .is_some_and(|id| id < 1 || id > people)
    {
        reasons.push("person: there is no such person".to_owned());
    }
    if let Some(date) = body["date"].as_str().or_else(|| body["from"].as_str()) {
        match date.parse::<jiff::civil::Date>() {
            Err(_) => reasons.push("date: not a date".to_owned()),
            Ok(date) if date < jiff::civil::date(2020, 1, 1) => {
                reasons.push("date: the period is closed".to_owned());
            }
            Ok(_) => {}
        }
    }
    reasons
}
