//! Only the properties that a connection's `fields` name leave Protime.

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Options, Simulator};

/// In every property that no test lists.
const CANARY: &str = "canary";

/// Who has more to tell than anybody needs.
fn clocking(id: u32, size: usize) -> Value {
    json!({
        "changeVersion": format!("{id:020}"), "id": id, "status": "Active", "date": "2026-01-05", "kind": "InOut",
        "person": {"id": 1, "externalReferences": {"@badge-number": CANARY}},
        "activityLevels": [{"level": 1, "activityDefinition": {"id": CANARY}}, {"level": 2}],
        "geolocation": {"longitude": CANARY, "latitude": CANARY.repeat(size)}, "addedLater": CANARY,
    })
}

fn connection(fields: &Value) -> Value {
    json!({"entity": "clockings", "fields": fields, "query": {"filter": "date ge '2026-01-01' and date le '2026-01-31'"}})
}

async fn with_clockings(clockings: &[Value]) -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options {
        now: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        ..Options::default()
    })
    .await;
    let clockings = json!(clockings).to_string();
    local
        .tenant
        .protime
        .set_records("clockings", &clockings)
        .unwrap();
    local
}

fn records(events: &[Value]) -> Vec<Value> {
    let pages = events
        .iter()
        .filter_map(|event| event["data"]["value"].as_array());
    pages.flatten().cloned().collect()
}

#[tokio::test]
async fn what_is_named_is_sent_and_what_is_always_kept_and_nothing_else() {
    let local = with_clockings(&[clocking(7, 1)]).await;
    let fields = json!(["person.id", "date", "activityLevels[].level"]);
    let outcome = local.run(&connection(&fields)).await.unwrap();
    assert_eq!(outcome["records"], 1);
    let events = local.tenant.events().await;
    let expected = json!({
        "changeVersion": "00000000000000000007", "id": 7, "status": "Active", "date": "2026-01-05",
        "person": {"id": 1}, "activityLevels": [{"level": 1}, {"level": 2}],
    });
    assert_eq!(records(&events), [expected]);
    assert!(!json!(events).to_string().contains(CANARY));
    assert!(!outcome.to_string().contains(CANARY));
}

#[tokio::test]
async fn ids_are_over_what_is_sent() {
    let local = with_clockings(&[clocking(7, 1)]).await;
    let page_ids = |events: Vec<Value>| -> BTreeSet<String> {
        let pages = events.iter().filter(|event| !event["page"].is_null());
        pages
            .map(|event| {
                event["id"]
                    .as_str()
                    .unwrap()
                    .rsplit('/')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let mut hashes = Vec::new();
    for (clocking, fields) in [
        (clocking(7, 1), json!(["date"])),
        // What is not sent has changed, and what is sent has not.
        (clocking(7, 2), json!(["date"])),
        (clocking(7, 2), json!(["date", "kind"])),
    ] {
        local
            .tenant
            .protime
            .set_records("clockings", &json!([clocking]).to_string())
            .unwrap();
        local.run(&connection(&fields)).await.unwrap();
        hashes.push(page_ids(local.tenant.events().await));
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[1], hashes[2]);
}

#[tokio::test]
async fn a_record_is_too_large_by_what_is_sent_of_it() {
    let local = with_clockings(&[clocking(7, 200_000)]).await;
    let outcome = local.run(&connection(&json!(["date"]))).await.unwrap();
    assert_eq!(outcome["status"], "completed");
    assert_eq!(records(&local.tenant.events().await).len(), 1);

    let error = local
        .run(&connection(&json!(["geolocation"])))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("(id 7)"), "{error}");
    assert!(!error.to_string().contains(CANARY), "{error}");
}

/// Deletes the first of two clockings and changes the other, behind the API's back.
async fn change(protime: &Simulator) {
    for body in [
        json!({"entity": "clockings", "id": "1", "delete": true}),
        json!({"entity": "clockings", "id": "2", "set": {"timeOfDayInMinutes": 1}}),
    ] {
        let url = format!("{}/_simulator/changes", protime.base_uri());
        let change = reqwest::Client::new().post(url).body(body.to_string());
        let change = change.header("content-type", "application/json");
        assert!(change.send().await.unwrap().status().is_success());
    }
}

fn names(record: &Value) -> BTreeSet<String> {
    record.as_object().unwrap().keys().cloned().collect()
}

fn of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn paths_of_a_delta_count_inside_of_its_data_and_other_fields_need_takeover() {
    let local = InProcessSubscriber::new(Options {
        people: 1,
        days: 1,
        ..Options::default()
    })
    .await;
    let delta = |fields: Value| json!({"entity": "clockings", "sync": "delta", "fields": fields, "transform": ".query.filter = \"date ge '\\(start_of_year)'\""});
    local.run(&delta(json!(["date"]))).await.unwrap();
    let loaded = records(&local.tenant.events().await);
    assert_eq!(loaded.len(), 2);
    let of_records = of(&["id", "changeVersion", "status", "date"]);
    for record in &loaded {
        assert_eq!(names(record), of_records);
    }

    change(&local.tenant.protime).await;
    local.run(&delta(json!(["date"]))).await.unwrap();
    let changes = records(&local.tenant.events().await);
    assert_eq!(changes.len(), 2);
    for change in &changes {
        assert_eq!(names(change), of(&["changeType", "data"]));
        let of_data = names(&change["data"]);
        assert!(of_data.is_subset(&of_records), "{change}");
        let always = of(&["id", "changeVersion"]);
        assert!(of_data.is_superset(&always), "{change}");
    }

    let error = local
        .run(&delta(json!(["date", "kind"])))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("takeover"), "{error}");
    let mut taken_over = delta(json!(["date", "kind"]));
    taken_over["takeover"] = json!(true);
    local.run(&taken_over).await.unwrap();
    let events = local.tenant.events().await;
    assert!(
        events
            .iter()
            .any(|event| event["type"] == "protime.resync.v1")
    );
    assert!(
        records(&events)
            .iter()
            .all(|record| !record["kind"].is_null())
    );
}

#[tokio::test]
async fn an_unfinished_run_with_other_fields_is_dropped() {
    let local = with_clockings(&(1..=20).map(|id| clocking(id, 1)).collect::<Vec<_>>()).await;
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 2);
    let run = |name: &str, fields: Value| {
        let mut event = connection(&fields);
        event["run"] = json!(name);
        event
    };
    local.crash_proxy.arm(15, true);
    let old = run("old", json!(["date"]));
    tokio::select! {
        result = local.run(&old) => panic!("{result:?}"),
        () = local.crash_proxy.crashed() => {}
    }
    local.crash_proxy.arm(0, false);
    let later = Timestamp::now() + 5.minutes();
    let new = run("new", json!(["kind"]));
    local
        .run_at(&new, later, Duration::from_mins(1))
        .await
        .unwrap();
    let events = local.tenant.events().await;
    assert!(events.iter().all(|event| event["id"] != "old/completed"));
    let of_new: Vec<Value> = events
        .into_iter()
        .filter(|event| event["run"] == "new")
        .collect();
    assert_eq!(records(&of_new).len(), 20);
    assert!(
        records(&of_new)
            .iter()
            .all(|record| record["date"].is_null() && !record["kind"].is_null())
    );
}
