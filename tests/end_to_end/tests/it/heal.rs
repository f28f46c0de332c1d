//! A delta is not stopped by the calendar, and can always be healed.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use end_to_end::in_process_subscriber::InProcessSubscriber;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use simulator::{Action, Fault, Options};

const POLL: &str = "/delta/clockings";
const MINUTE: Duration = Duration::from_mins(1);

fn this_year() -> i32 {
    Timestamp::now().to_string()[..4].parse().unwrap()
}

async fn loaded() -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    local.run(&clockings()).await.unwrap();
    local.tenant.events().await;
    local
}

/// As people write it: with a start of this year, written out.
fn clockings() -> Value {
    let year = this_year();
    json!({"entity": "clockings", "sync": "delta", "query": {"filter": format!("date ge '{year}-01-01'")}})
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut connection = clockings();
    connection[field] = value.into();
    connection
}

fn refuse(local: &InProcessSubscriber, status: u16) {
    let answer = Action::Answer {
        status,
        headers: Vec::new(),
        body: String::new(),
    };
    local
        .tenant
        .protime
        .add_fault(Fault::new(POLL, u32::MAX, answer));
}

/// The distinct types and loads of what arrived.
async fn arrived(local: &InProcessSubscriber) -> Vec<String> {
    let events = local.tenant.events().await;
    let kind = |event: &Value| {
        format!(
            "{} {}",
            event["type"].as_str().unwrap(),
            event["sync"].as_str().unwrap()
        )
    };
    let mut kinds: Vec<String> = events.iter().map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

const ANEW: [&str; 3] = [
    "protime.page.v1 initial",
    "protime.resync.v1 initial",
    "protime.run-completed.v1 initial",
];

#[tokio::test]
async fn a_start_of_last_year_is_no_matter_for_a_poll() {
    let local = loaded().await;
    let next_year = format!("{}-01-02T03:00:00Z", this_year() + 1);
    let connection = with("scheduled", next_year);
    let outcome = local.run(&connection).await.unwrap();
    assert_eq!(outcome["status"], "completed");
    assert_eq!(arrived(&local).await, ["protime.run-completed.v1 delta"]);
    // The transformer, which would set the filter, is not asked either.
    let local = InProcessSubscriber::new(Options::default()).await;
    let mut connection = with(
        "transform",
        "if $now < \"2100\" then . else error(\"too late\") end",
    );
    local.run(&connection).await.unwrap();
    connection["scheduled"] = "2100-01-01T00:00:00Z".into();
    local.run(&connection).await.unwrap();
}

#[tokio::test]
async fn a_link_that_is_refused_is_kept_until_it_has_expired() {
    for status in [400, 404] {
        let local = loaded().await;
        let link = local.state("test").await.delta.unwrap().link;
        refuse(&local, status);
        let now = Timestamp::now();
        for hours in [1, 24, 71] {
            let polled = local
                .run_at(&clockings(), now + hours.hours(), MINUTE)
                .await;
            let error = polled.unwrap_err();
            assert_eq!(error.kind().name(), "DeltaRefused", "{status}");
            assert!(error.to_string().contains("takeover"), "{error}");
            assert!(error.to_string().contains(&status.to_string()), "{error}");
            let state = local.state("test").await;
            assert_eq!(state.delta.unwrap().link, link);
            assert!(state.checkpoint.is_none());
        }
        assert_eq!(arrived(&local).await, [""; 0]);
        let outcome = local
            .run_at(&clockings(), now + 73.hours(), MINUTE)
            .await
            .unwrap();
        assert_eq!(outcome["status"], "completed");
        assert_eq!(arrived(&local).await, ANEW);
    }
}

#[tokio::test]
async fn a_delta_that_cannot_be_started_anew_is_not_forgotten() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let mut connection = with(
        "transform",
        "if $now < \"2100\" then . else error(\"not yet\") end",
    );
    local.run(&connection).await.unwrap();
    arrived(&local).await;
    let later = Timestamp::now() + 80.hours();
    connection["scheduled"] = "2100-01-01T00:00:00Z".into();
    let failed = local.run_at(&connection, later, MINUTE).await;
    assert_eq!(failed.unwrap_err().kind().name(), "InvalidParameters");
    assert!(local.state("test").await.delta.is_some());
    connection["scheduled"] = later.to_string().into();
    local.run_at(&connection, later, MINUTE).await.unwrap();
    assert_eq!(arrived(&local).await, ANEW);
}

/// A first load of which only the first page arrived, since every later request gets this answer.
async fn half_loaded(status: u16, body: &str) -> InProcessSubscriber {
    let local = InProcessSubscriber::new(Options::default()).await;
    let protime = &local.tenant.protime;
    protime.configure(|settings| settings.page_size = 10);
    let answer = Action::Answer {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let fault = Fault::new("/clockings", u32::MAX, answer);
    protime.add_fault(Fault { skip: 1, ..fault });
    local.run(&clockings()).await.unwrap_err();
    assert_eq!(arrived(&local).await, ["protime.page.v1 initial"]);
    protime.clear_faults();
    local
}

#[tokio::test]
async fn a_mistake_in_between_does_not_make_consumers_forget_a_load_that_goes_on() {
    let local = half_loaded(200, "{}").await;
    let no_date = json!({"filter": "person eq 1"});
    for mistake in [with("query", no_date.clone()), {
        let mut mistake = with("query", no_date);
        mistake["takeover"] = true.into();
        mistake
    }] {
        local.run(&mistake).await.unwrap_err();
        assert_eq!(arrived(&local).await, [""; 0]);
    }
    local.run(&clockings()).await.unwrap();
    let went_on = arrived(&local).await;
    let has = |kind: &str| went_on.iter().any(|known| known == kind);
    assert!(has(ANEW[0]) && has(ANEW[2]) && !has(ANEW[1]), "{went_on:?}");
}

#[tokio::test]
async fn after_a_load_that_ended_half_way_consumers_are_told_to_forget_it() {
    let local = half_loaded(403, "{}").await;
    local.run(&clockings()).await.unwrap();
    assert_eq!(arrived(&local).await, ANEW);
}

#[tokio::test]
async fn a_link_of_another_client_is_not_polled() {
    let local = loaded().await;
    let id = format!("connection/{}", local.incoming("test"));
    // As after the secret got another client, and the run that claimed that client's delta has died.
    let stored = local.item(&id).await["state"].as_s().unwrap().clone();
    let mut state: Value = serde_json::from_str(&stored).unwrap();
    let key = state["delta"]["key"].as_str().unwrap();
    state["delta"]["key"] = format!("{key}-of-another").into();
    let state = AttributeValue::S(state.to_string());
    local.set(&id, "state", state).await;
    local.run(&clockings()).await.unwrap();
    assert_eq!(arrived(&local).await, ANEW);
}

#[tokio::test]
async fn takeover_starts_ones_own_delta_anew_once_for_each_value() {
    let local = loaded().await;
    refuse(&local, 404);
    for value in [json!(true), json!("2026-11-25"), json!("once more")] {
        let connection = with("takeover", value.clone());
        local.run(&connection).await.unwrap();
        assert_eq!(arrived(&local).await, ANEW, "{value}");
        // It stays in the schedule's input.
        local.tenant.protime.clear_faults();
        local.run(&connection).await.unwrap();
        assert_eq!(
            arrived(&local).await,
            ["protime.run-completed.v1 delta"],
            "{value}"
        );
        refuse(&local, 404);
        assert_eq!(
            local.run(&connection).await.unwrap_err().kind().name(),
            "DeltaRefused"
        );
    }
    // An edited request is another connection, for which the same value acts again.
    local.tenant.protime.clear_faults();
    let mut edited = with("takeover", "once more");
    edited["query"]["filter"] = clockings()["query"]["filter"]
        .as_str()
        .unwrap()
        .replace("01-01", "02-01")
        .into();
    local.run(&edited).await.unwrap();
    assert_eq!(arrived(&local).await, ANEW);
    // A run that is done is done again for a new value only.
    let mut again = with("takeover", "and again");
    again["run"] = "one".into();
    local.run(&again).await.unwrap();
    assert_eq!(local.run(&again).await.unwrap()["status"], "skipped");
    again["takeover"] = "the last".into();
    assert_eq!(local.run(&again).await.unwrap()["status"], "completed");
}

#[tokio::test]
async fn a_delta_link_to_another_host_is_refused_when_it_arrives() {
    let local = loaded().await;
    let link = local.state("test").await.delta.unwrap().link;
    let body = json!({"value": [], "deltaLink": "https://elsewhere.example/delta?deltaToken=x"})
        .to_string();
    let answer = Action::Answer {
        status: 200,
        headers: Vec::new(),
        body,
    };
    local.tenant.protime.add_fault(Fault::new(POLL, 1, answer));
    let error = local.run(&clockings()).await.unwrap_err();
    assert!(error.to_string().contains("elsewhere.example"), "{error}");
    assert_eq!(local.state("test").await.delta.unwrap().link, link);
    assert_eq!(arrived(&local).await, [""; 0]);
    local.run(&clockings()).await.unwrap();

    // One that an earlier release stored unchecked is healed by a takeover.
    let id = format!("connection/{}", local.incoming("test"));
    let state = local.item(&id).await["state"].as_s().unwrap().clone();
    let mut state: Value = serde_json::from_str(&state).unwrap();
    state["delta"]["link"] = "https://elsewhere.example/delta?deltaToken=x".into();
    let stored = aws_sdk_dynamodb::types::AttributeValue::S(state.to_string());
    local.set(&id, "state", stored).await;
    let error = local.run(&clockings()).await.unwrap_err();
    assert!(error.to_string().contains("takeover"), "{error}");
    arrived(&local).await;
    local.run(&with("takeover", true)).await.unwrap();
    assert_eq!(arrived(&local).await, ANEW);
}

#[tokio::test]
async fn whoever_gains_a_lapsed_delta_is_protected_from_that_moment() {
    let local = loaded().await;
    let other = |name: &str| {
        let mut connection = clockings();
        connection["incoming"] = name.into();
        connection
    };
    // Nobody polls for four days; then another connection begins, and does not get far.
    let later = Timestamp::now() + 96.hours();
    let busy = Action::Answer {
        status: 503,
        headers: vec![("retry-after".to_owned(), "3600".to_owned())],
        body: String::new(),
    };
    local
        .tenant
        .protime
        .add_fault(Fault::new("/clockings", 1, busy));
    local
        .run_at(&other("second"), later, MINUTE)
        .await
        .unwrap_err();
    for name in ["test", "third"] {
        let refused = local.run_at(&other(name), later + 1.hour(), MINUTE).await;
        assert_eq!(
            refused.unwrap_err().kind().name(),
            "DeltaConflict",
            "{name}"
        );
    }
    let outcome = local
        .run_at(&other("second"), later + 2.hours(), MINUTE)
        .await
        .unwrap();
    assert_eq!(outcome["status"], "completed");
}

#[tokio::test]
async fn a_resumed_load_that_lost_its_delta_does_not_go_on() {
    let local = InProcessSubscriber::new(Options::default()).await;
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 100);
    let busy = Action::Answer {
        status: 503,
        headers: vec![("retry-after".to_owned(), "600".to_owned())],
        body: String::new(),
    };
    let fault = Fault::new("/clockings?", 1, busy);
    local.tenant.protime.add_fault(Fault { skip: 1, ..fault });
    let outcome = local.run(&clockings()).await.unwrap();
    assert_eq!(outcome["status"], "continued");
    let mut thief = with("takeover", true);
    thief["incoming"] = "thief".into();
    let later = Timestamp::now() + 1.hour();
    local.run_at(&thief, later, MINUTE).await.unwrap();
    let error = local.run_at(&clockings(), later, MINUTE).await.unwrap_err();
    assert_eq!(error.kind().name(), "DeltaConflict", "{error}");
}

#[tokio::test]
async fn a_delta_is_read_to_its_end_and_is_one_request() {
    // §5.2: Delta (phase 2) responses are a **single, unpaged** page
    let local = InProcessSubscriber::new(Options::default()).await;
    let error = local.run(&with("pagination", false)).await.unwrap_err();
    assert!(error.to_string().contains("`pagination`"), "{error}");
    assert!(local.tenant.targets().is_empty());

    // A continuation that is too long is not halved: two requests would start two deltas.
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 10);
    let too_long = Fault::status("continuationToken", 414, u32::MAX);
    local.tenant.protime.add_fault(too_long);
    let error = local.run(&clockings()).await.unwrap_err();
    assert_eq!(error.kind().name(), "ProtimeRefused", "{error}");
    let starts = local
        .tenant
        .targets()
        .into_iter()
        .filter(|target| target.ends_with("&delta"));
    assert_eq!(starts.count(), 1);
}
