//! Runs that outlast an invocation.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use end_to_end::Tenant;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::Timestamp;
use protime::RefusalKind;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

fn departments(count: u64) -> String {
    json!(
        (1..=count)
            .map(|id| json!({"id": id}))
            .collect::<Vec<Value>>()
    )
    .to_string()
}

/// Time for a few pages only: ten seconds are kept for handing over.
const SHORT: Duration = Duration::from_millis(10_250);

/// The one message of a hand-over, as Lambda delivers it.
async fn continuation(local: &InProcessSubscriber) -> String {
    let messages = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(messages.len(), 1, "one continuation for each hand-over");
    InProcessSubscriber::delivery(&messages[0])
}

#[tokio::test]
async fn a_run_of_forty_hand_overs_completes() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.tenant.protime.configure(|settings| {
        settings.page_size = 1;
        settings.latency_ms = 20;
    });
    let records = departments(600);
    let protime = &local.tenant.protime;
    protime.set_records("departments", &records).unwrap();
    let connection = json!({"entity": "departments", "run": "long"});
    let started = local.run_at(&connection, Timestamp::now(), SHORT).await;
    let mut outcome = started.unwrap();
    let mut hand_overs = 0;
    while outcome["status"] == "continued" {
        hand_overs += 1;
        let delivery = continuation(&local).await;
        let twice = delivery.clone();
        let before = local.tenant.protime.requests().len();
        let answer = local
            .handle(delivery, Timestamp::now(), SHORT)
            .await
            .unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
        let after = local.tenant.protime.requests().len();
        assert!(after > before);
        // Delivered twice, it runs once.
        local.handle(twice, Timestamp::now(), SHORT).await.unwrap();
        assert_eq!(local.tenant.protime.requests().len(), after);
        let state = local.state("test").await;
        let is_unfinished = state.checkpoint.is_some();
        outcome["status"] = json!(if is_unfinished {
            "continued"
        } else {
            "completed"
        });
        assert!(hand_overs < 400);
    }
    assert!(hand_overs >= 40, "{hand_overs}");
    let mut sent: BTreeMap<String, u32> = BTreeMap::new();
    let events = local.tenant.events().await;
    for event in &events {
        let id = event["id"].as_str().unwrap().to_owned();
        *sent.entry(id).or_default() += 1;
    }
    assert_eq!(sent.len(), 601);
    let repeated: u32 = sent.values().map(|count| count - 1).sum();
    assert!(
        repeated <= hand_overs,
        "{repeated} pages sent twice in {hand_overs} hand-overs"
    );
    let completed = events
        .iter()
        .find(|event| event["type"] == "protime.run-completed.v1")
        .unwrap();
    assert_eq!(
        completed["data"],
        json!({"pages": 600, "records": 600, "messages": 600, "request": {"path": {}, "query": {}}})
    );
    println!("{hand_overs} hand-overs, {repeated} pages sent twice");
}

#[tokio::test]
async fn a_run_that_was_handed_over_is_finished_before_another_version_of_its_connection() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.tenant.protime.configure(|settings| {
        settings.page_size = 1;
        settings.latency_ms = 20;
    });
    let records = departments(60);
    let protime = &local.tenant.protime;
    protime.set_records("departments", &records).unwrap();
    let now = Timestamp::now();
    let backfill = json!({"entity": "departments", "run": "backfill"});
    let outcome = local.run_at(&backfill, now, SHORT).await.unwrap();
    assert_eq!(outcome["status"], "continued");
    let nightly = json!({"entity": "departments", "run": "nightly", "query": {"x": 1}});
    let outcome = local.run_at(&nightly, now, SHORT).await.unwrap();
    assert_eq!(outcome["status"], "skipped");
    let reason = outcome["reason"].as_str().unwrap();
    assert!(reason.contains("run `backfill` goes on first"), "{reason}");
    loop {
        let messages = local.tenant.stack.drain(&local.continuations).await;
        for message in &messages {
            let delivery = InProcessSubscriber::delivery(message);
            local.handle(delivery, now, SHORT).await.unwrap();
        }
        if messages.is_empty() {
            break;
        }
    }
    let events = local.tenant.events().await;
    let mut completed: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "protime.run-completed.v1")
        .filter(|event| event["data"]["pages"] == 60)
        .map(|event| event["run"].as_str().unwrap())
        .collect();
    completed.sort_unstable();
    assert_eq!(completed, ["backfill", "nightly"]);
}

#[tokio::test]
async fn without_a_new_page_a_run_is_not_handed_over() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let wait = vec![("retry-after".to_owned(), "600".to_owned())];
    let fault = Fault::new(
        "/departments",
        9,
        Action::Answer {
            status: 503,
            headers: wait,
            body: String::new(),
        },
    );
    local.tenant.protime.add_fault(fault);
    let error = local
        .run_at(&json!({"entity": "departments"}), Timestamp::now(), SHORT)
        .await
        .unwrap_err();
    assert_eq!(error.refusal_kind(), Some(RefusalKind::Unavailable));
    assert!(
        local
            .tenant
            .stack
            .drain(&local.continuations)
            .await
            .is_empty()
    );
    assert!(
        local.state("test").await.checkpoint.is_some(),
        "the next run goes on"
    );
}

#[tokio::test]
async fn a_continuation_waits_for_a_live_lease() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.tenant.protime.configure(|settings| {
        settings.page_size = 1;
        settings.latency_ms = 50;
    });
    local
        .tenant
        .protime
        .set_records("departments", &departments(30))
        .unwrap();
    let connection = json!({"entity": "departments"});
    let outcome = local
        .run_at(&connection, Timestamp::now(), SHORT)
        .await
        .unwrap();
    assert_eq!(outcome["status"], "continued");
    let continuation = continuation(&local).await;
    let minute = Duration::from_mins(1);
    // The next scheduled run has the lease when the continuation comes.
    let (scheduled, continued) = tokio::join!(local.run(&connection), async {
        tokio::time::timeout(minute, async {
            while local.tenant.protime.requests().len() < 12 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        local
            .handle(continuation.clone(), Timestamp::now(), minute)
            .await
    });
    assert_eq!(scheduled.unwrap()["status"], "completed");
    assert_eq!(
        continued.unwrap()["batchItemFailures"],
        json!([]),
        "a delayed message takes its place, so that waiting uses up no receives"
    );
    let delayed = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
    let attributes = local.tenant.stack.sqs.get_queue_attributes();
    let attributes = attributes
        .queue_url(&local.continuations)
        .attribute_names(delayed.clone());
    let attributes = attributes.send().await.unwrap().attributes.unwrap();
    assert_eq!(attributes[&delayed], "1");
    let before = local.tenant.protime.requests().len();
    local
        .handle(continuation, Timestamp::now(), minute)
        .await
        .unwrap();
    assert_eq!(
        local.tenant.protime.requests().len(),
        before,
        "stale by then"
    );
}

#[tokio::test]
async fn two_thousand_slow_pages_take_several_invocations_of_the_deployed_function() {
    let tenant = Tenant::new().await;
    tenant.protime.configure(|settings| {
        settings.page_size = 1;
        settings.latency_ms = 45;
    });
    tenant
        .protime
        .set_records("departments", &departments(2000))
        .unwrap();
    let incoming = tenant.client.replace('/', "-");
    let invoked = tenant
        .subscribe(json!({"incoming": incoming, "entity": "departments", "run": "slow"}))
        .await;
    assert_eq!(
        invoked.payload["status"], "continued",
        "{}",
        invoked.payload
    );
    let done = |messages: &[aws_sdk_sqs::types::Message]| {
        messages
            .iter()
            .any(|message| message.body().unwrap().contains("run-completed"))
    };
    let messages = tenant
        .stack
        .receive_for(&tenant.pages, Duration::from_mins(5), done)
        .await;
    let mut ids: Vec<String> = messages
        .iter()
        .map(|message| {
            serde_json::from_str::<Value>(message.body().unwrap()).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2001);
    println!("{} pages sent twice", all - ids.len());
}
