//! What the logs must have, and must never have.

use end_to_end::{Tenant, eventually, variable};
use serde_json::{Value, json};
use simulator::Options;

#[tokio::test]
async fn no_secret_token_or_record_content_is_in_any_log() {
    // The stack is deployed with LogLevel=debug.
    let tenant = Tenant::with(Options::default(), &json!({"log_requests": true})).await;
    tenant.protime.rotate_client_secret("canary-client-secret");
    tenant
        .store_secret_with(&json!({"log_requests": true}))
        .await;
    tenant
        .protime
        .set_records(
            "people",
            r#"[{"id":1,"lastName":"canary-record"},{"id":2,"lastName":"x"}]"#,
        )
        .unwrap();
    tenant.protime.configure(|settings| settings.page_size = 1);
    let outcome = tenant
        .completed(json!({"entity": "people", "run": "logged-run"}))
        .await;
    assert_eq!(outcome["records"], 2);
    tenant.publish_text("canary-payload is not JSON").await;
    let payload = json!({"person": {"id": 999}, "date": "2026-01-15", "timeOfDayInMinutes": 1, "kind": "InOut", "comments": "canary-payload"});
    tenant.publish(json!({"method": "POST", "entity": "clockings", "payload": payload, "idempotencyKey": "k"})).await;
    eventually("the publishing", || {
        tenant
            .protime
            .requests()
            .iter()
            .any(|request| request.method == "POST" && request.authorized)
    })
    .await;
    tenant
        .stack
        .receive(&variable("PUBLISH_DEAD_LETTER_QUEUE_URL"), |found| {
            found.len() >= 2
        })
        .await;

    let lines = tenant.stack.log_lines().await;
    let requests: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let logged = requests.iter().find(|line| {
        line["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("/people"))
    });
    let logged = logged.expect("log_requests logs the URL");
    assert_eq!(
        (&logged["method"], &logged["status"], &logged["level"]),
        (&json!("GET"), &json!(200), &json!("INFO"))
    );
    assert!(logged["durationMs"].is_u64() && logged["responseBytes"].is_u64());
    assert!(
        logged["requestId"]
            .as_str()
            .is_some_and(|id| id.len() == 36),
        "{logged}"
    );
    assert!(requests.iter().any(|line| {
        line["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("/connect/token"))
    }));
    assert!(
        requests.iter().any(|line| line["level"] == "DEBUG"),
        "debug lines are there"
    );

    let everything =
        lines.join("\n") + &std::fs::read_to_string(variable("LOCAL_AWS_LOG")).unwrap();
    for canary in [
        "canary-client-secret",
        "simulator-client-secret",
        "simulated.access-token",
        "Bearer",
        "canary-record",
        "canary-payload",
    ] {
        assert!(!everything.contains(canary), "{canary} is in a log");
    }
    // The continuation of the second page was logged without its token.
    assert!(everything.contains("continuationToken=..."));
}
