//! A publish queue with the test's clock, in front of a publisher in the test's own process.
//!
//! The publisher uses it like SQS, over HTTP: it moves messages to the dead-letter queue and changes their visibility.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::contract::outgoing::OutgoingConnection;
use connector::metrics::Metrics;
use jiff::{SignedDuration, Timestamp};
use publisher::{CircuitBreaker, IdempotencyStore, Invocation, Publisher, Rules};
use serde_json::{Value, json};
use simulator::Options;

use crate::captured::Captured;
use crate::crash_proxy::CrashProxy;
use crate::{Tenant, variable};

/// `maxReceiveCount` and visibility timeout of the publish queue in the template.
const MOST_RECEIVES: u32 = 1_000;
const VISIBILITY_TIMEOUT: SignedDuration = SignedDuration::from_secs(360);

/// A message in the queue.
#[derive(Debug, Clone)]
struct QueuedMessage {
    id: String,
    group: Option<String>,
    body: String,
    attributes: Value,
    sent: Timestamp,
    visible: Timestamp,
    received: u32,
}

/// How a queue fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueFault {
    /// Calls are refused, as if the queue did not exist.
    Gone,
    /// SQS takes each batch and fails its entries, for a reason of its own.
    FailsEntries,
}

#[derive(Default)]
struct Queues {
    waiting: VecDeque<QueuedMessage>,
    /// The ids of messages that SQS itself moved to the dead-letter queue or deleted.
    lost: Vec<String>,
    /// The faults of queues, by the name of the queue.
    faults: Vec<(String, QueueFault)>,
    /// Parked messages and results, as SQS received them, each with the name of the queue.
    sent: Vec<(String, Value)>,
    /// The visibility timeouts that the publisher asked for, in seconds, by receipt.
    hidden: Vec<(String, u64)>,
}

type Shared = Arc<Mutex<Queues>>;

/// The publish queue and its publisher.
pub struct FakeQueue {
    /// The tenant with the Protime and the secret.
    pub tenant: Tenant,
    /// The publisher. Its requests pass through the crash proxy.
    pub publisher: Publisher,
    /// Stops the publisher at a request.
    pub crash_proxy: Arc<CrashProxy>,
    /// The queue's time, which only the test moves.
    pub now: Timestamp,
    /// The metrics that the publisher wrote.
    pub metrics: Captured,
    /// The publisher's clock, set to `now` before each invocation.
    pub clock: Clock,
    /// The time limit of an invocation.
    pub timeout: Duration,
    queues: Shared,
    sent: u32,
}

impl FakeQueue {
    /// An empty queue with a new tenant.
    pub async fn new(options: Options) -> Self {
        let crash_proxy = Arc::new(CrashProxy::default());
        let tenant = Tenant::behind(&crash_proxy, options).await;

        let queues = Shared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().fallback(answer).with_state(queues.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let proxied = crash_proxy
            .proxy(&variable("AWS_ENDPOINT_URL"))
            .await
            .expect("a proxy");
        let queue_origin = crash_proxy.proxy(&origin).await.expect("a proxy");
        let aws = crate::aws().endpoint_url(proxied).load().await;
        let fake = crate::aws().endpoint_url(&queue_origin).load().await;
        let sqs = aws_sdk_sqs::Client::new(&fake);
        let clock = Clock::default();
        let metrics = Captured::default();
        let sink = Metrics::new("stack", clock.clone(), metrics.clone());
        let publisher = Publisher {
            clients: HttpClients::new(
                "publisher",
                "protime/",
                aws_sdk_secretsmanager::Client::new(&aws),
                protime::http_client().expect("an HTTP client"),
                sink.observer(),
                clock.clone(),
            ),
            metrics: sink,
            dead_letters: Queue::new(sqs.clone(), format!("{queue_origin}/000000000000/parked")),
            results: Some(Queue::new(
                sqs.clone(),
                format!("{queue_origin}/000000000000/results"),
            )),
            store: IdempotencyStore::new(
                aws_sdk_dynamodb::Client::new(&aws),
                variable("STATE_TABLE_NAME"),
            ),
            sqs,
            publish_queue: format!("{queue_origin}/000000000000/publish"),
            outgoing: Ok(Arc::new(OutgoingConnection::default())),
            breaker: CircuitBreaker::default(),
            rules: Rules::default(),
        };
        Self {
            tenant,
            publisher,
            crash_proxy,
            now: Timestamp::now(),
            metrics,
            clock,
            timeout: Duration::from_mins(1),
            queues,
            sent: 0,
        }
    }

    /// Sends a publish request of the tenant.
    pub fn send(&mut self, request: &Value) {
        self.send_to_group(request, None);
    }

    /// Sends a publish request of the tenant to a message group, as on a FIFO queue.
    pub fn send_to_group(&mut self, request: &Value, group: Option<&str>) {
        let mut body = json!({"client": self.tenant.client});
        for (name, value) in request.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.send_text(&body.to_string(), group, json!({}));
    }

    /// Sends any text, with message attributes in the form of Lambda's events. Returns the message id.
    pub fn send_text(&mut self, body: &str, group: Option<&str>, attributes: Value) -> String {
        if group.is_some() && !self.publisher.publish_queue.ends_with("fifo") {
            self.publisher.publish_queue += ".fifo";
        }
        self.sent += 1;
        let id = format!("{}-{}", self.tenant.incoming(), self.sent);
        let waiting = QueuedMessage {
            id: id.clone(),
            group: group.map(str::to_owned),
            body: body.to_owned(),
            attributes,
            sent: self.now,
            visible: self.now,
            received: 0,
        };
        self.lock().waiting.push_back(waiting);
        id
    }

    /// Sends all parked messages back as an operator does: with the body, the producer's attributes and the key.
    pub fn redrive(&mut self) {
        let parked: Vec<Value> = self.sent_to("parked");
        self.lock().sent.retain(|(queue, _)| queue != "parked");
        for entry in parked {
            let key = &entry["MessageAttributes"]["idempotencyKey"]["StringValue"];
            let attributes = json!({"idempotencyKey": {"dataType": "String", "stringValue": key}});
            self.send_text(
                entry["MessageBody"].as_str().unwrap_or_default(),
                None,
                attributes,
            );
        }
    }

    /// Sets the fault of a queue, `parked` or `results`.
    pub fn set_fault(&self, queue: &str, fault: Option<QueueFault>) {
        let mut queues = self.lock();
        queues.faults.retain(|(name, _)| name != queue);
        queues
            .faults
            .extend(fault.map(|fault| (queue.to_owned(), fault)));
    }

    /// The ids of messages that SQS parked after too many receives, or deleted after 14 days.
    pub fn lost(&self) -> Vec<String> {
        self.lock().lost.clone()
    }

    /// Whether no message is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of messages, visible or hidden.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// The age of the oldest message, by the rule of SQS: a message that was delivered three times does not count
    /// (developer guide, "Available `CloudWatch` metrics for Amazon SQS").
    pub fn oldest(&self) -> Option<SignedDuration> {
        let queues = self.lock();
        let told = queues.waiting.iter().filter(|waiting| waiting.received < 3);
        let sent = told.map(|waiting| waiting.sent).min();
        sent.map(|sent| self.now.duration_since(sent))
    }

    /// Moves the clock until a message can be delivered: one without a group or the first of a group.
    pub fn skip_to_next_delivery(&mut self) {
        let mut seen: Vec<String> = Vec::new();
        let mut next: Option<Timestamp> = None;
        for waiting in &self.lock().waiting {
            if let Some(group) = &waiting.group {
                if seen.contains(group) {
                    continue;
                }
                seen.push(group.clone());
            }
            next = Some(next.map_or(waiting.visible, |next| next.min(waiting.visible)));
        }
        self.now = next.map_or(self.now, |next| next.max(self.now));
    }

    /// Moves the clock by `time`.
    pub fn advance(&mut self, time: SignedDuration) {
        self.now = self.now.saturating_add(time).expect("a time");
    }

    /// An event with up to ten visible messages, which are then hidden for six minutes. A message is not delivered
    /// while an earlier one of its group waits.
    pub fn receive(&mut self) -> SqsEvent {
        let now = self.now;
        let mut queues = self.lock();
        let (most, oldest) = (MOST_RECEIVES, SignedDuration::from_hours(14 * 24));
        let is_lost = |waiting: &QueuedMessage| {
            (waiting.visible <= now && waiting.received >= most)
                || now.duration_since(waiting.sent) >= oldest
        };
        let (lost, kept): (Vec<_>, Vec<_>) = queues.waiting.drain(..).partition(is_lost);
        queues.waiting = kept.into();
        queues
            .lost
            .extend(lost.into_iter().map(|waiting| waiting.id));
        let mut records = Vec::new();
        let mut blocked: Vec<String> = Vec::new();
        for waiting in &mut queues.waiting {
            let is_blocked = waiting
                .group
                .as_ref()
                .is_some_and(|group| blocked.contains(group));
            if waiting.visible > now || is_blocked || records.len() == 10 {
                blocked.extend(waiting.group.clone());
                continue;
            }
            waiting.received += 1;
            waiting.visible = now + VISIBILITY_TIMEOUT;
            let mut attributes = json!({
                "ApproximateReceiveCount": waiting.received.to_string(),
                "SentTimestamp": waiting.sent.as_millisecond().to_string(),
            });
            if let Some(group) = &waiting.group {
                attributes["MessageGroupId"] = group.as_str().into();
            }
            records.push(json!({
                "messageId": waiting.id, "receiptHandle": waiting.id, "body": waiting.body, "attributes": attributes,
                "messageAttributes": waiting.attributes, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:0:publish",
                "awsRegion": "eu-west-1",
            }));
        }
        serde_json::from_value(json!({"Records": records})).expect("an event")
    }

    /// Passes an event to the publisher. Returns the ids of the messages that failed.
    pub async fn publish(&self, event: &SqsEvent) -> Vec<String> {
        self.clock.set(self.now);
        let invocation = Invocation::new("request", &self.clock, self.timeout);
        let response = self
            .publisher
            .publish(event, &invocation)
            .await
            .expect("ids");
        response
            .batch_item_failures
            .into_iter()
            .map(|failure| failure.item_identifier)
            .collect()
    }

    /// Ends a delivery like SQS. It deletes the messages that did not fail. The others stay hidden for as long as the
    /// publisher asked.
    pub fn end_delivery(&mut self, event: &SqsEvent, failed: &[String]) {
        let now = self.now;
        let mut queues = self.lock();
        let hidden = std::mem::take(&mut queues.hidden);
        let delivered = |id: &String| {
            event
                .records
                .iter()
                .any(|record| record.message_id.as_ref() == Some(id))
        };
        queues
            .waiting
            .retain(|waiting| !delivered(&waiting.id) || failed.contains(&waiting.id));
        for (receipt, seconds) in hidden {
            if let Some(waiting) = queues
                .waiting
                .iter_mut()
                .find(|waiting| waiting.id == receipt)
            {
                waiting.visible =
                    now + SignedDuration::from_secs(i64::try_from(seconds).expect("seconds"));
            }
        }
    }

    /// Makes one delivery of the visible messages.
    pub async fn deliver(&mut self) {
        let event = self.receive();
        let failed = self.publish(&event).await;
        self.now = self.now.max(self.clock.now());
        self.end_delivery(&event, &failed);
    }

    /// Delivers and moves the clock until the queue is empty.
    pub async fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.is_empty() {
                return;
            }
            self.skip_to_next_delivery();
            self.deliver().await;
        }
        panic!(
            "the queue does not get empty: {} messages wait",
            self.lock().waiting.len()
        );
    }

    /// The attribute `reason` of each parked message.
    pub fn parked(&self) -> Vec<String> {
        self.parked_attributes("reason")
    }

    /// One attribute of each parked message.
    pub fn parked_attributes(&self, name: &str) -> Vec<String> {
        let parked = self.sent_to("parked");
        let values = parked
            .iter()
            .map(|entry| &entry["MessageAttributes"][name]["StringValue"]);
        values
            .map(|value| value.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// All results as `CloudEvents`.
    pub fn results(&self) -> Vec<Value> {
        let results = self.sent_to("results");
        let bodies = results
            .iter()
            .filter_map(|entry| serde_json::from_str(entry["MessageBody"].as_str()?).ok());
        bodies.collect()
    }

    /// The messages that were sent to a queue, as SQS received them.
    pub fn sent_to(&self, queue: &str) -> Vec<Value> {
        let queues = self.lock();
        let sent = queues.sent.iter().filter(|(name, _)| name == queue);
        sent.map(|(_, entry)| entry.clone()).collect()
    }

    /// The statuses of the API requests with that method. A lost answer counts as 0.
    pub fn statuses(&self, method: &str) -> Vec<u16> {
        let api = self
            .tenant
            .protime
            .requests()
            .into_iter()
            .filter(|request| request.authorized && request.method == method);
        api.map(|request| request.status).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    State(queues): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let call: Value = serde_json::from_str(&body).unwrap_or_default();
    let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    if target.ends_with("ChangeMessageVisibility") {
        let receipt = call["ReceiptHandle"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        queues.hidden.push((
            receipt,
            call["VisibilityTimeout"].as_u64().unwrap_or_default(),
        ));
        return (StatusCode::OK, Json(json!({})));
    }
    let url = call["QueueUrl"].as_str().unwrap_or_default();
    let queue = url.rsplit('/').next().unwrap_or_default();
    let fault = queues.faults.iter().find(|(name, _)| name == queue);
    let fault = fault.map(|(_, fault)| *fault);
    if fault == Some(QueueFault::Gone) {
        let error = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "gone"});
        return (StatusCode::BAD_REQUEST, Json(error));
    }
    let entries = call["Entries"].as_array().cloned().unwrap_or_default();
    if fault == Some(QueueFault::FailsEntries) {
        let failed = |entry: &Value| json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"});
        let failed: Vec<Value> = entries.iter().map(failed).collect();
        let answer = json!({"Successful": [], "Failed": failed});
        return (StatusCode::OK, Json(answer));
    }
    let successful: Vec<Value> = entries
        .iter()
        .map(|entry| json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "x"}))
        .collect();
    let sent = entries.into_iter().map(|entry| (queue.to_owned(), entry));
    queues.sent.extend(sent);
    let answer = json!({"Successful": successful, "Failed": []});
    (StatusCode::OK, Json(answer))
}
