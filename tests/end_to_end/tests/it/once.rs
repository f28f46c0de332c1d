//! Writes happen once, whatever is lost; an outage is waited out; order is kept where it matters.

use std::collections::BTreeMap;

use end_to_end::crash_proxy::Fault as Broken;
use end_to_end::fake_queue::FakeQueue;
use jiff::SignedDuration;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const CLOCKINGS: &str = "/connector/protimeapi/api/v1/clockings";

pub(crate) async fn queue() -> FakeQueue {
    FakeQueue::new(Options {
        people: 20,
        days: 3,
        ..Options::default()
    })
    .await
}

pub(crate) fn today() -> String {
    jiff::Timestamp::now().to_string()[..10].to_owned()
}

pub(crate) fn clocking(minutes: u32) -> Value {
    json!({"method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": today(), "timeOfDayInMinutes": minutes, "kind": "InOut"}})
}

/// Delivers a batch to an invocation that dies before its request of that number, until the batch can be seen again.
pub(crate) async fn die_at(queue: &mut FakeQueue, request: u32) {
    let event = queue.receive();
    queue.crash_proxy.arm(request, false);
    tokio::select! {
        failed = queue.publish(&event) => panic!("{failed:?}"),
        () = queue.crash_proxy.crashed() => {}
    }
    queue.crash_proxy.arm(0, false);
    queue.advance(SignedDuration::from_mins(7));
}

/// Only requests to write, so that look-ups pass.
fn post_fault(times: u32, action: Action) -> Fault {
    Fault {
        method: Some("POST".to_owned()),
        ..Fault::new(CLOCKINGS, times, action)
    }
}

fn unavailable() -> Action {
    Action::Answer {
        status: 503,
        headers: Vec::new(),
        body: String::new(),
    }
}

#[tokio::test]
async fn a_message_delivered_five_times_is_written_once() {
    let mut queue = queue().await;
    let mut request = clocking(601);
    request["correlation"] = json!({"order": 1});
    queue.send(&request);
    let event = queue.receive();
    let (one, other) = tokio::join!(queue.publish(&event), queue.publish(&event));
    assert!(
        one.is_empty() || other.is_empty(),
        "one of them has written"
    );
    for _ in 0..3 {
        assert!(queue.publish(&event).await.is_empty());
    }
    assert_eq!(queue.statuses("POST"), [201]);
    let results = queue.results();
    assert!(results.len() >= 4);
    assert!(
        results
            .iter()
            .all(|result| result["id"] == results[0]["id"]
                && result["type"] == "protime.published.v1")
    );
    let repeated = results
        .iter()
        .filter(|result| result["data"]["repeated"] == true);
    assert_eq!(
        repeated.count(),
        results.len() - 1,
        "it says which was the first"
    );
    let data = &results[0]["data"];
    assert_eq!(
        (&data["entity"], &data["status"], &data["correlation"]),
        (&json!("clockings"), &json!(201), &json!({"order": 1}))
    );
    assert!(data["id"].as_str().unwrap().parse::<u64>().is_ok());
}

#[tokio::test]
async fn however_a_path_is_written_the_write_is_the_same() {
    let mut queue = queue().await;
    for path in [
        r#"{"structureVersionId": 1, "level": 1, "activityDefinitionReference": 7}"#,
        r#"{"activityDefinitionReference": 7, "level": 1, "structureVersionId": 1}"#,
        r#"{"structureVersionId": 1, "id": 7, "level": 1}"#,
    ] {
        let done = Action::Answer {
            status: 204,
            headers: Vec::new(),
            body: String::new(),
        };
        queue
            .tenant
            .protime
            .add_fault(Fault::new("/levels/", 1, done));
        // As text, since a JSON value sorts its members.
        let request = r#""method": "PUT", "entity": "activity-definitions", "idempotencyKey": "one", "payload": {}"#;
        let client = &queue.tenant.client;
        let body = format!(r#"{{"client": "{client}", {request}, "path": {path}}}"#);
        queue.send_text(&body, None, json!({}));
        queue.drain().await;
    }
    assert_eq!(queue.statuses("PUT").len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_settled_by_a_look_up() {
    for person in [
        json!({"id": 1}),
        json!({"externalReferences": {"@badge-number": "0000001"}}),
    ] {
        let mut queue = queue().await;
        queue
            .tenant
            .protime
            .add_fault(post_fault(1, Action::DropAfter));
        let mut request = clocking(602);
        request["payload"]["person"] = person;
        queue.send(&request);
        queue.drain().await;
        assert_eq!(queue.statuses("POST"), [0], "no second write");
        let requests = queue.tenant.protime.requests();
        let look_ups = requests
            .iter()
            .filter(|request| request.method == "GET" && request.target.starts_with(CLOCKINGS));
        let targets: Vec<String> = look_ups.map(|request| request.target.clone()).collect();
        assert_eq!(targets.len(), 1, "one look-up: {targets:?}");
        assert!(targets[0].contains("person+in+%281%29"), "{targets:?}");
        assert!(queue.parked().is_empty());
    }
}

#[tokio::test]
async fn what_was_not_written_is_written_when_a_slow_write_would_have_shown() {
    let mut queue = queue().await;
    queue
        .tenant
        .protime
        .add_fault(post_fault(1, Action::DropBefore));
    queue.send(&clocking(603));
    let started = queue.now;
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0, 201]);
    assert!(queue.now.duration_since(started) >= SignedDuration::from_secs(30));
}

#[tokio::test]
async fn two_equal_clockings_with_lost_answers_never_become_three() {
    let mut queue = queue().await;
    queue
        .tenant
        .protime
        .add_fault(post_fault(2, Action::DropAfter));
    queue.send(&clocking(604));
    queue.send(&clocking(604));
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [0, 0]);
    assert!(
        queue
            .parked()
            .iter()
            .all(|reason| reason == "unknown-outcome"),
        "{:?}",
        queue.parked()
    );
}

#[tokio::test]
async fn the_same_key_with_another_payload_is_parked() {
    let mut queue = queue().await;
    for minutes in [605, 606] {
        let mut request = clocking(minutes);
        request["idempotencyKey"] = json!("key");
        queue.send(&request);
        queue.deliver().await;
    }
    assert_eq!(queue.statuses("POST"), [201]);
    assert_eq!(queue.parked(), ["invalid"]);
    assert_eq!(queue.results()[1]["type"], "protime.rejected.v1");
    assert_eq!(queue.results()[1]["data"]["reason"], "invalid");
}

#[tokio::test]
async fn a_batch_of_ten_ends_each_as_it_should() {
    let mut queue = queue().await;
    for minutes in 610..618 {
        queue.send(&clocking(minutes));
    }
    let mut refused = clocking(618);
    refused["payload"]["person"] = json!({"id": 999});
    queue.send(&refused);
    queue.send(&clocking(619));
    let mut lost = post_fault(1, Action::DropAfter);
    lost.body = "\"timeOfDayInMinutes\":612".to_owned();
    queue.tenant.protime.add_fault(lost);
    let mut outage = post_fault(1, unavailable());
    outage.body = "\"timeOfDayInMinutes\":615".to_owned();
    queue.tenant.protime.add_fault(outage);
    queue.deliver().await;
    let mut first = queue.statuses("POST");
    first.sort_unstable();
    assert_eq!(first, [0, 201, 201, 201, 201, 201, 201, 201, 400, 503]);
    assert_eq!(queue.parked(), ["refused"]);
    queue.drain().await;
    let created = queue
        .statuses("POST")
        .iter()
        .filter(|status| **status == 201)
        .count();
    assert_eq!(
        (created, queue.parked().len()),
        (8, 1),
        "the lost one is settled, the deferred one written"
    );
}

#[tokio::test]
async fn five_hundred_messages_wait_out_ten_minutes() {
    let mut queue = queue().await;
    for minutes in 0..500 {
        queue.send(&clocking(600 + minutes));
    }
    queue
        .tenant
        .protime
        .add_fault(post_fault(100_000, unavailable()));
    let ends = queue.now + SignedDuration::from_mins(10);
    while queue.now < ends {
        queue.skip_to_next_delivery();
        queue.deliver().await;
    }
    let during = queue.statuses("POST").len();
    assert!(during < 100, "{during} calls during the outage");
    queue.tenant.protime.clear_faults();
    queue.drain().await;
    let written = queue
        .statuses("POST")
        .iter()
        .filter(|status| **status == 201)
        .count();
    assert_eq!((written, queue.parked().len()), (500, 0));
    println!("{during} calls during ten minutes of outage");
}

#[tokio::test]
async fn updates_of_a_group_end_with_the_last() {
    let mut queue = queue().await;
    for number in 0..200_u32 {
        let id = number % 10 + 1;
        let payload = json!({"person": {"id": 1}, "from": today(), "comments": number.to_string(),
            "activityLevels": [{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}]});
        let request = json!({"method": "PUT", "entity": "assignments", "path": {"id": id}, "payload": payload});
        queue.send_to_group(&request, Some(&id.to_string()));
    }
    // Random, and the same every time.
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..25 {
        let action = match random.u8(0..3) {
            0 => Action::DropAfter,
            1 => Action::DropBefore,
            _ => unavailable(),
        };
        let fault = Fault::new("/assignments", 1, action);
        queue.tenant.protime.add_fault(Fault {
            skip: random.u32(0..200),
            method: Some("PUT".to_owned()),
            ..fault
        });
    }
    queue.drain().await;
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for request in queue
        .tenant
        .protime
        .requests()
        .iter()
        .filter(|request| request.method == "PUT" && request.status == 200)
    {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        last.insert(
            request.target.clone(),
            body["comments"].as_str().unwrap().to_owned(),
        );
    }
    let expected: Vec<String> = (190..200).map(|number: u32| number.to_string()).collect();
    let mut found: Vec<String> = last.into_values().collect();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_uncertain_deletion_that_finds_nothing_is_done() {
    let mut queue = queue().await;
    queue.tenant.protime.add_fault(Fault {
        method: Some("DELETE".to_owned()),
        ..Fault::new("/assignments", 1, Action::DropAfter)
    });
    queue.send(&json!({"method": "DELETE", "entity": "assignments", "path": {"id": 3}}));
    queue.drain().await;
    assert_eq!(queue.statuses("DELETE"), [0, 400]);
    assert!(queue.parked().is_empty());
    queue.send(&json!({"method": "DELETE", "entity": "assignments", "path": {"id": 3}}));
    queue.drain().await;
    assert_eq!(queue.parked(), ["refused"], "a certain one is refused");
}

#[tokio::test]
async fn a_message_that_kills_the_function_is_parked_after_three_attempts() {
    let mut queue = queue().await;
    queue.send(&clocking(640));
    for attempt in 0..3 {
        // The pause, the secret and the record, then the token; later what is known of the message, from the third on its
        // count, the record twice, since it is there, then the look-up.
        die_at(&mut queue, [4, 5, 6][attempt]).await;
    }
    queue.drain().await;
    assert_eq!(queue.parked(), ["crashed"]);
    assert!(queue.statuses("POST").is_empty());
}

#[tokio::test]
async fn a_publisher_stopped_or_without_an_answer_at_any_request_writes_once() {
    let mut queue = queue().await;
    queue.send(&clocking(700));
    queue.crash_proxy.arm(0, false);
    queue.drain().await;
    let requests = queue.crash_proxy.count();
    assert!(requests >= 5, "{requests}");
    let mut minutes = 700;
    for at in 1..=requests {
        for fault in [Broken::StopBefore, Broken::StopAfter, Broken::LoseAnswer] {
            let before = written(&queue);
            queue.publisher.clients.forget(&queue.tenant.client);
            minutes += 1;
            queue.send(&clocking(minutes));
            disturb(&mut queue, at, fault).await;
            queue.drain().await;
            assert_eq!(
                written(&queue),
                before + 1,
                "{fault:?} at {at}; parked {:?}",
                queue.parked()
            );
            let posts = queue.tenant.protime.requests().into_iter();
            let sent = posts.filter(|request| {
                request.method == "POST"
                    && request
                        .body
                        .contains(&format!("\"timeOfDayInMinutes\":{minutes}}}"))
            });
            assert_eq!(sent.count(), 1, "{fault:?} at {at}: sent once");
        }
    }
    assert!(queue.parked().is_empty());
    println!("stopped at each of {requests} requests, before and after, and each answer lost");
}

/// What the simulator has done, also where the answer was lost.
fn written(queue: &FakeQueue) -> usize {
    let posts = queue.statuses("POST");
    posts
        .iter()
        .filter(|status| matches!(status, 0 | 201))
        .count()
}

/// One delivery, which meets a fault at that request.
async fn disturb(queue: &mut FakeQueue, at: u32, fault: Broken) {
    let event = queue.receive();
    queue.crash_proxy.arm_with(at, fault);
    let failed = tokio::select! {
        failed = queue.publish(&event) => Some(failed),
        () = queue.crash_proxy.crashed() => None,
    };
    queue.crash_proxy.arm(0, false);
    match failed {
        Some(failed) => queue.end_delivery(&event, &failed),
        // Nothing was said of it, so SQS delivers it again.
        None => queue.advance(SignedDuration::from_mins(7)),
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_never_written_blindly_wherever_the_publisher_stops() {
    let mut queue = queue().await;
    // There is no look-up for this operation.
    let request = |number: u32| {
        json!({"method": "POST", "entity": "activity-definitions",
            "path": {"structureVersionId": "v", "level": 1}, "payload": {"name": {"default": number.to_string()}}})
    };
    let lost = || Fault {
        method: Some("POST".to_owned()),
        ..Fault::new("/activity-definitions", 1, Action::DropAfter)
    };
    let mut messages = 0;
    for at in 1..=5 {
        for fault in [Broken::StopBefore, Broken::StopAfter, Broken::LoseAnswer] {
            messages += 1;
            queue.tenant.protime.add_fault(lost());
            queue.send(&request(messages));
            queue.deliver().await;
            queue.skip_to_next_delivery();
            disturb(&mut queue, at, fault).await;
            queue.drain().await;
            assert_eq!(
                queue.statuses("POST").len(),
                messages as usize,
                "{fault:?} at {at}"
            );
            assert!(queue.parked().len() >= messages as usize);
        }
    }
    assert!(
        queue
            .parked()
            .iter()
            .all(|reason| reason == "unknown-outcome")
    );
}

#[tokio::test]
async fn a_message_is_parked_before_sqs_deletes_it() {
    let mut queue = queue().await;
    queue
        .tenant
        .protime
        .add_fault(post_fault(100, unavailable()));
    queue.send(&clocking(650));
    queue.deliver().await;
    queue.advance(SignedDuration::from_hours(12 * 24));
    queue.deliver().await;
    assert!(queue.parked().is_empty());
    queue.advance(SignedDuration::from_hours(30));
    queue.deliver().await;
    assert_eq!(queue.parked(), ["expired"]);
}
