//! Publish requests from SQS into Protime.

use std::time::Duration;

use aws_sdk_sqs::types::Message;
use end_to_end::{Tenant, attributes, eventually, eventually_within, variable};
use serde_json::{Value, json};
use simulator::{Action, Fault, LoggedRequest};

const CLOCKINGS: &str = "/connector/protimeapi/api/v1/clockings";

fn clocking(person: u32, minutes: u32) -> Value {
    json!({"person": {"id": person}, "date": "2026-01-15", "timeOfDayInMinutes": minutes, "kind": "InOut"})
}

/// Each parked message says why it is there.
fn are_explained(parked: &[Message]) {
    let find = |text: &str| {
        let mut parked = parked.iter();
        let found = parked.find(|message| message.body().unwrap().contains(text));
        attributes(found.expect(text))
    };
    for (text, message) in [
        ("not JSON", "not a publish request"),
        (
            "PATCH",
            "unknown method \"PATCH\"; allowed: POST, PUT, DELETE",
        ),
        ("clocks", "entity `clocks`: unknown"),
    ] {
        let found = find(text);
        assert_eq!(found["reason"], "invalid", "{text}");
        assert!(found["message"].contains(message), "{found:?}");
        assert!(!found["idempotencyKey"].is_empty());
    }
    let found = find("999999");
    for (name, value) in [
        ("reason", "refused"),
        ("status", "400"),
        ("code", "BadRequest"),
        ("message", "The request was refused."),
        ("idempotencyKey", "key-1"),
    ] {
        assert_eq!(found[name], value, "{name}");
    }
    let details: Value = serde_json::from_str(&found["details"]).unwrap();
    assert_eq!(
        details["reasons"],
        json!(["person: there is no such person"])
    );
}

#[tokio::test]
async fn of_six_requests_two_are_written_once_and_four_are_parked_with_reasons() {
    let tenant = Tenant::new().await;
    let dead_letters = variable("PUBLISH_DEAD_LETTER_QUEUE_URL");
    tenant.stack.drain(&dead_letters).await;
    let post = |payload| json!({"method": "POST", "entity": "clockings", "payload": payload});
    let mut refused = post(clocking(999_999, 510));
    refused["idempotencyKey"] = json!("key-1");
    for request in [
        post(clocking(1, 510)),
        json!({"method": "PATCH", "entity": "clockings", "payload": {}}),
        json!({"method": "POST", "entity": "clocks", "payload": {}}),
        refused,
        post(clocking(2, 1020)),
    ] {
        tenant.publish(request).await;
    }
    tenant.publish_text("not JSON").await;

    let parked = tenant
        .stack
        .receive(&dead_letters, |found| found.len() >= 4)
        .await;
    let statuses = || {
        let requests = tenant.protime.requests();
        let is_write = |request: &&LoggedRequest| request.method == "POST" && request.authorized;
        let writes = requests.iter().filter(is_write);
        writes.map(|write| write.status).collect::<Vec<_>>()
    };
    eventually("three posts", || statuses().len() >= 3).await;
    let mut statuses = statuses();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 400], "a refusal is tried once");

    are_explained(&parked);
    assert!(tenant.stack.drain(&dead_letters).await.is_empty());
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_later() {
    let tenant = Tenant::new().await;
    let headers = vec![("retry-after".to_owned(), "1".to_owned())];
    let unavailable = Action::Answer {
        status: 503,
        headers,
        body: String::new(),
    };
    tenant
        .protime
        .add_fault(Fault::new(CLOCKINGS, 4, unavailable));
    tenant
        .publish(json!({"method": "POST", "entity": "clockings", "payload": clocking(1, 510)}))
        .await;
    let statuses = || tenant.targets_with_status();
    // The waits double with each delivery, also with those during which the circuit is open. After four failures they are
    // two minutes together at most.
    eventually_within(Duration::from_mins(4), "the write", || {
        statuses().ends_with(&[201])
    })
    .await;
    assert_eq!(statuses(), [503, 503, 503, 503, 201]);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let tenant = Tenant::new().await;
    tenant
        .protime
        .add_fault(Fault::new(CLOCKINGS, 1, Action::DropAfter));
    tenant
        .publish(json!({"method": "POST", "entity": "clockings", "payload": clocking(1, 511)}))
        .await;
    eventually("the look-up", || tenant.targets().len() >= 2).await;
    let methods: Vec<String> = tenant
        .protime
        .requests()
        .into_iter()
        .filter(|request| request.authorized)
        .map(|request| request.method)
        .collect();
    assert_eq!(methods, ["POST", "GET"]);
}

#[tokio::test]
async fn assignments_are_created_updated_and_deleted() {
    // §9: full POST/PUT/DELETE
    let tenant = Tenant::new().await;
    let assignment = json!({
        "person": {"externalReferences": {"@badge-number": "0000003"}}, "from": "2026-02-02",
        "activityLevels": [{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}],
    });
    let methods = || tenant.targets_with_status();
    for (request, status) in [
        (
            json!({"method": "POST", "entity": "assignments", "payload": assignment}),
            201,
        ),
        (
            json!({"method": "PUT", "entity": "assignments", "path": {"id": 7}, "payload": assignment}),
            200,
        ),
        (
            json!({"method": "DELETE", "entity": "assignments", "path": {"id": 7}}),
            200,
        ),
    ] {
        let before = methods().len();
        tenant.publish(request).await;
        eventually("the write", || methods().len() > before).await;
        assert_eq!(methods().last(), Some(&status));
    }
}

#[tokio::test]
async fn a_further_outgoing_connection_transforms_keeps_order_and_tells_results() {
    let tenant = Tenant::new().await;
    let queue = variable("OUTGOING_PUBLISH_QUEUE_URL");
    let send = |comments: &str| {
        let body = json!({
            "client": tenant.client, "assignment": 5, "person": {"id": 1}, "from": "2026-02-02", "comments": comments,
            "activityLevels": [{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}],
        });
        let send = tenant
            .stack
            .sqs
            .send_message()
            .queue_url(&queue)
            .message_body(body.to_string());
        send.message_group_id("5")
            .message_deduplication_id(format!("{}-{comments}", tenant.client.replace('/', "-")))
            .send()
    };
    for comments in ["first", "second", "third"] {
        send(comments).await.unwrap();
    }
    let comments = || -> Vec<String> {
        let puts = tenant
            .protime
            .requests()
            .into_iter()
            .filter(|request| request.method == "PUT");
        puts.map(|request| {
            serde_json::from_str::<Value>(&request.body).unwrap()["comments"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect()
    };
    eventually("three updates", || comments().len() >= 3).await;
    assert_eq!(comments(), ["first", "second", "third"]);
    let results = tenant
        .stack
        .receive(&variable("RESULTS_QUEUE_URL"), |found| found.len() >= 3)
        .await;
    for result in results {
        let event: Value = serde_json::from_str(result.body().unwrap()).unwrap();
        assert_eq!(event["type"], "protime.published.v1");
        assert_eq!(
            (&event["data"]["status"], &event["data"]["correlation"]),
            (&json!(200), &json!(5))
        );
    }
}

trait Statuses {
    fn targets_with_status(&self) -> Vec<u16>;
}

impl Statuses for Tenant {
    fn targets_with_status(&self) -> Vec<u16> {
        let api = self
            .protime
            .requests()
            .into_iter()
            .filter(|request| request.authorized);
        api.map(|request| request.status).collect()
    }
}
