//! The JSON Schemas of `infra/schemas`, by which every event is checked that a test receives.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// By the type of event.
static SCHEMAS: LazyLock<HashMap<String, Validator>> = LazyLock::new(|| {
    let texts = [
        include_str!("../../../infra/schemas/page.schema.json"),
        include_str!("../../../infra/schemas/run-completed.schema.json"),
        include_str!("../../../infra/schemas/resync.schema.json"),
        include_str!("../../../infra/schemas/published.schema.json"),
        include_str!("../../../infra/schemas/rejected.schema.json"),
    ];
    let entries = texts.map(|text| {
        let mut schema: Value = serde_json::from_str(text).expect("JSON");
        let kind = schema["properties"]["type"]["const"].as_str();
        let kind = kind.expect("a type").to_owned();
        allow_nothing_else(&mut schema);
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        (kind, validator)
    });
    entries.into()
});

/// Consumers ignore what they do not know, but the functions send nothing that is not described.
fn allow_nothing_else(schema: &mut Value) {
    let properties = schema.get_mut("properties");
    let Some(properties) = properties.and_then(Value::as_object_mut) else {
        return;
    };
    properties.values_mut().for_each(allow_nothing_else);
    schema["additionalProperties"] = json!(false);
}

/// Fails where a message is one of our events and not as its schema says. Other messages are left alone.
pub fn check(body: &str) {
    let Ok(event) = serde_json::from_str::<Value>(body) else {
        return;
    };
    let Some(schema) = event["type"].as_str().and_then(|kind| SCHEMAS.get(kind)) else {
        return;
    };
    let errors: Vec<String> = schema
        .iter_errors(&event)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{event}");
}
