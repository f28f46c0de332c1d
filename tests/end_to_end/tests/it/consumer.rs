//! The example of a consumer, fed with what the deployed functions send: repeated, and in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Command, Stdio};

use end_to_end::{Tenant, eventually};
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::Options;

const API: &str = "/connector/protimeapi/api/v1";
/// Gives the handler one event a line.
const GIVE: &str = "
import sys, json, consumer
for line in sys.stdin:
    print(json.dumps(consumer.handler(json.loads(line), None)))
";
/// Prints the tables.
const SHOW: &str = "
import json, consumer
rows = lambda query: consumer.database().execute(query).fetchall()
records = rows('select subject, key, deleted, record from records')
print(json.dumps([records, rows('select run, messages, received, missing from runs')]))
";

/// A Protime that changes, and its connections.
struct Company {
    tenant: Tenant,
    http: reqwest::Client,
    token: String,
}

/// The consumer with a database of its own.
struct Consumer {
    path: String,
}

/// By connection and id: whether a record is deleted, and what it is.
type Records = BTreeMap<(String, String), (bool, Value)>;

impl Company {
    async fn new() -> Self {
        let options = Options {
            people: 12,
            days: 15,
            ..Options::default()
        };
        let tenant = Tenant::with(options, &json!({})).await;
        tenant.protime.configure(|settings| settings.page_size = 7);
        let secret: Value = serde_json::from_str(&tenant.protime.secret_json()).unwrap();
        let text = |name: &str| secret[name].as_str().unwrap();
        let scopes: Vec<&str> = secret["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|scope| scope.as_str().unwrap())
            .collect();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
            text("client_id"),
            text("client_secret"),
            scopes.join("+")
        );
        let http = reqwest::Client::new();
        let answer = http
            .post(text("access_token_url"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = answer.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        Self {
            tenant,
            http,
            token,
        }
    }

    fn subject(&self, entity: &str) -> String {
        format!("{}-{entity}", self.tenant.incoming())
    }

    /// Runs the connection of an entity, and returns the run's name.
    async fn run(&self, entity: &str, more: Value) -> String {
        let mut connection = json!({"incoming": self.subject(entity), "entity": entity});
        for (name, value) in more.as_object().unwrap() {
            connection[name] = value.clone();
        }
        let outcome = self.tenant.completed(connection).await;
        outcome["run"].as_str().unwrap().to_owned()
    }

    /// Runs the deltas.
    async fn poll(&self) -> [String; 2] {
        let transform = ".query.filter = \"date ge '\\(start_of_year)'\"";
        let clockings = json!({"sync": "delta", "transform": transform});
        [
            self.run("clockings", clockings).await,
            self.run("contracts", json!({"sync": "delta"})).await,
        ]
    }

    /// Changes a record as a user of myProtime would.
    async fn change(&self, entity: &str, id: u32, change: Value) {
        let mut body = json!({"entity": entity, "id": id.to_string()});
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let url = format!("{}/_simulator/changes", self.tenant.protime.base_uri());
        let answer = self
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string());
        assert!(answer.send().await.unwrap().status().is_success());
    }

    async fn clocking(&self, id: u32, minutes: u32) {
        let set = json!({"set": {"timeOfDayInMinutes": minutes}});
        self.change("clockings", id, set).await;
    }

    async fn delete(&self, entity: &str, id: u32) {
        self.change(entity, id, json!({"delete": true})).await;
    }

    /// Departments as an entity without `changeVersion`.
    fn departments(&self, name: &str) {
        let records: Vec<Value> = (1..=20)
            .map(|id| json!({"id": id, "name": format!("{name} {id}")}))
            .collect();
        let protime = &self.tenant.protime;
        let json = json!(records).to_string();
        protime.set_records("departments", &json).unwrap();
    }

    /// What Protime has of an entity, by its own API.
    async fn records(&self, entity: &str) -> Records {
        let protime = &self.tenant.protime;
        protime.configure(|settings| settings.page_size = usize::MAX);
        let filter = match entity {
            "clockings" => format!(
                "?filter=date%20ge%20%27{}-01-01%27",
                &Timestamp::now().to_string()[..4]
            ),
            _ => String::new(),
        };
        let url = format!("{}{API}/{entity}{filter}", protime.base_uri());
        let answer = self
            .http
            .get(url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("user-agent", "test/1 (Acme)");
        let answer = answer.send().await.unwrap().text().await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let records = answer["value"].as_array().unwrap().iter();
        records
            .map(|record| {
                let key = (self.subject(entity), record["id"].to_string());
                (key, (record["status"] == "Deleted", record.clone()))
            })
            .collect()
    }

    /// Messages tell whole seconds.
    async fn next_second(&self) {
        let second = Timestamp::now().as_second();
        eventually("the next second", || Timestamp::now().as_second() > second).await;
    }

    /// A history in which everything happens that a consumer has to know. Returns the bodies of all messages.
    async fn history(&self) -> Vec<String> {
        self.departments("old");
        self.run("departments", json!({})).await;
        self.poll().await;
        for id in 1..=30 {
            self.clocking(id, id).await;
        }
        self.delete("clockings", 31).await;
        self.delete("contracts", 1).await;
        self.poll().await;
        // An older state of what is deleted later.
        self.clocking(32, 1).await;
        self.change("contracts", 2, json!({"set": {"from": "2020-01-01"}}))
            .await;
        self.poll().await;
        self.next_second().await;

        // Protime forgets the deltas, and what happened meanwhile.
        self.tenant.protime.forget_deltas();
        self.delete("contracts", 3).await;
        self.delete("clockings", 32).await;
        self.clocking(33, 2).await;
        self.departments("new");
        self.run("departments", json!({})).await;
        let [clockings, contracts] = self.poll().await;

        self.delete("contracts", 2).await;
        self.clocking(1, 1000).await;
        self.poll().await;
        let messages = self.tenant.stack.drain(&self.tenant.pages).await;
        let bodies: Vec<String> = messages
            .into_iter()
            .filter_map(|message| message.body)
            .collect();
        for run in [clockings, contracts] {
            let resync = format!(r#""id":"{run}/resync""#);
            assert!(bodies.iter().any(|body| body.contains(&resync)));
        }
        bodies
    }
}

impl Consumer {
    fn new(seed: u64) -> Self {
        let path = format!("{}/consumer-{seed}.sqlite", env!("CARGO_TARGET_TMPDIR"));
        let _ = std::fs::remove_file(&path);
        Self { path }
    }

    fn python(&self, program: &str, input: Stdio) -> Vec<Value> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/consumer");
        let output = Command::new("python")
            .args(["-c", program])
            .env("PYTHONPATH", folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DATABASE", &self.path)
            .stdin(input)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Gives messages to the handler in batches, as Lambda does, in one process. Returns the bodies that failed.
    fn give<'a>(&self, bodies: &[&'a str], dice: &mut Rng) -> Vec<&'a str> {
        let mut events = String::new();
        let mut rest = bodies;
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(dice.usize(1..=10).min(rest.len()));
            let first = bodies.len() - rest.len();
            events += &event(batch, first);
            events += "\n";
            rest = others;
        }
        let input = format!("{}.events", self.path);
        std::fs::write(&input, events).unwrap();
        let answers = self.python(GIVE, File::open(input).unwrap().into());
        let failures = answers.iter().flat_map(|answer| {
            let failures = answer["batchItemFailures"].as_array().unwrap();
            failures.iter().map(|failure| &failure["itemIdentifier"])
        });
        failures
            .map(|id| bodies[id.as_str().unwrap().parse::<usize>().unwrap()])
            .collect()
    }

    /// The records, and of each run how many messages it has, how many came and how many are missing.
    fn tables(&self) -> (Records, BTreeMap<String, [Option<u64>; 3]>) {
        let tables = self.python(SHOW, Stdio::null()).remove(0);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let records = tables[0].as_array().unwrap().iter().map(|row| {
            let record = serde_json::from_str(row[3].as_str().unwrap()).unwrap();
            ((text(&row[0]), text(&row[1])), (row[2] == 1, record))
        });
        let runs = tables[1].as_array().unwrap().iter().map(|row| {
            let counts = [&row[1], &row[2], &row[3]].map(Value::as_u64);
            (text(&row[0]), counts)
        });
        (records.collect(), runs.collect())
    }
}

/// The event by which Lambda delivers a batch; a message's id is its number.
fn event(batch: &[&str], first: usize) -> String {
    let records = batch.iter().enumerate().map(|(number, body)| {
        json!({
            "messageId": (first + number).to_string(), "receiptHandle": "receipt", "body": body,
            "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:pages", "awsRegion": "eu-west-1",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()}).to_string()
}

#[tokio::test]
async fn the_consumers_table_is_what_protime_has_whatever_the_order_of_messages() {
    let company = Company::new().await;
    let bodies = company.history().await;
    let mut expected = Records::new();
    for entity in ["clockings", "contracts", "departments"] {
        let records = company.records(entity).await;
        assert!(records.len() > 7, "several pages of {entity}");
        expected.extend(records);
    }
    // Deleted for good: contract 2 after the resync. Of 1 and 3, which went before it, nothing is known any more.
    let tombstone = (company.subject("contracts"), "2".to_owned());
    assert!(!expected.contains_key(&tombstone));

    let foreign = [
        "not JSON",
        r#"{"specversion": "1.0", "type": "com.example.other.v1", "id": "1"}"#,
    ];
    for seed in 0..6 {
        let mut dice = Rng::with_seed(seed);
        let consumer = Consumer::new(seed);
        let pages: Vec<&str> = bodies
            .iter()
            .map(String::as_str)
            .filter(|body| body.contains(r#""type":"protime.page.v1""#))
            .collect();
        let late = pages[dice.usize(..pages.len())];
        let mut messages: Vec<&str> = foreign.to_vec();
        for body in bodies.iter().filter(|body| *body != late) {
            messages.extend(vec![body.as_str(); dice.usize(1..=3)]);
        }
        dice.shuffle(&mut messages);
        // Two processes, one after the other, as functions come and go.
        let (before, after) = messages.split_at(dice.usize(..messages.len()));
        let mut failed = consumer.give(before, &mut dice);
        failed.extend(consumer.give(after, &mut dice));
        failed.sort_unstable();
        assert_eq!(failed, foreign, "seed {seed}");

        let late_run: Value = serde_json::from_str(late).unwrap();
        let (_, runs) = consumer.tables();
        for (run, [messages, received, missing]) in &runs {
            let expected = u64::from(late_run["run"] == run.as_str());
            assert_eq!(*missing, Some(expected), "seed {seed}, run {run}");
            assert_eq!(messages.unwrap(), received.unwrap() + expected);
        }
        assert!(consumer.give(&[late], &mut dice).is_empty());
        let (mut records, runs) = consumer.tables();
        let complete = runs.values().filter(|counts| counts[2] == Some(0));
        assert_eq!(complete.count(), 12, "seed {seed}");
        let (is_deleted, _) = records.remove(&tombstone).expect("the tombstone");
        assert!(is_deleted, "seed {seed}");
        assert_eq!(records, expected, "seed {seed}");
    }
}
