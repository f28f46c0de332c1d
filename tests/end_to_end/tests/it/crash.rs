//! A process that stops at any of its requests loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use end_to_end::crash_proxy::Fault as Break;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::Options;

const PAGES: u64 = 50;
/// In properties that no `fields` name.
const UNLISTED: &str = "unlisted";

fn departments(tenant: &InProcessSubscriber) {
    let record = |id| json!({"id": id, "note": UNLISTED, "name": {"default": format!("d{id}"), "note": UNLISTED}});
    let records: Vec<Value> = (1..=PAGES * 2).map(record).collect();
    tenant
        .tenant
        .protime
        .configure(|settings| settings.page_size = 2);
    tenant
        .tenant
        .protime
        .set_records("departments", &json!(records).to_string())
        .unwrap();
}

/// The ids in the queue, by run.
async fn ids(local: &InProcessSubscriber) -> BTreeMap<String, BTreeSet<String>> {
    let mut runs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in local.tenant.events().await {
        let id = event["id"].as_str().unwrap().to_owned();
        runs.entry(event["run"].as_str().unwrap().to_owned())
            .or_default()
            .insert(id);
    }
    runs
}

fn pages_of(ids: &BTreeSet<String>) -> BTreeSet<u64> {
    ids.iter()
        .filter_map(|id| id.split('/').nth(2)?.parse().ok())
        .collect()
}

/// With `fields` where the process lives on or is stopped after a request, without them where it is stopped before.
fn connection(name: &str, run: &str, fault: Break) -> Value {
    let mut connection = json!({"incoming": name, "entity": "departments", "run": run});
    if fault != Break::StopBefore {
        connection["fields"] = json!(["name.default"]);
    }
    connection
}

/// What a run sends that nothing stops, as `whole` and the number of its requests.
async fn undisturbed(local: &InProcessSubscriber, fault: Break) -> (BTreeSet<String>, u32) {
    local.crash_proxy.arm(0, false);
    let run = connection("whole", "whole", fault);
    local.run(&run).await.unwrap();
    let requests = local.crash_proxy.count();
    let events = local.tenant.events().await;
    for event in events
        .iter()
        .filter(|event| !event["data"]["value"].is_null())
    {
        assert_eq!(
            event.to_string().contains(UNLISTED),
            run["fields"].is_null()
        );
    }
    let ids = events
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned());
    let whole: BTreeSet<String> = ids.collect();
    assert_eq!(whole.len() as u64, PAGES + 1);
    assert!(requests > 60, "pages, batches and state writes: {requests}");
    (whole, requests)
}

/// Breaks a run at that request, and returns whether it was stopped.
async fn broken(local: &InProcessSubscriber, at: u32, fault: Break, run: &Value) -> bool {
    local.subscriber.clients.forget(&local.tenant.client);
    local.crash_proxy.arm_with(at, fault);
    let was_stopped = tokio::select! {
        result = local.run(run) => {
            assert_eq!(result.unwrap()["status"], "completed", "{run}");
            false
        }
        () = local.crash_proxy.crashed() => true,
    };
    assert!(!(was_stopped && fault == Break::LoseAnswer));
    local.crash_proxy.arm(0, false);
    was_stopped
}

/// Breaks a run at each of its requests in turn, and finishes each. Returns the number of requests, and how many runs
/// were finished from a checkpoint.
async fn each_request(fault: Break) -> (u32, u32) {
    let local = InProcessSubscriber::new(Options::default()).await;
    departments(&local);
    let (whole, requests) = undisturbed(&local, fault).await;
    let expected = |run: &str| -> BTreeSet<String> {
        let of_run = |id: &String| id.replacen("whole", run, 1);
        whole.iter().map(of_run).collect()
    };
    let mut unfinished = 0;
    for at in 1..=requests {
        let [name, old, new] = ["c", "old", "new"].map(|of| format!("{of}-{at}-{fault:?}"));
        let was_stopped = broken(&local, at, fault, &connection(&name, &old, fault)).await;
        let before = ids(&local).await.remove(&old).unwrap_or_default();
        let checkpoint = local.state(&name).await.checkpoint;
        if let Some(checkpoint) = &checkpoint {
            let sent = pages_of(&before);
            let next = checkpoint
                .chains
                .open()
                .get(&0)
                .map_or(0, |chain| chain.page);
            let mut passed = 0..next;
            assert!(
                passed.all(|page| sent.contains(&page)),
                "state ran ahead: {checkpoint:?}, sent {sent:?}"
            );
            unfinished += 1;
        }
        // Every tenth time as another run, which finishes the old one first; else as Lambda's own retry.
        let is_new = at % 10 == 0;
        let run = if is_new { &new } else { &old };
        let later = Timestamp::now() + 5.minutes();
        let again = connection(&name, run, fault);
        let outcome = local.run_at(&again, later, Duration::from_mins(1)).await;
        let outcome = outcome.unwrap();
        // It may have completed just before it was stopped.
        let is_done = !is_new && outcome["reason"] == "this run has completed before";
        assert!(
            outcome["run"] == json!(run) && (outcome["status"] == "completed" || is_done),
            "{name}: {outcome}"
        );
        let mut sent = ids(&local).await;
        let mut all = before;
        all.extend(sent.remove(&old).unwrap_or_default());
        // A run that had sent nothing when it was stopped may never have been.
        let never_was = is_new && all.is_empty() && checkpoint.is_none() && was_stopped;
        assert!(all == expected(&old) || never_was, "{name}");
        if is_new {
            assert_eq!(sent.remove(&new).unwrap(), expected(&new));
        }
        let state = local.state(&name).await;
        assert!(state.checkpoint.is_none() && state.last.unwrap().run == *run);
    }
    (requests, unfinished)
}

#[tokio::test]
async fn a_run_stopped_at_any_request_is_finished_by_the_next() {
    // Side by side: each has a Protime, a queue and connections of its own.
    let (before, after, lost) = tokio::join!(
        each_request(Break::StopBefore),
        each_request(Break::StopAfter),
        each_request(Break::LoseAnswer)
    );
    let unfinished = before.1 + after.1 + lost.1;
    assert!(
        unfinished > before.0,
        "most stops left a checkpoint: {unfinished}"
    );
    println!(
        "stopped at each of {} requests, before and after, and each answer lost; {unfinished} runs were finished from a checkpoint",
        before.0
    );
}

#[tokio::test]
async fn another_version_of_a_connection_drops_the_unfinished_run() {
    let local = InProcessSubscriber::new(Options::default()).await;
    departments(&local);
    local.crash_proxy.arm(30, true);
    let first = json!({"entity": "departments", "run": "old"});
    tokio::select! {
        result = local.run(&first) => panic!("{result:?}"),
        () = local.crash_proxy.crashed() => {}
    }
    local.crash_proxy.arm(0, false);
    let changed = json!({"entity": "departments", "run": "new", "query": {"x": 1}});
    let later = Timestamp::now() + 5.minutes();
    local
        .run_at(&changed, later, Duration::from_mins(1))
        .await
        .unwrap();
    let sent = ids(&local).await;
    assert!(sent["old"].iter().all(|id| !id.ends_with("/completed")));
    assert!(sent["new"].contains("new/completed"));
    let history = local.history("test").await;
    let dropped = history.run("old").unwrap().error.as_ref().unwrap();
    assert_eq!(dropped.kind, "Dropped");
    assert!(dropped.message.contains("run `new`"), "{}", dropped.message);
}

#[tokio::test]
async fn two_runs_at_once_one_works_and_one_is_skipped() {
    let local = InProcessSubscriber::new(Options::default()).await;
    departments(&local);
    let (one, other) = (
        json!({"entity": "departments", "run": "one"}),
        json!({"entity": "departments", "run": "other"}),
    );
    let (one, other) = tokio::join!(local.run(&one), local.run(&other));
    let (one, other) = (one.unwrap(), other.unwrap());
    let mut statuses = [
        one["status"].as_str().unwrap(),
        other["status"].as_str().unwrap(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, ["completed", "skipped"]);
    let skipped = if one["status"] == "skipped" {
        one
    } else {
        other
    };
    assert!(
        skipped["reason"]
            .as_str()
            .unwrap()
            .contains("another run of this connection is under way"),
        "{skipped}"
    );
}

#[tokio::test]
async fn without_state_protime_is_not_asked() {
    let mut local = InProcessSubscriber::new(Options::default()).await;
    let aws = end_to_end::aws().load().await;
    local.subscriber.state =
        connector::store::StateTable::new(aws_sdk_dynamodb::Client::new(&aws), "no-such-table");
    let error = local
        .run(&json!({"entity": "departments"}))
        .await
        .unwrap_err();
    assert_eq!(error.kind().name(), "State");
    assert!(error.to_string().contains("no-such-table"), "{error}");
    assert!(local.tenant.targets().is_empty());
}
