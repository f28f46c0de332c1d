//! The management of webhooks.

use serde_json::json;

use crate::protime::Protime;

#[tokio::test]
async fn a_webhook_is_created_listed_and_deleted_softly() {
    let protime = Protime::start().await;
    let webhook =
        |url: &str, collection: &str| json!({"destinationUrl": url, "collectionName": collection});
    let created = protime
        .post(
            "/webhooks",
            webhook("https://hooks.example.test/protime", "clockings"),
        )
        .await;
    // §6.1: body contains a **private webhook key** (shown only once) and
    assert_eq!(created.status, 201);
    assert!(created.body["privateKey"].is_string());
    // §1.2: ISO 8601 with offset, e.g. `2025-03-31T12:30:00+02:00`
    let valid_until = created.body["validUntil"].as_str().unwrap();
    assert_eq!(valid_until, "2026-06-29T13:00:00+01:00");
    // §6.1: `Location` = the webhook's URI
    let read = protime.call("GET", &created.location, None).await.body;
    assert!(read["privateKey"].is_null(), "shown once");
    // §6.1: G3: `Enabled` (initial) or `Disabled`
    assert_eq!(read["status"], "Enabled");
    // §6.1: `400` invalid URL or unknown collection name
    let plain = protime
        .post(
            "/webhooks",
            webhook("http://hooks.example.test/protime", "clockings"),
        )
        .await;
    assert!(plain.reason().contains("HTTPS"));
    let unknown = protime
        .post(
            "/webhooks",
            webhook("https://hooks.example.test/protime", "departments"),
        )
        .await;
    assert_eq!(unknown.status, 400);

    let id = read["id"].as_str().unwrap();
    let path = format!("/webhooks/{id}");
    // §6.1: **soft delete**
    assert_eq!(protime.delete(&path).await.status, 204);
    assert_eq!(protime.get(&path).await.body["status"], "Disabled");
    assert_eq!(protime.delete(&path).await.status, 404);
    // §6.1: filter on `collection-name` and/or `status`
    let disabled = protime
        .get("/webhooks?filter=status%20eq%20%27Disabled%27")
        .await;
    assert_eq!(disabled.records().last().unwrap()["id"], id);
}

#[tokio::test]
async fn eighteen_collections_have_webhooks() {
    let protime = Protime::start().await;
    // §6.1: Supported `collectionName` values (G3, 18)
    let names = "absences absence-definitions absence-groups access-clockings activity-durations assignments \
        break-definitions breaks calculated-totals clockings contracts counters counter-definitions counter-groups \
        paid-presences people shift-definitions work-interruptions";
    let names: Vec<&str> = names.split_ascii_whitespace().collect();
    assert_eq!(names.len(), 18);
    for name in names {
        // §6.1: body `{"destinationUrl":"https://…","collectionName":"clockings"}`
        let webhook =
            json!({"destinationUrl": "https://hooks.example.test", "collectionName": name});
        let created = protime.post("/webhooks", webhook).await;
        assert_eq!(created.status, 201, "{name}");
        // §6.1: GUID string
        assert_eq!(created.body["id"].as_str().unwrap().len(), 36);
        assert_eq!(created.body["collectionName"], name);
    }
    // §6.1: none documented: replace = delete + create
    let id = "00000000-0000-4000-8000-000000000001";
    assert_eq!(
        protime
            .put(&format!("/webhooks/{id}"), json!({}))
            .await
            .status,
        405
    );
}
