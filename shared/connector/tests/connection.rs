//! Incoming connections: how an event is parsed.

use connector::contract::connection::IncomingConnection;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn read(fields: &Value) -> Result<IncomingConnection, String> {
    let mut event = json!({"incoming": "absences", "client": "protime/acme", "entity": "absences"});
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    let now: Timestamp = "2026-11-23T10:00:00.123Z".parse().unwrap();
    IncomingConnection::from_event(&event.to_string(), "request-1", now)
        .map_err(|error| error.to_string())
}

#[test]
fn a_run_is_named_by_its_schedule_else_by_the_request() {
    let by_hand = read(&json!({})).unwrap();
    assert_eq!(
        (by_hand.run.as_str(), by_hand.is_scheduled),
        ("request-1", false)
    );
    // Rounded to whole seconds, in UTC.
    let scheduled = read(&json!({"scheduled": "2026-11-23T03:00:00.5+01:00"})).unwrap();
    assert_eq!(scheduled.run, "absences@2026-11-23T02:00:00Z");
    assert!(scheduled.is_scheduled);
    let named = read(&json!({"run": "r", "scheduled": "2026-11-23T03:00:00Z"})).unwrap();
    assert_eq!(named.run, "r");
    // Local AWS stand-ins do not replace the placeholder.
    let unfilled = read(&json!({"scheduled": "<aws.scheduler.scheduled-time>"})).unwrap();
    assert_eq!(
        (unfilled.run.as_str(), unfilled.is_scheduled),
        ("request-1", false)
    );
}

#[test]
fn fresh_is_a_period() {
    let fresh = |text: &str| read(&json!({"fresh": text})).map(|connection| connection.fresh);
    let hours = |hours| Ok(Some(SignedDuration::from_hours(hours)));
    assert_eq!(fresh("PT26H"), hours(26));
    assert_eq!(fresh("P2D"), hours(48));
    assert_eq!(fresh("P1W"), hours(168));
    for wrong in ["26h", "PT0S", "-PT1H", "P1M", "tomorrow", ""] {
        let error = fresh(wrong).unwrap_err();
        assert!(
            error.contains("field `fresh`") && error.contains("such as \"PT26H\""),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn fields_are_a_list_of_paths() {
    let paths = |fields: Value| {
        read(&json!({"fields": fields}))
            .map(|connection| connection.fields.map(|fields| fields.paths().to_vec()))
    };
    assert_eq!(paths(Value::Null), Ok(None));
    let sorted = vec!["date".to_owned(), "person.id".to_owned()];
    assert_eq!(
        paths(json!(["person.id", "date", "date"])),
        Ok(Some(sorted))
    );
    // An empty list keeps only what is always kept.
    assert_eq!(paths(json!([])), Ok(Some(Vec::new())));
    for (wrong, said) in [
        (
            json!("date"),
            "field `fields`: needs an array; found a string",
        ),
        (
            json!([1]),
            "field `fields`: needs a list of paths such as [\"person.id\", \"date\"]",
        ),
        (json!(["a", ["b"]]), "field `fields`: needs a list of paths"),
        (
            json!(["person..id"]),
            "field `fields`: \"person..id\": needs the name of a property",
        ),
        (
            json!(["levels[0]"]),
            "field `fields`: \"levels[0]\": \"[]\" stands behind the name of a list",
        ),
    ] {
        let error = paths(wrong).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_fields_leave_open_is_warned_about() {
    let warnings = |event: Value| read(&event).unwrap().warnings();
    let [warning] = &warnings(json!({"entity": "clockings"}))[..] else {
        panic!("one warning")
    };
    for personal in ["geolocation.longitude", "geolocation.latitude", "reason.id"] {
        assert!(
            warning.starts_with("fields: ") && warning.contains(personal),
            "{warning}"
        );
    }
    let [warning] = &warnings(json!({"entity": "people"}))[..] else {
        panic!("one warning")
    };
    for personal in [
        "socialSecurityNumber",
        "passportNumber",
        "bankAccount",
        "pinCode",
    ] {
        assert!(warning.contains(personal), "{warning}");
    }
    let [warning] = &warnings(json!({"entity": "people", "fields": ["lastname"]}))[..] else {
        panic!("one warning")
    };
    assert!(warning.contains("did you mean `lastName`?"), "{warning}");
    let none: [Value; 4] = [
        json!({"entity": "people", "fields": ["lastName", "employeeNumber"]}),
        json!({"entity": "people", "fields": []}),
        json!({"entity": "departments"}),
        json!({"entity": "/of-later", "fields": ["anything"]}),
    ];
    for event in none {
        assert_eq!(warnings(event), [""; 0]);
    }
}

#[test]
fn other_fields_are_another_fingerprint_and_their_order_is_not() {
    let of = |fields: Value| read(&json!({"fields": fields})).unwrap().fingerprint();
    let without = read(&json!({})).unwrap().fingerprint();
    let all = [
        of(json!([])),
        of(json!(["date"])),
        of(json!(["date", "person.id"])),
        without,
    ];
    let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(of(json!(["person.id", "date", "date"])), all[2]);
}

/// Unfinished runs and live deltas of earlier releases have these fingerprints. Another hash function would end them
/// all.
#[test]
fn the_fingerprint_is_that_of_release_0_1_0() {
    let plain = read(&json!({})).unwrap();
    let full = read(&json!({
        "path": {"id": 7}, "query": {"filter": "date ge '2026-01-01'"}, "transform": ".", "pagination": false,
        "time_zone": "Europe/Amsterdam", "queue": "https://sqs/queue", "window": "P1M",
    }))
    .unwrap();
    let delta = read(&json!({"sync": "delta", "concurrency": 1, "takeover": true})).unwrap();
    assert_eq!(
        [plain, full, delta].map(|connection| connection.fingerprint()),
        ["ece97059acc5408d", "258a55bb9950e68d", "56766b2fb6bbfe0a"]
    );
    // Schedule, freshness and run id do not change the fingerprint.
    let same = read(&json!({"scheduled": "2026-11-23T03:00:00Z", "fresh": "PT1H", "run": "r"}));
    assert_eq!(
        same.unwrap().fingerprint(),
        read(&json!({})).unwrap().fingerprint()
    );
}
