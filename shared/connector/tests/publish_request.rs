//! Publish requests: warnings do not stop a write.

use connector::contract::outgoing::OutgoingConnection;
use connector::contract::publish_request::PublishRequest;

#[test]
fn a_field_that_protime_does_not_know_is_warned_about() {
    let warnings = |payload: &str| {
        let body = format!(
            r#"{{"client": "protime/acme", "method": "POST", "entity": "clockings", "payload": {payload}}}"#
        );
        let request = PublishRequest::from_body(&body, &OutgoingConnection::default());
        let scopes = ["connector-protimeapi-clockings.write".to_owned()];
        let resolved = request.unwrap().unwrap().resolve(&scopes).unwrap();
        resolved.warnings
    };
    let right = r#"{"person": {"id": 1}, "date": "2026-01-15", "timeOfDayInMinutes": 510, "kind": "InOut"}"#;
    assert_eq!(warnings(right), [""; 0]);
    assert_eq!(
        warnings(r#"{"persn": {"id": 1}, "shoeSize": 43, "Kind": "InOut"}"#),
        [
            "payload, `Kind`: did you mean `kind`? It is sent as it is",
            "payload, `persn`: did you mean `person`? It is sent as it is",
            "payload, `shoeSize`: not documented; it is sent all the same",
        ]
    );
}
