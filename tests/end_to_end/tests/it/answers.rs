//! Answers that no list may have: a run fails and keeps its checkpoint, or begins the list again. It never ends as
//! completed.

use std::time::Duration;

use aws_sdk_secretsmanager::primitives::Blob;
use end_to_end::Tenant;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

async fn five_pages() -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    let records: Vec<Value> = (1..=50).map(|id| json!({"id": id})).collect();
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.page_size = 10);
    let records = json!(records).to_string();
    protime.set_records("departments", &records).unwrap();
    local
}

/// The third page, once the faults before it were used up.
fn on_the_third_page(local: &InProcessSubscriber, times: u32, status: u16, body: &str) {
    let action = Action::Answer {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let fault = Fault {
        skip: 1,
        ..Fault::new("/departments?continuationToken", times, action)
    };
    local.tenant.protime.add_fault(fault);
}

fn ids(events: &[Value]) -> Vec<u64> {
    let records = events
        .iter()
        .filter_map(|event| event["data"]["value"].as_array());
    let mut ids: Vec<u64> = records
        .flatten()
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_bad_page_fails_the_run_and_keeps_its_checkpoint() {
    for (status, body) in [
        (200, "{}"),
        (200, r#"{"value": null}"#),
        (200, r#"{"error": {"code": "Busy"}}"#),
        (200, r#"{"id": 7}"#),
        (206, "[]"),
    ] {
        let local = five_pages().await;
        on_the_third_page(&local, u32::MAX, status, body);
        let connection = json!({"entity": "departments"});
        let error = local.run(&connection).await.unwrap_err();
        assert_eq!(error.kind().name(), "ProtimeContent", "{body}: {error}");
        let events = local.tenant.events().await;
        assert_eq!(ids(&events), (1..=20).collect::<Vec<_>>(), "{body}");
        assert!(
            events
                .iter()
                .all(|event| event["type"] == "protime.page.v1"),
            "{body}"
        );
        assert!(local.state("test").await.checkpoint.is_some(), "{body}");

        // The next run goes on where this one stopped, and is a whole one itself.
        local.tenant.protime.clear_faults();
        local.run(&connection).await.unwrap();
        let events = local.tenant.events().await;
        let completed = events
            .iter()
            .filter(|event| event["type"] == "protime.run-completed.v1");
        let records: Vec<u64> = completed
            .map(|event| event["data"]["records"].as_u64().unwrap())
            .collect();
        assert_eq!(records, [50, 50], "{body}");
        assert_eq!(ids(&events).len(), 30 + 50, "{body}");
    }
}

#[tokio::test]
async fn an_empty_page_is_read_again() {
    for (status, body) in [
        (200, ""),
        (204, ""),
        (200, r#"{"value": [{"id": 21}, {"id""#),
    ] {
        let local = five_pages().await;
        on_the_third_page(&local, 2, status, body);
        let outcome = local.run(&json!({"entity": "departments"})).await.unwrap();
        let told = ["pages", "records", "requests", "retries", "chains"]
            .map(|name| outcome[name].as_u64().unwrap());
        assert_eq!(told, [5, 50, 7, 2, 1], "{body}");
        let waited = outcome["waited"].as_f64().unwrap();
        assert!(
            waited > 0.5 && waited < outcome["seconds"].as_f64().unwrap() + 60.0,
            "{outcome}"
        );
        assert_eq!(
            ids(&local.tenant.events().await),
            (1..=50).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_paging_token_that_is_refused_begins_the_list_again() {
    // §13.1: **`409` on a list = the continuation token is invalid or expired**
    for status in [400, 404, 409, 410] {
        let local = five_pages().await;
        on_the_third_page(&local, 1, status, "");
        let outcome = local.run(&json!({"entity": "departments"})).await.unwrap();
        assert_eq!(outcome["records"], 50, "{status}");
        let requests = local.tenant.targets();
        assert_eq!(requests.len(), 3 + 5, "{status}: {requests:?}");

        // For good: the run ends, and the next one is a new one.
        on_the_third_page(&local, u32::MAX, status, "");
        let error = local
            .run(&json!({"entity": "departments"}))
            .await
            .unwrap_err();
        assert_eq!(error.kind().name(), "ProtimeRefused", "{status}");
        assert!(local.state("test").await.checkpoint.is_none(), "{status}");
    }
}

#[tokio::test]
async fn a_wait_of_hours_is_kept_and_one_of_nothing_is_not_hurried() {
    for (retry_after, longest) in [
        ("0", 60),
        ("3600", 3_600),
        ("18446744073709551615", i64::MAX),
    ] {
        let local = five_pages().await;
        let throttled = Action::Answer {
            status: 429,
            headers: vec![("retry-after".to_owned(), retry_after.to_owned())],
            body: String::new(),
        };
        let fault = Fault {
            skip: 1,
            ..Fault::new("/departments?continuationToken", u32::MAX, throttled)
        };
        local.tenant.protime.add_fault(fault);
        let now = Timestamp::now();
        let connection = json!({"entity": "departments"});
        let outcome = local
            .run_at(&connection, now, Duration::from_secs(14))
            .await
            .unwrap();
        assert_eq!(outcome["status"], "continued", "{retry_after}");
        let asked = local.tenant.targets().len();
        assert!(asked <= 2 + 6, "{retry_after}: {asked}");
        // Whoever comes before the time is over leaves Protime alone.
        let item = local
            .item(&format!("connection/{}", local.incoming("test")))
            .await;
        let until = item["not_before"].as_n().unwrap().parse::<i64>().unwrap();
        let wait = (until - now.as_millisecond()) / 1_000;
        assert!(
            wait <= longest && (retry_after == "0" || wait >= 3_590),
            "{retry_after}: {wait}"
        );
        if wait > 60 {
            for (run, minutes) in [(&outcome["run"], 1), (&json!("next"), 2)] {
                let mut again = connection.clone();
                again["run"] = run.clone();
                let later = now + minutes.minutes();
                let skipped = local.run_at(&again, later, Duration::from_mins(1)).await;
                let skipped = skipped.unwrap();
                assert_eq!(skipped["status"], "skipped");
                let reason = skipped["reason"].as_str().unwrap();
                assert!(reason.contains("`Retry-After` lasts until"), "{reason}");
            }
            local.watch(now + 50.minutes()).await.unwrap();
            assert_eq!(local.tenant.targets().len(), asked, "{retry_after}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_read_as_editors_and_shells_store_it() {
    let tenant = Tenant::new().await;
    let secret = tenant.protime.secret_json();
    for (text, binary) in [
        (Some(format!("\u{feff}{secret}")), None),
        (None, Some(secret.clone())),
        (None, Some(format!("\u{feff}{secret}\r\n"))),
    ] {
        let secrets = aws_sdk_secretsmanager::Client::new(&end_to_end::aws().load().await);
        let put = secrets.put_secret_value().secret_id(&tenant.client);
        let put = match (text, binary) {
            (Some(text), _) => put.secret_string(text),
            (_, binary) => put.secret_binary(Blob::new(binary.unwrap())),
        };
        put.send().await.unwrap();
        let local = connector::aws::credentials::HttpClients::new(
            "subscriber",
            "protime/",
            secrets,
            protime::http_client().unwrap(),
            std::sync::Arc::new(|_| {}),
            connector::clock::Clock::default(),
        );
        let client = local.get(&tenant.client).await.unwrap();
        let stored: Value = serde_json::from_str(&secret).unwrap();
        assert_eq!(client.settings().client_id, stored["client_id"]);
    }
}

#[tokio::test]
async fn a_link_that_repeats_is_found_however_few_pages_an_invocation_reads() {
    let local = five_pages().await;
    local
        .tenant
        .protime
        .configure(|settings| settings.latency_ms = 150);
    let path = "/connector/protimeapi/api/v1/departments?continuationToken=";
    let page = |id: u32, next: &str| {
        let body = json!({"value": [{"id": id}], "nextLink": format!("{path}{next}")});
        Action::Answer {
            status: 200,
            headers: Vec::new(),
            body: body.to_string(),
        }
    };
    let protime = &local.tenant.protime;
    for (token, id, next) in [
        ("=aaa", 2, "bbb"),
        ("=bbb", 3, "ccc"),
        ("=ccc", 4, "ddd"),
        ("=ddd", 5, "aaa"),
    ] {
        protime.add_fault(Fault::new(token, u32::MAX, page(id, next)));
    }
    protime.add_fault(Fault::new("/departments", 1, page(1, "aaa")));
    // Time for a page or two.
    let time = Duration::from_millis(10_400);
    let connection = json!({"entity": "departments", "run": "circle"});
    let mut result = local.run_at(&connection, Timestamp::now(), time).await;
    let mut hand_overs = 0;
    while let Ok(outcome) = &result {
        assert_ne!(outcome["status"], "completed");
        hand_overs += 1;
        assert!(hand_overs < 20);
        let messages = local.tenant.stack.drain(&local.continuations).await;
        let delivery = InProcessSubscriber::delivery(&messages[0]);
        result = local.handle(delivery, Timestamp::now(), time).await;
    }
    assert_eq!(result.unwrap_err().kind().name(), "ProtimeLink");
    assert!(hand_overs >= 2, "{hand_overs}");
}

#[tokio::test]
async fn an_event_that_nobody_sends_is_named() {
    let local = five_pages().await;
    for event in [
        json!({"Records": []}),
        json!({"watch": false}),
        json!({"watch": 1, "Records": [{}]}),
    ] {
        let handled = local
            .handle(event.to_string(), Timestamp::now(), Duration::from_mins(1))
            .await;
        assert_eq!(
            handled.unwrap_err().kind().name(),
            "UnknownEvent",
            "{event}"
        );
    }
    for incoming in ["", "a/b", "a b", "\u{e9}", &"x".repeat(81)] {
        let event =
            json!({"incoming": incoming, "client": local.tenant.client, "entity": "departments"});
        let handled = local
            .handle(event.to_string(), Timestamp::now(), Duration::from_mins(1))
            .await;
        let error = handled.unwrap_err();
        assert_eq!(error.kind().name(), "InvalidConnection", "{event}");
        assert!(error.to_string().contains("`incoming`"), "{error}");
    }
}
