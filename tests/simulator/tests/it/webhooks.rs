//! The management of webhooks.

use serde_json::json;

use crate::protime::{API, Protime};

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
    // §13.1: key and date both come only there
    // §webhooks: create: Location plus a body holding the private key and validUntil
    assert_eq!(created.status, 201);
    assert!(created.body["privateKey"].is_string());
    // §1.2: ISO 8601 with offset, e.g. `2025-03-31T12:30:00+02:00`
    // §6.1: `validUntil` | ISO 8601 with offset
    let valid_until = created.body["validUntil"].as_str().unwrap();
    assert_eq!(valid_until, "2026-06-29T13:00:00+01:00");
    // §6.1: `Location` = the webhook's URI
    // §6.1: `GET …/webhooks/{id}` | one webhook
    let read = protime.call("GET", &created.location, None).await.body;
    assert!(read["privateKey"].is_null(), "shown once");
    // §6.1: `destinationUrl` | consumer URL
    assert_eq!(read["destinationUrl"], "https://hooks.example.test/protime");
    // §6.1: G3: `Enabled` (initial) or `Disabled`
    assert_eq!(read["status"], "Enabled");
    // §6.1: `400` invalid URL or unknown collection name
    // §6.2: HTTPS required
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
    // §webhooks: delete: soft delete
    assert_eq!(protime.delete(&path).await.status, 204);
    assert_eq!(protime.get(&path).await.body["status"], "Disabled");
    assert_eq!(protime.delete(&path).await.status, 404);
    // §6.1: filter on `collection-name` and/or `status`
    // §webhooks: list: no filter required
    assert!(protime.get("/webhooks").await.count() > 0);
    let disabled = protime
        .get("/webhooks?filter=status%20eq%20%27Disabled%27")
        .await;
    assert_eq!(disabled.records().last().unwrap()["id"], id);
}

#[tokio::test]
async fn webhooks_have_scopes_of_their_own() {
    let mut protime = Protime::start().await;
    let webhook = json!({"destinationUrl": "https://hooks.example.test", "collectionName": "activity-durations"});
    // §2.4: Webhook scope inconsistency
    // §activity-durations: Webhook page names scope
    // §webhooks: Scopes: the guide asks for webhooks.read and webhooks.write
    for (scope, status) in [("webhooks.write", 201), ("activity-durations.read", 403)] {
        let scope = format!("connector-protimeapi-{scope}");
        protime.login(&scope).await;
        let created = protime.post("/webhooks", webhook.clone()).await;
        assert_eq!(created.status, status, "{scope}");
    }
}

#[tokio::test]
async fn a_webhook_that_ended_is_replaced_by_another() {
    let protime = Protime::start().await;
    let webhook =
        json!({"destinationUrl": "https://hooks.example.test", "collectionName": "people"});
    let first = protime.post("/webhooks", webhook.clone()).await;
    let path = first.location.strip_prefix(API).unwrap();
    protime.delete(path).await;
    // §6.4: a webhook cannot be revived
    // §webhooks: No update operation
    assert_eq!(protime.put(path, webhook.clone()).await.status, 405);
    let second = protime.post("/webhooks", webhook).await;
    assert_ne!(second.body["id"], first.body["id"]);
    assert_ne!(second.body["privateKey"], first.body["privateKey"]);
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
        // §6.1: `collectionName` | subscribed collection
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

/// What is not documented can be set.
#[tokio::test]
async fn the_name_of_the_key_the_life_and_the_status_are_switches() {
    let protime = Protime::with(|settings| {
        settings.webhook_key = "secretKey".to_owned();
        settings.webhook_days = 30;
        settings.webhook_status = "Uninitialized".to_owned();
        settings.one_webhook_per_collection = true;
    })
    .await;
    let webhook =
        json!({"destinationUrl": "https://hooks.example.test", "collectionName": "counters"});
    let first = protime.post("/webhooks", webhook.clone()).await;
    assert!(first.body["secretKey"].is_string() && first.body["privateKey"].is_null());
    assert_eq!(first.body["validUntil"], "2026-04-30T13:00:00+01:00");
    assert_eq!(first.body["status"], "Uninitialized");
    let second = protime.post("/webhooks", webhook.clone()).await;
    assert!(second.reason().contains("has a webhook already"));
    protime
        .delete(first.location.strip_prefix(API).unwrap())
        .await;
    assert_eq!(protime.post("/webhooks", webhook).await.status, 201);
}
