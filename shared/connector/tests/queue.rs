//! Sending to SQS: batches, partial failures, order. Real SQS does not fail on demand, so a stub answers the real SDK.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router};
use connector::aws::queue::{Attribute, MESSAGE_LIMIT, Message, Queue, QueueError};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The calls that SQS received, and how it answers.
#[derive(Default)]
struct Stub {
    calls: Vec<Vec<Value>>,
    /// For each call, the entries to refuse and whether the sender is to blame. Without an entry the call succeeds.
    failures: VecDeque<Vec<(usize, bool)>>,
    /// How many calls are first answered with 500.
    unavailable: usize,
}

type Shared = Arc<Mutex<Stub>>;

async fn answer(State(stub): State<Shared>, body: String) -> (StatusCode, Json<Value>) {
    let mut stub = stub.lock().unwrap();
    let call: Value = serde_json::from_str(&body).unwrap();
    if stub.unavailable > 0 {
        stub.unavailable -= 1;
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({"__type": "com.amazonaws.sqs#InternalError"})),
        );
    }
    let entries = call["Entries"].as_array().unwrap().clone();
    let refused = stub.failures.pop_front().unwrap_or_default();
    let refusal = |index: usize| refused.iter().find(|(refused, _)| *refused == index);
    let mut failed = Vec::new();
    let mut successful = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match refusal(index) {
            Some((_, sender_fault)) => failed.push(
                json!({"Id": entry["Id"], "SenderFault": sender_fault, "Code": "Refused", "Message": "because"}),
            ),
            None => successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x"})),
        }
    }
    stub.calls.push(entries);
    (
        StatusCode::OK,
        Json(json!({"Successful": successful, "Failed": failed})),
    )
}

async fn stubbed(name: &str, stub: Stub) -> (Queue, Shared) {
    let stub: Shared = Arc::new(Mutex::new(stub));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(stub.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let aws = connector::aws::http::config(protime::http_client().unwrap())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(&endpoint)
        .load()
        .await;
    let queue = Queue::new(
        aws_sdk_sqs::Client::new(&aws),
        format!("{endpoint}/000000000000/{name}"),
    );
    (queue, stub)
}

fn message(number: usize, size: usize) -> Message {
    Message {
        id: format!("id-{number}"),
        group: "clockings".to_owned(),
        body: "x".repeat(size).into(),
        attributes: vec![Attribute::text("type", "t")],
        delay_seconds: 0,
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn send_all(queue: &Queue, messages: Vec<Message>) -> Result<(), QueueError> {
    let mut batch = queue.batch();
    for message in messages {
        if let Err(message) = batch.push(message) {
            queue
                .send(std::mem::replace(&mut batch, queue.batch()), soon())
                .await?;
            batch
                .push(message)
                .expect("an empty batch takes any message");
        }
    }
    queue.send(batch, soon()).await
}

fn sizes(stub: &Shared) -> Vec<usize> {
    stub.lock().unwrap().calls.iter().map(Vec::len).collect()
}

#[tokio::test]
async fn batches_hold_ten_messages_or_one_mebibyte() {
    let (queue, stub) = stubbed("pages", Stub::default()).await;
    send_all(&queue, (0..23).map(|number| message(number, 10)).collect())
        .await
        .unwrap();
    assert_eq!(sizes(&stub), [10, 10, 3]);

    let (queue, stub) = stubbed("pages", Stub::default()).await;
    send_all(
        &queue,
        (0..7).map(|number| message(number, 300_000)).collect(),
    )
    .await
    .unwrap();
    assert_eq!(sizes(&stub), [3, 3, 1]);
    for call in &stub.lock().unwrap().calls {
        let bytes: usize = call
            .iter()
            .map(|entry| entry["MessageBody"].as_str().unwrap().len())
            .sum();
        assert!(bytes <= MESSAGE_LIMIT);
    }
}

#[tokio::test]
async fn only_entries_that_failed_are_sent_again() {
    let failures = VecDeque::from([vec![(1, false), (3, false)], vec![(0, false)]]);
    let (queue, stub) = stubbed(
        "pages",
        Stub {
            failures,
            ..Stub::default()
        },
    )
    .await;
    send_all(
        &queue,
        (0..5).map(|number| message(number, number + 1)).collect(),
    )
    .await
    .unwrap();
    let bodies: Vec<Vec<usize>> = stub
        .lock()
        .unwrap()
        .calls
        .iter()
        .map(|call| {
            call.iter()
                .map(|entry| entry["MessageBody"].as_str().unwrap().len())
                .collect()
        })
        .collect();
    assert_eq!(bodies, [vec![1, 2, 3, 4, 5], vec![2, 4], vec![2]]);
}

#[tokio::test]
async fn an_entry_that_sqs_blames_on_us_is_named() {
    let failures = VecDeque::from([vec![(2, true)]]);
    let (queue, _stub) = stubbed(
        "pages",
        Stub {
            failures,
            ..Stub::default()
        },
    )
    .await;
    let error = send_all(&queue, (0..5).map(|number| message(number, 1)).collect())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("refused message id-2: Refused: because"),
        "{error}"
    );
}

#[tokio::test]
async fn a_queue_that_is_unavailable_is_waited_for() {
    let (queue, stub) = stubbed(
        "pages",
        Stub {
            unavailable: 4,
            ..Stub::default()
        },
    )
    .await;
    send_all(&queue, vec![message(1, 1)]).await.unwrap();
    assert_eq!(sizes(&stub), [1]);
}

#[tokio::test]
async fn fifo_queues_get_one_message_a_call_with_group_and_deduplication_id() {
    let (queue, stub) = stubbed("pages.fifo", Stub::default()).await;
    send_all(&queue, (0..3).map(|number| message(number, 1)).collect())
        .await
        .unwrap();
    assert_eq!(sizes(&stub), [1, 1, 1]);
    let stub = stub.lock().unwrap();
    let first = &stub.calls[0][0];
    assert_eq!(first["MessageGroupId"], "clockings");
    assert_eq!(first["MessageDeduplicationId"].as_str().unwrap().len(), 64);
    assert_ne!(
        first["MessageDeduplicationId"],
        stub.calls[1][0]["MessageDeduplicationId"]
    );
}
