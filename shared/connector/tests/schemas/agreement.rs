//! Schema and parser agree, on chosen boundary values and on generated documents.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{base, parse, schema, validator, with};

/// Properties that change what other properties may contain.
const OTHERS: [(&str, &str); 3] = [("sync", "delta"), ("transform", "."), ("method", "POST")];

/// Values on both sides of what each property accepts.
fn telling() -> Map<String, Value> {
    serde_json::from_str(include_str!("values.json")).unwrap()
}

fn all_values() -> Vec<Value> {
    let lists = telling().into_iter();
    lists
        .flat_map(|(_, list)| list.as_array().unwrap().clone())
        .collect()
}

/// The schema's properties, and one that it does not have.
fn properties(name: &str) -> Vec<String> {
    let properties = schema(name)["properties"].clone();
    let known = properties.as_object().unwrap().keys().cloned();
    known.chain(["x".to_owned()]).collect()
}

/// Replaces values that the schema does not decide about. Examples: which time zones exist, what compiles, whether a
/// message may choose its client, and accepted but undocumented spellings.
fn decided(name: &str, property: String, value: Value) -> (String, Value) {
    let value = match property.as_str() {
        "time_zone" if value.is_string() => json!("Europe/Amsterdam"),
        "transform" if value.is_string() => json!("."),
        "scheduled" if value.is_string() => json!("2026-11-23T10:00:00Z"),
        "client" if value.is_string() && name == "publish-request" => json!("protime/acme"),
        _ => value,
    };
    (property, value)
}

#[test]
fn schema_and_parser_agree_on_every_value_of_every_property() {
    for name in [
        "incoming-connection",
        "outgoing-connection",
        "publish-request",
    ] {
        let properties = properties(name);
        let others = OTHERS
            .iter()
            .map(|(other, value)| ((*other).to_owned(), json!(value)));
        let others = others.filter(|(other, _)| properties.contains(other));
        for other in [None].into_iter().chain(others.map(Some)) {
            for property in &properties {
                for value in all_values() {
                    let member = decided(name, property.clone(), value);
                    let members = other.clone().into_iter().chain([member]);
                    agree(name, &with(name, members)).unwrap();
                }
            }
        }
        let whole = base(name);
        for property in whole.as_object().unwrap().keys() {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(property);
            assert!(parse(name, &without).is_err());
            agree(name, &without).unwrap();
        }
    }
}

/// A document with several properties, mostly with boundary values.
fn document(name: &'static str) -> impl Strategy<Value = Value> {
    let telling = telling();
    let member = select(properties(name)).prop_flat_map(move |property| {
        let own = telling.get(&property).and_then(Value::as_array).cloned();
        let values = prop_oneof![
            4 => select(own.unwrap_or_else(all_values)),
            1 => select(all_values()),
        ];
        (Just(property), values)
    });
    let member = member.prop_map(move |(property, value)| decided(name, property, value));
    proptest::collection::vec(member, 0..5).prop_map(move |members| with(name, members))
}

/// Periods in the documented spelling: designators in order, and no zeros.
fn period() -> impl Strategy<Value = String> {
    "P([1-9][0-9]{0,3}Y)?([1-9][0-9]{0,3}M)?([1-9][0-9]{0,3}W)?([1-9][0-9]{0,3}D)?(T([1-9][0-9]{0,3}H)?([1-9][0-9]{0,3}M)?([1-9][0-9]{0,3}S)?)?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn schema_and_parser_agree_on_incoming_connections(event in document("incoming-connection")) {
        agree("incoming-connection", &event)?;
    }

    #[test]
    fn schema_and_parser_agree_on_outgoing_connections(connection in document("outgoing-connection")) {
        agree("outgoing-connection", &connection)?;
    }

    #[test]
    fn schema_and_parser_agree_on_publish_requests(request in document("publish-request")) {
        agree("publish-request", &request)?;
    }

    #[test]
    fn schema_and_parser_agree_on_periods(period in period(), property in select(vec!["window", "fresh"])) {
        let event = with("incoming-connection", [(property.to_owned(), json!(period))]);
        agree("incoming-connection", &event)?;
    }
}

fn agree(name: &str, value: &Value) -> Result<(), TestCaseError> {
    let parsed = parse(name, value);
    // The catalogue decides which methods an entity has, not the schema.
    if matches!(&parsed, Err(error) if error.contains("is not documented for")) {
        return Ok(());
    }
    prop_assert_eq!(
        validator(name).is_valid(value),
        parsed.is_ok(),
        "{}: {:?}",
        value,
        parsed
    );
    Ok(())
}
