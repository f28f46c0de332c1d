//! Webhooks (`how-to/set-up-webhooks`): they can be managed, but nothing is delivered.

use serde_json::{Map, Value};

use crate::answer::Answer;
use crate::documentation::{Kind, documentation};
use crate::references;
use crate::route::Call;
use crate::state::State;

/// Adds to a new webhook what only Protime knows. Returns an error for references that it does not support.
pub(crate) fn complete(
    state: &State,
    call: &Call,
    record: &mut Map<String, Value>,
) -> Result<(), Answer> {
    let life = jiff::SignedDuration::from_hours(24 * i64::from(state.settings.webhook_days));
    let valid_until = state.now().saturating_add(life);
    let valid_until = valid_until.unwrap_or(jiff::Timestamp::MAX);
    let zone = jiff::tz::Offset::constant(1);
    let valid_until = valid_until.display_with_offset(zone).to_string();
    record.insert("validUntil".to_owned(), valid_until.into());
    let status = state.settings.webhook_status.clone();
    record.insert("status".to_owned(), status.into());
    // §6.1: optional `?externalReferences=(people,@employee-number)`
    // An event is like an item of a delta. How the references are written in the webhook is not documented.
    let collection = record.get("collectionName").and_then(Value::as_str);
    let entity = collection.and_then(|name| documentation().entity(name));
    let events = entity.and_then(|entity| Some((entity, entity.operation(Kind::Delta)?)));
    if let Some((entity, delta)) = events {
        let asked = references::asked(call, entity, delta)?;
        let references: Map<String, Value> = asked
            .into_iter()
            .map(|asked| (asked.collection, asked.reference.into()))
            .collect();
        record.insert("externalReferences".to_owned(), references.into());
    }
    Ok(())
}

/// The private key of a webhook, which only the answer to its creation shows. Its JSON name is not documented.
pub(crate) fn show_key(webhook: &mut Value, id: &str, property: &str) {
    // §6.1: body contains a **private webhook key** (shown only once) and
    webhook[property] = format!("simulated-private-key-of-{id}").into();
}

/// Disables the webhook, which stays. Returns false if it was disabled already.
pub(crate) fn disable(webhook: &mut Value) -> bool {
    // §6.1: **soft delete**
    let is_enabled = webhook["status"] != "Disabled";
    webhook["status"] = "Disabled".into();
    is_enabled
}
