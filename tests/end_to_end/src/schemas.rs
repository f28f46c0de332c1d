//! Checks every event that a test receives against the JSON Schemas in `infra/schemas`.

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// The validators by event type.
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

/// The schemas let consumers ignore unknown fields. The functions themselves must send only what is described.
fn allow_nothing_else(schema: &mut Value) {
    let properties = schema.get_mut("properties");
    let Some(properties) = properties.and_then(Value::as_object_mut) else {
        return;
    };
    properties.values_mut().for_each(allow_nothing_else);
    schema["additionalProperties"] = json!(false);
}

/// Panics if a message is one of our events but does not match its schema. Other messages pass.
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
