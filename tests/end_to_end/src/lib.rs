//! Helpers of the end-to-end tests: the deployed stack, and for each test its own Protime, secret and queue. No test
//! sees the data of another.
//!
//! `make end-to-end` deploys the stack and sets the environment that [`Stack::of_environment`] reads.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "it is a test harness: what fails here fails a test"
)]
#![expect(clippy::missing_panics_doc, reason = "as above")]

pub mod account;
pub mod captured;
pub mod crash_proxy;
pub mod fake_queue;
pub mod in_process_subscriber;
pub mod runtime_api;
pub mod schemas;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use serde_json::{Value, json};
use simulator::{Options, Simulator};
use tokio::time::Instant;

use crate::crash_proxy::CrashProxy;

/// The longest wait for something that happens without the test's doing.
const PATIENCE: Duration = Duration::from_mins(1);

/// Clients of the services that the deployed stack uses.
pub struct Stack {
    /// Invokes the deployed functions.
    pub lambda: aws_sdk_lambda::Client,
    /// Reads the functions' logs in `CloudWatch`.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// Reads and writes the queues.
    pub sqs: aws_sdk_sqs::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

/// One test's own Protime, with a secret and a pages queue.
pub struct Tenant {
    /// The deployed stack, which all tests share.
    pub stack: Stack,
    /// The simulator that stands for this tenant's Protime.
    pub protime: Simulator,
    /// The name of the secret with the client, as in the connection's field `client`.
    pub client: String,
    /// The URL of the pages queue.
    pub pages: String,
    /// The address under which the functions reach the Protime.
    pub base_uri: String,
}

/// The result of an invocation.
pub struct Invoked {
    /// The function's return value, or Lambda's error object.
    pub payload: Value,
    /// Whether the function returned an error.
    pub failed: bool,
}

/// The name and attributes of a deleted queue.
pub struct DeletedQueue {
    name: String,
    attributes: Option<HashMap<QueueAttributeName, String>>,
}

/// The value of a variable that `make end-to-end` sets.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set; run these tests with `make end-to-end`"))
}

/// The configuration for local AWS, as the functions use it.
pub fn aws() -> ConfigLoader {
    connector::aws::http::config(protime::http_client().expect("an HTTP client"))
}

impl Stack {
    /// Connects to the stack that the environment names.
    pub async fn of_environment() -> Self {
        variable("AWS_ENDPOINT_URL");
        // Invocations may take longer than the functions' own time limit for requests.
        let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .load()
            .await;
        Self {
            lambda: aws_sdk_lambda::Client::new(&aws),
            logs: aws_sdk_cloudwatchlogs::Client::new(&aws),
            sqs: aws_sdk_sqs::Client::new(&aws),
            secrets: aws_sdk_secretsmanager::Client::new(&aws),
        }
    }

    /// Receives and deletes messages until `enough` returns true, within a minute.
    pub async fn receive(&self, queue: &str, enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        self.receive_for(queue, PATIENCE, enough).await
    }

    /// Receives and deletes messages until `enough` returns true, within the given time.
    pub async fn receive_for(
        &self,
        queue: &str,
        patience: Duration,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Vec<Message> {
        let mut found = Vec::new();
        let end = Instant::now() + patience;
        while !enough(&found) {
            assert!(
                Instant::now() < end,
                "{} messages came, and no more: {found:#?}",
                found.len()
            );
            found.extend(self.take(queue, 1).await);
        }
        found
    }

    /// Receives and deletes all messages that are there now.
    pub async fn drain(&self, queue: &str) -> Vec<Message> {
        let mut found = Vec::new();
        loop {
            let more = self.take(queue, 0).await;
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    /// Deletes all messages of a queue.
    pub async fn purge(&self, queue: &str) {
        self.sqs
            .purge_queue()
            .queue_url(queue)
            .send()
            .await
            .expect("the queue can be purged");
    }

    /// Deletes a queue, and returns what [`Self::create_queue_again`] needs.
    pub async fn delete_queue(&self, queue: &str) -> DeletedQueue {
        let get = self.sqs.get_queue_attributes().queue_url(queue);
        let get = get.attribute_names(QueueAttributeName::MessageRetentionPeriod);
        let attributes = get.send().await.expect("the queue exists").attributes;
        let delete = self.sqs.delete_queue().queue_url(queue);
        delete.send().await.expect("it can be deleted");
        let name = queue.rsplit('/').next().unwrap_or_default().to_owned();
        DeletedQueue { name, attributes }
    }

    /// Creates a deleted queue again.
    pub async fn create_queue_again(&self, queue: DeletedQueue) {
        let create = self.sqs.create_queue().queue_name(queue.name);
        let create = create.set_attributes(queue.attributes);
        create.send().await.expect("a queue can be created");
    }

    async fn take(&self, queue: &str, wait_seconds: i32) -> Vec<Message> {
        let receive = self
            .sqs
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(10);
        let receive = receive
            .wait_time_seconds(wait_seconds)
            .message_attribute_names("All");
        let messages = receive
            .send()
            .await
            .expect("messages can be received")
            .messages
            .unwrap_or_default();
        let bodies = messages.iter().filter_map(Message::body);
        bodies.for_each(schemas::check);
        let receipts = messages.iter().enumerate().map(|(number, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(message.receipt_handle().expect("a receipt"))
                .build()
                .expect("an entry")
        });
        let receipts: Vec<_> = receipts.collect();
        if !receipts.is_empty() {
            let delete = self.sqs.delete_message_batch().queue_url(queue);
            let deleted = delete.set_entries(Some(receipts)).send().await;
            let failed = deleted.expect("they can be deleted").failed;
            assert!(failed.is_empty(), "{failed:?}");
        }
        messages
    }

    /// Creates a secret with this text.
    pub async fn create_secret(&self, name: &str, text: &str) {
        let create = self.secrets.create_secret().name(name).secret_string(text);
        create.send().await.expect("a secret can be created");
    }

    /// Every line in the stack's log groups.
    pub async fn log_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for function in ["subscriber", "publisher"] {
            let group = format!("/aws/lambda/{}-{function}", variable("STACK_NAME"));
            lines.extend(self.log_lines_of(&group, "").await);
        }
        lines
    }

    /// The lines of a log group that match a pattern.
    pub async fn log_lines_of(&self, group: &str, pattern: &str) -> Vec<String> {
        let filter = self.logs.filter_log_events().log_group_name(group);
        let pattern = (!pattern.is_empty()).then(|| pattern.to_owned());
        let mut pages = filter.set_filter_pattern(pattern).into_paginator().send();
        let mut lines = Vec::new();
        while let Some(page) = pages.next().await {
            let events = page
                .expect("the log can be read")
                .events
                .unwrap_or_default();
            lines.extend(events.into_iter().filter_map(|event| event.message));
        }
        lines
    }
}

impl Tenant {
    /// A tenant with 20 people and 30 days of records.
    pub async fn new() -> Self {
        Self::with(Options::default(), &json!({})).await
    }

    /// A tenant with these options. `secret` adds fields to its secret.
    pub async fn with(options: Options, secret: &Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let stack = Stack::of_environment().await;
        let protime = Simulator::start(options)
            .await
            .expect("the simulator starts");
        let name = format!(
            "test-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let client = format!("protime/{name}");
        let queue = stack
            .sqs
            .create_queue()
            .queue_name(format!("{}-{name}", variable("STACK_NAME")));
        let pages = queue
            .send()
            .await
            .expect("a queue can be created")
            .queue_url
            .expect("it has a URL");
        let tenant = Self {
            stack,
            base_uri: protime.base_uri(),
            protime,
            client,
            pages,
        };
        let text = tenant.secret(secret);
        tenant.stack.create_secret(&tenant.client, &text).await;
        tenant
    }

    /// A tenant whose API requests pass through a crash proxy.
    pub async fn behind(crash_proxy: &Arc<CrashProxy>, options: Options) -> Self {
        let mut tenant = Self::with(options, &json!({})).await;
        let base_uri = crash_proxy
            .proxy(&tenant.protime.base_uri())
            .await
            .expect("a proxy");
        let token_url = format!("{base_uri}/tenants/acme/connect/token");
        tenant
            .store_secret_with(&json!({"base_uri": base_uri, "access_token_url": token_url}))
            .await;
        tenant.base_uri = base_uri;
        tenant
    }

    /// The present secret as text. `extra` replaces fields.
    pub fn secret(&self, extra: &Value) -> String {
        let mut value: Value = serde_json::from_str(&self.protime.secret_json()).expect("JSON");
        for (name, field) in extra.as_object().into_iter().flatten() {
            value[name] = field.clone();
        }
        value.to_string()
    }

    /// Stores the present secret.
    pub async fn store_secret(&self) {
        self.store_secret_with(&json!({})).await;
    }

    /// Stores the present secret with additional or replaced fields.
    pub async fn store_secret_with(&self, extra: &Value) {
        let text = self.secret(extra);
        let put = self
            .stack
            .secrets
            .put_secret_value()
            .secret_id(&self.client)
            .secret_string(text);
        put.send().await.expect("the secret can be changed");
    }

    /// The name of this tenant's incoming connection.
    pub fn incoming(&self) -> String {
        self.client.replace('/', "-")
    }

    /// Runs an incoming connection of this tenant.
    pub async fn subscribe(&self, connection: Value) -> Invoked {
        // All tenants share the state table, so each needs connection names of its own.
        let mut event =
            json!({"incoming": self.incoming(), "client": self.client, "queue": self.pages});
        for (name, value) in connection.as_object().expect("an object") {
            event[name] = value.clone();
        }
        self.invoke(event.to_string()).await
    }

    /// Invokes the subscriber with an event, unchanged.
    pub async fn invoke(&self, event: String) -> Invoked {
        let function = variable("SUBSCRIBER_FUNCTION_NAME");
        let answer = self
            .stack
            .lambda
            .invoke()
            .function_name(function)
            .payload(event.into_bytes().into());
        let answer = answer.send().await.expect("the function can be invoked");
        let payload =
            serde_json::from_slice(answer.payload().expect("a payload").as_ref()).expect("JSON");
        Invoked {
            payload,
            failed: answer.function_error().is_some(),
        }
    }

    /// Runs an incoming connection that must complete. Returns the function's result.
    pub async fn completed(&self, connection: Value) -> Value {
        let invoked = self.subscribe(connection).await;
        assert!(!invoked.failed, "{}", invoked.payload);
        assert_eq!(
            invoked.payload["status"], "completed",
            "{}",
            invoked.payload
        );
        invoked.payload
    }

    /// The bodies of all messages in the pages queue, ordered by page and part.
    pub async fn events(&self) -> Vec<Value> {
        let messages = self.stack.drain(&self.pages).await;
        let mut events: Vec<Value> = messages
            .iter()
            .map(|message| serde_json::from_str(message.body().unwrap()).unwrap())
            .collect();
        events.sort_by_key(|event| {
            (
                event["page"].as_u64().unwrap_or(u64::MAX),
                event["part"].as_u64(),
            )
        });
        events
    }

    /// The targets (path and query) of the API requests, in order.
    pub fn targets(&self) -> Vec<String> {
        let api = self
            .protime
            .requests()
            .into_iter()
            .filter(|request| !request.target.starts_with("/tenants/"));
        api.map(|request| request.target).collect()
    }

    /// Sends a publish request of this tenant to the publish queue. Returns the message id.
    pub async fn publish(&self, request: Value) -> String {
        let mut body = json!({"client": self.client});
        for (name, value) in request.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.publish_text(&body.to_string()).await
    }

    /// Sends any text to the publish queue. Returns the message id.
    pub async fn publish_text(&self, body: &str) -> String {
        let send = self
            .stack
            .sqs
            .send_message()
            .queue_url(variable("PUBLISH_QUEUE_URL"))
            .message_body(body);
        let message = send.send().await.expect("a message can be sent");
        message.message_id.unwrap_or_default()
    }
}

/// A message's attributes by name, as text.
pub fn attributes(message: &Message) -> HashMap<String, String> {
    let attributes = message.message_attributes.clone().unwrap_or_default();
    attributes
        .into_iter()
        .map(|(name, value)| (name, value.string_value.unwrap_or_default()))
        .collect()
}

/// Waits for a condition, at most a minute. `what` names it if the wait fails.
pub async fn eventually(what: &str, happened: impl Fn() -> bool) {
    eventually_within(PATIENCE, what, happened).await;
}

/// Waits for a condition, at most for `patience`. `what` names it if the wait fails.
pub async fn eventually_within(patience: Duration, what: &str, happened: impl Fn() -> bool) {
    let end = Instant::now() + patience;
    while !happened() {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    #[ignore = "they need local AWS: run `make test`"]
    fn tests_of_the_deployed_stack() {}
}
