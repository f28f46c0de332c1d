//! A write happens once, or is parked with the reason: kinds of faults, each through a queue whose clock the test moves.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use connector::contract::outgoing::OutgoingConnection;
use end_to_end::fake_queue::{FakeQueue, QueueFault};
use end_to_end::variable;
use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{Action, Fault};

use crate::once::{clocking, die_at, queue, today};

const GUID: &str = "abcdef00-0000-4000-8000-000000000001";

fn assignment() -> Value {
    json!({"person": {"id": 1}, "from": today(),
        "activityLevels": [{"level": 1, "activityDefinition": {"id": GUID}}]})
}

fn update(id: u32) -> Value {
    json!({"method": "PUT", "entity": "assignments", "path": {"id": id}, "payload": assignment()})
}

fn answer(status: u16, kind: &str, body: &str) -> Action {
    let content_type = ("content-type".to_owned(), kind.to_owned());
    Action::Answer {
        status,
        headers: vec![content_type],
        body: body.to_owned(),
    }
}

fn status(status: u16) -> Action {
    answer(status, "application/json", "{}")
}

fn fault(queue: &FakeQueue, method: &str, times: u32, action: Action) {
    queue.tenant.protime.add_fault(Fault {
        method: Some(method.to_owned()),
        ..Fault::new("/api/v1/", times, action)
    });
}

fn throttled(seconds: u32) -> Action {
    Action::Answer {
        status: 429,
        headers: vec![("retry-after".to_owned(), seconds.to_string())],
        body: String::new(),
    }
}

fn written(queue: &FakeQueue) -> usize {
    let posts = queue.statuses("POST");
    posts.iter().filter(|status| **status == 201).count()
}

#[tokio::test]
async fn a_group_that_takes_longer_than_an_invocation_is_written_once() {
    let mut queue = queue().await;
    queue.timeout = Duration::from_secs(28);
    queue
        .tenant
        .protime
        .configure(|settings| settings.latency_ms = 1_500);
    for minutes in 600..608 {
        queue.send_to_group(&clocking(minutes), Some("one"));
    }
    let mut turns = 0;
    while !queue.is_empty() {
        turns += 1;
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    assert!(turns > 1, "more than one invocation");
    assert_eq!(queue.statuses("POST"), [201; 8]);
    assert!(queue.statuses("GET").is_empty(), "nothing is uncertain");
    assert!(queue.parked().is_empty());
}

#[tokio::test]
async fn an_outage_of_two_weeks_parks_with_reason_and_key_and_sqs_parks_nothing() {
    let mut queue = queue().await;
    fault(&queue, "POST", u32::MAX, status(503));
    let mut keyed = clocking(600);
    keyed["idempotencyKey"] = "the key".into();
    queue.send(&keyed);
    let mut turns = 0;
    while !queue.is_empty() {
        turns += 1;
        assert!(turns < 1_100, "{} wait", queue.len());
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    assert!(queue.lost().is_empty(), "SQS parked or deleted it");
    assert_eq!(queue.parked(), ["expired"]);
    assert_eq!(queue.parked_attributes("idempotencyKey"), ["the key"]);
    let message = queue.parked_attributes("message");
    assert!(message[0].contains("503"), "{message:?}");
    // Sent back, it is written.
    queue.tenant.protime.clear_faults();
    queue.redrive();
    queue.drain().await;
    assert_eq!(written(&queue), 1);
    println!("{turns} receives in 13 days");
}

#[tokio::test]
async fn a_wrong_outgoing_connection_expires_with_the_messages_id_as_key() {
    let mut queue = queue().await;
    queue.publisher.outgoing = OutgoingConnection::from_json("{").map(Into::into);
    queue.publisher.rules.most_receives = 100;
    let id = queue.send_text("{}", None, json!({}));
    queue.deliver().await;
    assert!(queue.parked().is_empty());
    queue.advance(SignedDuration::from_hours(13 * 24 + 1));
    queue.deliver().await;
    assert_eq!(queue.parked(), ["expired"]);
    assert_eq!(queue.parked_attributes("idempotencyKey"), [id]);
    let message = queue.parked_attributes("message");
    assert!(message[0].contains("OUTGOING"), "{message:?}");
}

#[tokio::test]
async fn a_message_is_parked_before_its_receives_run_out() {
    let mut queue = queue().await;
    queue.publisher.rules.most_receives = 12;
    fault(&queue, "POST", u32::MAX, status(503));
    queue.send(&clocking(600));
    for _ in 0..11 {
        queue.advance(SignedDuration::from_hours(12));
        queue.deliver().await;
    }
    assert_eq!(queue.parked(), ["expired"]);
}

#[tokio::test]
async fn after_the_verdict_only_the_result_is_left() {
    let mut queue = queue().await;
    queue.set_fault("results", Some(QueueFault::Gone));
    let mut refused = clocking(600);
    refused["payload"]["person"] = json!({"id": 999});
    queue.send(&refused);
    queue.send_text("not JSON", None, json!({}));
    queue.send(&clocking(601));
    for _ in 0..20 {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    assert_eq!(queue.len(), 3, "the results are owed");
    let mut posts = queue.statuses("POST");
    posts.sort_unstable();
    assert_eq!(posts, [201, 400], "each was sent once");
    let mut parked = queue.parked();
    parked.sort();
    assert_eq!(parked, ["invalid", "refused"], "each was parked once");
    // A redriven copy is a new write all the same.
    queue.redrive();
    queue.set_fault("results", None);
    queue.drain().await;
    assert_eq!(queue.statuses("POST").len(), 3);
    let results = queue.results();
    // The copies have the keys of the messages, but were parked anew.
    let ids: HashSet<&str> = results
        .iter()
        .filter_map(|result| result["id"].as_str())
        .collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    let types: Vec<&Value> = results.iter().map(|result| &result["type"]).collect();
    let rejected = types.iter().filter(|kind| **kind == "protime.rejected.v1");
    assert_eq!((types.len(), rejected.count()), (5, 4), "{types:?}");
}

#[tokio::test]
async fn what_is_parked_is_not_written_by_what_was_in_the_queue_with_it() {
    let mut queue = queue().await;
    // Delivered twice at once, and refused.
    let mut refused = clocking(600);
    refused["payload"]["person"] = json!({"id": 999});
    queue.send(&refused);
    let event = queue.receive();
    let (one, other) = (queue.publish(&event).await, queue.publish(&event).await);
    assert!(one.is_empty() && !other.is_empty());
    queue.end_delivery(&event, &other);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [400], "sent once");
    assert_eq!(queue.parked(), ["refused"]);
    // Two messages under one key, and an answer that is lost: there is no look-up.
    let mut twin = json!({"method": "POST", "entity": "activity-definitions", "idempotencyKey": "one",
        "path": {"structureVersionId": "v", "level": 1}, "payload": {"name": {"default": "a"}}});
    fault(&queue, "POST", 1, Action::DropAfter);
    queue.send(&twin);
    queue.send(&twin);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [400, 0]);
    assert_eq!(queue.parked()[1..], ["unknown-outcome"; 2]);
    // Sent by somebody who has looked, it is a new write.
    twin["payload"]["name"]["default"] = "b".into();
    queue.advance(SignedDuration::from_secs(1));
    queue.send(&twin);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [400, 0, 201]);
}

#[tokio::test]
async fn a_throttled_client_is_left_alone_though_others_of_its_calls_succeed() {
    let mut queue = queue().await;
    queue.tenant.protime.add_fault(Fault {
        method: Some("POST".to_owned()),
        body: "\"timeOfDayInMinutes\":600".to_owned(),
        ..Fault::new("/clockings", 1, throttled(60))
    });
    fault(&queue, "POST", 9, Action::Delay { ms: 300 });
    for minutes in 600..620 {
        queue.send(&clocking(minutes));
    }
    queue.deliver().await;
    queue.deliver().await;
    assert_eq!(queue.statuses("POST").len(), 10, "the second batch waits");
    queue.drain().await;
    assert_eq!(written(&queue), 20);
}

#[tokio::test]
async fn a_record_that_does_not_say_whose_it_is_could_be_it() {
    let mut queue = queue().await;
    fault(&queue, "POST", 1, Action::DropBefore);
    queue.send(&clocking(600));
    queue.deliver().await;
    let nameless = json!([{"id": 7, "person": {}, "date": today(), "timeOfDayInMinutes": 600, "kind": "InOut"}]);
    fault(
        &queue,
        "GET",
        1,
        answer(
            200,
            "application/json",
            &json!({"value": nameless}).to_string(),
        ),
    );
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0]);
    assert_eq!(queue.parked(), ["unknown-outcome"]);
}

#[tokio::test]
async fn a_written_message_that_owes_its_result_never_expires_as_unwritten() {
    let mut queue = queue().await;
    queue.set_fault("results", Some(QueueFault::Gone));
    queue.send(&clocking(600));
    queue.deliver().await;
    queue.publisher.outgoing = OutgoingConnection::from_json("{").map(Into::into);
    queue.advance(SignedDuration::from_hours(13 * 24 + 1));
    queue.set_fault("results", None);
    queue.deliver().await;
    assert!(queue.is_empty() && queue.parked().is_empty());
    assert_eq!(queue.results().len(), 1);
    assert_eq!(queue.results()[0]["type"], "protime.published.v1");
}

#[tokio::test]
async fn what_the_operator_has_to_mend_waits() {
    let mut queue = queue().await;
    let scopes = ["connector-protimeapi-clockings.read"];
    let base_uri = queue.tenant.base_uri.clone();
    let secret = json!({"base_uri": base_uri, "scopes": scopes,
        "access_token_url": format!("{base_uri}/tenants/acme/connect/token")});
    queue.tenant.store_secret_with(&secret).await;
    let outgoing = OutgoingConnection::from_json(r#"{"entity": "clockings", "method": "POST"}"#);
    queue.publisher.outgoing = outgoing.map(Into::into);
    queue.send(&clocking(600));
    for _ in 0..3 {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    assert_eq!((queue.len(), queue.parked().len()), (1, 0));
}

#[tokio::test]
async fn defaults_of_the_outgoing_connection_that_fit_no_request_are_the_operators_to_correct() {
    let reference = json!({"externalreferences": "(people,@badge-number)"});
    for wrong in [
        json!({"entity": "assignments", "method": "PUT", "path": {"ids": 7}}),
        json!({"entity": "assignments", "method": "PUT", "path": {"id": 7}, "query": reference}),
        json!({"entity": "webhooks", "method": "POST"}),
    ] {
        let mut queue = queue().await;
        let parse = |outgoing: &Value| OutgoingConnection::from_json(&outgoing.to_string());
        queue.publisher.outgoing = parse(&wrong).map(Into::into);
        queue.send(&json!({"payload": assignment()}));
        for _ in 0..3 {
            queue.skip_to_next_delivery();
            queue.deliver().await;
        }
        assert_eq!((queue.len(), queue.parked().len()), (1, 0), "{wrong}");
        assert!(
            queue.metrics.text().contains("\"deferredInvalidOutgoing\""),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_message_with_a_wrong_path_of_its_own_is_parked() {
    let mut queue = queue().await;
    let outgoing = json!({"entity": "assignments", "method": "PUT", "path": {"id": 7}});
    let outgoing = OutgoingConnection::from_json(&outgoing.to_string());
    queue.publisher.outgoing = outgoing.map(Into::into);
    queue.send(&json!({"payload": assignment(), "path": {"ids": 7}}));
    queue.deliver().await;
    assert_eq!(queue.parked(), ["invalid"]);
}

#[tokio::test]
async fn a_scope_that_is_missing_makes_no_other_401_final() {
    let mut queue = queue().await;
    queue.tenant.protime.configure(|settings| {
        settings.withheld_scopes = vec!["connector-protimeapi-assignments.write".to_owned()];
        settings.missing_scope_status = 401;
    });
    queue.send(&update(7));
    queue.deliver().await;
    assert_eq!(
        (queue.statuses("PUT"), queue.parked()),
        (vec![401, 401], vec!["refused".to_owned()])
    );
    queue.tenant.protime.revoke_tokens();
    queue.send(&clocking(600));
    queue.drain().await;
    assert_eq!(
        queue.statuses("POST"),
        [401, 201],
        "this write has its scope"
    );
    let tokens = queue.tenant.protime.token_requests();
    queue.send(&update(8));
    queue.deliver().await;
    assert_eq!(
        queue.tenant.protime.token_requests(),
        tokens,
        "the same operation asks for no other token"
    );
}

#[tokio::test]
async fn the_result_of_an_invalid_message_names_what_the_message_names() {
    let transform = r#"{"transform": ".colour = 1"}"#;
    for (outgoing, wrong) in [
        ("{}", json!({"colour": "red"})),
        ("{}", json!({"payload": 7})),
        (transform, json!({})),
    ] {
        let mut queue = queue().await;
        queue.publisher.outgoing = OutgoingConnection::from_json(outgoing).map(Into::into);
        let mut request = clocking(600);
        request["idempotencyKey"] = "order-7".into();
        request["correlation"] = json!({"ticket": 42});
        request
            .as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        queue.send(&request);
        queue.deliver().await;
        assert_eq!(queue.parked(), ["invalid"], "{wrong}");
        assert_eq!(queue.parked_attributes("idempotencyKey"), ["order-7"]);
        let data = &queue.results()[0]["data"];
        assert_eq!(
            (
                &data["method"],
                &data["entity"],
                &data["idempotencyKey"],
                &data["correlation"]
            ),
            (
                &json!("POST"),
                &json!("clockings"),
                &json!("order-7"),
                &json!({"ticket": 42})
            ),
        );
    }
}

#[tokio::test]
async fn a_dead_letter_queue_that_is_out_costs_protime_nothing() {
    let mut queue = queue().await;
    queue.set_fault("parked", Some(QueueFault::Gone));
    let mut refused = clocking(600);
    refused["payload"]["person"] = json!({"id": 999});
    queue.send(&refused);
    for _ in 0..10 {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    assert_eq!(queue.statuses("POST"), [400]);
    queue.set_fault("parked", None);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [400]);
    assert_eq!(queue.parked(), ["refused"]);
    assert_eq!(queue.parked_attributes("status"), ["400"]);
}

#[tokio::test]
async fn a_result_that_sqs_fails_for_a_reason_of_its_own_is_owed() {
    let mut queue = queue().await;
    queue.timeout = Duration::from_secs(26);
    queue.set_fault("results", Some(QueueFault::FailsEntries));
    queue.send(&clocking(600));
    queue.deliver().await;
    assert_eq!(queue.len(), 1, "the result is owed");
    queue.set_fault("results", None);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [201]);
    assert_eq!(queue.results().len(), 1);
}

#[tokio::test]
async fn results_that_are_owed_too_long_are_dropped() {
    let mut queue = queue().await;
    queue.set_fault("results", Some(QueueFault::Gone));
    queue.send(&clocking(600));
    queue.deliver().await;
    queue.advance(SignedDuration::from_hours(13 * 24 + 1));
    queue.deliver().await;
    assert!(queue.is_empty());
    assert_eq!(queue.statuses("POST"), [201]);
    assert!(queue.parked().is_empty());
}

#[tokio::test]
async fn a_record_that_protime_wrote_its_own_way_is_found() {
    let mut queue = queue().await;
    // The answer is lost; what Protime made of it comes from the list.
    let mut posted = assignment();
    posted["activityLevels"][0]["activityDefinition"]["id"] = GUID.to_uppercase().into();
    posted["startTimeInMinutes"] = json!(600.0);
    let mut there = assignment();
    there["id"] = json!(77);
    there["startTimeInMinutes"] = json!(600);
    there["breakDurationInMinutes"] = json!(0);
    there["comments"] = json!("");
    fault(&queue, "POST", 1, Action::DropBefore);
    queue.send(&json!({"method": "POST", "entity": "assignments", "payload": posted}));
    queue.deliver().await;
    let records = json!([there]).to_string();
    queue
        .tenant
        .protime
        .set_records("assignments", &records)
        .unwrap();
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0], "no second write");
    assert!(queue.parked().is_empty());
    assert_eq!(queue.results()[0]["data"]["id"], "77");
}

#[tokio::test]
async fn what_is_similar_is_not_written_again() {
    let day = "2026-11-20";
    let night = |minutes: Value| {
        json!({"method": "POST", "entity": "clockings", "payload":
            {"person": {"id": 1}, "date": day, "timeOfDayInMinutes": minutes, "kind": "InOut", "terminal": {"id": 3}}})
    };
    let record = |date: &str, minutes: i32, terminal: u32| {
        json!([{"id": 7, "person": {"id": 1}, "date": date, "timeOfDayInMinutes": minutes, "originalTimeOfDayInMinutes": minutes,
            "kind": "InOut", "status": "Active", "terminal": {"id": terminal}}])
    };
    for (there, parked) in [
        // The schedule has changed the day, with and without the minutes.
        (record("2026-11-21", -120, 3), &[][..]),
        (record("2026-11-21", 1320, 3), &["unknown-outcome"]),
        // Somebody else's terminal.
        (record(day, 1320, 4), &["unknown-outcome"]),
    ] {
        let mut queue = queue().await;
        fault(&queue, "POST", 1, Action::DropBefore);
        queue.send(&night(json!(1320.0)));
        queue.deliver().await;
        let protime = &queue.tenant.protime;
        protime
            .set_records("clockings", &there.to_string())
            .unwrap();
        queue.drain().await;
        assert_eq!(queue.statuses("POST"), [0], "{there}");
        assert_eq!(queue.parked(), parked, "{there}");
    }
}

#[tokio::test]
async fn a_look_up_without_a_page_has_not_looked() {
    let mut queue = queue().await;
    fault(&queue, "POST", 1, Action::DropAfter);
    fault(&queue, "GET", 5, answer(200, "application/json", ""));
    queue.send(&clocking(600));
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0]);
    assert!(queue.parked().is_empty());
}

#[tokio::test]
async fn a_look_up_that_is_refused_parks() {
    let mut queue = queue().await;
    fault(&queue, "POST", 1, Action::DropAfter);
    fault(&queue, "GET", u32::MAX, status(403));
    queue.send(&clocking(600));
    queue.drain().await;
    assert_eq!(queue.statuses("GET").len(), 1);
    assert_eq!(queue.parked(), ["unknown-outcome"]);
    let message = queue.parked_attributes("message");
    assert!(message[0].contains("cannot be looked up"), "{message:?}");
}

#[tokio::test]
async fn a_look_up_of_many_pages_goes_on_where_it_was() {
    let mut queue = queue().await;
    queue.timeout = Duration::from_secs(26);
    // Nobody may read people, so that all clockings of three days are read.
    let scopes = ["read", "write"].map(|right| format!("connector-protimeapi-clockings.{right}"));
    queue
        .tenant
        .store_secret_with(&json!({"base_uri": queue.tenant.base_uri, "scopes": scopes,
            "access_token_url": format!("{}/tenants/acme/connect/token", queue.tenant.base_uri)}))
        .await;
    queue
        .tenant
        .protime
        .configure(|settings| settings.page_size = 5);
    fault(&queue, "POST", 1, Action::DropAfter);
    let mut request = clocking(602);
    request["payload"]["person"] = json!({"externalReferences": {"@badge-number": "0000001"}});
    queue.send(&request);
    queue.deliver().await;
    queue
        .tenant
        .protime
        .configure(|settings| settings.latency_ms = 1_500);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0], "it was found");
    assert!(queue.parked().is_empty());
    let requests = queue.tenant.protime.requests();
    let mut targets: Vec<&str> = requests
        .iter()
        .filter(|request| request.method == "GET" && request.status == 200)
        .map(|request| request.target.as_str())
        .collect();
    let all = targets.len();
    targets.sort_unstable();
    targets.dedup();
    assert!(targets.len() > 10, "{all} pages");
    assert!(
        all <= targets.len() + 2,
        "{all} pages, {} of them distinct",
        targets.len()
    );
}

#[tokio::test]
async fn a_refusal_of_a_repetition_is_no_refusal_of_the_write() {
    let mut queue = queue().await;
    let usage = json!({"method": "PUT", "entity": "activity-definitions/usages",
        "path": {"structureVersionId": "v", "level": 1, "id": "a"},
        "payload": {"activityUsageKind": "Person", "usageReference": {"id": 1}, "originalFrom": "2026-01-01", "updatedFrom": "2026-02-01"}});
    fault(&queue, "PUT", 1, status(500));
    queue.send(&usage);
    queue.drain().await;
    assert_eq!(queue.statuses("PUT"), [500], "it cannot be repeated");
    fault(&queue, "PUT", 1, Action::DropAfter);
    fault(
        &queue,
        "PUT",
        1,
        answer(404, "text/plain", "no such assignment"),
    );
    queue.send(&update(7));
    let started = queue.now;
    queue.drain().await;
    assert!(
        queue.now.duration_since(started) >= SignedDuration::from_secs(30),
        "the first is waited out"
    );
    assert_eq!(queue.statuses("PUT"), [500, 0, 404]);
    assert_eq!(queue.parked(), ["unknown-outcome"; 2]);
    let message = queue.parked_attributes("message");
    assert!(message[1].contains("no such assignment"), "{message:?}");
}

#[tokio::test]
async fn conflicts_are_counted_and_deliveries_are_not() {
    let mut queue = queue().await;
    fault(&queue, "PUT", 10, status(503));
    queue.send(&update(7));
    for _ in 0..200 {
        if queue.statuses("PUT").len() >= 10 {
            break;
        }
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    // §7.1: PUT | 409
    // §9: Concurrency | `409` on PUT
    fault(&queue, "PUT", 3, status(409));
    queue.drain().await;
    assert_eq!(queue.statuses("PUT").last(), Some(&200));
    assert!(queue.parked().is_empty());
    fault(&queue, "PUT", 9, status(409));
    queue.send(&update(7));
    queue.drain().await;
    let conflicts = queue
        .statuses("PUT")
        .iter()
        .filter(|status| **status == 409)
        .count();
    assert_eq!(
        (conflicts, queue.parked()),
        (3 + 6, vec!["refused".to_owned()])
    );
}

/// An answer that asks to wait ten minutes.
fn asks_to_wait(status: u16) -> Action {
    Action::Answer {
        status,
        headers: vec![("retry-after".to_owned(), "600".to_owned())],
        body: String::new(),
    }
}

/// Delivers until the fault has been met, and then once more. Asserts that this took ten minutes.
async fn assert_waited(queue: &mut FakeQueue, status: u16) {
    let is_met = |queue: &FakeQueue| {
        let requests = queue.tenant.protime.requests();
        requests.iter().any(|request| request.status == status)
    };
    while !is_met(queue) {
        assert!(!queue.is_empty(), "{:?}", queue.parked());
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    let met = queue.now;
    queue.skip_to_next_delivery();
    let waited = queue.now.duration_since(met);
    assert!(waited >= SignedDuration::from_mins(10), "{waited:#}");
    queue.drain().await;
    assert!(queue.parked().is_empty(), "{:?}", queue.parked());
}

#[tokio::test]
async fn the_wait_that_a_conflict_asks_for_is_kept() {
    let mut queue = queue().await;
    fault(&queue, "PUT", 1, asks_to_wait(409));
    queue.send(&update(7));
    assert_waited(&mut queue, 409).await;
}

#[tokio::test]
async fn the_wait_that_a_later_page_of_a_look_up_asks_for_is_kept() {
    let mut queue = queue().await;
    queue
        .tenant
        .protime
        .configure(|settings| settings.page_size = 1);
    fault(&queue, "POST", 1, Action::DropAfter);
    let mut second_page = Fault::new("/api/v1/clockings", 1, asks_to_wait(503));
    second_page.method = Some("GET".to_owned());
    second_page.skip = 1;
    queue.tenant.protime.add_fault(second_page);
    queue.send(&clocking(600));
    assert_waited(&mut queue, 503).await;
    assert_eq!(queue.statuses("POST"), [0], "it was found");
}

#[tokio::test]
async fn the_wait_of_the_question_whether_a_record_is_gone_is_kept() {
    let mut queue = queue().await;
    fault(&queue, "DELETE", 1, Action::DropAfter);
    fault(&queue, "DELETE", 1, answer(400, "text/plain", "no"));
    fault(&queue, "GET", 1, asks_to_wait(429));
    queue.send(&json!({"method": "DELETE", "entity": "assignments", "path": {"id": 7}}));
    assert_waited(&mut queue, 429).await;
}

#[tokio::test]
async fn what_was_never_written_blocks_nothing() {
    let mut queue = queue().await;
    let outgoing = |minutes: u32| {
        let transform = format!(".payload.timeOfDayInMinutes = {minutes}");
        OutgoingConnection::from_json(&json!({"transform": transform}).to_string()).map(Into::into)
    };
    queue.publisher.outgoing = outgoing(600);
    fault(&queue, "POST", 2, status(503));
    queue.send(&clocking(1));
    queue.deliver().await;
    queue.publisher.outgoing = outgoing(601);
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [503, 503, 201]);
    assert!(queue.parked().is_empty());
    // What may have been written does.
    fault(&queue, "POST", 1, Action::DropAfter);
    queue.send(&clocking(1));
    queue.deliver().await;
    queue.publisher.outgoing = outgoing(602);
    queue.drain().await;
    assert_eq!(queue.parked(), ["unknown-outcome"]);
    // Sent back, it is a new write.
    queue.redrive();
    queue.drain().await;
    assert_eq!(queue.statuses("POST").last(), Some(&201));
}

#[tokio::test]
async fn mistakes_of_a_producer_are_parked_at_once() {
    let mut queue = queue().await;
    let with = |field: &str, value: &str| {
        let mut request = clocking(600);
        request[field] = value.into();
        request
    };
    let long = "k".repeat(500_000);
    for (request, words) in [
        (with("idempotencyKey", &"k".repeat(3_000)), "idempotencyKey"),
        (with("entity", &long), "kkk"),
        (with("method", &long), "unknown method"),
        (with("client", &long), "begin with `protime/`"),
        (with("client", "protime/nobody"), "does not exist"),
        (with("client", "elsewhere/acme"), "protime/"),
        (with("client", "protime/a b"), "name"),
    ] {
        let before = queue.parked().len();
        queue.send_to_group(&request, Some("one"));
        queue.deliver().await;
        assert_eq!(queue.parked().len(), before + 1, "{words}");
        let message = queue.parked_attributes("message").pop().unwrap();
        assert!(message.contains(words), "{message}");
    }
    let key = json!({"idempotencyKey": {"dataType": "String", "stringValue": long}});
    queue.send_text("not JSON", Some("one"), key);
    queue.deliver().await;
    assert!(queue.parked().iter().all(|reason| reason == "invalid"));
    assert_eq!(queue.parked().len(), 8);
    queue.send_to_group(&clocking(601), Some("one"));
    queue.deliver().await;
    assert_eq!(queue.statuses("POST"), [201], "the group goes on");
}

#[tokio::test]
async fn attempts_that_die_before_anything_is_written_are_counted() {
    let mut queue = queue().await;
    queue.send(&clocking(600));
    for delivery in 0..5 {
        queue.publisher.clients.forget(&queue.tenant.client);
        // The pause, what is known of the message, the secret, from the third on its count, the record.
        die_at(&mut queue, [3, 4, 5, 5, 5][delivery]).await;
    }
    // What it died of is over; it is parked all the same.
    queue.deliver().await;
    assert_eq!(queue.parked(), ["crashed"]);
    assert!(queue.statuses("POST").is_empty());
}

#[tokio::test]
async fn a_message_is_not_parked_for_what_its_neighbours_die_of() {
    for outgoing in ["{}", r#"{"transform": "."}"#] {
        let mut queue = queue().await;
        queue.publisher.outgoing = Ok(OutgoingConnection::from_json(outgoing).unwrap().into());
        is_not_parked_for_its_neighbours(queue).await;
    }
}

async fn is_not_parked_for_its_neighbours(mut queue: FakeQueue) {
    queue.send(&clocking(600));
    for _ in 0..8 {
        // It is done each time, and its neighbours end the invocation before Lambda hears of it.
        let event = queue.receive();
        assert!(queue.publish(&event).await.is_empty());
        queue.advance(SignedDuration::from_mins(7));
    }
    // The same where they end it as soon as the result is sent.
    for _ in 0..8 {
        let event = queue.receive();
        let told = queue.results().len();
        tokio::select! {
            biased;
            () = async {
                while queue.results().len() == told {
                    tokio::task::yield_now().await;
                }
            } => {}
            _ = queue.publish(&event) => {}
        }
        queue.advance(SignedDuration::from_mins(7));
    }
    queue.deliver().await;
    assert!(queue.parked().is_empty(), "{:?}", queue.parked());
    assert_eq!(queue.statuses("POST"), [201]);
    let results = queue.results();
    assert!(
        results
            .iter()
            .all(|result| result["type"] == "protime.published.v1")
    );
}

#[tokio::test]
async fn what_comes_under_the_key_of_a_crashed_message_is_a_new_write() {
    let mut queue = queue().await;
    let under_the_key = |minutes| {
        let mut request = clocking(minutes);
        request["idempotencyKey"] = "order-7".into();
        request
    };
    queue.send(&under_the_key(600));
    for delivery in 0..5 {
        queue.publisher.clients.forget(&queue.tenant.client);
        // The first attempt dies when it may have written, behind the pause, the secret, its record; those after it before
        // their record, from the third delivery on behind what is counted.
        die_at(&mut queue, [4, 4, 5, 5, 5][delivery]).await;
    }
    queue.deliver().await;
    assert_eq!(queue.parked(), ["crashed"]);

    queue.advance(SignedDuration::from_mins(7));
    queue.send(&under_the_key(601));
    queue.drain().await;
    assert_eq!(queue.parked(), ["crashed"]);
    assert_eq!(queue.statuses("POST"), [201]);
}

#[tokio::test]
async fn only_a_documented_success_is_one() {
    let page = "<html><title>We are back soon</title></html>";
    for action in [
        answer(200, "text/html", page),
        answer(200, "application/json", "{\"id\":"),
        status(500),
        status(524),
    ] {
        let mut queue = queue().await;
        fault(&queue, "POST", 1, action.clone());
        queue.send(&clocking(600));
        queue.deliver().await;
        assert!(queue.results().is_empty(), "{action:?}");
        queue.drain().await;
        assert_eq!(queue.statuses("GET").len(), 2, "looked up: {action:?}");
        assert_eq!(written(&queue), 1, "{action:?}");
    }
    for action in [
        answer(200, "application/json", "{\"id\": 7}"),
        // §7.1: handle it gracefully, do not depend on it
        answer(202, "text/plain", ""),
        answer(204, "text/html", " "),
    ] {
        let mut queue = queue().await;
        fault(&queue, "POST", 1, action.clone());
        queue.send(&clocking(600));
        queue.deliver().await;
        assert_eq!(queue.results().len(), 1, "{action:?}");
        assert_eq!(queue.results()[0]["type"], "protime.published.v1");
    }
}

#[tokio::test]
async fn ten_minutes_of_throttling_take_less_than_a_hundred_calls() {
    let mut queue = queue().await;
    for minutes in 0..200 {
        queue.send(&clocking(600 + minutes));
    }
    fault(&queue, "POST", u32::MAX, throttled(30));
    let ends = queue.now + SignedDuration::from_mins(10);
    while queue.now < ends {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    let calls = queue.statuses("POST").len();
    assert!(calls < 100, "{calls}");
    queue.tenant.protime.clear_faults();
    queue.drain().await;
    assert_eq!((written(&queue), queue.parked().len()), (200, 0));
    println!("{calls} calls in ten minutes of 429");
}

#[tokio::test]
async fn a_rejected_client_asks_for_few_tokens() {
    let mut queue = queue().await;
    for minutes in 0..30 {
        queue.send(&clocking(600 + minutes));
    }
    queue.tenant.protime.rotate_client_secret("another");
    let ends = queue.now + SignedDuration::from_mins(10);
    while queue.now < ends {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    let tokens = queue.tenant.protime.token_requests();
    assert!(tokens < 40, "{tokens} requests for tokens");
    println!("{tokens} requests for tokens in ten minutes");
}

#[tokio::test]
async fn the_same_json_is_the_same_payload_and_protimes_words_arrive() {
    // §7.2: Filter/business-rule rejection
    let mut queue = queue().await;
    for payload in [
        r#"{"person":{"id":1},"date":"2026-11-20","timeOfDayInMinutes":600,"kind":"InOut"}"#,
        r#"{ "kind": "InOut", "timeOfDayInMinutes": 600, "date": "2026-11-20", "person": { "id": 1 } }"#,
    ] {
        let client = &queue.tenant.client;
        let body = format!(
            r#"{{"client":"{client}","method":"POST","entity":"clockings","idempotencyKey":"one","payload":{payload}}}"#
        );
        queue.send_text(&body, None, json!({}));
        queue.deliver().await;
    }
    assert_eq!(queue.statuses("POST"), [201]);
    assert!(queue.parked().is_empty());
    for (kind, body, words) in [
        (
            "application/problem+json",
            r#"{"title": "Closed", "detail": "The period is closed."}"#,
            "The period is closed.",
        ),
        (
            "text/plain",
            "The period is closed.",
            "The period is closed.",
        ),
        (
            "application/json",
            r#"{"code": 17, "message": "The period is closed."}"#,
            "The period is closed.",
        ),
        (
            "application/json",
            r#"{"errors": {"date": ["too old"]}}"#,
            "",
        ),
    ] {
        fault(&queue, "POST", 1, answer(422, kind, body));
        queue.send(&clocking(700));
        queue.deliver().await;
        let message = queue.parked_attributes("message").pop().unwrap();
        let details = queue.parked_attributes("details").pop().unwrap();
        assert!(message.contains(words), "{message}");
        assert!(
            !words.is_empty() || details.contains("date: too old"),
            "{details}"
        );
    }
    assert_eq!(queue.parked_attributes("code")[2], "17");
}

#[tokio::test]
async fn a_parked_message_keeps_the_producers_attributes() {
    let mut queue = queue().await;
    let mut attributes = json!({
        "traceparent": {"dataType": "String", "stringValue": "00-1-2-01"},
        "status": {"dataType": "String", "stringValue": "mine"},
        "weight": {"dataType": "Number.float", "stringValue": "1.50"},
        "raw": {"dataType": "Binary", "binaryValue": "AP8="},
    });
    for number in 0..6 {
        let value = json!({"dataType": "String", "stringValue": "x"});
        attributes[format!("x{number}")] = value;
    }
    queue.send_text("not JSON", None, attributes);
    queue.deliver().await;
    let [parked] = queue.sent_to("parked").try_into().unwrap();
    let kept = &parked["MessageAttributes"];
    assert_eq!(kept.as_object().unwrap().len(), 10);
    assert_eq!(kept["reason"]["StringValue"], "invalid");
    assert_eq!(kept["traceparent"]["StringValue"], "00-1-2-01");
    assert_eq!(
        kept["weight"],
        json!({"DataType": "Number.float", "StringValue": "1.50"})
    );
    assert_eq!(
        kept["raw"],
        json!({"DataType": "Binary", "BinaryValue": "AP8="})
    );
}

#[tokio::test]
async fn each_function_has_its_own_user_agent() {
    let mut queue = queue().await;
    queue.send(&clocking(600));
    queue.drain().await;
    let requests = queue.tenant.protime.requests();
    // §1.1: One distinct value per consuming service
    assert!(requests.iter().all(|request| {
        request.user_agent.starts_with("ProtimeConnector/")
            && request.user_agent.ends_with("; publisher)")
    }));
}

#[tokio::test]
async fn a_write_costs_two_updates_and_one_more_where_there_is_a_look_up() {
    let mut queue = queue().await;
    for (request, expected) in [(update(7), 2), (clocking(600), 3)] {
        let (before, _) = queue.crash_proxy.updates();
        queue.send(&request);
        queue.drain().await;
        let (after, _) = queue.crash_proxy.updates();
        assert_eq!(after - before, expected, "{request}");
    }
}

#[tokio::test]
async fn a_late_answer_leaves_the_record_of_another_attempt_alone() {
    let mut queue = queue().await;
    fault(&queue, "POST", 1, Action::Delay { ms: 1_500 });
    queue.send(&clocking(600));
    let event = queue.receive();
    let (first, second) = (event.clone(), event);
    let late = queue.publish(&first);
    let other = async {
        // As if the first had ended: its lease is over while it still waits for its answer.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&end_to_end::aws().load().await);
        let scan = dynamodb.scan().table_name(variable("STATE_TABLE_NAME"));
        let id = queue.tenant.incoming();
        let items = scan.send().await.unwrap().items.unwrap_or_default();
        let mine = items
            .into_iter()
            .find(|item| {
                let key = item["id"].as_s().unwrap();
                key.starts_with("write/") && key.contains(&id)
            })
            .unwrap();
        let update = dynamodb
            .update_item()
            .table_name(variable("STATE_TABLE_NAME"))
            .key("id", mine["id"].clone())
            .update_expression("SET #owner = :other")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":other", AttributeValue::S("other".to_owned()));
        update.send().await.unwrap();
        mine["id"].clone()
    };
    let (_, id) = tokio::join!(late, other);
    let dynamodb = aws_sdk_dynamodb::Client::new(&end_to_end::aws().load().await);
    let get = dynamodb
        .get_item()
        .table_name(variable("STATE_TABLE_NAME"))
        .key("id", id);
    let item = get.send().await.unwrap().item.unwrap();
    assert_eq!(item["owner"].as_s().unwrap(), "other");
    assert!(item.contains_key("lease_until") && !item.contains_key("done"));
    drop(second);
}
