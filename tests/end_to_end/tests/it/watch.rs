//! The watch takes up what nobody goes on with.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use connector::store::SeenWebhook;
use end_to_end::crash_proxy::Fault as Break;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const MINUTE: Duration = Duration::from_mins(1);
/// How long Protime asks to wait after the first page: longer than an invocation has.
const WAIT: u32 = 120;

/// Pages of one record.
async fn departments(pages: u64) -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    let records: Vec<Value> = (1..=pages).map(|id| json!({"id": id})).collect();
    let records = json!(records).to_string();
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.page_size = 1);
    protime.set_records("departments", &records).unwrap();
    local
}

/// Lets Protime ask for a wait, so that a run is handed over: after its first page, and so many.
fn throttle_after(local: &InProcessSubscriber, skip: u32, seconds: u32) {
    let wait = vec![("retry-after".to_owned(), seconds.to_string())];
    let answer = Action::Answer {
        status: 429,
        headers: wait,
        body: String::new(),
    };
    let fault = Fault {
        skip,
        ..Fault::new("/departments?continuationToken", 1, answer)
    };
    local.tenant.protime.clear_faults();
    local.tenant.protime.add_fault(fault);
}

fn throttle(local: &InProcessSubscriber, seconds: u32) {
    throttle_after(local, 0, seconds);
}

/// A run that was handed over after the first of five pages. Its continuation is delayed and does not come here: lost, as
/// far as the tests are concerned.
async fn handed_over(now: Timestamp) -> InProcessSubscriber {
    let local = departments(5).await;
    throttle(&local, WAIT);
    let outcome = local.run_at(&backfill(), now, MINUTE).await.unwrap();
    assert_eq!(outcome["status"], "continued");
    local
}

/// The continuation of that run, as SQS delivers it.
async fn continuation(local: &InProcessSubscriber) -> String {
    let incoming = local.incoming("test");
    let item = local.item(&format!("connection/{incoming}")).await;
    let generation = item["generation"].as_n().unwrap().parse::<u64>().unwrap();
    let body = json!({"incoming": incoming, "run": "long", "generation": generation}).to_string();
    let message = Message::builder()
        .message_id("m")
        .receipt_handle("r")
        .body(body);
    InProcessSubscriber::delivery(&message.build())
}

fn backfill() -> Value {
    json!({"entity": "departments", "run": "long"})
}

/// The distinct ids in the pages queue.
async fn ids(local: &InProcessSubscriber) -> BTreeSet<String> {
    let events = local.tenant.events().await;
    let ids = events.iter().map(|event| event["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

fn is_complete(ids: &BTreeSet<String>, pages: u64) -> bool {
    let page = |number: u64| {
        let start = format!("long/0/{number}/0/");
        ids.iter().any(|id| id.starts_with(&start))
    };
    ids.len() as u64 == pages + 1 && ids.contains("long/completed") && (0..pages).all(page)
}

/// The watch and SQS alone, a quarter of an hour at a time, until no run is unfinished. Returns how often it took one up.
async fn come_to_rest(local: &InProcessSubscriber, mut now: Timestamp) -> usize {
    let mut rescues = 0;
    for _ in 0..40 {
        now += 15.minutes();
        let report = tokio::select! {
            report = local.watch(now) => report.unwrap(),
            () = local.crash_proxy.crashed() => { local.crash_proxy.arm(0, false); continue; }
        };
        rescues += report["rescued"].as_array().unwrap().len();
        loop {
            let messages = local.tenant.stack.drain(&local.continuations).await;
            for message in &messages {
                tokio::select! {
                    result = local.handle(InProcessSubscriber::delivery(message), now, MINUTE) => { result.unwrap(); }
                    () = local.crash_proxy.crashed() => local.crash_proxy.arm(0, false),
                }
            }
            if messages.is_empty() {
                break;
            }
        }
        let connections = report["connections"].as_array().unwrap();
        let is_at_rest = |connection: &Value| connection["unfinished"].is_null();
        if !connections.is_empty() && connections.iter().all(is_at_rest) {
            return rescues;
        }
    }
    panic!("it does not come to rest");
}

#[tokio::test]
async fn a_backfill_whose_continuation_was_deleted_completes_by_the_watch_alone() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    let lost = continuation(&local).await;

    // Not before it was idle for ten minutes, the wait that Protime asked for left aside.
    let report = local.watch(now + 11.minutes()).await.unwrap();
    assert_eq!(report["rescued"], json!([]));
    assert_eq!(report["connections"][0]["unfinished"], "long");
    assert_eq!(come_to_rest(&local, now).await, 1);
    assert!(is_complete(&ids(&local).await, 5));

    // The lost message turns up after all: it is acknowledged, and begins nothing.
    let before = local.tenant.protime.requests().len();
    let answer = local.handle(lost, now + 1.hour(), MINUTE).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(local.tenant.protime.requests().len(), before);
}

#[tokio::test]
async fn wherever_a_run_is_stopped_or_loses_an_answer_it_completes_without_another_schedule() {
    let pages = 5;
    let local = departments(pages).await;
    let connection = |name: &str| json!({"incoming": name, "entity": "departments", "run": "long"});
    local.crash_proxy.arm(0, false);
    throttle(&local, WAIT);
    let now = Timestamp::now();
    let event = local.event(&connection("whole"));
    local.handle(event, now, MINUTE).await.unwrap();
    come_to_rest(&local, now).await;
    let requests = local.crash_proxy.count();
    assert!(is_complete(&ids(&local).await, pages));

    let (mut rescues, mut retries) = (0, 0);
    for at in 1..=requests {
        for fault in [Break::StopBefore, Break::StopAfter, Break::LoseAnswer] {
            let name = format!("c-{at}-{fault:?}");
            local.subscriber.clients.forget(&local.tenant.client);
            throttle(&local, WAIT);
            local.crash_proxy.arm_with(at, fault);
            let event = local.event(&connection(&name));
            tokio::select! {
                result = local.handle_as(&name, event.clone(), now, MINUTE) => {
                    assert_ne!(result.unwrap()["status"], "skipped", "{name}");
                }
                () = local.crash_proxy.crashed() => local.crash_proxy.arm(0, false),
            }
            let id = format!("connection/{}", local.incoming(&name));
            if !local.item(&id).await.contains_key("state") {
                // Lambda's own retry is enough, although the dead attempt has the lease.
                let retry = local.handle_as(&name, event, now + 1.minute(), MINUTE);
                assert_ne!(retry.await.unwrap()["status"], "skipped", "{name}");
                retries += 1;
            }
            rescues += come_to_rest(&local, now).await;
            local.crash_proxy.arm(0, false);
            let ids = ids(&local).await;
            assert!(is_complete(&ids, pages), "{name}: {ids:?}");
            let state = local.state(&name).await;
            assert!(state.checkpoint.is_none() && state.last.unwrap().counts.pages == pages);
            // So that the next watch has less to do.
            local.remove(&id).await;
        }
    }
    assert!(rescues > 60 && retries > 5, "{rescues} {retries}");
    println!("{requests} requests, {rescues} rescues, {retries} retries of Lambda");
}

#[tokio::test]
async fn two_watches_at_once_send_one_continuation() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    let later = now + 13.minutes();
    let (one, other) = tokio::join!(local.watch(later), local.watch(later));
    let rescued = |report: &Value| report["rescued"].as_array().unwrap().len();
    assert_eq!(rescued(&one.unwrap()) + rescued(&other.unwrap()), 1);
    let sent = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(sent.len(), 1);
    // Names, no event: that is in the checkpoint.
    let body: Value = serde_json::from_str(sent[0].body().unwrap()).unwrap();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["generation", "incoming", "run"]);
}

#[tokio::test]
async fn a_paused_run_waits_for_the_end_of_the_pause_and_goes_on_by_the_watch() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    let id = format!("connection/{}", local.incoming("test"));
    let until = (now + 2.hours()).as_millisecond().to_string();
    local
        .set(&id, "paused_until", AttributeValue::N(until))
        .await;
    // The continuation is acknowledged, a run is skipped, and the watch leaves it alone.
    let before = local.tenant.protime.requests().len();
    let message = continuation(&local).await;
    local.handle(message, now, MINUTE).await.unwrap();
    let outcome = local.run_at(&backfill(), now, MINUTE).await.unwrap();
    assert_eq!(outcome["status"], "skipped");
    assert!(outcome["reason"].as_str().unwrap().contains("paused until"));
    let report = local.watch(now + 1.hour()).await.unwrap();
    assert_eq!(report["rescued"], json!([]));
    assert!(report["connections"][0]["pausedUntil"].is_string());
    assert_eq!(local.tenant.protime.requests().len(), before);

    assert_eq!(come_to_rest(&local, now + 2.hours()).await, 1);
    assert!(is_complete(&ids(&local).await, 5));
}

/// How many continuations SQS is to deliver later.
async fn delayed(local: &InProcessSubscriber) -> String {
    let delayed = QueueAttributeName::ApproximateNumberOfMessagesDelayed;
    let attributes = local.tenant.stack.sqs.get_queue_attributes();
    let attributes = attributes
        .queue_url(&local.continuations)
        .attribute_names(delayed.clone());
    let mut attributes = attributes.send().await.unwrap().attributes.unwrap();
    attributes.remove(&delayed).unwrap()
}

#[tokio::test]
async fn continuations_that_wait_do_not_multiply_while_sqs_loses_its_answers() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    assert_eq!(delayed(&local).await, "1");
    let early = continuation(&local).await;
    local
        .crash_proxy
        .arm_with(1, Break::LoseAnswersTo("SendMessageBatch"));
    let answer = local.handle(early, now, MINUTE).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(delayed(&local).await, "2", "one more, in place of it");

    local.crash_proxy.arm(0, false);
    come_to_rest(&local, now).await;
    assert!(is_complete(&ids(&local).await, 5));
}

#[tokio::test]
async fn a_continuation_that_cannot_wait_in_the_queue_is_left_to_the_watch() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    let early = continuation(&local).await;
    local
        .crash_proxy
        .arm_with(1, Break::Refuse("SendMessageBatch"));
    let answer = local.handle(early, now, MINUTE).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(delayed(&local).await, "1", "that of the hand-over alone");

    local.crash_proxy.arm(0, false);
    assert_eq!(come_to_rest(&local, now).await, 1);
    assert!(is_complete(&ids(&local).await, 5));
}

#[tokio::test]
async fn a_wait_that_protime_asks_for_is_kept_and_uses_up_no_receives() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    assert_eq!(delayed(&local).await, "1", "a delayed message");

    // More than a quarter of an hour is left to the watch.
    let local = departments(5).await;
    throttle(&local, 7_200);
    let outcome = local.run_at(&backfill(), now, MINUTE).await.unwrap();
    assert_eq!(outcome["status"], "continued");
    let report = local.watch(now + 2.hours()).await.unwrap();
    assert_eq!(report["rescued"], json!([]), "it was asked to wait");
    assert_eq!(come_to_rest(&local, now + 2.hours()).await, 1);
    assert!(is_complete(&ids(&local).await, 5));
}

#[tokio::test]
async fn a_run_that_meets_another_follows_it() {
    let local = departments(6).await;
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.latency_ms = 300);
    let now = Timestamp::now();
    let connection = |run: &str| json!({"entity": "departments", "run": run});
    let first = connection("first");
    let (first, second) = tokio::join!(local.run_at(&first, now, MINUTE), async {
        tokio::time::timeout(MINUTE, async {
            while local.tenant.protime.requests().len() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        local.run_at(&connection("second"), now, MINUTE).await
    });
    assert_eq!(first.unwrap()["status"], "completed");
    let second = second.unwrap();
    assert_eq!(second["status"], "skipped");
    assert!(second["reason"].as_str().unwrap().contains("follows it"));
    let sent = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(sent.len(), 1, "whoever frees the lease starts it");
    local
        .handle(InProcessSubscriber::delivery(&sent[0]), now, MINUTE)
        .await
        .unwrap();
    let ids = ids(&local).await;
    assert!(ids.contains("first/completed") && ids.contains("second/completed"));
    assert_eq!(ids.len(), 14);
}

#[tokio::test]
async fn a_run_that_is_due_begins_by_the_watch_if_its_continuation_is_lost() {
    let local = departments(6).await;
    let now = Timestamp::now();
    let connection = |run: &str| json!({"entity": "departments", "run": run});
    // The second finishes the first, hands it over in turn, and is not forgotten.
    for (run, pages_before, minutes) in [("first", 0, 0), ("second", 2, 5)] {
        throttle_after(&local, pages_before, WAIT);
        let later = now + minutes.minutes();
        let outcome = local.run_at(&connection(run), later, MINUTE).await;
        let outcome = outcome.unwrap();
        assert_eq!(
            (&outcome["status"], &outcome["run"]),
            (&json!("continued"), &json!("first"))
        );
    }
    come_to_rest(&local, now + 5.minutes()).await;
    let ids = ids(&local).await;
    assert!(
        ids.contains("first/completed") && ids.contains("second/completed"),
        "{ids:?}"
    );
    assert_eq!(ids.len(), 14);
}

#[tokio::test]
async fn a_run_without_a_page_after_an_earlier_one_was_finished_is_handed_over() {
    let local = departments(3).await;
    let connection = |run: &str| json!({"entity": "departments", "run": run});
    throttle(&local, WAIT);
    let now = Timestamp::now();
    local
        .run_at(&connection("first"), now, MINUTE)
        .await
        .unwrap();
    // Two pages of the first are left; then Protime asks the second to wait.
    let wait = vec![("retry-after".to_owned(), WAIT.to_string())];
    let answer = Action::Answer {
        status: 429,
        headers: wait,
        body: String::new(),
    };
    let fault = Fault::new("/departments", 1, answer);
    let protime = &local.tenant.protime;
    protime.add_fault(Fault { skip: 2, ..fault });
    let later = now + 5.minutes();
    let outcome = local.run_at(&connection("second"), later, MINUTE).await;
    let outcome = outcome.unwrap();
    assert_eq!(
        (&outcome["run"], &outcome["status"]),
        (&json!("second"), &json!("continued"))
    );
    assert!(ids(&local).await.contains("first/completed"));
    come_to_rest(&local, later).await;
    assert!(ids(&local).await.contains("second/completed"));
}

#[tokio::test]
async fn a_permanent_error_late_in_a_long_run_ends_it_once() {
    let local = departments(1).await;
    let text = |id: usize| "x".repeat(if id == 4 { 2 << 20 } else { 1 });
    let records: Vec<Value> = (1..=5)
        .map(|id| json!({"id": id, "text": text(id)}))
        .collect();
    let records = json!(records).to_string();
    let protime = &local.tenant.protime;
    protime.set_records("departments", &records).unwrap();
    throttle_after(&local, 1, WAIT);
    let now = Timestamp::now();
    let outcome = local.run_at(&backfill(), now, MINUTE).await.unwrap();
    assert_eq!(
        (&outcome["status"], &outcome["pages"]),
        (&json!("continued"), &json!(2))
    );
    let continuation = continuation(&local).await;
    let later = now + 5.minutes();
    let failed = local.handle(continuation.clone(), later, MINUTE).await;
    assert_eq!(failed.unwrap_err().kind().name(), "OversizedRecord");
    assert!(local.state("test").await.checkpoint.is_none());
    // It is delivered again, and the watch looks: nothing begins anew.
    let requests = local.tenant.targets().len();
    for hour in 1..6 {
        let again = local
            .handle(continuation.clone(), later + hour.hours(), MINUTE)
            .await;
        assert_eq!(again.unwrap()["batchItemFailures"], json!([]));
        let report = local.watch(later + hour.hours()).await.unwrap();
        assert_eq!(report["rescued"], json!([]));
    }
    assert_eq!(local.tenant.targets().len(), requests);
    assert!(!ids(&local).await.contains("long/completed"));
}

#[tokio::test]
async fn a_run_that_is_due_although_it_is_done_does_not_keep_others_from_beginning() {
    let local = departments(2).await;
    let now = Timestamp::now();
    let connection = |run: &str, hour: u32| json!({"entity": "departments", "run": run, "scheduled": format!("2026-11-20T0{hour}:00:00Z")});
    let done = connection("done", 1);
    local.run_at(&done, now, MINUTE).await.unwrap();
    // Both come while another run is under way, the second for the first time.
    let id = format!("connection/{}", local.incoming("test"));
    let until = (now + 1.minute()).as_millisecond().to_string();
    local
        .set(&id, "lease_until", AttributeValue::N(until))
        .await;
    let other = AttributeValue::S("other".to_owned());
    local.set(&id, "lease_run", other).await;
    for event in [&done, &done, &connection("new", 2)] {
        let outcome = local.run_at(event, now, MINUTE).await.unwrap();
        assert_eq!(outcome["status"], "skipped");
    }
    let requests = local.tenant.targets().len();
    come_to_rest(&local, now + 5.minutes()).await;
    let ids = ids(&local).await;
    assert!(ids.contains("new/completed"), "{ids:?}");
    assert_eq!(
        local.tenant.targets().len(),
        requests + 2,
        "done is not done again"
    );
}

/// Makes connections that never ran. `DynamoDB` gives 100 items a call, two for each of them.
async fn many(local: &InProcessSubscriber, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0..count {
        let name = format!("many-{number:03}");
        let kind = AttributeValue::S("connection".to_owned());
        local.set(&format!("connection/{name}"), "kind", kind).await;
        names.push(name);
    }
    names
}

#[tokio::test]
async fn the_watch_reports_every_connection_of_many() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let names = many(&local, 120).await;
    let report = local.watch(Timestamp::now()).await.unwrap();
    let reported = report["connections"].as_array().unwrap();
    let reported: Vec<&str> = reported
        .iter()
        .map(|connection| connection["incoming"].as_str().unwrap())
        .collect();
    assert_eq!(reported, names);
    assert!(has_gauge(&local));
}

#[tokio::test]
async fn a_watch_that_reads_a_part_writes_no_gauge() {
    let local = InProcessSubscriber::new(Options::default()).await;
    many(&local, 120).await;
    // The names, and the first fifty connections.
    local.crash_proxy.arm_with(3, Break::Refuse("BatchGetItem"));
    local.watch(Timestamp::now()).await.unwrap_err();
    assert!(!has_gauge(&local));
}

/// Whether the watch wrote the gauge whose absence alarms.
fn has_gauge(local: &InProcessSubscriber) -> bool {
    let lines = local.metrics.lines();
    lines.iter().any(|line| !line["SecondsOverdue"].is_null())
}

#[tokio::test]
async fn one_connection_that_cannot_be_read_does_not_keep_the_watch_from_the_others() {
    let now = Timestamp::now();
    let local = handed_over(now).await;
    let broken = json!({"incoming": "broken", "entity": "departments"});
    let later = now + 5.minutes();
    local.run_at(&broken, later, MINUTE).await.unwrap();
    let id = format!("connection/{}", local.incoming("broken"));
    local
        .set(&id, "state", AttributeValue::S("{".to_owned()))
        .await;

    let error = local.watch(now + 20.minutes()).await.unwrap_err();
    assert_eq!(error.kind().name(), "State");
    assert!(error.to_string().contains(&id), "{error}");
    let sent = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(sent.len(), 1, "the other run is taken up");
    let gauges = local.metrics.lines();
    assert!(gauges.iter().any(|line| line["UnfinishedRuns"] == 1));

    // A run of it fails, says which item, and leaves no lease behind.
    let error = local.run_at(&broken, now, MINUTE).await.unwrap_err();
    assert!(error.to_string().contains(&id), "{error}");
    assert!(!local.item(&id).await.contains_key("lease_owner"));
}

#[tokio::test]
async fn a_webhook_that_ends_soon_or_is_disabled_is_reported() {
    let now = Timestamp::now();
    let local = departments(1).await;
    local.run_at(&backfill(), now, MINUTE).await.unwrap();
    let (state, incoming) = (&local.subscriber.state, local.incoming("test"));
    let reported = async || {
        let report = local.watch(now).await.unwrap();
        let connection = &report["connections"][0];
        ["webhookDaysLeft", "webhookDisabled"].map(|name| connection[name].clone())
    };
    assert_eq!(reported().await, [Value::Null, Value::Null]);
    for (days, is_disabled) in [(13, false), (90, true)] {
        let webhook = SeenWebhook {
            valid_until: Some(now + (24 * i64::from(days) + 1).hours()),
            is_disabled,
        };
        assert!(state.note_webhook(&incoming, Some(&webhook)).await.unwrap());
        // A run leaves it as it is.
        let next = json!({"entity": "departments", "run": format!("run-{days}")});
        local.run_at(&next, now, MINUTE).await.unwrap();
        let is_disabled = if is_disabled {
            json!(true)
        } else {
            Value::Null
        };
        assert_eq!(reported().await, [json!(days), is_disabled]);
        // The SDK asks again after a lost answer.
        assert!(state.note_webhook(&incoming, Some(&webhook)).await.unwrap());
    }
    assert!(state.note_webhook(&incoming, None).await.unwrap());
    assert_eq!(reported().await, [Value::Null, Value::Null]);
    assert!(!state.note_webhook("never-ran", None).await.unwrap());
}

#[tokio::test]
async fn a_wait_is_kept_although_sqs_fails_at_the_same_time() {
    let now = Timestamp::now();
    let local = departments(5).await;
    throttle(&local, 600);
    local
        .crash_proxy
        .arm_with(1, Break::Refuse("SendMessageBatch"));
    let short = Duration::from_secs(12);
    let failed = local.run_at(&backfill(), now, short).await.unwrap_err();
    assert_eq!(failed.kind().name(), "Queue", "{failed}");
    local.crash_proxy.arm(0, false);
    let asked = local.tenant.targets().len();
    let later = local.run_at(&backfill(), now + 5.minutes(), MINUTE).await;
    let outcome = later.unwrap();
    assert_eq!(outcome["status"], "skipped", "{outcome}");
    assert_eq!(local.tenant.targets().len(), asked, "Protime is left alone");
    come_to_rest(&local, now + 10.minutes()).await;
    assert!(is_complete(&ids(&local).await, 5));
}
