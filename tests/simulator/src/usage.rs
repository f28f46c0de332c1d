//! Usages and restrictions of an activity definition, which have no ids of their own.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::documentation::{Entity, Method, Operation, documentation};
use crate::list;
use crate::references::{self, Asked};
use crate::route::Call;
use crate::state::State;

/// The id of the activity definition in the path.
fn definition(state: &mut State, asked: &[Asked], call: &Call) -> Result<String, Answer> {
    let missing = || Answer::error(404, "NotFound", "There is no such activity definition.");
    let entity = documentation()
        .entity("activity-definitions")
        .ok_or_else(missing)?;
    state.make(entity);
    let found = list::find(state, entity, asked, call.last_parameter())?;
    found.map(|record| record.id.clone()).ok_or_else(missing)
}

/// The last part of the path: `usages` or `restrictions`.
fn part(entity: &Entity) -> &str {
    entity.name.rsplit('/').next().unwrap_or_default()
}

pub(crate) fn read(
    state: &mut State,
    entity: &Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    let asked = match references::asked(call, entity, operation) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let id = match definition(state, &asked, call) {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    let key = format!("{id}/{}", part(entity));
    let items = state.documents.get(&key).cloned().unwrap_or_default();
    Answer::json(
        200,
        &json!({"activityDefinitionId": {"id": id}, part(entity): items}),
    )
}

pub(crate) fn write(
    state: &mut State,
    entity: &Entity,
    operation: &Operation,
    call: &Call,
    asked: &[Asked],
    body: &Value,
    success: u16,
) -> Answer {
    let id = match definition(state, asked, call) {
        Ok(id) => id,
        Err(answer) => return answer,
    };
    let items = state
        .documents
        .entry(format!("{id}/{}", part(entity)))
        .or_default();
    if part(entity) == "restrictions" {
        *items = body.as_array().cloned().unwrap_or_default();
        return Answer::empty(success);
    }
    match operation.method {
        Method::Post => {
            if items.iter().any(|item| overlaps(item, body)) {
                return overlap();
            }
            items.push(body.clone());
        }
        Method::Put => {
            let current = items
                .iter()
                .position(|item| is_same(item, body, "originalFrom", "originalUntil"));
            let Some(current) = current else {
                let reason =
                    "originalFrom and originalUntil must match the current values".to_owned();
                return Answer::refused(&[reason]);
            };
            let mut updated = items[current].clone();
            updated["from"] = body["updatedFrom"].clone();
            updated["until"] = body["updatedUntil"].clone();
            let others = items
                .iter()
                .enumerate()
                .filter(|(number, _)| *number != current);
            if others
                .map(|(_, item)| item)
                .any(|item| overlaps(item, &updated))
            {
                return overlap();
            }
            items[current] = updated;
        }
        _ => {
            let before = items.len();
            items.retain(|item| !is_same(item, body, "from", "until"));
            if items.len() == before {
                return Answer::error(404, "NotFound", "There is no such usage.");
            }
        }
    }
    Answer::empty(success)
}

fn overlap() -> Answer {
    Answer::refused(&["the period overlaps another usage".to_owned()])
}

/// An end that is absent, null or empty means that there is none.
fn end(value: &Value) -> Option<&str> {
    // §1.2: On activity-definition usages: omit it or send `""`
    value.as_str().filter(|text| !text.is_empty())
}

fn is_same(item: &Value, body: &Value, from: &str, until: &str) -> bool {
    // §13.1: `originalFrom` "must match the current value in the system"
    item["activityUsageKind"] == body["activityUsageKind"]
        && item["usageReference"] == body["usageReference"]
        && item["from"] == body[from]
        && end(&item["until"]) == end(&body[until])
}

fn overlaps(one: &Value, other: &Value) -> bool {
    // §9: usages may not overlap in period for the same definition, kind and reference
    let until = |usage: &Value| end(&usage["until"]).unwrap_or("9999").to_owned();
    let from = |usage: &Value| usage["from"].as_str().unwrap_or_default().to_owned();
    one["activityUsageKind"] == other["activityUsageKind"]
        && one["usageReference"] == other["usageReference"]
        && from(one) <= until(other)
        && from(other) <= until(one)
}
