//! Deltas.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::protime::{API, MARCH, Protime};

#[tokio::test]
async fn a_delta_gives_all_then_changes() {
    let protime = Protime::with(|settings| settings.page_size = 120).await;
    // §5.1: a normal **list** GET plus the flag `delta` (no value)
    let mut last = protime.get(&format!("/clockings?{MARCH}&delta")).await;
    // §5.1: items are **plain objects** (no `changeType`)
    assert!(last.records()[0]["changeType"].is_null());
    // §5.1: Follow `nextLink` (now carrying both `continuationToken` and `deltaToken`) to the end
    let mut records = last.count();
    while let Some(link) = last.body["nextLink"].as_str() {
        for (name, times) in [("continuationToken=", 1), ("deltaToken=", 1), ("delta=", 0)] {
            assert_eq!(link.matches(name).count(), times, "{link}");
        }
        assert!(last.body["deltaLink"].is_null());
        last = protime.follow(&last.body["nextLink"]).await;
        records += last.count();
    }
    assert_eq!(records, 310);
    let link = last.body["deltaLink"].as_str().unwrap();
    assert!(link.starts_with(&format!("{API}/delta/clockings?deltaToken=")));

    let clocking = json!({"person": {"id": 1}, "date": "2026-03-31", "timeOfDayInMinutes": 1, "kind": "InOut"});
    protime.post("/clockings", clocking).await;
    let id = last.records()[0]["id"].to_string();
    protime
        .change(json!({"entity": "clockings", "id": id, "delete": true}))
        .await;
    let poll = protime.follow(&last.body["deltaLink"]).await;
    // §5.5: **Soft-deleted clockings** stay in all outputs with `"status": "Deleted"`
    assert_eq!(poll.count(), 2);
    // §5.1: "changeType": "InsertOrUpdate", "data": { "changeVersion": "…0B", "id": 1050 }
    for item in poll.records() {
        assert_eq!(item["changeType"], "InsertOrUpdate");
        assert!(item["data"]["changeVersion"].is_string() && item["data"]["id"].is_u64());
    }
    assert_eq!(poll.records()[1]["data"]["status"], "Deleted");
    let read = protime.get(&format!("/clockings/{id}")).await;
    assert_eq!(read.body["status"], "Deleted");
    // §13.1: Soft-deleted clockings are in **all** responses
    let from = MARCH.replace("2026-03-01", read.body["date"].as_str().unwrap());
    let listed = protime.get(&format!("/clockings?{from}")).await;
    let mut listed = listed.records().iter();
    assert!(listed.any(|record| record["id"] == read.body["id"] && record["status"] == "Deleted"));
    // §5.2: Any poll, even an empty one, yields a fresh `deltaLink`
    let empty = protime.follow(&poll.body["deltaLink"]).await;
    assert_eq!(empty.count(), 0);
    assert!(empty.body["deltaLink"].is_string());
}

#[tokio::test]
async fn other_records_are_deleted_for_good() {
    let protime = Protime::start().await;
    let start = protime
        .get("/assignments?filter=date%20ge%20%272026-01-01%27&delta")
        .await;
    protime.delete("/assignments/2").await;
    let poll = protime.follow(&start.body["deltaLink"]).await;
    // §5.2: `Delete` items carry `changeVersion` and `id` only
    // §5.2: `changeType`: `InsertOrUpdate`, `Delete`
    let item = &poll.records()[0];
    assert_eq!(
        (&item["changeType"], &item["data"]["id"]),
        (&json!("Delete"), &json!(2))
    );
    assert_eq!(item["data"].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_delta_expires_72_hours_after_its_last_request() {
    let mut protime = Protime::with(|settings| settings.expires_in = 10_000_000).await;
    protime.login_with_all_scopes().await;
    let start = protime.get("/shift-definitions?delta").await;
    // §shift-definitions: delta: 410 is not in its table although the general delta rule applies
    // §5.2: Delta expires **72 h after the last request**
    let at = |time: &str| protime.simulator.set_now(time.parse().unwrap());
    at("2026-04-03T12:00:00Z");
    let poll = protime.follow(&start.body["deltaLink"]).await;
    assert_eq!(poll.status, 200);
    at("2026-04-06T12:00:00Z");
    let poll = protime.follow(&poll.body["deltaLink"]).await;
    assert_eq!(poll.status, 200);
    at("2026-04-09T12:00:01Z");
    // §5.2: Expired link → **`410 Gone`**
    // §7.1: delta token expired
    let expired = protime.follow(&poll.body["deltaLink"]).await;
    assert_eq!(expired.status, 410);
    // §13.1: `410` text
    assert_eq!(
        expired.body["error"]["message"],
        "Delta token has expired (older than 72 hours)"
    );
}

#[tokio::test]
async fn only_some_collections_have_a_delta_and_one_at_a_time() {
    let protime = Protime::start().await;
    // Catalogues have none, as far as seen.
    assert_eq!(protime.get("/departments?delta").await.status, 400);
    let first = protime.get("/shift-definitions?delta").await;
    protime.get("/shift-definitions?delta").await;
    // §5.2: **One active delta per collection**
    assert_eq!(protime.follow(&first.body["deltaLink"]).await.status, 410);
}

/// Whether a used `deltaLink` is answered again is not documented.
#[tokio::test]
async fn a_used_link_is_a_switch_and_the_last_page_may_be_empty() {
    for (once, again) in [(false, 200), (true, 410)] {
        let protime = Protime::with(|settings| {
            settings.delta_links_once = once;
            settings.empty_last_delta_page = true;
        })
        .await;
        let start = protime.get("/shift-definitions?delta").await;
        // §5.1: The last page, whose `value` may be empty, has `deltaLink` instead of `nextLink`
        assert!(start.count() == 12 && start.body["deltaLink"].is_null());
        let last = protime.follow(&start.body["nextLink"]).await;
        assert!(last.count() == 0 && last.body["nextLink"].is_null());
        let link = &last.body["deltaLink"];
        assert_eq!(protime.follow(link).await.status, 200);
        assert_eq!(protime.follow(link).await.status, again, "{once}");
    }
}

#[tokio::test]
async fn a_delta_token_is_base64_of_json() {
    let protime = Protime::start().await;
    let start = protime.get("/shift-definitions?delta").await;
    let link = start.body["deltaLink"].as_str().unwrap();
    let token = STANDARD
        .decode(link.split("deltaToken=").nth(1).unwrap())
        .unwrap();
    // §5.2: `DeltaId` (long), `StartingCursor` (long), `TimeStamp` (UTC)
    let token: Value = serde_json::from_slice(&token).unwrap();
    assert!(token["DeltaId"].is_u64() && token["StartingCursor"].is_u64());
    assert_eq!(token["TimeStamp"], "2026-03-31T12:00:00Z");
}

#[tokio::test]
async fn saving_one_group_saves_them_all() {
    let protime = Protime::start().await;
    for groups in ["counter-groups", "absence-groups"] {
        let start = protime.get(&format!("/{groups}?delta")).await;
        protime.change(json!({"entity": groups, "id": "1"})).await;
        let poll = protime.follow(&start.body["deltaLink"]).await;
        // §counter-groups: Saving one counter group emits events for all groups
        // §absence-groups: Saving any absence group in myProtime re-saves all of them
        // §5.5: Saving one **counter group** or **absence group** in myProtime re-saves them all
        assert_eq!(poll.count(), start.count());
    }
}

#[tokio::test]
async fn these_collections_have_a_delta() {
    let protime = Protime::start().await;
    // §5.4: Pages with a delta: absence definitions, absence groups, assignments, break definitions
    let dated = ["assignments", "breaks", "clockings", "work-interruptions"];
    let undated = [
        "absence-definitions",
        "absence-groups",
        "break-definitions",
        "contracts",
        "counter-definitions",
        "counter-groups",
        "people",
        "shift-definitions",
    ];
    let dated = dated.map(|name| format!("/{name}?{MARCH}&delta"));
    for target in dated
        .into_iter()
        .chain(undated.map(|name| format!("/{name}?delta")))
    {
        let start = protime.get(&target).await;
        assert!(
            start.body["deltaLink"].is_string(),
            "{target}: {}",
            start.body
        );
    }
}

#[tokio::test]
async fn a_delta_keeps_its_external_references() {
    let protime = Protime::start().await;
    let start = protime
        .get(&format!(
            "/clockings?{MARCH}&delta&externalReferences=(people,@badge-number)"
        ))
        .await;
    let clocking = json!({"person": {"id": 2}, "date": "2026-03-31", "timeOfDayInMinutes": 1, "kind": "InOut"});
    protime.post("/clockings", clocking).await;
    let poll = protime.follow(&start.body["deltaLink"]).await;
    // §5.2: later pages and deltas keep them
    let person = &poll.records()[0]["data"]["person"];
    assert_eq!(person["externalReferences"]["@badge-number"], "0000002");
}

#[tokio::test]
async fn what_changes_during_the_first_load_comes_with_the_first_poll() {
    let protime = Protime::with(|settings| settings.page_size = 200).await;
    let start = protime.get(&format!("/clockings?{MARCH}&delta")).await;
    let id = start.records()[0]["id"].to_string();
    protime
        .change(json!({"entity": "clockings", "id": id, "set": {"isOpen": true}}))
        .await;
    let last = protime.follow(&start.body["nextLink"]).await;
    let poll = protime.follow(&last.body["deltaLink"]).await;
    // §13.1: The deltaLink means "everything up to this point has been delivered"
    assert_eq!(poll.count(), 1);
    assert_eq!(poll.records()[0]["data"]["isOpen"], true);
}
