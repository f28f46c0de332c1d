//! Five million records by a hundred connections through the deployed stack. `make scale` runs it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use end_to_end::Tenant;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use simulator::Options;

const CONNECTIONS: usize = 100;
const PEOPLE: u32 = 125;
const DAYS: u32 = 200;
const RECORDS: u64 = 2 * PEOPLE as u64 * DAYS as u64;
/// Runs at the same time. Each is a process on this machine.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    subject: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    value: Vec<Record>,
    records: Option<u64>,
}

#[derive(Deserialize)]
struct Record {
    id: u64,
}

/// What consumers have received of one connection.
#[derive(Default)]
struct Received {
    messages: HashSet<String>,
    records: HashSet<u64>,
    completed: Option<u64>,
    repeated: u64,
}

/// What consumers have received, by connection.
#[derive(Default)]
struct Consumer(HashMap<String, Received>);

impl Consumer {
    fn receive(&mut self, body: &str) {
        let event: Event = serde_json::from_str(body).unwrap();
        let received = self.0.entry(event.subject).or_default();
        if !received.messages.insert(event.id) {
            received.repeated += 1;
            return;
        }
        match event.kind.as_str() {
            "protime.page.v1" => received
                .records
                .extend(event.data.value.iter().map(|record| record.id)),
            "protime.run-completed.v1" => received.completed = event.data.records,
            other => panic!("{other}"),
        }
    }

    /// Receives until all runs have ended and the queue is empty.
    async fn consume(mut self, tenant: &Tenant, ended: &AtomicBool) -> Self {
        loop {
            let is_last = ended.load(Ordering::Relaxed);
            let messages = tenant.stack.drain(&tenant.pages).await;
            for message in &messages {
                self.receive(message.body().unwrap());
            }
            if is_last && messages.is_empty() {
                return self;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Runs a connection, and tells how long it took.
async fn run(tenant: &Tenant, number: usize) -> Value {
    let incoming = format!("{}-{number:03}", tenant.incoming());
    let filter = "date ge '2025-02-01' and date le '2026-01-31'";
    let connection = json!({"incoming": incoming, "entity": "clockings", "query": {"filter": filter}, "window": "P1M", "concurrency": 32});
    tenant.completed(connection).await
}

#[tokio::test]
#[ignore = "takes minutes; `make scale` runs it"]
async fn a_hundred_connections_deliver_five_million_records() {
    let options = Options {
        people: PEOPLE,
        days: DAYS,
        now: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        remember_requests: 0,
        ..Options::default()
    };
    let tenant = Tenant::with(options, &json!({})).await;
    let started = Instant::now();
    let ended = AtomicBool::new(false);
    let runs = async {
        let runs = (0..CONNECTIONS).map(|number| run(&tenant, number));
        let outcomes: Vec<Value> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
        ended.store(true, Ordering::Relaxed);
        outcomes
    };
    let (outcomes, consumer) = tokio::join!(runs, Consumer::default().consume(&tenant, &ended));
    let took = started.elapsed().as_secs_f64();
    assert_eq!(consumer.0.len(), CONNECTIONS);
    for (connection, received) in &consumer.0 {
        assert_eq!(received.completed, Some(RECORDS), "{connection}");
        assert_eq!(received.records.len() as u64, RECORDS, "{connection}");
    }
    let requests: u64 = outcomes
        .iter()
        .map(|outcome| outcome["requests"].as_u64().unwrap())
        .sum();
    let repeated: u64 = consumer.0.values().map(|received| received.repeated).sum();
    let records = RECORDS * CONNECTIONS as u64;
    println!(
        "{records} records of {CONNECTIONS} connections in {took:.0} s, {requests} requests, {repeated} messages twice"
    );

    let report = tenant.invoke(json!({"watch": true}).to_string()).await;
    let watched = report.payload["connections"].as_array().unwrap();
    let is_ours = |watched: &&Value| {
        consumer
            .0
            .contains_key(watched["incoming"].as_str().unwrap())
    };
    assert_eq!(watched.iter().filter(is_ours).count(), CONNECTIONS);
}
