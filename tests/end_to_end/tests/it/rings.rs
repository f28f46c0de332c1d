//! Rings of the doorbell, as SQS delivers them to the subscriber. Whatever happens, the subscriber reads the changes
//! that they announce. A burst of rings is one poll.

use std::cell::Cell;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use end_to_end::crash_proxy::Fault as Break;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const MINUTE: Duration = Duration::from_mins(1);
/// The subscriber's requests until it acknowledges a ring: two reads, an update that stores the due run, and the
/// continuation.
const BEFORE_ACKNOWLEDGED: u32 = 4;
const POLL: &str = "/connector/protimeapi/api/v1/delta/clockings";

fn clockings() -> Value {
    json!({"entity": "clockings", "sync": "delta", "transform": ".query.filter = \"date ge '\\(start_of_year)'\""})
}

fn scheduled(connection: &Value, at: Timestamp) -> Value {
    let mut connection = connection.clone();
    connection["scheduled"] = at.to_string().into();
    connection
}

/// A subscriber with a delta connection of clockings, whose initial load a schedule has started and completed.
async fn loaded(now: Timestamp) -> InProcessSubscriber {
    let options = Options {
        people: 3,
        days: 5,
        ..Options::default()
    };
    let local = InProcessSubscriber::new(options).await;
    let connection = scheduled(&clockings(), now);
    let outcome = local.run_at(&connection, now, MINUTE).await.unwrap();
    assert_eq!(outcome["status"], "completed");
    local.tenant.events().await;
    local
}

/// Changes a clocking. The minute identifies the change.
async fn change(local: &InProcessSubscriber, minute: u32) {
    let change = json!({"entity": "clockings", "id": "1", "set": {"timeOfDayInMinutes": minute}});
    let url = format!("{}/_simulator/changes", local.tenant.protime.base_uri());
    let http = reqwest::Client::new();
    let post = http.post(url).header("content-type", "application/json");
    let answer = post.body(change.to_string()).send().await.unwrap();
    assert!(answer.status().is_success());
}

/// The minutes of the changes in the pages queue, with the runs that sent them.
async fn arrived(local: &InProcessSubscriber) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for event in local.tenant.events().await {
        for change in event["data"]["value"].as_array().into_iter().flatten() {
            let minute = change["data"]["timeOfDayInMinutes"].as_u64().unwrap();
            found.push((minute, event["run"].as_str().unwrap().to_owned()));
        }
    }
    found
}

fn polls(local: &InProcessSubscriber) -> usize {
    let targets = local.tenant.targets();
    targets
        .iter()
        .filter(|target| target.starts_with(POLL))
        .count()
}

/// A message of the rings queue.
fn ring_of(incoming: &str, id: &str, sent: Timestamp) -> Value {
    message(id, sent, &json!({"ring": incoming}).to_string())
}

fn message(id: &str, sent: Timestamp, body: &str) -> Value {
    json!({
        "messageId": id, "receiptHandle": format!("receipt-{id}"), "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": sent.as_millisecond().to_string()},
        "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "eu-west-1",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:rings",
    })
}

fn batch(messages: &[Value]) -> String {
    json!({"Records": messages}).to_string()
}

/// The answer that makes SQS deliver one message again.
fn failed(id: &str) -> Value {
    json!({"batchItemFailures": [{"itemIdentifier": id}]})
}

/// Rings the connection `test`, and requires that the message is acknowledged.
async fn ring(local: &InProcessSubscriber, id: &str, now: Timestamp) {
    let rings = batch(&[ring_of(&local.incoming("test"), id, now)]);
    let answer = local.handle(rings, now, MINUTE).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
}

/// Delivers continuations until there are none. Returns how many there were.
async fn go_on(local: &InProcessSubscriber, now: Timestamp) -> usize {
    let mut delivered = 0;
    loop {
        let messages = local.tenant.stack.drain(&local.continuations).await;
        if messages.is_empty() {
            return delivered;
        }
        for message in &messages {
            delivered += 1;
            let delivery = InProcessSubscriber::delivery(message);
            local.handle(delivery, now, MINUTE).await.unwrap();
        }
    }
}

/// Lets only the watch and SQS act, every 15 minutes, until no run is unfinished.
async fn come_to_rest(local: &InProcessSubscriber, mut now: Timestamp) {
    for _ in 0..10 {
        now += 15.minutes();
        go_on(local, now).await;
        let report = local.watch(now).await.unwrap();
        if report["connections"][0]["unfinished"].is_null() {
            return;
        }
    }
    panic!("it does not come to rest");
}

async fn due(local: &InProcessSubscriber) -> usize {
    let id = format!("connection/{}", local.incoming("test"));
    local.item(&id).await["due"].as_m().unwrap().len()
}

#[tokio::test]
async fn a_ring_runs_a_connection_as_its_schedule_last_did() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    change(&local, 601).await;
    ring(&local, "m1", now).await;
    assert_eq!(polls(&local), 0, "the ring itself is answered in a moment");
    assert_eq!(go_on(&local, now).await, 1);
    assert_eq!(arrived(&local).await, [(601, "ring-m1".to_owned())]);
    // A message that is delivered again is the same run, whether that run has ended or not.
    change(&local, 602).await;
    ring(&local, "m2", now).await;
    ring(&local, "m2", now).await;
    go_on(&local, now).await;
    let after = polls(&local);
    ring(&local, "m2", now).await;
    assert_eq!(go_on(&local, now).await, 0);
    assert_eq!((after, polls(&local)), (2, 2));
    // A ring is not a scheduled time, so it does not decide whether the connection is overdue.
    let history = local.history("test").await;
    assert_eq!(history.run("ring-m2").unwrap().scheduled, None);
    let never = now + 1000.hours();
    assert_eq!(
        history.overdue(never),
        None,
        "one time of a schedule is no gap"
    );
    assert!(history.event.is_some());
}

#[tokio::test]
async fn without_a_run_of_its_schedule_a_ring_does_nothing() {
    let now = Timestamp::now();
    let local = InProcessSubscriber::new(Options::default()).await;
    ring(&local, "m1", now).await;
    // Somebody may run another version of the connection by hand. A ring does not run that version.
    let by_hand = json!({"entity": "departments"});
    local.run_at(&by_hand, now, MINUTE).await.unwrap();
    let before = local.tenant.targets().len();
    ring(&local, "m2", now).await;
    assert_eq!(go_on(&local, now).await, 0);
    assert_eq!(local.tenant.targets().len(), before);
}

#[tokio::test]
async fn the_rings_of_a_batch_are_one_run_for_each_connection() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    let other = json!({"incoming": "other", "entity": "departments", "scheduled": now.to_string(), "takeover": "x"});
    local.run_at(&other, now, MINUTE).await.unwrap();
    local.tenant.events().await;
    let (test, other) = (local.incoming("test"), local.incoming("other"));
    let rings = batch(&[
        ring_of(&test, "newest", now + 2.seconds()),
        ring_of(&other, "o", now),
        ring_of(&test, "a", now),
        message("broken", now, "{\"rang\": 1}"),
        ring_of("no name/", "unnamed", now),
        ring_of(&test, "b", now + 1.second()),
        ring_of("gone", "g", now),
    ]);
    let answer = local.handle(rings, now, MINUTE).await.unwrap();
    // SQS delivers only the invalid messages again. After five receives they go to the dead-letter queue.
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": "broken"}, {"itemIdentifier": "unnamed"}]})
    );
    assert_eq!(go_on(&local, now).await, 2);
    let mut completed: Vec<String> = Vec::new();
    for event in local.tenant.events().await {
        if event["type"] == "protime.run-completed.v1" {
            completed.push(event["run"].as_str().unwrap().to_owned());
        }
    }
    completed.sort_unstable();
    assert_eq!(completed, ["ring-newest", "ring-o"]);
}

/// The test makes the batches itself, since local AWS has no batching window. A batch has the rings of ten seconds.
#[tokio::test]
async fn a_thousand_rings_in_a_minute_are_at_most_ten_polls() {
    let start = Timestamp::now();
    let local = loaded(start).await;
    let incoming = local.incoming("test");
    let sent: Vec<Timestamp> = (0..1000).map(|n| start + (n * 60).milliseconds()).collect();
    let mut window: Vec<Value> = Vec::new();
    let mut opened = start;
    let mut batches = 0;
    for (number, at) in sent.iter().enumerate() {
        if *at >= opened + 10.seconds() {
            local.handle(batch(&window), *at, MINUTE).await.unwrap();
            batches += 1;
            go_on(&local, *at).await;
            window.clear();
            opened = *at;
        }
        if number % 100 == 0 {
            change(&local, u32::try_from(number).unwrap() / 100 + 1).await;
        }
        window.push(ring_of(&incoming, &format!("m{number:04}"), *at));
    }
    let end = start + 70.seconds();
    local.handle(batch(&window), end, MINUTE).await.unwrap();
    go_on(&local, end).await;
    let polls = polls(&local);
    assert!((1..=10).contains(&polls), "{polls}");
    let arrived = arrived(&local).await;
    assert_eq!(arrived.last().unwrap().0, 10, "the last change");
    assert_eq!(due(&local).await, 0);
    println!("1000 rings, {} batches, {polls} polls", batches + 1);
}

#[tokio::test]
async fn rings_during_a_run_are_acknowledged_and_start_one_more_at_its_end() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    local
        .tenant
        .protime
        .configure(|settings| settings.latency_ms = 3_000);
    let connection = scheduled(&clockings(), now + 1.hour());
    let meanwhile = async {
        let id = format!("connection/{}", local.incoming("test"));
        while !local.item(&id).await.contains_key("lease_owner") {
            tokio::task::yield_now().await;
        }
        change(&local, 601).await;
        for id in ["m1", "m2", "m3"] {
            ring(&local, id, now).await;
        }
        assert_eq!(due(&local).await, 1);
        assert!(
            local
                .tenant
                .stack
                .drain(&local.continuations)
                .await
                .is_empty()
        );
    };
    let (outcome, ()) = tokio::join!(local.run_at(&connection, now, MINUTE), meanwhile);
    assert_eq!(outcome.unwrap()["status"], "completed");
    assert_eq!(go_on(&local, now).await, 1);
    assert_eq!(polls(&local), 2);
    let arrived = arrived(&local).await;
    assert!(
        arrived.iter().any(|(minute, _)| *minute == 601),
        "{arrived:?}"
    );
    assert_eq!(due(&local).await, 0);
}

/// A ring comes at every moment of a run, also at its very end. Afterwards only continuations are delivered.
#[tokio::test]
async fn whenever_a_ring_falls_into_a_run_what_it_tells_of_is_read() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    local.crash_proxy.arm(0, false);
    let connection = scheduled(&clockings(), now + 1.hour());
    local.run_at(&connection, now, MINUTE).await.unwrap();
    let requests = local.crash_proxy.count();
    let mut followed = 0;
    for at in 1..=requests {
        let minute = 100 + at;
        local.crash_proxy.arm(0, false);
        let connection = scheduled(&clockings(), now + i64::from(at + 1).hours());
        let is_over = Cell::new(false);
        let moment = async {
            while local.crash_proxy.count() < at && !is_over.get() {
                tokio::task::yield_now().await;
            }
            change(&local, minute).await;
            ring(&local, &format!("m{at}"), now).await;
        };
        let run = async {
            let outcome = local.run_at(&connection, now, MINUTE).await;
            is_over.set(true);
            outcome
        };
        let (outcome, ()) = tokio::join!(run, moment);
        assert_eq!(outcome.unwrap()["status"], "completed", "{at}");
        followed += usize::from(go_on(&local, now).await > 0);
        let arrived = arrived(&local).await;
        let minute = u64::from(minute);
        assert!(
            arrived.iter().any(|(found, _)| *found == minute),
            "{at}: {arrived:?}"
        );
        assert_eq!(due(&local).await, 0, "{at}");
    }
    assert!(followed > 3, "{followed} of {requests}");
    println!(
        "a ring at each of {requests} requests of a run; {followed} were followed by a run of their own"
    );
}

/// The subscriber dies at each request of a ring and of its run, or loses the answer. SQS delivers an unacknowledged
/// ring again, and the watch does the rest.
#[tokio::test]
async fn wherever_a_ring_or_its_run_is_stopped_or_loses_an_answer_the_change_is_read() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    change(&local, 600).await;
    local.crash_proxy.arm(0, false);
    ring(&local, "whole", now).await;
    go_on(&local, now).await;
    let requests = local.crash_proxy.count();
    let mut now = now;
    for at in 1..=requests {
        for (number, fault) in
            (0_u32..).zip([Break::StopBefore, Break::StopAfter, Break::LoseAnswer])
        {
            now += 3.hours();
            let minute = 100 + 3 * at + number;
            let id = format!("m-{at}-{fault:?}");
            change(&local, minute).await;
            local.crash_proxy.arm_with(at, fault);
            let attempt = async {
                let rings = batch(&[ring_of(&local.incoming("test"), &id, now)]);
                let answer = local.handle(rings, now, MINUTE).await.unwrap();
                if answer == failed(&id) {
                    ring(&local, &id, now).await;
                }
                go_on(&local, now).await;
            };
            let is_dead = tokio::select! {
                () = attempt => false,
                () = local.crash_proxy.crashed() => true,
            };
            local.crash_proxy.arm(0, false);
            if is_dead && at <= BEFORE_ACKNOWLEDGED {
                // The ring was not acknowledged.
                ring(&local, &id, now + 90.minutes()).await;
            }
            come_to_rest(&local, now + 90.minutes()).await;
            let arrived = arrived(&local).await;
            let minute = u64::from(minute);
            assert!(
                arrived.iter().any(|(found, _)| *found == minute),
                "{id}: {arrived:?}"
            );
            assert_eq!(due(&local).await, 0, "{id}");
        }
    }
    println!(
        "{requests} requests of a ring and its run, each stopped before and after, and its answer lost"
    );
}

#[tokio::test]
async fn a_ring_that_cannot_be_stored_comes_again() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    local.crash_proxy.arm_with(1, Break::Refuse("UpdateItem"));
    let rings = batch(&[ring_of(&local.incoming("test"), "m1", now)]);
    let answer = local.handle(rings, now, MINUTE).await.unwrap();
    assert_eq!(answer, failed("m1"));
    local.crash_proxy.arm(0, false);
    ring(&local, "m1", now).await;
    go_on(&local, now).await;
    assert_eq!(polls(&local), 1);
}

#[tokio::test]
async fn a_paused_connection_is_not_rung() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    let id = format!("connection/{}", local.incoming("test"));
    let until = AttributeValue::N((now + 1.hour()).as_millisecond().to_string());
    local.set(&id, "paused_until", until).await;
    ring(&local, "m1", now).await;
    assert_eq!(go_on(&local, now).await, 0);
    assert_eq!((due(&local).await, polls(&local)), (0, 0));
    ring(&local, "m2", now + 2.hours()).await;
    go_on(&local, now + 2.hours()).await;
    assert_eq!(polls(&local), 1);
}

/// The watch waits longer after each attempt. Another ring always waits ten minutes.
#[tokio::test]
async fn a_run_that_was_left_behind_begins_by_another_ring_after_ten_minutes() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    ring(&local, "m1", now).await;
    let lost = local.tenant.stack.drain(&local.continuations).await;
    assert_eq!(lost.len(), 1);
    ring(&local, "m2", now + 9.minutes()).await;
    assert_eq!(go_on(&local, now + 9.minutes()).await, 0);
    change(&local, 601).await;
    ring(&local, "m3", now + 11.minutes()).await;
    assert_eq!(go_on(&local, now + 11.minutes()).await, 1);
    assert_eq!(arrived(&local).await, [(601, "ring-m1".to_owned())]);
}

/// Rings use up no receives while Protime fails. The run stays due, and the watch or another ring starts it again.
#[tokio::test]
async fn while_protime_fails_rings_are_acknowledged_and_one_run_waits() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    let refusal = Action::Answer {
        status: 400,
        headers: Vec::new(),
        body: String::new(),
    };
    local
        .tenant
        .protime
        .add_fault(Fault::new("/delta/clockings", 1, refusal));
    change(&local, 601).await;
    ring(&local, "m1", now).await;
    let messages = local.tenant.stack.drain(&local.continuations).await;
    let delivery = InProcessSubscriber::delivery(&messages[0]);
    local.handle(delivery, now, MINUTE).await.unwrap_err();
    for id in ["m2", "m3"] {
        ring(&local, id, now + 10.seconds()).await;
    }
    assert_eq!(due(&local).await, 1);
    go_on(&local, now + 10.seconds()).await;
    assert_eq!(arrived(&local).await, [(601, "ring-m2".to_owned())]);
    assert_eq!(due(&local).await, 0);
}

/// At most ten runs can be due. A ring neither keeps out a scheduled run nor uses up the receives of another
/// connection.
#[tokio::test]
async fn a_ring_keeps_no_other_run_out() {
    let now = Timestamp::now();
    let local = InProcessSubscriber::new(Options::default()).await;
    let departments = json!({"entity": "departments"});
    let at = |minutes: i64| scheduled(&departments, now + minutes.minutes());
    local.run_at(&at(0), now, MINUTE).await.unwrap();
    let mut other = at(0);
    other["incoming"] = "other".into();
    local.run_at(&other, now, MINUTE).await.unwrap();
    local.tenant.events().await;
    // Another run holds the lease.
    let id = format!("connection/{}", local.incoming("test"));
    let until = AttributeValue::N((now + 1.hour()).as_millisecond().to_string());
    local.set(&id, "lease_until", until).await;
    let lease_run = AttributeValue::S("longer".to_owned());
    local.set(&id, "lease_run", lease_run).await;

    for minute in 1..10 {
        local.run_at(&at(minute), now, MINUTE).await.unwrap();
    }
    ring(&local, "m1", now).await;
    assert_eq!(due(&local).await, 10);
    let tenth = local.run_at(&at(10), now, MINUTE).await.unwrap();
    let reason = tenth["reason"].as_str().unwrap();
    assert!(reason.contains("follows it"), "{tenth}");
    assert_eq!(due(&local).await, 10);
    let error = local.run_at(&at(11), now, MINUTE).await.unwrap_err();
    assert_eq!(error.kind().name(), "TooManyDue");
    let (test, other) = (local.incoming("test"), local.incoming("other"));
    let rings = batch(&[ring_of(&test, "m2", now), ring_of(&other, "o", now)]);
    let answer = local.handle(rings, now, MINUTE).await.unwrap();
    assert_eq!(answer, failed("m2"));
}

#[tokio::test]
async fn a_ring_that_waits_runs_the_connection_as_its_schedule_runs_it_by_then() {
    let now = Timestamp::now();
    let local = InProcessSubscriber::new(Options::default()).await;
    let records = r#"[{"id": 1, "name": "a", "code": "x"}]"#;
    let protime = &local.tenant.protime;
    protime.set_records("departments", records).unwrap();
    let old = scheduled(&json!({"entity": "departments"}), now);
    local.run_at(&old, now, MINUTE).await.unwrap();
    ring(&local, "m1", now).await;
    // The connection is edited, and its schedule fires before the ring's continuation is delivered.
    let later = now + 1.hour();
    let edited = json!({"entity": "departments", "fields": ["name"]});
    let edited = scheduled(&edited, later);
    local.run_at(&edited, later, MINUTE).await.unwrap();
    // The old event comes once more.
    local.run_at(&old, later, MINUTE).await.unwrap();
    local.tenant.events().await;
    go_on(&local, later).await;
    let mut of_ring = local.tenant.events().await;
    of_ring.retain(|event| event["run"] == "ring-m1" && event["type"] == "protime.page.v1");
    let [page] = &of_ring[..] else {
        panic!("one page: {of_ring:?}");
    };
    assert_eq!(page["data"]["value"], json!([{"id": 1, "name": "a"}]));
}

#[tokio::test]
async fn an_event_that_comes_again_takes_no_rings_place() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.latency_ms = 3_000);
    let second = scheduled(&clockings(), now + 1.hour());
    let meanwhile = async {
        let id = format!("connection/{}", local.incoming("test"));
        while !local.item(&id).await.contains_key("lease_owner") {
            tokio::task::yield_now().await;
        }
        change(&local, 601).await;
        ring(&local, "m1", now).await;
        // EventBridge delivers the event of the first load again.
        let again = scheduled(&clockings(), now);
        let outcome = local.run_at(&again, now, MINUTE).await.unwrap();
        assert_eq!(outcome["status"], "skipped");
        assert!(
            outcome["reason"]
                .as_str()
                .unwrap()
                .contains("completed before")
        );
        assert_eq!(due(&local).await, 1);
    };
    let (outcome, ()) = tokio::join!(local.run_at(&second, now, MINUTE), meanwhile);
    assert_eq!(outcome.unwrap()["status"], "completed");
    go_on(&local, now).await;
    let arrived = arrived(&local).await;
    assert!(
        arrived.iter().any(|(minute, _)| *minute == 601),
        "{arrived:?}"
    );
}

#[tokio::test]
async fn a_run_that_fails_before_its_plan_erases_no_event() {
    let now = Timestamp::now();
    let local = loaded(now).await;
    let before = local.crash_proxy.updates().0;
    local.crash_proxy.arm_with(1, Break::Refuse("GetItem"));
    let connection = scheduled(&clockings(), now + 1.hour());
    let (failed, ()) = tokio::join!(local.run_at(&connection, now, MINUTE), async {
        // The update that takes the lease, and that of the history, whose refusal leads to a second read.
        while local.crash_proxy.updates().0 < before + 2 {
            tokio::task::yield_now().await;
        }
        local.crash_proxy.arm(0, false);
    });
    assert_eq!(failed.unwrap_err().kind().name(), "State");
    assert!(local.history("test").await.event.is_some());
}
