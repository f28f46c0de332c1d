//! Runs of thousands of requests: they fit into the state table, cost what changes, and fit into memory.

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::Tenant;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::Options;

use crate::memory::peak_of;

/// A day each, 2,000 of them.
fn clockings() -> Value {
    json!({"entity": "clockings", "query": {"filter": "date ge '2021-01-01' and date le '2026-06-23'"},
        "window": "P1D", "concurrency": 32, "run": "many"})
}

fn options() -> Options {
    Options {
        people: 1,
        days: 5,
        now: Some("2026-06-23T12:00:00Z".parse().unwrap()),
        ..Options::default()
    }
}

#[tokio::test]
async fn two_thousand_chains_complete_with_hand_overs_and_cost_what_changes() {
    let mut local = InProcessSubscriber::new(options()).await;
    local.subscriber.checkpoint_interval = subscriber::CHECKPOINT_INTERVAL;
    let now = Timestamp::now();
    // Half a second, and what is kept for handing over.
    let time = Duration::from_millis(10_500);
    let outcome = local.run_at(&clockings(), now, time).await.unwrap();
    assert_eq!(outcome["status"], "continued");
    let id = format!("connection/{}", local.incoming("test"));
    let mut hand_overs = 0;
    while local.state("test").await.checkpoint.is_some() {
        hand_overs += 1;
        assert!(hand_overs < 60);
        // DynamoDB bills all of an item, in units of 1 KB, at every update.
        let item = local.item(&id).await;
        let text = |name: &String| item[name].as_s().map_or(32, String::len) + name.len();
        let size: usize = item.keys().map(text).sum();
        assert!(size < 24 * 1024, "{size} bytes: {item:?}");
        let messages = local.tenant.stack.drain(&local.continuations).await;
        let [message] = messages.as_slice() else {
            panic!("not one continuation: {messages:?}")
        };
        let delivery = InProcessSubscriber::delivery(message);
        local.handle(delivery, now, time).await.unwrap();
    }
    let outcome = json!(local.history("test").await.run("many").unwrap().counts);
    assert_eq!(outcome["pages"], 2_000, "{outcome}");
    let targets: BTreeSet<String> = local.tenant.targets().into_iter().collect();
    assert_eq!(targets.len(), 2_000);
    assert!(hand_overs > 0);
    let (updates, units) = local.crash_proxy.updates();
    println!("{hand_overs} hand-overs; {updates} updates cost {units} write units");
    // The first URLs, 200 KB, are written once; the counts, the chains under way and the history otherwise.
    assert!(
        units < 300 + 16 * u64::from(updates),
        "{units} in {updates}"
    );
    let events = local.tenant.events().await;
    assert!(
        events
            .iter()
            .any(|event| event["type"] == "protime.run-completed.v1"
                && event["data"]["pages"] == 2_000
                && event["data"]["request"]["window"] == "P1D"
                && event["data"]["request"]["query"]["filter"] == clockings()["query"]["filter"])
    );
}

#[tokio::test]
async fn too_many_chains_are_refused_before_the_first_request() {
    let local = InProcessSubscriber::new(options()).await;
    let mut connection = clockings();
    connection["query"]["filter"] = "date ge '1990-01-01' and date le '2026-06-23'".into();
    let error = local.run(&connection).await.unwrap_err();
    assert_eq!(error.kind().name(), "InvalidRequest");
    assert!(error.to_string().contains("window"), "{error}");
    assert!(local.tenant.targets().is_empty());
}

#[tokio::test]
async fn long_events_fit_however_many_runs_are_due() {
    let local = InProcessSubscriber::new(options()).await;
    let ids: Vec<String> = (0..9_000).map(|id| (10_000_000 + id).to_string()).collect();
    let filter = format!("person in ({})", ids.join(","));
    let connection =
        |run: String| json!({"entity": "people", "query": {"filter": filter}, "run": run});
    // Another run is under way.
    let id = format!("connection/{}", local.incoming("test"));
    local
        .run(&json!({"entity": "departments", "run": "first"}))
        .await
        .unwrap();
    let until = (Timestamp::now() + 1.hour()).as_millisecond().to_string();
    local
        .set(
            &id,
            "lease_until",
            aws_sdk_dynamodb::types::AttributeValue::N(until),
        )
        .await;
    local
        .set(
            &id,
            "lease_run",
            aws_sdk_dynamodb::types::AttributeValue::S("other".to_owned()),
        )
        .await;
    for number in 0..10 {
        let outcome = local
            .run(&connection(format!("due-{number}")))
            .await
            .unwrap();
        assert_eq!(outcome["status"], "skipped");
        assert!(
            outcome["reason"].as_str().unwrap().contains("follows it"),
            "{outcome}"
        );
    }
    let error = local
        .run(&connection("due-10".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(error.kind().name(), "TooManyDue");
}

#[tokio::test]
async fn two_thousand_chains_take_less_than_64_mib() {
    let tenant = Tenant::with(options(), &json!({})).await;
    let mut connection = clockings();
    connection["incoming"] = tenant.incoming().into();
    let records = 10;
    let peak = peak_of(&tenant, connection, records).await;
    assert!(peak < 64 * 1024, "{peak} KiB");
}
