//! The JSON Schemas in `infra/schemas` accept the same connections and publish requests as the parsers.

mod agreement;

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use connector::contract::connection::IncomingConnection;
use connector::contract::outgoing::OutgoingConnection;
use connector::contract::page_message::RunHeader;
use connector::contract::publish_request::PublishRequest;
use connector::store::Counts;
use connector::store::LoadKind;
use jiff::Timestamp;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const NAMES: [&str; 8] = [
    "incoming-connection",
    "outgoing-connection",
    "publish-request",
    "page",
    "run-completed",
    "resync",
    "published",
    "rejected",
];
/// The defaults of a publish request.
const OUTGOING: &str = r#"{"client": "protime/acme", "method": "DELETE", "entity": "assignments"}"#;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&read(format!("infra/schemas/{name}.schema.json"))).unwrap()
}

fn validator(name: &str) -> &'static Validator {
    static VALIDATORS: LazyLock<HashMap<&str, Validator>> = LazyLock::new(|| {
        NAMES
            .iter()
            .map(|name| (*name, jsonschema::validator_for(&schema(name)).unwrap()))
            .collect()
    });
    &VALIDATORS[name]
}

fn assert_valid(name: &str, value: &Value) {
    let validator = validator(name);
    let errors: Vec<_> = validator.iter_errors(value).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{value}");
}

fn time() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().unwrap()
}

/// The production parser's verdict on a value.
fn parse(name: &str, value: &Value) -> Result<(), String> {
    let text = value.to_string();
    match name {
        "incoming-connection" => {
            let connection = IncomingConnection::from_event(&text, "request", time());
            let connection = connection.map_err(|error| error.to_string())?;
            // With a transformer, the written parameters need not be valid by themselves.
            if !connection.has_transformer() {
                let parameters = connection.written_parameters();
                parameters.map_err(|error| error.to_string())?;
            }
            Ok(())
        }
        "outgoing-connection" => OutgoingConnection::from_json(&text)
            .map(|_| ())
            .map_err(|error| error.to_string()),
        _ => {
            let outgoing = OutgoingConnection::from_json(OUTGOING).unwrap();
            PublishRequest::from_body(&text, &outgoing)
                .map(|_| ())
                .map_err(|error| error.to_string())
        }
    }
}

/// The smallest valid document.
fn base(name: &str) -> Value {
    match name {
        "incoming-connection" => {
            json!({"incoming": "a", "client": "protime/acme", "entity": "absences"})
        }
        _ => json!({}),
    }
}

fn with(name: &str, members: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut value = base(name);
    for (member, given) in members {
        value[member] = given;
    }
    value
}

/// Collects every object that the schema describes by its members.
fn described<'a>(schema: &'a Value, found: &mut Vec<&'a Map<String, Value>>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.push(properties);
        for property in properties.values() {
            described(property, found);
        }
    }
}

#[test]
fn every_schema_explains_itself_and_its_examples_are_valid() {
    let folder = std::fs::read_dir(format!("{ROOT}/infra/schemas")).unwrap();
    assert_eq!(folder.count(), NAMES.len());
    for name in NAMES {
        let schema = schema(name);
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        let dialect = "https://json-schema.org/draft/2020-12/schema";
        assert_eq!(schema["$schema"], dialect, "{name}");
        assert_eq!(schema["$id"], format!("urn:protime-connector:{name}"));
        for text in ["title", "description"] {
            assert!(schema[text].is_string(), "{name}: no {text}");
        }
        let mut objects = Vec::new();
        described(&schema, &mut objects);
        for (property, says) in objects.into_iter().flatten() {
            assert!(says["description"].is_string(), "{name}: {property}");
        }
        let examples = schema["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}: no example");
        for example in examples {
            assert_valid(name, example);
        }
    }
}

#[test]
fn the_fields_are_those_of_the_parsers() {
    for name in [
        "incoming-connection",
        "outgoing-connection",
        "publish-request",
    ] {
        let schema = schema(name);
        let validator = validator(name);
        let unknown = with(name, [("zzzzzzzzzzzz".to_owned(), json!(1))]);
        assert!(!validator.is_valid(&unknown), "{name}");
        let error = parse(name, &unknown).unwrap_err();
        let allowed = error.split("unknown; allowed: ").nth(1).unwrap();
        let mut allowed: Vec<&str> = allowed.split(", ").collect();
        allowed.sort_unstable();
        let properties = schema["properties"].as_object().unwrap();
        let mut described: Vec<&str> = properties.keys().map(String::as_str).collect();
        described.sort_unstable();
        assert_eq!(described, allowed, "{name}");
        for example in schema["examples"].as_array().unwrap() {
            assert_eq!(parse(name, example), Ok(()), "{example}");
        }
        for (property, says) in properties {
            let examples = says["examples"].as_array().into_iter().flatten();
            for example in examples.chain(says.get("default")) {
                let value = with(name, [(property.clone(), example.clone())]);
                assert_valid(name, &value);
                assert_eq!(parse(name, &value), Ok(()), "{value}");
            }
        }
    }
}

#[test]
fn the_entities_are_those_of_the_catalogue() {
    let entities = protime::catalogue::catalogue().entities();
    let names: Vec<Value> = entities.iter().map(|entity| entity.name.into()).collect();
    let of = |name: &str, list: &str| schema(name)["properties"]["entity"][list].clone();
    for name in ["incoming-connection", "publish-request"] {
        assert_eq!(of(name, "examples"), json!(names));
    }
    let or_none = names.iter().chain([&Value::Null]).collect::<Vec<_>>();
    assert_eq!(of("outgoing-connection", "enum"), json!(or_none));
}

#[test]
fn what_is_written_in_this_repository_is_valid() {
    for event in ["clockings", "clocking-by-id"] {
        let event = read(format!("infra/events/{event}.json"));
        assert_valid(
            "incoming-connection",
            &serde_json::from_str(&event).unwrap(),
        );
    }
    let publish: Value = serde_json::from_str(&read("infra/events/publish-clocking.json")).unwrap();
    let body = publish["Records"][0]["body"].as_str().unwrap();
    assert_valid("publish-request", &serde_json::from_str(body).unwrap());
    let mut found = 0;
    let documents = ["README.md", "functions/subscriber/README.md"].map(read);
    let blocks = documents
        .iter()
        .flat_map(|text| text.split("```json\n").skip(1));
    for block in blocks {
        let block: Value = serde_json::from_str(block.split("```").next().unwrap()).unwrap();
        let name = match &block {
            block if block["type"] == "protime.page.v1" => "page",
            block if block["incoming"].is_string() => "incoming-connection",
            _ => continue,
        };
        assert_valid(name, &block);
        found += 1;
    }
    assert!(found >= 4, "the documents have {found} examples");
}

#[test]
fn no_mistake_is_only_one_by_the_schema() {
    let validator = validator("incoming-connection");
    let mistakes = read("tests/end_to_end/tests/it/inputs/connections.txt");
    let mut found = 0;
    for mistake in mistakes.lines().filter(|line| line.starts_with('{')) {
        let mistake: Map<String, Value> = serde_json::from_str(mistake).unwrap();
        let event = with("incoming-connection", mistake);
        if !validator.is_valid(&event) {
            assert!(parse("incoming-connection", &event).is_err(), "{event}");
            found += 1;
        }
    }
    assert!(found >= 20, "the schema finds {found}");
}

#[test]
fn webhooks_cannot_be_created() {
    for (method, is_valid) in [("POST", false), ("PUT", true), ("DELETE", true)] {
        let request = json!({"method": method, "entity": "webhooks", "payload": {}});
        let name = "publish-request";
        assert_eq!(validator(name).is_valid(&request), is_valid, "{method}");
        assert_eq!(parse(name, &request).is_ok(), is_valid, "{method}");
    }
}

#[test]
fn the_events_that_frame_a_run_are_valid() {
    let header = |load| RunHeader {
        incoming: "absences".to_owned(),
        entity: "absences".to_owned(),
        source: "https://acme.myprotime.eu/connector/protimeapi/api/v1/absences".to_owned(),
        run: "run \"1\"\n".to_owned(),
        load,
        fields: None,
        largest_message: 1 << 20,
    };
    let valid = |name: &str, body: String| {
        assert_valid(name, &serde_json::from_str(&body).unwrap());
    };
    let request = r#"{"path": {}, "query": {"filter": "date ge '2026-01-01'"}, "window": "P1M"}"#;
    for load in [LoadKind::Full, LoadKind::Initial, LoadKind::Delta] {
        for request in [None, Some(request)] {
            let completed = header(load).completed_message(Counts::default(), request, time());
            valid("run-completed", completed.body.to_string());
        }
    }
    let resync = header(LoadKind::Initial).resync_message(time());
    valid("resync", resync.body.to_string());
}
