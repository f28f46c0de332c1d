//! Creating, updating and deleting (`how-to/create-update-delete`).

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::documentation::{Entity, Kind, Operation, documentation};
use crate::references::{self, Asked};
use crate::route::{Call, body_json};
use crate::state::State;
use crate::validation::{rules, validate};
use crate::{list, usage, webhook};

pub(crate) fn write(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    if entity.name == "assignments" && state.settings.planning_flex {
        let message = "Assignments are not offered to this tenant.";
        return Answer::error(403, "Forbidden", message);
    }
    // The references in a webhook's query are for its events, not for the webhook.
    let asked = match entity.name.as_str() {
        "webhooks" => Ok(Vec::new()),
        _ => references::asked(call, entity, operation),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let mut body = Value::Null;
    if let Some(properties) = operation.body.as_deref().filter(|body| !body.is_empty()) {
        body = match body_json(call) {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        if let Err(reason) = resolve(state, &mut body) {
            return Answer::refused(&[reason]);
        }
        let errors = validate(entity, properties, &body);
        if !errors.is_empty() {
            return Answer::not_valid(&errors);
        }
        let reasons = rules(state, entity, &body, call.last_parameter());
        if !reasons.is_empty() {
            return Answer::refused(&reasons);
        }
    }
    // The success status of deleting a webhook could not be read.
    let success = operation.success.iter().flatten().next().copied();
    let success = success.unwrap_or(204);
    if entity.name.contains('/') {
        return usage::write(state, entity, operation, call, &asked, &body, success);
    }
    match operation.kind {
        Kind::Create => create(state, entity, &body, call),
        Kind::Delete => delete(state, entity, call, success),
        _ => update(state, entity, operation, &body, call, &asked),
    }
}

/// The members of a body that a caller may set. Others are ignored.
fn writable(entity: &Entity, body: &Value) -> Map<String, Value> {
    // §9: must contain **every non-read-only field**; read-only ones are ignored; **no partial update**
    let members = body.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| is_writable(entity, name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_writable(entity: &Entity, member: &str) -> bool {
    entity.properties.iter().any(|property| {
        let top = property.name.split(['.', '[']).next();
        property.writable && top == Some(member)
    })
}

fn create(state: &mut State, entity: &'static Entity, body: &Value, call: &Call) -> Answer {
    // §9: `201` + `Location`; id = last segment
    let mut record = writable(entity, body);
    let number = 1_000_000_000 + state.collection(entity).records.len() as u64;
    let id = if entity.has_guids() {
        format!("00000000-0000-4000-9000-{number:012x}")
    } else {
        number.to_string()
    };
    let id_value = if entity.has_guids() {
        json!(id)
    } else {
        json!(number)
    };
    record.insert("id".to_owned(), id_value);
    if entity.property("changeVersion").is_some() {
        record.insert("changeVersion".to_owned(), state.next_version().into());
    }
    if entity.name == "webhooks"
        && let Err(answer) = webhook::complete(state, call, &mut record)
    {
        return answer;
    }
    complete(state, entity, &mut record);
    let mut record = Value::Object(record);
    state.references.follow(&entity.name, &id, &record);
    state.collection(entity).put(&record);
    let base = call.path.strip_suffix(call.last_parameter());
    let base = base.filter(|_| call.is_upsert).unwrap_or(&call.path);
    let location = format!("{}/{id}", base.trim_end_matches('/'));
    let answer = if entity.name == "webhooks" {
        webhook::show_key(&mut record, &id, &state.settings.webhook_key);
        Answer::json(201, &record)
    } else {
        Answer::empty(201)
    };
    answer.with_header("location", location)
}

/// Adds to a new record what only Protime knows.
fn complete(state: &State, entity: &Entity, record: &mut Map<String, Value>) {
    let mut set = |name: &str, value: Value| {
        record.entry(name).or_insert(value);
    };
    if entity.name == "clockings" {
        set("status", "Active".into());
        if state.settings.schedule_moves_overnight {
            move_to_the_next_day(record);
        }
    }
    if state.settings.fills_in {
        fill_in(entity, record);
    }
}

/// The schedule decides on the day of a clocking (section 13). Here, a clocking in the last two hours of a day belongs
/// to the next.
fn move_to_the_next_day(clocking: &mut Map<String, Value>) {
    // §13.1: **Overnight, standard approach: the schedule changes the day.**
    let minutes = clocking.get("timeOfDayInMinutes").and_then(Value::as_i64);
    let date = clocking.get("date").and_then(Value::as_str);
    let date = date.and_then(|date| date.parse::<jiff::civil::Date>().ok());
    if let (Some(minutes @ 1320..1440), Some(date)) = (minutes, date)
        && let Ok(next) = date.tomorrow()
    {
        clocking.insert("date".to_owned(), next.to_string().into());
        clocking.insert("timeOfDayInMinutes".to_owned(), (minutes - 1440).into());
    }
}

/// Fills in optional fields and writes some values differently, as Protime may do.
fn fill_in(entity: &Entity, record: &mut Map<String, Value>) {
    let minutes = record.get("timeOfDayInMinutes").cloned();
    let mut set = |name: &str, value: Value| {
        record.entry(name).or_insert(value);
    };
    match entity.name.as_str() {
        "clockings" => {
            set("isGenerated", false.into());
            set(
                "calculatedTimeOfDayInMinutes",
                minutes.unwrap_or(Value::Null),
            );
        }
        "assignments" => {
            set("breakDurationInMinutes", 0.into());
            set("until", Value::Null);
            set("isRejected", false.into());
        }
        _ => {}
    }
    for (name, value) in record.iter_mut() {
        match value {
            Value::String(text) if name == "comments" => *text = text.trim().to_owned(),
            Value::Object(place) if name == "geolocation" => {
                for degrees in place.values_mut() {
                    let rounded = degrees
                        .as_f64()
                        .map(|degrees| (degrees * 1e5).round() / 1e5);
                    *degrees = rounded.map_or(Value::Null, Value::from);
                }
            }
            _ => {}
        }
    }
}

fn update(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    body: &Value,
    call: &Call,
    asked: &[Asked],
) -> Answer {
    // §9: Some PUTs create when the reference is unknown: `200` updated, `201` created
    // §9: activity definition `parent` counts at creation only
    state.make(entity);
    let found = match list::find(state, entity, asked, call.last_parameter()) {
        Ok(found) => found.map(|record| state.made(entity).value(record)),
        Err(answer) => return answer,
    };
    let by_reference = asked.iter().find(|asked| asked.collection == entity.name);
    let Some(Value::Object(old)) = found else {
        return match by_reference {
            Some(asked) if operation.kind == Kind::Upsert => {
                let answer = create(state, entity, body, call);
                let id = state
                    .collection(entity)
                    .records
                    .last()
                    .map(|record| record.id.clone());
                state
                    .references
                    .set(asked, &id.unwrap_or_default(), call.last_parameter());
                answer
            }
            _ => Answer::error(404, "NotFound", "The resource does not exist."),
        };
    };
    // Read-only members are ignored and kept. Missing writable members are erased.
    let mut record = writable(entity, body);
    for (name, value) in old {
        // The parent has an effect at creation only.
        if name == "parent" || !is_writable(entity, &name) {
            record.insert(name, value);
        }
    }
    record.insert("changeVersion".to_owned(), state.next_version().into());
    if state.settings.fills_in {
        fill_in(entity, &mut record);
    }
    let record = Value::Object(record);
    let id = match &record["id"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    state.references.follow(&entity.name, &id, &record);
    if let Some(asked) = by_reference {
        state.references.set(asked, &id, call.last_parameter());
    }
    state.collection(entity).put(&record);
    Answer::json(200, &record)
}

fn delete(state: &mut State, entity: &'static Entity, call: &Call, success: u16) -> Answer {
    // §7.1: `DELETE /assignments/{id}` answers **400** for an invalid id, `PUT` on the same path **404**
    let version = state.next_version();
    let id = call.last_parameter();
    let collection = state.collection(entity);
    if entity.name == "webhooks" {
        let found = collection.find(id).map(|record| collection.value(record));
        if let Some(mut webhook) = found
            && webhook::disable(&mut webhook)
        {
            collection.put(&webhook);
            return Answer::empty(success);
        }
    } else if collection.remove(id, version) {
        return Answer::empty(success);
    }
    // The documentation says so for assignments, which answer 400 to an unknown id.
    let status = if entity.name == "assignments" {
        400
    } else {
        404
    };
    Answer::error(status, "NotFound", "The resource does not exist.")
}

/// Replaces `{"externalReferences": {...}}` by the id that the references stand for.
fn resolve(state: &mut State, value: &mut Value) -> Result<(), String> {
    // §8.4: Replace the id by references
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(given) = member.get("externalReferences").cloned() {
                    let id = referenced(state, name, member, &given)?;
                    *member = json!({"id": id});
                } else {
                    resolve(state, member)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve(state, item)),
        _ => Ok(()),
    }
}

fn referenced(
    state: &mut State,
    object: &str,
    member: &Value,
    given: &Value,
) -> Result<Value, String> {
    let unknown = || format!("{object}: an external reference is unknown");
    if member.get("id").is_some() {
        return Err(format!("{object}: either id or externalReferences"));
    }
    let collection = references::collection_of(object).ok_or_else(unknown)?;
    let reference = given.as_object().and_then(|given| given.iter().next());
    let Some((reference, Value::String(value))) = reference else {
        return Err(unknown());
    };
    let Some(entity) = documentation().entity(collection) else {
        // Terminals have no endpoint, so their references end in their ids.
        let digits = value.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        return digits
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| unknown());
    };
    let asked = Asked {
        collection: collection.to_owned(),
        reference: reference.clone(),
    };
    state.make(entity);
    let record = state.references.find(state.made(entity), &asked, value);
    let record = record.ok_or_else(unknown)?;
    Ok(state.made(entity).value(record)["id"].clone())
}
