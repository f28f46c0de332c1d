//! The deployed doorbell, called at its URL as Protime would call it.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use end_to_end::{Tenant, variable};
use reqwest::header::HOST;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The connection whose token `infra/run.py` gives the doorbell.
const RUNG: &str = "rung";
/// The batching window for rings on AWS. Local AWS has none.
const WINDOW: Duration = Duration::from_secs(10);
const RINGS: u32 = 20;
/// A word in every delivery, which must not appear in the log.
const CANARY: &str = "canary-delivery";

/// Calls the doorbell's URL. Its host is in no DNS here, so the `Host` header tells it to local AWS.
async fn call(method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
    let url = variable("DOORBELL_DOORBELL_URL");
    let host = url.trim_start_matches("https://").trim_end_matches('/');
    let target = format!("{}{path}", variable("AWS_ENDPOINT_URL"));
    let request = reqwest::Client::new().request(method, target);
    let request = request.header(HOST, host);
    let request = request
        .header("content-type", "application/json")
        .header("x-signature", CANARY)
        .body(body);
    request.send().await.unwrap()
}

fn right_path() -> String {
    format!("/{}", variable("DOORBELL_TOKEN"))
}

/// Requires that the log has neither the token nor the canary.
async fn nothing_is_logged(tenant: &Tenant) {
    let group = format!("/aws/lambda/{}-doorbell", variable("STACK_NAME"));
    let lines = tenant.stack.log_lines_of(&group, "").await;
    assert!(!lines.is_empty(), "its lines are in {group}");
    for line in &lines {
        assert!(!line.contains(&variable("DOORBELL_TOKEN")), "{line}");
        assert!(!line.contains(CANARY), "{line}");
    }
}

async fn change(tenant: &Tenant, minute: u32) {
    let change = json!({"entity": "clockings", "id": "1", "set": {"timeOfDayInMinutes": minute}});
    let url = format!("{}/_simulator/changes", tenant.protime.base_uri());
    let http = reqwest::Client::new();
    let post = http.post(url).header("content-type", "application/json");
    let answer = post.body(change.to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// Measures the time from a change in Protime to its page in the queue. Local AWS has no batching window, so the test
/// adds it to the measured time. On AWS, no ring waits longer than the window.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_the_queue_within_15_seconds_at_the_95th_percentile() {
    let tenant = Tenant::new().await;
    let program = ".query.filter = \"date ge '\\(start_of_year)'\"";
    // The event as the connection's schedule sends it.
    let outcome = tenant.completed(json!({
        "incoming": RUNG, "entity": "clockings", "sync": "delta", "transform": program,
        "scheduled": "<aws.scheduler.scheduled-time>",
    }));
    assert_eq!(outcome.await["status"], "completed");
    tenant.events().await;
    let mut took = Vec::new();
    for minute in 1..=RINGS {
        change(&tenant, minute).await;
        let start = Instant::now();
        let delivery = json!({"data": {"id": 1, "comments": CANARY}}).to_string();
        let answer = call(Method::POST, &right_path(), delivery).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.text().await.unwrap(), "");
        let has_change = |body: &str| {
            let event: Value = serde_json::from_str(body).unwrap();
            let changes = event["data"]["value"].as_array().into_iter().flatten();
            let mut minutes = changes.map(|change| &change["data"]["timeOfDayInMinutes"]);
            minutes.any(|found| *found == minute)
        };
        let pages = tenant.stack.receive(&tenant.pages, |messages| {
            messages
                .iter()
                .any(|message| has_change(message.body().unwrap()))
        });
        pages.await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    let slowest = took[took.len() * 95 / 100 - 1];
    let median = took[took.len() / 2];
    println!(
        "from a change to its page in the queue: median {median:?}, 95th percentile {slowest:?}, and {WINDOW:?} on AWS"
    );
    assert!(slowest + WINDOW < Duration::from_secs(15), "{took:?}");
    nothing_is_logged(&tenant).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_ring_does_nothing() {
    let tenant = Tenant::new().await;
    let queue = variable("DOORBELL_RINGS_QUEUE_URL");
    let right = right_path();
    let large = vec![b'x'; 10 << 20];
    for (method, path, body) in [
        (Method::POST, "/".to_owned(), Vec::new()),
        (Method::POST, format!("/{}", "0".repeat(32)), b"{}".to_vec()),
        (Method::POST, format!("{right}0"), b"{}".to_vec()),
        (Method::GET, right.clone(), Vec::new()),
        (Method::PUT, right.clone(), b"{}".to_vec()),
    ] {
        let answer = call(method.clone(), &path, body).await;
        assert_eq!(answer.status(), 404, "{method} {path}");
        assert_eq!(answer.text().await.unwrap(), "");
    }
    // AWS itself refuses bodies over 6 MB, with the same status.
    assert_eq!(call(Method::POST, &right, large).await.status(), 413);
    nothing_is_logged(&tenant).await;
    // Neither the queue nor its dead-letter queue has a message.
    for queue in [queue, variable("DOORBELL_RINGS_DEAD_LETTER_QUEUE_URL")] {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let get = tenant.stack.sqs.get_queue_attributes().queue_url(&queue);
        let found = get.attribute_names(name.clone()).send().await.unwrap();
        assert_eq!(found.attributes.unwrap()[&name], "0", "{queue}");
    }
}
