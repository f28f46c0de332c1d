//! Deltas: everything once, then changes; one owner; expiry and conflict.

use std::time::Duration;

use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use protime::RefusalKind;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const LIST: &str = "/connector/protimeapi/api/v1/clockings?";
const POLL: &str = "/connector/protimeapi/api/v1/delta/clockings";

/// 250 clockings in pages of 100, the last day being today.
async fn local() -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options {
        people: 5,
        days: 25,
        ..Options::default()
    })
    .await;
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 100);
    local
}

fn clockings() -> Value {
    json!({"entity": "clockings", "sync": "delta", "transform": ".query.filter = \"date ge '\\(start_of_year)'\""})
}

/// Type, sync and number of records of what arrived.
async fn arrived(local: &InProcessSubscriber) -> Vec<(String, String, usize)> {
    let events = local.tenant.events().await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .map(|event| {
            (
                text(&event["type"]),
                text(&event["sync"]),
                event["data"]["value"].as_array().map_or(0, Vec::len),
            )
        })
        .collect()
}

fn event(kind: &str, sync: &str) -> (String, String, usize) {
    (kind.to_owned(), sync.to_owned(), 0)
}

const COMPLETED: &str = "protime.run-completed.v1";

/// Touches one clocking of today and deletes another, behind the API's back.
async fn change(local: &InProcessSubscriber) {
    let http = reqwest::Client::new();
    for body in [
        json!({"entity": "clockings", "id": "249", "set": {"timeOfDayInMinutes": 1}}),
        json!({"entity": "clockings", "id": "250", "delete": true}),
    ] {
        let url = format!("{}/_simulator/changes", local.tenant.protime.base_uri());
        let answer = http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success());
    }
}

#[tokio::test]
async fn a_delta_is_loaded_once_and_then_polled() {
    // §5.1: Persist the new `deltaLink` after *every* call
    let local = local().await;
    // The days of the year so far decide how many of the 25 days count.
    let outcome = local.run(&clockings()).await.unwrap();
    let loaded = outcome["records"].as_u64().unwrap();
    let events = arrived(&local).await;
    assert_eq!(events.last().unwrap(), &event(COMPLETED, "initial"));
    assert!(
        events[..events.len() - 1]
            .iter()
            .all(|(kind, sync, _)| kind == "protime.page.v1" && sync == "initial")
    );
    assert_eq!(
        events
            .iter()
            .map(|(_, _, records)| *records as u64)
            .sum::<u64>(),
        loaded
    );
    let first = local.state("test").await.delta.unwrap();
    assert!(
        first.link.contains("/delta/clockings?deltaToken="),
        "{first:?}"
    );

    // An empty poll stores the new link all the same.
    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(
        (&outcome["pages"], &outcome["records"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(arrived(&local).await, [event(COMPLETED, "delta")]);
    let second = local.state("test").await.delta.unwrap();
    assert_ne!(first.link, second.link);
    assert_eq!(
        local
            .tenant
            .targets()
            .iter()
            .filter(|target| target.starts_with(LIST) && target.ends_with("&delta"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_change_and_a_deletion_arrive_as_protime_sends_them() {
    // §5.1: Items are now **wrapped**
    let local = local().await;
    local.run(&clockings()).await.unwrap();
    arrived(&local).await;
    change(&local).await;
    local.run(&clockings()).await.unwrap();
    let events = local.tenant.events().await;
    let value = &events[0]["data"]["value"];
    assert_eq!(
        (&events[0]["sync"], value.as_array().unwrap().len()),
        (&json!("delta"), 2)
    );
    assert_eq!(
        (&value[0]["changeType"], &value[0]["data"]["id"]),
        (&json!("InsertOrUpdate"), &json!(249))
    );
    assert_eq!(
        (&value[1]["changeType"], &value[1]["data"]["id"]),
        (&json!("InsertOrUpdate"), &json!(250))
    );
    assert_eq!(value[1]["data"]["status"], "Deleted");
}

#[tokio::test]
async fn a_conflict_is_waited_out_and_one_that_stays_leaves_the_link() {
    // §5.2: `409` on collection GETs with delta = concurrency conflict
    // §7.1: GET | 409
    let local = local().await;
    local.run(&clockings()).await.unwrap();
    local.tenant.protime.add_fault(Fault::status(POLL, 409, 1));
    local.run(&clockings()).await.unwrap();
    arrived(&local).await;
    let before = local.state("test").await.delta;
    local.tenant.protime.add_fault(Fault::status(POLL, 409, 5));
    let error = local.run(&clockings()).await.unwrap_err();
    assert_eq!(error.refusal_kind(), Some(RefusalKind::Conflict));
    assert_eq!(local.state("test").await.delta, before);
    assert!(arrived(&local).await.is_empty());
    let failed = local.state("test").await.checkpoint.unwrap().run;
    local.run(&clockings()).await.unwrap();
    let events = local.tenant.events().await;
    assert_eq!(
        events
            .iter()
            .filter(|event| event["id"] == format!("{failed}/completed"))
            .count(),
        1,
        "the failed run was finished first"
    );
}

#[tokio::test]
async fn a_delta_that_has_expired_is_loaded_anew_in_the_same_run() {
    // §5.2: Expired link → **`410 Gone`**
    let local = local().await;
    let loaded = local.run(&clockings()).await.unwrap()["records"].clone();
    local.tenant.events().await;
    // More than 72 hours without a poll.
    local.tenant.protime.set_now(Timestamp::now() + 73.hours());
    let mut connection = clockings();
    connection["run"] = json!("again");
    let outcome = local.run(&connection).await.unwrap();
    assert_eq!(outcome["records"], loaded);
    let events = local.tenant.events().await;
    let count = |kind: &str, id: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind && event["id"] == id)
            .count()
    };
    assert_eq!(count("protime.resync.v1", "again/resync"), 1);
    assert_eq!(count(COMPLETED, "again/completed"), 1);
    let mut pages = events
        .iter()
        .filter(|event| event["type"] == "protime.page.v1");
    assert!(pages.all(|event| event["sync"] == "initial"));
    local.run(&clockings()).await.unwrap();
    assert_eq!(arrived(&local).await, [event(COMPLETED, "delta")]);
}

#[tokio::test]
async fn a_delta_has_one_owner_until_it_is_taken_over() {
    let local = local().await;
    let mut other = clockings();
    other["incoming"] = json!("other");
    local.run(&clockings()).await.unwrap();
    let error = local.run(&other).await.unwrap_err();
    assert_eq!(error.kind().name(), "DeltaConflict");
    assert!(
        error.to_string().contains(&format!(
            "connection `{}` owns the delta",
            local.incoming("test")
        )),
        "{error}"
    );

    // A full read under another name leaves the delta alone.
    let backfill = json!({"incoming": "backfill", "entity": "clockings", "query": {"filter": "date ge '2026-01-01' and date le '2026-01-31'"}});
    let before = local.state("test").await.delta;
    local.run(&backfill).await.unwrap();
    assert_eq!(local.state("test").await.delta, before);

    let mut takeover = other.clone();
    takeover["takeover"] = json!(true);
    local.tenant.events().await;
    local.run(&takeover).await.unwrap();
    assert!(
        arrived(&local)
            .await
            .iter()
            .all(|(_, sync, _)| sync == "initial")
    );
    local.run(&takeover).await.unwrap();
    assert_eq!(
        arrived(&local).await,
        [event(COMPLETED, "delta")],
        "once taken over, it is polled"
    );
    assert_eq!(
        local.run(&clockings()).await.unwrap_err().kind().name(),
        "DeltaConflict"
    );

    // Ownership lapses 72 hours after the last successful poll.
    local.tenant.protime.set_now(Timestamp::now() + 73.hours());
    local
        .run_at(
            &clockings(),
            Timestamp::now() + 73.hours(),
            Duration::from_mins(1),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_takeover_with_a_mistake_ends_nobodys_delta() {
    let local = local().await;
    local.run(&clockings()).await.unwrap();
    let mut mistaken = clockings();
    mistaken["incoming"] = json!("mistaken");
    mistaken["takeover"] = json!(true);
    mistaken["transform"] = json!(".query.filter = \"person eq 1\"");
    let error = local.run(&mistaken).await.unwrap_err();
    assert_eq!(error.kind().name(), "InvalidRequest", "{error}");
    arrived(&local).await;
    local.run(&clockings()).await.unwrap();
    assert_eq!(arrived(&local).await, [event(COMPLETED, "delta")]);
}

#[tokio::test]
async fn an_edited_request_under_a_live_delta_is_refused() {
    let local = local().await;
    local.run(&clockings()).await.unwrap();
    let mut edited = clockings();
    edited["query"] = json!({"externalReferences": "(people,@badge-number)"});
    let error = local.run(&edited).await.unwrap_err();
    assert!(error.to_string().contains("\"takeover\": true"), "{error}");
    edited["takeover"] = json!(true);
    local.tenant.events().await;
    local.run(&edited).await.unwrap();
    assert!(
        arrived(&local)
            .await
            .iter()
            .all(|(_, sync, _)| sync == "initial")
    );
}

#[tokio::test]
async fn a_transformer_sees_when_the_last_completed_run_was_due() {
    let local = local().await;
    let connection = json!({"entity": "clockings", "scheduled": "2026-11-20T10:00:00Z", "transform": ".query.filter = \"date ge '\\($last // \"2026-11-01\" | .[:10])'\""});
    local.run(&connection).await.unwrap();
    let mut next = connection.clone();
    next["scheduled"] = json!("2026-11-21T10:00:00Z");
    local.run(&next).await.unwrap();
    let targets = local.tenant.targets();
    let firsts: Vec<&String> = targets
        .iter()
        .filter(|target| !target.contains("continuationToken"))
        .collect();
    assert!(
        firsts[0].ends_with("%272026-11-01%27") && firsts[1].ends_with("%272026-11-20%27"),
        "{firsts:?}"
    );
    // A schedule that fires twice for the same time is one run.
    let outcome = local.run(&next).await.unwrap();
    assert_eq!(outcome["status"], "skipped");
    assert_eq!(
        outcome["run"],
        format!("{}@2026-11-21T10:00:00Z", local.incoming("test"))
    );
    assert_eq!(local.tenant.targets().len(), targets.len());
}

#[tokio::test]
async fn a_continuation_that_has_expired_begins_again_once() {
    let local = local().await;
    local
        .tenant
        .protime
        .set_records(
            "departments",
            &json!((1..=250).map(|id| json!({"id": id})).collect::<Vec<_>>()).to_string(),
        )
        .unwrap();
    let gone = Action::Answer {
        status: 410,
        headers: Vec::new(),
        body: String::new(),
    };
    local.tenant.protime.add_fault(Fault::new(
        "/departments?continuationToken",
        1,
        gone.clone(),
    ));
    let outcome = local
        .run(&json!({"entity": "departments", "run": "r"}))
        .await
        .unwrap();
    assert_eq!(outcome["records"], 250);
    let mut ids: Vec<String> = local
        .tenant
        .events()
        .await
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "what was sent twice has the same id: {ids:?}");
    local
        .tenant
        .protime
        .add_fault(Fault::new("/departments?continuationToken", 9, gone));
    assert_eq!(
        local
            .run(&json!({"entity": "departments"}))
            .await
            .unwrap_err()
            .refusal_kind(),
        Some(RefusalKind::InvalidContinuation)
    );
    assert!(
        local.state("test").await.checkpoint.is_none(),
        "of no use any more"
    );
}
