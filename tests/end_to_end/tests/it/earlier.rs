//! What earlier releases have written is understood: one item of each kind, as release 0.1.0 wrote it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use connector::contract::outgoing::OutgoingConnection;
use connector::contract::publish_request::PublishRequest;
use end_to_end::fake_queue::FakeQueue;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use end_to_end::variable;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::Options;

const MINUTE: Duration = Duration::from_mins(1);

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

async fn put(local: &InProcessSubscriber, item: &[(&str, AttributeValue)]) {
    put_into(&local.dynamodb, &local.table, item).await;
}

async fn put_into(
    dynamodb: &aws_sdk_dynamodb::Client,
    table: &str,
    item: &[(&str, AttributeValue)],
) {
    let item: HashMap<String, AttributeValue> = item
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let put = dynamodb.put_item().table_name(table);
    put.set_item(Some(item)).send().await.unwrap();
}

/// Into the table of the deployed stack, which the publisher uses.
async fn remember_write(item: &[(&str, AttributeValue)]) {
    let dynamodb = aws_sdk_dynamodb::Client::new(&end_to_end::aws().load().await);
    put_into(&dynamodb, &variable("STATE_TABLE_NAME"), item).await;
}

fn parsed(queue: &FakeQueue, request: &Value) -> PublishRequest {
    let mut body = request.clone();
    body["client"] = json!(queue.tenant.client);
    let parsed = PublishRequest::from_body(&body.to_string(), &OutgoingConnection::default());
    parsed.unwrap().unwrap()
}

async fn departments() -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    let records: Vec<Value> = (1..=4).map(|id| json!({"id": id})).collect();
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.page_size = 1);
    protime
        .set_records("departments", &json!(records).to_string())
        .unwrap();
    local
}

/// A checkpoint of release 0.1.0 after the first of four pages, in generation 3.
async fn unfinished(local: &InProcessSubscriber, lease: &[(&str, AttributeValue)]) -> Value {
    let first = format!(
        "{}/connector/protimeapi/api/v1/departments",
        local.tenant.base_uri
    );
    // The same connection, read by that release, had this fingerprint.
    let event = local.event(&json!({"entity": "departments"}));
    let connection = connector::contract::connection::IncomingConnection::from_event(
        &event,
        "old",
        Timestamp::now(),
    );
    let chain = json!({"first": first, "next": first, "page": 0, "counts": {"pages": 0, "records": 0, "messages": 0},
        "bytes": 0, "restarted": false});
    let checkpoint = json!({"fingerprint": connection.unwrap().fingerprint(), "run": "old",
        "scheduled": "2026-11-20T03:00:00Z", "sync": "full", "source": first, "chains": [chain]});
    let last = json!({"run": "older", "scheduled": "2026-11-19T03:00:00Z",
        "counts": {"pages": 1, "records": 1, "messages": 1}});
    let state = json!({"checkpoint": checkpoint, "last": last}).to_string();
    let id = format!("connection/{}", local.incoming("test"));
    let mut item = vec![
        ("id", text(id)),
        ("generation", number(3)),
        ("state", text(state)),
    ];
    item.extend(lease.iter().cloned());
    put(local, &item).await;
    serde_json::from_str(&event).unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_finished_by_the_next_run() {
    let local = departments().await;
    let now = Timestamp::now();
    // Of a run that died: nobody gave the lease back.
    let lease = [
        ("lease_owner", text("request-of-then")),
        ("lease_until", number((now - 1.minute()).as_millisecond())),
    ];
    unfinished(&local, &lease).await;
    // The watch leaves it alone, as it lacks the event.
    let report = local.watch(now + 1.hour()).await.unwrap();
    assert_eq!(report["rescued"], json!([]));
    let outcome = local
        .run_at(&json!({"entity": "departments", "run": "new"}), now, MINUTE)
        .await
        .unwrap();
    assert_eq!(
        (&outcome["run"], &outcome["status"]),
        (&json!("new"), &json!("completed"))
    );
    let events = local.tenant.events().await;
    let completed: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "protime.run-completed.v1")
        .map(|event| &event["run"])
        .collect();
    assert_eq!(completed, ["old", "new"]);
}

#[tokio::test]
async fn a_continuation_goes_on_with_the_event_that_it_carries() {
    let local = departments().await;
    let event = unfinished(&local, &[]).await;
    let body = json!({"incoming": local.incoming("test"), "generation": 3, "run": "old",
        "scheduled": "2026-11-20T03:00:00Z", "event": event});
    let record = json!({"messageId": "m", "receiptHandle": "r", "body": body.to_string(), "attributes": {},
        "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:0:c", "awsRegion": "eu-west-1"});
    let delivery = json!({"Records": [record]}).to_string();
    local
        .handle(delivery, Timestamp::now(), MINUTE)
        .await
        .unwrap();
    let state = local.state("test").await;
    assert!(state.checkpoint.is_none());
    assert_eq!(state.last.unwrap().run, "old");
}

#[tokio::test]
async fn a_delta_is_polled_on() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let connection = json!({"entity": "clockings", "sync": "delta", "transform": ".query.filter = \"date ge '\\(start_of_year)'\""});
    local.run(&connection).await.unwrap();
    let delta = local.state("test").await.delta.unwrap();
    // As that release wrote connection and ownership.
    let id = format!("connection/{}", local.incoming("test"));
    let delta =
        json!({"link": delta.link, "polled": delta.polled, "fingerprint": delta.fingerprint});
    let state = json!({"delta": delta}).to_string();
    put(
        &local,
        &[
            ("id", text(id)),
            ("generation", number(1)),
            ("state", text(state)),
        ],
    )
    .await;
    local.tenant.events().await;
    local.run(&connection).await.unwrap();
    let events = local.tenant.events().await;
    assert!(events.iter().all(|event| event["sync"] == "delta"));
}

#[tokio::test]
async fn a_write_that_is_done_is_not_written_again_and_an_uncertain_one_is_looked_up() {
    let mut queue = FakeQueue::new(Options::default()).await;
    let today = Timestamp::now().to_string()[..10].to_owned();
    let request = |minutes: u32, key: &str| {
        json!({"method": "POST", "entity": "clockings", "idempotencyKey": key,
        "payload": {"person": {"id": 1}, "date": today, "timeOfDayInMinutes": minutes, "kind": "InOut"}})
    };
    let now = queue.now.as_millisecond();
    for (minutes, key, rest) in [
        (
            600,
            "done",
            vec![("done", number(201)), ("location", text("/clockings/1"))],
        ),
        (601, "uncertain", vec![("uncertain", number(now - 60_000))]),
        (
            602,
            "died",
            vec![
                ("attempted", number(now - 600_000)),
                ("lease_until", number(now - 540_000)),
                ("attempts", number(1)),
            ],
        ),
    ] {
        let body = request(minutes, key);
        let parsed = parsed(&queue, &body);
        let mut item = vec![
            ("id", text(parsed.record_id(key))),
            ("payload", text(connector::hash(parsed.payload.as_deref()))),
            ("expires", number(now / 1_000 + 86_400)),
        ];
        item.extend(rest);
        remember_write(&item).await;
        queue.send(&body);
    }
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [201, 201], "two were not there");
    let looked_up = queue.statuses("GET");
    assert_eq!(looked_up, [200, 200]);
    assert!(queue.parked().is_empty());
}

#[tokio::test]
async fn a_record_that_a_write_has_claimed_is_not_taken_by_another() {
    for (claimed_by, posts) in [("another write", 1), ("the write itself", 0)] {
        let mut queue = FakeQueue::new(Options::default()).await;
        let today = Timestamp::now().to_string()[..10].to_owned();
        let clocking = json!({"method": "POST", "entity": "clockings",
            "payload": {"person": {"id": 1}, "date": today, "timeOfDayInMinutes": 603, "kind": "InOut"}});
        let mut record = clocking["payload"].clone();
        record["id"] = json!(9_001);
        let protime = &queue.tenant.protime;
        protime
            .set_records("clockings", &json!([record]).to_string())
            .unwrap();
        let claim = format!("claim/{}/clockings/9001", queue.tenant.base_uri);
        let now = queue.now.as_millisecond();
        let expires = ("expires", number(now / 1_000 + 86_400));

        // An equal clocking, whose answer was lost: is what is there its own?
        let mut other = clocking.clone();
        other["idempotencyKey"] = json!("other");
        let parsed = parsed(&queue, &other);
        let id = parsed.record_id("other");
        let claimed_by = if claimed_by == "the write itself" {
            id.clone()
        } else {
            "write/0/first".to_owned()
        };
        remember_write(&[
            ("id", text(claim)),
            ("claimed_by", text(claimed_by)),
            expires.clone(),
        ])
        .await;
        let payload = connector::hash(parsed.payload.as_deref());
        remember_write(&[
            ("id", text(id)),
            ("payload", text(payload)),
            ("uncertain", number(now - 60_000)),
            expires,
        ])
        .await;
        queue.send(&other);
        queue.drain().await;
        assert_eq!(queue.statuses("POST"), vec![201; posts]);
        assert!(queue.parked().is_empty());
    }
}
