//! Every mistake gets a sentence that helps. The snapshot is the document: inputs, and what a person is told.

use std::fmt::Write as _;

use end_to_end::fake_queue::FakeQueue;
use end_to_end::inside::Inside;
use serde_json::{Value, json};
use simulator::Options;

/// What a connection is answered with: the kind and message of an error, else what it returned, in short.
async fn told(inside: &Inside, event: String) -> String {
    let now = jiff::Timestamp::now();
    let time = std::time::Duration::from_mins(1);
    let told = match inside.handle(event, now, time).await {
        Ok(outcome) => format!("{} ({} records)", outcome["status"], outcome["records"]),
        Err(error) => format!("{}: {error}", error.kind().name()),
    };
    let client = inside.tenant.client.as_str();
    told.replace(client, "protime/acme")
        .replace(&inside.incoming("test"), "test")
}

/// Inputs as people write them, with what they mean to read.
fn connections() -> Vec<Value> {
    let with = |name: &str, value: Value| {
        let mut connection = json!({"entity": "people"});
        connection[name] = value;
        connection
    };
    let clockings = |filter: &str| json!({"entity": "clockings", "query": {"filter": filter}});
    let query = |name: &str| with("query", json!({name: "active eq true"}));
    let program = |program: &str| with("transform", json!(program));
    vec![
        query("fitler"),
        query("Filter"),
        query("$filter"),
        query("$select"),
        query("externalreferences"),
        with("entity", json!("Clockings")),
        with("entity", json!("clocking")),
        with("entity", json!("salaries")),
        with("entity", json!("/../x")),
        with("entity", json!("")),
        with("entity", json!(7)),
        with("client", json!("acme")),
        with("client", json!("protime/nobody")),
        with("client", json!("protime/a b")),
        with("incoming", json!("a b")),
        with("incomming", json!("a")),
        with("querry", json!({})),
        with("colour", json!("red")),
        with("query", json!("filter=1")),
        with("query", json!([])),
        with("path", json!("7")),
        with("path", json!({"id": [1]})),
        with("path", json!({"nr": 1})),
        with("pagination", json!("no")),
        with("concurrency", json!("4")),
        with("concurrency", json!(0)),
        with("sync", json!("deltas")),
        with("time_zone", json!("Brussels")),
        with("queue", json!("pages")),
        with("queue", json!("arn:aws:sqs:eu-west-1:123456789012:pages")),
        with("scheduled", json!("yesterday")),
        with("window", json!("1 month")),
        with("fresh", json!("26h")),
        with("takeover", json!(1)),
        program("."),
        program("\"x\""),
        program("[]"),
        program("empty"),
        program(".query"),
        program(".query.filter = "),
        program("nosuch(1)"),
        program("1 + \"a\""),
        clockings("date ge 2026-11-01"),
        clockings("date ge \"2026-11-01\""),
        clockings("date ge \u{2018}2026-11-01\u{2019} and date le \u{2018}2026-11-30\u{2019}"),
        clockings("date ge '2026-11-01' AND date le '2026-11-30'"),
        clockings("date GE '2026-11-01'"),
        clockings("date gt '2026-11-01'"),
        clockings("date ge '2026-11-30' and date le '2026-11-01'"),
        clockings(
            "date ge '2026-11-01' and date le '2026-11-30' and person in (1) and person in (2)",
        ),
        clockings("date ge '2026-11-01' and dat le '2026-11-30'"),
        clockings("date ge '2026-11-01' and"),
        clockings("(date ge '2026-11-01'"),
        clockings("person in (1)"),
        clockings("date ge '2024-11-01' and date le '2024-11-31'"),
    ]
}

#[tokio::test]
async fn a_connection_that_cannot_be_run_says_why() {
    let inside = Inside::new(Options::default()).await;
    let mut document = String::new();
    for connection in connections() {
        let told = told(&inside, inside.event(&connection)).await;
        let shown = connection.to_string().replace(r#""entity":"people","#, "");
        let _ = writeln!(document, "{shown}\n    {told}");
    }
    for event in ["[]", "7", "\"x\"", "{}", "{\"Records\": []}"] {
        let told = told(&inside, event.to_owned()).await;
        let _ = writeln!(document, "{event}\n    {told}");
    }
    insta::assert_snapshot!("connections", document);
}

#[tokio::test]
async fn a_publish_request_that_cannot_be_sent_says_why() {
    let mut queue = FakeQueue::new(Options::default()).await;
    let payload = json!({"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"});
    let request = json!({"client": queue.tenant.client, "method": "POST", "entity": "clockings", "payload": payload});
    let with = |name: &str, value: Value| {
        let mut whole = request.clone();
        whole[name] = value.clone();
        (json!({name: value}).to_string(), whole.to_string())
    };
    let whole = |text: &str| (text.to_owned(), text.to_owned());
    let bodies = [
        whole(""),
        whole("clock in"),
        whole("{\"client\":"),
        whole("[]"),
        whole("[{}]"),
        whole("7"),
        whole("null"),
        whole("{}"),
        with("payload", json!(payload.to_string())),
        with("payload", json!(null)),
        with("idempotencyKey", json!(17)),
        with("idempotency_key", json!("a")),
        with("method", json!("PATCH")),
        with("method", json!("post")),
        with("method", json!("PUT")),
        with("entity", json!("clocking")),
        with("entity", json!("webhooks")),
        with("path", json!([7])),
        with("query", json!("x=1")),
        with("client", json!("acme")),
        with("client", json!("protime/nobody")),
        with("colour", json!("red")),
        with(
            "payload",
            json!({"person": {"id": 999}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"}),
        ),
        with(
            "payload",
            json!({"person": {"id": 1}, "date": "20-11-2026", "timeOfDayInMinutes": 510, "kind": "InOut"}),
        ),
        with(
            "payload",
            json!({"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": "8:30", "kind": "InOut"}),
        ),
    ];
    let mut document = String::new();
    for (shown, body) in bodies {
        let before = queue.parked().len();
        queue.send_text(&body, None, json!({}));
        queue.turn().await;
        let told = |name| queue.parked_attributes(name).get(before).cloned();
        let told = match told("reason") {
            None => "written, or to come again".to_owned(),
            Some(reason) => {
                let [message, details] =
                    ["message", "details"].map(|name| told(name).unwrap_or_default());
                format!("{reason}: {message} {details}")
                    .trim_end()
                    .to_owned()
            }
        };
        let text = format!("{shown}\n    {told}\n");
        document.push_str(&text.replace(&queue.tenant.client, "protime/acme"));
    }
    insta::assert_snapshot!("publish_requests", document);
}

#[tokio::test]
async fn a_range_that_a_program_made_empty_is_a_run_without_a_page() {
    let inside = Inside::new(Options::default()).await;
    let program = ".query.filter = \"date ge '\\(days(1))' and date le '\\(today)'\"";
    for window in [Value::Null, json!("P1D")] {
        let connection = json!({"entity": "clockings", "transform": program, "window": window});
        let outcome = inside.run(&connection).await.unwrap();
        assert_eq!(
            (&outcome["status"], &outcome["pages"]),
            (&json!("completed"), &json!(0))
        );
        assert!(inside.tenant.targets().is_empty(), "Protime is not asked");
        let [completed] = inside.tenant.events().await.try_into().unwrap();
        assert_eq!(completed["type"], "protime.run-completed.v1");
        assert_eq!(
            completed["source"],
            format!(
                "{}/connector/protimeapi/api/v1/clockings",
                inside.tenant.base_uri
            )
        );
    }
}
