//! Days pass on a moved clock, and each trouble ends in exactly the alarms that infra/OPERATIONS.md names.

use connector::contract::outgoing::OutgoingConnection;
use end_to_end::account::Account;
use end_to_end::fake_queue::FakeQueue;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::SignedDuration;
use protime::RefusalKind;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn account() -> Account {
    let local = InProcessSubscriber::new(Options::default()).await;
    let records: Vec<Value> = (1..=5).map(|id| json!({"id": id})).collect();
    let records = json!(records).to_string();
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.page_size = 2);
    protime.set_records("departments", &records).unwrap();
    Account::new(local)
}

fn nightly() -> Value {
    json!({"incoming": "nightly", "entity": "departments"})
}

fn delta() -> Value {
    json!({"incoming": "delta", "entity": "clockings", "sync": "delta", "transform": ".query.filter = \"date ge '\\(start_of_year)'\""})
}

fn clocking(minutes: u32) -> Value {
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    json!({"method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": today, "timeOfDayInMinutes": minutes, "kind": "InOut"}})
}

#[tokio::test]
async fn healthy_days_and_a_pause_raise_none() {
    let mut account = account().await;
    account.queue = Some(FakeQueue::new(Options::default()).await);
    account.schedule(&nightly(), DAY);
    account.schedule(&delta(), HOUR * 6);
    let hourly = json!({"incoming": "hourly", "entity": "departments"});
    account.schedule(&hourly, HOUR);
    for day in 0..3 {
        let queue = account.queue.as_mut().unwrap();
        queue.now = account.now;
        queue.send(&clocking(600 + day));
        account.advance(DAY).await;
    }
    assert_eq!(account.raised(), [""; 0]);

    let id = format!("connection/{}", account.local.incoming("hourly"));
    let until = (account.now + DAY).as_millisecond().to_string();
    let until = aws_sdk_dynamodb::types::AttributeValue::N(until);
    account.local.set(&id, "paused_until", until).await;
    account.advance(DAY * 2).await;
    assert_eq!(account.raised(), [""; 0]);
    let paused = account.cloudwatch.values("ConnectionsPaused");
    assert!(paused.iter().any(|(_, count)| *count > 0.0));
    let written: f64 = account
        .cloudwatch
        .values("Written")
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert!((written - 3.0).abs() < 0.1, "{written}");
    let runs = account.cloudwatch.values("RunsCompleted");
    let completed: f64 = runs.iter().map(|(_, count)| count).sum();
    // 5 nights, 20 polls, and 120 hours of which 24 were paused.
    assert!((completed - 121.0).abs() < 2.1, "{completed}");
}

#[tokio::test]
async fn a_disabled_schedule_is_overdue() {
    let mut account = account().await;
    account.schedule(&nightly(), DAY);
    account.advance(DAY * 3).await;
    account.disable_schedules();
    account.advance(HOUR * 6).await;
    assert_eq!(account.raised(), [""; 0]);
    account.advance(HOUR * 3).await;
    assert_eq!(account.raised(), ["OverdueAlarm"]);
}

#[tokio::test]
async fn a_disabled_watch_is_an_alarm_by_its_silence() {
    let mut account = account().await;
    account.schedule(&nightly(), DAY);
    account.advance(HOUR * 2).await;
    assert_eq!(account.raised(), [""; 0]);
    account.is_watched = false;
    account.advance(HOUR).await;
    assert_eq!(account.raised(), ["OverdueAlarm"]);
}

#[tokio::test]
async fn a_delta_that_is_not_polled_for_49_hours_is_an_alarm() {
    let mut account = account().await;
    let mut connection = delta();
    connection["fresh"] = json!("P30D");
    account.schedule(&connection, DAY * 30);
    account.advance(HOUR * 48).await;
    assert_eq!(account.raised(), [""; 0]);
    account.advance(HOUR).await;
    assert_eq!(account.raised(), ["OldDeltaLinkAlarm"]);
}

#[tokio::test]
async fn a_wrong_secret_of_the_subscriber_is_an_alarm() {
    let mut account = account().await;
    account.local.tenant.protime.rotate_client_secret("other");
    account.schedule(&nightly(), DAY);
    account.advance(HOUR / 3).await;
    let failed = [
        "ClientRejectedAlarm",
        "SubscriberFailedAlarm",
        "SubscriberFailureQueueAlarm",
    ];
    assert_eq!(account.raised(), failed);
    // The watch takes the run up, which fails again.
    account.advance(HOUR).await;
    let taken_up = [
        &["ClientRejectedAlarm", "ContinuationDeadLetterQueueAlarm"],
        &failed[1..],
    ];
    assert_eq!(account.raised(), taken_up.concat());
}

#[tokio::test]
async fn a_wrong_secret_of_the_publisher_is_an_alarm() {
    let mut account = account().await;
    let mut queue = FakeQueue::new(Options::default()).await;
    queue.tenant.protime.rotate_client_secret("other");
    queue.now = account.now;
    queue.send(&clocking(600));
    account.queue = Some(queue);
    account.advance(HOUR / 2).await;
    assert_eq!(account.raised(), ["ClientRejectedAlarm"]);
    account.advance(HOUR).await;
    assert_eq!(
        account.raised(),
        ["ClientRejectedAlarm", "OldestDeferredAlarm"]
    );
}

#[tokio::test]
async fn a_publish_queue_that_stands_for_an_hour_is_an_alarm() {
    let mut account = account().await;
    let mut queue = FakeQueue::new(Options::default()).await;
    let unavailable = Action::Answer {
        status: 503,
        headers: Vec::new(),
        body: String::new(),
    };
    let fault = Fault::new("/clockings", u32::MAX, unavailable);
    queue.tenant.protime.add_fault(fault);
    queue.now = account.now;
    queue.send(&clocking(600));
    account.queue = Some(queue);
    account.advance(HOUR - SignedDuration::from_mins(5)).await;
    assert_eq!(account.raised(), [""; 0]);
    account.advance(HOUR / 2).await;
    assert_eq!(account.raised(), ["OldestDeferredAlarm"]);
    let errors = account.cloudwatch.values("ProtimeErrors");
    assert!(errors.iter().any(|(_, count)| *count > 0.0));
}

#[tokio::test]
async fn a_wrong_outgoing_connection_is_an_alarm_and_parks_nothing() {
    let mut account = account().await;
    let mut queue = FakeQueue::new(Options::default()).await;
    queue.publisher.outgoing = OutgoingConnection::from_json("{\"clientt\": 1}").map(Into::into);
    queue.now = account.now;
    queue.send(&clocking(600));
    account.queue = Some(queue);
    account.advance(HOUR / 2).await;
    assert_eq!(account.raised(), ["PublisherErrorsAlarm"]);
    let queue = account.queue.as_mut().unwrap();
    assert!(queue.parked().is_empty() && !queue.is_empty());
    // Corrected, the message is written.
    queue.publisher.outgoing = Ok(OutgoingConnection::default().into());
    account.advance(HOUR).await;
    assert_eq!(account.queue.unwrap().statuses("POST"), [201]);
}

#[tokio::test]
async fn a_lasting_401_is_taken_up_eight_times_then_alarms_then_is_left_alone() {
    let mut account = account().await;
    let refused = Action::Answer {
        status: 401,
        headers: Vec::new(),
        body: String::new(),
    };
    let fault = Fault::new("/departments?continuationToken", u32::MAX, refused);
    account.local.tenant.protime.add_fault(fault);
    // By hand, as a backfill is.
    let backfill = json!({"incoming": "backfill", "entity": "departments"});
    let failed = account
        .local
        .run_at(&backfill, account.now, std::time::Duration::from_mins(1))
        .await;
    assert_eq!(
        failed.unwrap_err().refusal_kind(),
        Some(RefusalKind::Unauthorized)
    );
    account.advance(DAY * 4).await;
    let sent = account.continuations.clone();
    assert_eq!(sent.len(), 8, "{sent:?}");
    let gaps: Vec<i64> = sent
        .windows(2)
        .map(|pair| pair[1].1.duration_since(pair[0].1).as_secs())
        .collect();
    assert!(gaps.is_sorted() && gaps[6] > 20 * 3_600, "{gaps:?}");
    assert_eq!(
        account.raised(),
        [
            "ContinuationDeadLetterQueueAlarm",
            "RunsGivenUpAlarm",
            "SubscriberFailedAlarm"
        ]
    );
    let before = account.local.tenant.protime.requests().len();
    account.advance(DAY).await;
    assert_eq!(account.local.tenant.protime.requests().len(), before);
    // The cause is mended: the next run goes on, and the alarm ends.
    account.local.tenant.protime.clear_faults();
    let outcome = account
        .local
        .run_at(&backfill, account.now, std::time::Duration::from_mins(1))
        .await;
    assert_eq!(outcome.unwrap()["status"], "completed");
    account.advance(HOUR).await;
    let given_up = account.cloudwatch.values("RunsGivenUp");
    assert!(given_up.last().unwrap().1 < 0.5);
}
