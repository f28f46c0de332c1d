//! Calls to SQS overlap, and the checkpoint still follows their order.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::Options;
use tokio::sync::Notify;
use tokio::time::Instant;

/// More than enough for a second call to arrive, and less than the SDK waits for an answer before it asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Long enough for a second call to arrive if there is one.
const LATENCY: Duration = Duration::from_millis(10);
const RECORDS: usize = 10_000;

/// What happens to the first call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    /// It is answered after a second call has come.
    Waits,
    /// It is refused after a second call has been accepted.
    IsRefused,
    /// It is never answered, nor is any other.
    Hangs,
    /// It is answered at once, like any other.
    IsUsual,
}

/// A queue of SQS that decides when it answers.
struct SlowQueue {
    counts: Mutex<Counts>,
    second: Notify,
}

struct Counts {
    first: First,
    calls: u32,
    under_way: u32,
    most_under_way: u32,
    /// The ids of the records of all accepted messages.
    records: BTreeSet<i64>,
}

impl SlowQueue {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }
}

async fn answer(
    State(queue): State<Arc<SlowQueue>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    if headers["x-amz-target"]
        .to_str()
        .unwrap()
        .ends_with("GetQueueAttributes")
    {
        return (StatusCode::OK, Json(json!({"Attributes": {}})));
    }
    let (number, first) = {
        let mut counts = queue.counts();
        counts.calls += 1;
        counts.under_way += 1;
        counts.most_under_way = counts.most_under_way.max(counts.under_way);
        (counts.calls, counts.first)
    };
    if first == First::Hangs {
        std::future::pending::<()>().await;
    }
    let is_special = number == 1 && first != First::IsUsual;
    if is_special {
        let _ = tokio::time::timeout(PATIENCE, queue.second.notified()).await;
    } else {
        tokio::time::sleep(LATENCY).await;
    }
    let mut counts = queue.counts();
    counts.under_way -= 1;
    if is_special && first == First::IsRefused {
        let error =
            json!({"__type": "com.amazon.coral.service#AccessDeniedException", "message": "no"});
        return (StatusCode::FORBIDDEN, Json(error));
    }
    let call: Value = serde_json::from_str(&body).unwrap();
    let entries = call["Entries"].as_array().unwrap();
    for entry in entries {
        let event: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
        let records = event["data"]["value"].as_array().into_iter().flatten();
        counts
            .records
            .extend(records.map(|record| record["id"].as_i64().unwrap()));
    }
    if number == 2 {
        queue.second.notify_one();
    }
    let accepted =
        |entry: &Value| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x"});
    let successful: Vec<Value> = entries.iter().map(accepted).collect();
    (
        StatusCode::OK,
        Json(json!({"Successful": successful, "Failed": []})),
    )
}

/// A subscriber whose pages go to a slow queue with that name.
async fn subscriber(name: &str, first: First) -> (InProcessSubscriber, Arc<SlowQueue>) {
    let queue = Arc::new(SlowQueue {
        counts: Mutex::new(Counts {
            first,
            calls: 0,
            under_way: 0,
            most_under_way: 0,
            records: BTreeSet::new(),
        }),
        second: Notify::new(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(answer)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(queue.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let mut local = InProcessSubscriber::new(Options {
        people: 25,
        days: 200,
        now: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        ..Options::default()
    })
    .await;
    let aws = end_to_end::aws().endpoint_url(&origin).load().await;
    local.subscriber.sqs = aws_sdk_sqs::Client::new(&aws);
    local.subscriber.pages_queue = format!("{origin}/000000000000/{name}");
    (local, queue)
}

fn clockings() -> Value {
    json!({"entity": "clockings", "run": "one", "window": "P1M", "concurrency": 32,
        "query": {"filter": "date ge '2025-02-01' and date le '2026-01-31'"}})
}

#[tokio::test]
async fn a_full_call_does_not_wait_for_the_one_before() {
    let (local, queue) = subscriber("pages", First::Waits).await;
    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(outcome["status"], "completed", "{outcome}");
    let counts = queue.counts();
    assert!(counts.most_under_way >= 2, "{}", counts.most_under_way);
    assert_eq!(counts.records.len(), RECORDS);
    // As few calls as one after the other would take: 3.7 MB of records, up to 1 MiB each, and the message of the end.
    assert!(counts.calls <= 7, "{}", counts.calls);
}

#[tokio::test]
async fn the_checkpoint_does_not_pass_a_refused_call() {
    let (local, queue) = subscriber("pages", First::IsRefused).await;
    local.run(&clockings()).await.unwrap_err();
    let lost = RECORDS - queue.counts().records.len();
    assert!((1..RECORDS).contains(&lost), "{lost}");
    let state = local.state("test").await;
    let checkpoint = state.checkpoint.unwrap();
    assert_eq!(checkpoint.chains.counts().records, 0);

    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(outcome["status"], "completed", "{outcome}");
    assert_eq!(queue.counts().records.len(), RECORDS);
}

#[tokio::test]
async fn a_fifo_queue_gets_one_call_after_the_other() {
    let (local, queue) = subscriber("pages.fifo", First::IsUsual).await;
    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(outcome["status"], "completed", "{outcome}");
    assert_eq!(queue.counts().most_under_way, 1);
    assert_eq!(queue.counts().records.len(), RECORDS);
}

#[tokio::test]
async fn a_queue_that_hangs_leaves_time_for_the_report() {
    let (local, queue) = subscriber("pages", First::Hangs).await;
    let (started, time) = (Instant::now(), Duration::from_secs(12));
    let failed = local.run_at(&clockings(), Timestamp::now(), time).await;
    let error = failed.unwrap_err();
    assert_eq!(error.kind().name(), "Queue", "{error}");
    let took = started.elapsed();
    assert!(
        took + Duration::from_secs(2) < time,
        "{took:?}: Lambda would have ended it"
    );
    let item = local
        .item(&format!("connection/{}", local.incoming("test")))
        .await;
    assert!(!item.contains_key("lease_owner"), "the lease is free");
    let history = local.history("test").await;
    let failure = history.run("one").unwrap().error.as_ref().unwrap();
    assert_eq!(failure.kind, "Queue");
    queue.counts().first = First::IsUsual;
    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(outcome["status"], "completed", "{outcome}");
    assert_eq!(queue.counts().records.len(), RECORDS);
}
