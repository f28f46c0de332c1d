//! The publisher's side of the storm: a producer, the publish queue by SQS's rules, and the outcome of each request.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use connector::aws::queue::Queue;
use connector::contract::outgoing::OutgoingConnection;
use publisher::{CircuitBreaker, IdempotencyStore, Invocation, Publisher, Rules};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::lambda::{Shared, TABLE};
use crate::protime::ReceivedRequest;
use crate::sqs::Message;
use crate::wire::Services;
use crate::world::World;

const PUBLISH: &str = "publish";
const PARKED: &str = "parked";
const RESULTS: &str = "results";
/// The number of publish requests. The producer sends one in each interval [`EVERY`].
const REQUESTS: usize = 20;
const EVERY: Duration = Duration::from_secs(200);
/// The date of the clockings, which no run of `full` reads.
const DATE: &str = "2026-11-21";
/// The request that Protime refuses, since its person does not exist.
const REFUSED: usize = 14;
/// The producer sends every third request again, [`LATER`] intervals later. It sends the request [`AT_ONCE`] twice at
/// once.
const SENT_AGAIN: usize = 3;
const AT_ONCE: usize = 5;
const LATER: usize = 4;
/// An operator acts this long after a message was parked.
const OPERATOR: Duration = Duration::from_mins(30);
const BATCH: usize = 10;
/// The timeout of the publisher.
const TIME: Duration = Duration::from_mins(1);
const VISIBILITY: Duration = Duration::from_mins(6);

/// The kind of a publish request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A creation that can be looked up.
    Clocking,
    /// An update, which can be repeated.
    Assignment,
    /// A creation that cannot be looked up.
    Definition,
}

fn kind(number: usize) -> Kind {
    match number % 4 {
        1 => Kind::Definition,
        3 => Kind::Assignment,
        _ => Kind::Clocking,
    }
}

/// The value that identifies a write: the minutes of a clocking, else a text. A corrected request has another value.
fn mark(number: usize, is_corrected: bool) -> Value {
    match (kind(number), is_corrected) {
        (Kind::Clocking, false) => json!(480 + number),
        (Kind::Clocking, true) => json!(680 + number),
        (_, false) => json!(format!("key-{number}")),
        (_, true) => json!(format!("key-{number}-corrected")),
    }
}

fn request(number: usize, is_corrected: bool) -> Value {
    let mark = mark(number, is_corrected);
    let (method, entity, path, payload) = match kind(number) {
        Kind::Clocking => {
            let is_refused = number == REFUSED && !is_corrected;
            let person = if is_refused { 999 } else { number % 3 + 1 };
            let payload = json!({"person": {"id": person}, "date": DATE, "timeOfDayInMinutes": mark, "kind": "InOut"});
            ("POST", "clockings", json!({}), payload)
        }
        Kind::Assignment => {
            let levels = json!([{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}]);
            let payload = json!({"person": {"id": 1}, "from": "2026-11-20", "comments": mark, "activityLevels": levels});
            ("PUT", "assignments", json!({"id": number / 4 + 1}), payload)
        }
        Kind::Definition => {
            let path = json!({"structureVersionId": "v", "level": 1});
            let payload = json!({"name": {"default": mark}});
            ("POST", "activity-definitions", path, payload)
        }
    };
    json!({
        "client": "protime/acme", "method": method, "entity": entity, "path": path, "payload": payload,
        "idempotencyKey": format!("key-{number}"),
    })
}

fn is_sent_again(number: usize) -> bool {
    number.is_multiple_of(SENT_AGAIN)
}

/// Whether a request is sent twice, so that a copy can be in progress while the other is parked.
fn has_copies(number: usize) -> bool {
    is_sent_again(number) || number == AT_ONCE
}

/// The number of the request whose write has this body.
fn number_of(body: &Value) -> Option<usize> {
    let marks = [
        &body["timeOfDayInMinutes"],
        &body["comments"],
        &body["name"]["default"],
    ];
    let own = |mark: &Value| marks.iter().any(|found| !found.is_null() && *found == mark);
    (0..REQUESTS).find(|number| own(&mark(*number, false)) || own(&mark(*number, true)))
}

impl World {
    /// Sends the requests that are due to the publish queue.
    pub(crate) fn produce(&self) {
        let number = self.produced.get();
        let due = EVERY * u32::try_from(number).expect("a number");
        if number >= REQUESTS + LATER || self.weather.start.elapsed() < due {
            return;
        }
        self.produced.set(number + 1);
        let put = |number: usize| {
            let body = request(number, false).to_string();
            self.services.sqs.borrow_mut().put(PUBLISH, &body);
        };
        if number < REQUESTS {
            put(number);
        }
        if number == AT_ONCE {
            put(number);
        }
        if number >= LATER && is_sent_again(number - LATER) {
            put(number - LATER);
        }
    }

    /// An operator handles messages that were parked with an unknown outcome and are older than [`OPERATOR`]. The
    /// operator sends a corrected request with the same idempotency key.
    pub(crate) fn correct(&self) {
        let now = Instant::now();
        let mut due = Vec::new();
        for message in self.services.sqs.borrow().messages(PARKED) {
            let text = |name: &str| message.attributes[name]["StringValue"].as_str();
            let is_open = matches!(text("reason"), Some("unknown-outcome" | "crashed"));
            let key = text("idempotencyKey").and_then(|key| key.strip_prefix("key-")?.parse().ok());
            if let (true, Some(number)) = (is_open && now >= message.sent + OPERATOR, key) {
                due.push(number);
            }
        }
        for number in due {
            // The operator does nothing if the producer sends the request twice.
            if !has_copies(number) && self.corrected.borrow_mut().insert(number) {
                let body = request(number, true).to_string();
                self.services.sqs.borrow_mut().put(PUBLISH, &body);
            }
        }
    }

    /// Delivers the visible messages of the publish queue, up to [`BATCH`], in one batch.
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

    /// Invokes the publisher once, and deletes the messages that it does not report as failed.
    async fn publish(&self, batch: &[Message]) {
        let idle = &self.idle_publishers;
        let new = |shared| self.publisher(shared);
        let environment = self.environment(idle, "publisher", new).await;
        let event = self.publish_event(batch);
        let request_id = format!("publish-{}", self.invocations.get());
        let invocation = Invocation::new(&request_id, &environment.clock, TIME);
        let published = Box::pin(environment.function.publish(&event, &invocation));
        let published = self.run_with_faults(&environment, TIME, published);
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
            let sent = self.weather.at(message.sent).as_millisecond();
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

/// The reasons with which requests were parked, by idempotency key.
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

impl Services {
    /// Checks a write that Protime gets: none may follow after the result `published`.
    pub(crate) fn check_write(&self, received: &ReceivedRequest) {
        let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        let Some(number) = number_of(&body) else {
            return;
        };
        let key = format!("key-{number}");
        if told(self, &key).contains("published") {
            let violation = format!("{key} was published, and is written again");
            self.violation.borrow_mut().get_or_insert(violation);
        }
    }
}

/// Whether the write with this body was parked before `before`. Then a later write counts as a new one.
pub(crate) fn was_parked(world: &World, body: &[u8], before: Instant) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(number) = number_of(&body) else {
        return false;
    };
    let key = format!("key-{number}");
    let sqs = world.services.sqs.borrow();
    let mut parked = sqs.messages(PARKED).iter();
    parked.any(|message| {
        let own = message.attributes["idempotencyKey"]["StringValue"] == key.as_str();
        own && message.sent < before
    })
}

/// The kinds of the results that the producer got for a request, such as `published`.
fn told(services: &Services, key: &str) -> BTreeSet<String> {
    let sqs = services.sqs.borrow();
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

/// Each request was written once, or parked with a true reason.
pub(crate) fn violated(world: &World, written: &BTreeMap<&str, Vec<Value>>) -> Option<String> {
    let sqs = world.services.sqs.borrow();
    if let Some(left) = sqs.messages(PUBLISH).first() {
        let Message { body, received, .. } = left;
        return Some(format!(
            "a publish request is left after {received} receives: {body}"
        ));
    }
    drop(sqs);
    let parked = parked(world);
    (0..REQUESTS).find_map(|number| {
        let key = format!("key-{number}");
        let reasons = parked.get(&key).cloned().unwrap_or_default();
        let told = told(&world.services, &key);
        let first = times(written, number, false);
        let corrected = times(written, number, true);
        let was_corrected = world.corrected.borrow().contains(&number);
        let is_right = is_right(number, was_corrected, &reasons, &told, first, corrected);
        (!is_right).then(|| {
            format!("{key} was parked as {reasons:?}, told as {told:?}, written {first} times, corrected {corrected} times")
        })
    })
}

/// How often a request was written.
fn times(written: &BTreeMap<&str, Vec<Value>>, number: usize, is_corrected: bool) -> usize {
    let (entity, mark) = (kind(number), mark(number, is_corrected));
    let entity = match entity {
        Kind::Clocking => "clockings",
        Kind::Assignment => "assignments",
        Kind::Definition => "activity-definitions",
    };
    let is_own = |record: &&Value| match kind(number) {
        Kind::Clocking => record["timeOfDayInMinutes"] == mark && record["date"] == DATE,
        Kind::Assignment => record["comments"] == mark,
        Kind::Definition => record["name"]["default"] == mark,
    };
    written[entity].iter().filter(is_own).count()
}

fn is_right(
    number: usize,
    was_corrected: bool,
    reasons: &[String],
    told: &BTreeSet<String>,
    first: usize,
    corrected: usize,
) -> bool {
    // With these reasons, nobody knows whether the request was written.
    let is_open = |reason: &String| matches!(reason.as_str(), "unknown-outcome" | "crashed");
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    // If the request is an update, its correction replaces what the first one wrote.
    let can_be_replaced = was_corrected && kind(number) == Kind::Assignment;
    match (reasons, was_corrected) {
        ([], _) => told == ["published"] && first == 1,
        (reasons, false) if number == REFUSED => {
            let is_refused = |reason: &String| reason == "refused" || is_open(reason);
            told == ["rejected"] && first == 0 && reasons.iter().all(is_refused)
        }
        // A copy that is delivered after the first was parked counts as a new write.
        (reasons, false) if has_copies(number) && reasons.iter().all(is_open) => {
            let least = usize::from(told.contains(&"published"));
            (least..=2).contains(&first)
        }
        // A request may be parked twice if an attempt died in between.
        (reasons, false) => told == ["rejected"] && first <= 1 && reasons.iter().all(is_open),
        (reasons, true) if told.contains(&"published") => {
            (first <= 1 || can_be_replaced) && corrected == 1 && reasons.iter().all(is_open)
        }
        (reasons, true) => first <= 1 && corrected <= 1 && reasons.iter().all(is_open),
    }
}
