//! Draws the picture of the dashboard in infra/OPERATIONS.md: the widgets of `template.yaml`, with the figures of a day on local AWS.
//!
//! ```sh
//! make picture
//! ```
#![allow(
    clippy::unwrap_used,
    reason = "a tool of this project: what fails here ends it"
)]

mod picture;

use connector::telemetry;
use end_to_end::account::Account;
use end_to_end::captured::Captured;
use end_to_end::fake_queue::FakeQueue;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::SignedDuration;
use picture::Picture;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};
use template::Template;
use tracing_subscriber::util::SubscriberInitExt;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[tokio::main]
async fn main() {
    let log = Captured::default();
    let writer = log.clone();
    telemetry::subscriber(tracing::Level::ERROR, move || writer.clone()).init();
    let mut account = Account::new(InProcessSubscriber::new(Options::default()).await);
    account.queue = Some(FakeQueue::new(Options::default()).await);
    schedule(&mut account);
    let mut random = fastrand::Rng::with_seed(7);
    let mut minute = 0;
    for hour in 0..24 {
        trouble(&mut account, hour);
        let queue = account.queue.as_mut().unwrap();
        queue.now = account.now;
        // A terminal at the door, in use by day.
        let most = if (6..20).contains(&hour) { 12 } else { 1 };
        for _ in 0..random.u32(0..=most) {
            minute += 1;
            queue.send(&clocking(minute));
        }
        if hour == 16 {
            queue.send(&json!({"method": "POST", "entity": "clockings", "paylaod": {}}));
        }
        account.advance(HOUR).await;
        consume(&mut account).await;
    }
    let picture = Picture {
        account: &account,
        failures: log.lines(),
    };
    let drawn = picture.draw(&Template::load().dashboard());
    std::fs::write(template::root().join("infra/dashboard.svg"), drawn).unwrap();
}

/// Takes all pages.
async fn consume(account: &mut Account) {
    let tenant = &account.local.tenant;
    let pages = u32::try_from(tenant.stack.drain(&tenant.pages).await.len()).unwrap();
    let (metric, now) = ("ApproximateNumberOfMessagesVisible", account.now);
    account
        .cloudwatch
        .measure(metric, "PagesQueue", now, pages.into());
}

fn schedule(account: &mut Account) {
    let this_year = ".query.filter = \"date ge '\\(start_of_year)'\"";
    let clockings = json!({"incoming": "clockings", "entity": "clockings", "sync": "delta", "transform": this_year});
    account.schedule(&clockings, HOUR);
    let people = json!({"incoming": "people", "entity": "people"});
    account.schedule(&people, HOUR * 6);
    let absences = json!({"incoming": "absences", "entity": "absences", "transform": ".query.filter = \"date ge '\\(days(-7))' and date le '\\(today)'\""});
    account.schedule(&absences, HOUR * 12);
}

/// Protime has a bad hour at ten, and asks for patience at two in the afternoon.
fn trouble(account: &mut Account, hour: u32) {
    // A wait that no invocation has time for, so that none is spent on it here.
    let answer = |status, wait: &str| Action::Answer {
        status,
        headers: vec![("retry-after".to_owned(), wait.to_owned())],
        body: String::new(),
    };
    let queue = account.queue.as_ref().unwrap();
    for protime in [&account.local.tenant.protime, &queue.tenant.protime] {
        match hour {
            10 => protime.add_fault(Fault::new("/clockings", u32::MAX, answer(503, "600"))),
            14 => protime.add_fault(Fault::new("/clockings", 3, answer(429, "1"))),
            _ => protime.clear_faults(),
        }
    }
}

fn clocking(minute: u32) -> Value {
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    json!({"method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": today, "timeOfDayInMinutes": minute, "kind": "InOut"}})
}
