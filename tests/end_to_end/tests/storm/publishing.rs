//! The publisher's side of the storm: a producer, the publish queue by SQS's rules, and what became of each request.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use connector::aws::queue::Queue;
use connector::contract::outgoing::OutgoingConnection;
use publisher::{CircuitBreaker, IdempotencyStore, Invocation, Publisher, Rules};
use serde_json::{Value, json};

use crate::lambda::{Shared, TABLE};
use crate::sqs::Message;
use crate::world::{VISIBILITY, World};

const PUBLISH: &str = "publish";
const PARKED: &str = "parked";
const RESULTS: &str = "results";
/// So many requests are put on the queue, one every few minutes.
const REQUESTS: usize = 20;
const EVERY: Duration = Duration::from_secs(200);
/// A day that no run of `full` reads.
const DATE: &str = "2026-11-21";
/// Its person does not exist.
const REFUSED: usize = 13;
/// Its producer sends it twice.
const SENT_TWICE: usize = 5;
const BATCH: usize = 10;
/// What Lambda gives an invocation of the publisher.
const TIME: Duration = Duration::from_mins(1);

/// Every fourth is an update of an assignment, all others are clockings of their own minutes.
fn request(number: usize) -> Value {
    let key = format!("key-{number}");
    if number % 4 == 3 {
        let levels = json!([{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}]);
        let payload = json!({"person": {"id": 1}, "from": "2026-11-20", "comments": key, "activityLevels": levels});
        let path = json!({"id": number / 4 + 1});
        return json!({"client": "protime/acme", "method": "PUT", "entity": "assignments", "path": path, "payload": payload, "idempotencyKey": key});
    }
    let person = if number == REFUSED {
        999
    } else {
        number % 3 + 1
    };
    let payload = json!({"person": {"id": person}, "date": DATE, "timeOfDayInMinutes": 480 + number, "kind": "InOut"});
    json!({"client": "protime/acme", "method": "POST", "entity": "clockings", "payload": payload, "idempotencyKey": key})
}

impl World {
    /// Puts what is due on the publish queue.
    pub(crate) fn produce(&self) {
        let due = EVERY * u32::try_from(self.produced.get()).expect("a number");
        let number = self.produced.get();
        if number < REQUESTS && self.sky.start.elapsed() >= due {
            self.produced.set(number + 1);
            let times = if number == SENT_TWICE { 2 } else { 1 };
            for _ in 0..times {
                let body = request(number).to_string();
                self.services.sqs.borrow_mut().put(PUBLISH, &body);
            }
        }
    }

    /// Delivers what is visible in the publish queue, in one batch.
    pub(crate) fn deliver_publish_requests(self: &Rc<Self>) {
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(message) = self.services.sqs.borrow_mut().receive(PUBLISH, VISIBILITY)
        {
            batch.push(message);
        }
        if batch.is_empty() {
            return;
        }
        for _ in 0..self.deliveries() {
            let (world, batch) = (self.clone(), batch.clone());
            tokio::task::spawn_local(async move { world.publish(&batch).await });
        }
    }

    /// One invocation of the publisher; what it does not name as failed is deleted.
    async fn publish(&self, batch: &[Message]) {
        let idle = &self.idle_publishers;
        let new = |shared| self.publisher(shared);
        let environment = self.environment(idle, "publisher", new).await;
        let event = self.publish_event(batch);
        let request_id = format!("publish-{}", self.invocations.get());
        let invocation = Invocation::new(&request_id, &environment.clock, TIME);
        let published = Box::pin(environment.function.publish(&event, &invocation));
        let published = self.under_the_weather(&environment, TIME, published);
        let Some(Ok(response)) = published.await else {
            return;
        };
        idle.give_back(environment.clone());
        for message in batch {
            let mut failed = response.batch_item_failures.iter();
            if failed.all(|failure| failure.item_identifier != message.id) {
                self.services.sqs.borrow_mut().delete(PUBLISH, &message.id);
            }
        }
    }

    fn publish_event(&self, batch: &[Message]) -> SqsEvent {
        let record = |message: &Message| {
            let sent = self.sky.at(message.sent).as_millisecond();
            json!({
                "messageId": message.id, "receiptHandle": message.id, "body": message.body, "messageAttributes": {},
                "attributes": {"ApproximateReceiveCount": message.received.to_string(), "SentTimestamp": sent.to_string()},
                "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:publish", "awsRegion": "eu-west-1",
            })
        };
        let records: Vec<Value> = batch.iter().map(record).collect();
        serde_json::from_value(json!({"Records": records})).expect("an event")
    }

    fn publisher(&self, shared: Shared) -> Publisher {
        let Shared {
            sqs,
            dynamodb,
            clients,
            metrics,
        } = shared;
        Publisher {
            clients,
            dead_letters: Queue::new(sqs.clone(), self.queue(PARKED)),
            results: Some(Queue::new(sqs.clone(), self.queue(RESULTS))),
            store: IdempotencyStore::new(dynamodb, TABLE),
            publish_queue: self.queue(PUBLISH),
            outgoing: Ok(Arc::new(OutgoingConnection::default())),
            breaker: CircuitBreaker::default(),
            rules: Rules::default(),
            metrics,
            sqs,
        }
    }
}

/// The reasons with which requests were parked, by key.
fn parked(world: &World) -> BTreeMap<String, Vec<String>> {
    let mut parked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in world.services.sqs.borrow().messages(PARKED) {
        let text = |name: &str| {
            message.attributes[name]["StringValue"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        parked
            .entry(text("idempotencyKey"))
            .or_default()
            .push(text("reason"));
    }
    parked
}

/// What producers were told of a request.
fn told(world: &World, key: &str) -> BTreeSet<String> {
    let sqs = world.services.sqs.borrow();
    let results = sqs
        .messages(RESULTS)
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).expect("a result"));
    let own = results.filter(|result| result["data"]["idempotencyKey"] == key);
    let kinds = own.filter_map(|result| {
        let kind = result["type"].as_str()?;
        kind.split('.').nth(1).map(str::to_owned)
    });
    kinds.collect()
}

/// Each request was written once, or parked with a reason that is true.
pub(crate) fn violated(
    world: &World,
    clockings: &[Value],
    assignments: &[Value],
) -> Option<String> {
    let sqs = world.services.sqs.borrow();
    if let Some(left) = sqs.messages(PUBLISH).first() {
        let Message { body, received, .. } = left;
        return Some(format!(
            "a publish request is left after {received} receives: {body}"
        ));
    }
    let parked = parked(world);
    (0..REQUESTS).find_map(|number| {
        let request = request(number);
        let key = request["idempotencyKey"].as_str().expect("a key");
        let (records, field, wanted) = if request["method"] == "POST" {
            let minutes = &request["payload"]["timeOfDayInMinutes"];
            (clockings, "timeOfDayInMinutes", minutes)
        } else {
            (assignments, "comments", &request["payload"]["comments"])
        };
        let written = records.iter().filter(|record| record[field] == *wanted);
        let written = written.filter(|record| record["date"].is_null() || record["date"] == DATE);
        let written = written.count();
        let reasons = parked.get(key).cloned().unwrap_or_default();
        let told = told(world, key);
        let has_verdict = !reasons.is_empty();
        if told != BTreeSet::from([if has_verdict { "rejected" } else { "published" }.to_owned()]) {
            return Some(format!(
                "{key}, parked as {reasons:?}, has the results {told:?}"
            ));
        }
        if reasons.iter().any(|reason| *reason != reasons[0]) {
            return Some(format!("{key} was parked as {reasons:?}"));
        }
        let is_right = match (number == REFUSED, reasons.first().map(String::as_str)) {
            (true, reason) => {
                written == 0 && matches!(reason, Some("refused" | "unknown-outcome" | "crashed"))
            }
            (false, None) => written == 1,
            // Whether it was written is what nobody knows.
            (false, Some("unknown-outcome" | "crashed")) => written <= 1,
            (false, Some(_)) => false,
        };
        (!is_right).then(|| format!("{key} was written {written} times and parked as {reasons:?}"))
    })
}
