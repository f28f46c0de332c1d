//! Incoming connections: what an event means.

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
    // Whole seconds, UTC.
    let scheduled = read(&json!({"scheduled": "2026-11-23T03:00:00.5+01:00"})).unwrap();
    assert_eq!(scheduled.run, "absences@2026-11-23T02:00:00Z");
    assert!(scheduled.is_scheduled);
    let named = read(&json!({"run": "r", "scheduled": "2026-11-23T03:00:00Z"})).unwrap();
    assert_eq!(named.run, "r");
    // Local AWS fills nothing in.
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

/// Unfinished runs and live deltas of earlier releases have these fingerprints: another function would end them all.
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
    // When, how fast and by which right it is read changes nothing.
    let same = read(&json!({"scheduled": "2026-11-23T03:00:00Z", "fresh": "PT1H", "run": "r"}));
    assert_eq!(
        same.unwrap().fingerprint(),
        read(&json!({})).unwrap().fingerprint()
    );
}
