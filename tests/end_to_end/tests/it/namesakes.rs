//! Runs of one connection that meet: two connections by one name are told apart, and whoever frees the lease starts
//! what waited for it.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use end_to_end::crash_proxy::Fault as Break;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Span, Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};
use subscriber::Error;

const MINUTE: Duration = Duration::from_mins(1);

fn departments() -> Value {
    json!({"entity": "departments", "run": "at three"})
}

/// A copy of the connection whose author forgot to rename it.
fn namesake() -> Value {
    json!({"entity": "people", "run": "at three"})
}

fn delta_of(entity: &str) -> Value {
    json!({"entity": entity, "run": "at three", "sync": "delta", "transform": ".query.filter = \"date ge '\\(start_of_year)'\""})
}

/// Lets another run hold the connection's lease, until so much later.
async fn hold(local: &InProcessSubscriber, later: Span) {
    hold_as(local, "other", later).await;
}

/// Lets this run hold the connection's lease, as its continuation does.
async fn hold_as(local: &InProcessSubscriber, run: &str, later: Span) {
    let id = format!("connection/{}", local.incoming("test"));
    let until = (Timestamp::now() + later).as_millisecond().to_string();
    let run = AttributeValue::S(run.to_owned());
    local
        .set(&id, "lease_until", AttributeValue::N(until))
        .await;
    local.set(&id, "lease_run", run).await;
}

/// A subscriber whose connection has run before, and is now held by another run.
async fn held() -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    let first = json!({"entity": "departments", "run": "first"});
    local.run(&first).await.unwrap();
    hold(&local, 1.hour()).await;
    local
}

fn assert_named(result: Result<Value, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.kind().name(), "RunOfAnother", "{error}");
}

fn assert_skipped(result: Result<Value, Error>, because: &str) {
    let outcome = result.unwrap();
    assert_eq!(outcome["status"], "skipped", "{outcome}");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.contains(because), "{reason}");
}

#[tokio::test]
async fn a_namesake_of_the_run_that_is_under_way_is_refused() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.latency_ms = 300);
    let now = Timestamp::now();
    // The lease is taken before the first request, and the checkpoint after it at the earliest.
    let (connection, namesake) = (departments(), namesake());
    let (first, ()) = tokio::join!(local.run_at(&connection, now, MINUTE), async {
        let asked = async {
            while protime.requests().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(MINUTE, asked).await.unwrap();
        assert_named(local.run_at(&namesake, now, MINUTE).await);
        assert_skipped(local.run_at(&connection, now, MINUTE).await, "under way");
    });
    assert_eq!(first.unwrap()["status"], "completed");
}

#[tokio::test]
async fn a_namesake_of_the_run_that_a_continuation_goes_on_with_is_refused() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let answer = Action::Answer {
        status: 200,
        headers: Vec::new(),
        body: "{}".to_owned(),
    };
    let fault = Fault::new("/departments", u32::MAX, answer);
    local.tenant.protime.add_fault(fault);
    local.run(&departments()).await.unwrap_err();
    hold_as(&local, "at three", 1.hour()).await;
    assert_named(local.run(&namesake()).await);
    assert_skipped(local.run(&departments()).await, "under way");
}

#[tokio::test]
async fn a_namesake_of_a_run_that_is_due_is_refused() {
    for (connection, namesake) in [
        (departments(), namesake()),
        (delta_of("clockings"), delta_of("absences")),
    ] {
        let local = held().await;
        assert_skipped(local.run(&connection).await, "follows it");
        assert_named(local.run(&namesake).await);
        assert_skipped(local.run(&connection).await, "follows it");
    }
}

#[tokio::test]
async fn a_namesake_of_a_run_that_has_completed_is_refused_while_another_is_under_way() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.run(&departments()).await.unwrap();
    hold(&local, 1.hour()).await;
    assert_skipped(local.run(&departments()).await, "completed before");
    assert_named(local.run(&namesake()).await);
}

#[tokio::test]
async fn a_run_that_cannot_begin_starts_the_one_that_waited_for_it() {
    let local = held().await;
    assert_skipped(local.run(&departments()).await, "follows it");
    hold(&local, -1.hour()).await;
    let mistake = json!({"entity": "people", "query": {"filter": "nonsense"}, "run": "mistaken"});
    let error = local.run(&mistake).await.unwrap_err();
    assert_eq!(error.kind().name(), "InvalidRequest", "{error}");
    let sent = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(sent.len(), 1);
    let delivery = InProcessSubscriber::delivery(&sent[0]);
    local
        .handle(delivery, Timestamp::now(), MINUTE)
        .await
        .unwrap();
    let history = local.history("test").await;
    assert!(
        history
            .runs
            .iter()
            .any(|run| run.run == "at three" && run.ended.is_some())
    );
    assert!(
        local
            .tenant
            .stack
            .drain(&local.continuations)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_no_answer() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.run(&departments()).await.unwrap();
    let throttled = Action::Answer {
        status: 503,
        headers: vec![("retry-after".to_owned(), "600".to_owned())],
        body: String::new(),
    };
    let protime = &local.tenant.protime;
    protime.add_fault(Fault::new("/departments", 1, throttled));
    let unfinished = json!({"entity": "departments", "run": "unfinished"});
    let now = Timestamp::now();
    let short = Duration::from_secs(12);
    local.run_at(&unfinished, now, short).await.unwrap_err();
    let id = format!("connection/{}", local.incoming("test"));
    local.crash_proxy.arm_with(1, Break::Refuse("GetItem"));
    for connection in [departments(), namesake()] {
        let error = local.run_at(&connection, now, MINUTE).await.unwrap_err();
        assert_eq!(error.kind().name(), "State", "{error}");
        let item = local.item(&id).await;
        assert!(!item.contains_key("lease_owner"), "the lease is free");
        assert!(item["due"].as_m().unwrap().is_empty(), "no run is due");
    }
    local.crash_proxy.arm(0, false);
    let known = local.run_at(&departments(), now, MINUTE).await;
    assert_skipped(known, "has completed before");
    assert_named(local.run_at(&namesake(), now, MINUTE).await);
}
