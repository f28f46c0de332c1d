//! The subscriber in the test's own process, on local AWS. The test decides on its clock, its time limit and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use aws_sdk_sqs::types::Message;
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::metrics::Metrics;
use connector::store::{ConnectionState, History, StateTable};
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use simulator::Options;
use subscriber::{Error, Invocation, Subscriber};

use crate::captured::Captured;
use crate::crash_proxy::CrashProxy;
use crate::{Tenant, variable};

/// A tenant with its own subscriber, state table and continuation queue.
pub struct InProcessSubscriber {
    /// The tenant with its Protime, secret and pages queue.
    pub tenant: Tenant,
    /// The subscriber. Its requests pass through the crash proxy.
    pub subscriber: Subscriber,
    /// The URL of its continuation queue.
    pub continuations: String,
    /// Stops the subscriber at a request.
    pub crash_proxy: Arc<CrashProxy>,
    /// The subscriber's clock, which each invocation sets.
    pub clock: Clock,
    /// The metrics that it wrote.
    pub metrics: Captured,
    /// `DynamoDB` without the crash proxy, for the test itself.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// The name of the state table.
    pub table: String,
    /// Makes connection names unique in the state table.
    prefix: String,
}

impl InProcessSubscriber {
    /// Makes a tenant with these options, and its subscriber.
    pub async fn new(options: Options) -> Self {
        let crash_proxy = Arc::new(CrashProxy::default());
        let tenant = Tenant::behind(&crash_proxy, options).await;
        let prefix = tenant
            .pages
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let continuations = tenant
            .stack
            .sqs
            .create_queue()
            .queue_name(format!("{prefix}-continuations"));
        let continuations = continuations
            .send()
            .await
            .expect("a queue")
            .queue_url
            .expect("its URL");

        let direct = crate::aws().load().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&direct);
        let table = format!("{prefix}-state");
        create_table(&dynamodb, &table).await;
        let clock = Clock::default();
        let metrics = Captured::default();
        let sink = Metrics::new("stack", clock.clone(), metrics.clone());
        let proxied = crash_proxy
            .proxy(&variable("AWS_ENDPOINT_URL"))
            .await
            .expect("a proxy");
        let aws = crate::aws().endpoint_url(proxied).load().await;
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let http = protime::http_client().expect("an HTTP client");
        let subscriber = Subscriber {
            clients: HttpClients::new(
                "subscriber",
                "protime/",
                aws_sdk_secretsmanager::Client::new(&aws),
                http,
                sink.observer(),
                clock.clone(),
            ),
            continuations: Queue::new(sqs.clone(), &continuations),
            sqs,
            pages_queue: tenant.pages.clone(),
            state: StateTable::new(aws_sdk_dynamodb::Client::new(&aws), &table),
            metrics: sink,
            checkpoint_interval: Duration::ZERO,
        };
        Self {
            tenant,
            subscriber,
            continuations,
            crash_proxy,
            clock,
            metrics,
            dynamodb,
            table,
            prefix,
        }
    }

    /// The event of a connection of this tenant. Its `incoming` gets the unique prefix.
    pub fn event(&self, connection: &Value) -> String {
        let mut event = json!({"incoming": "test", "client": self.tenant.client});
        for (name, value) in connection.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        event["incoming"] = self
            .incoming(event["incoming"].as_str().unwrap_or_default())
            .into();
        event.to_string()
    }

    /// The connection's name in the state table.
    pub fn incoming(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs a connection now, with a time limit of one minute.
    pub async fn run(&self, connection: &Value) -> Result<Value, Error> {
        self.run_at(connection, Timestamp::now(), Duration::from_mins(1))
            .await
    }

    /// Runs a connection as of `now`, with a time limit of `left`.
    pub async fn run_at(
        &self,
        connection: &Value,
        now: Timestamp,
        left: Duration,
    ) -> Result<Value, Error> {
        self.handle(self.event(connection), now, left).await
    }

    /// Passes an event to the subscriber. Each call has a new request id.
    pub async fn handle(
        &self,
        event: String,
        now: Timestamp,
        left: Duration,
    ) -> Result<Value, Error> {
        static REQUEST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = REQUEST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.handle_as(&format!("request-{number}"), event, now, left)
            .await
    }

    /// Passes an event with a given request id: Lambda's retries share one.
    pub async fn handle_as(
        &self,
        request_id: &str,
        event: String,
        now: Timestamp,
        left: Duration,
    ) -> Result<Value, Error> {
        self.clock.set(now);
        let invocation = Invocation::new(request_id, &self.clock, left);
        let event = RawValue::from_string(event).expect("JSON");
        self.subscriber.handle(&event, &invocation).await
    }

    /// Runs the watch over all connections.
    pub async fn watch(&self, now: Timestamp) -> Result<Value, Error> {
        let event = json!({"watch": true}).to_string();
        self.handle(event, now, Duration::from_mins(1)).await
    }

    /// Changes one attribute of an item in the state table, without the subscriber.
    pub async fn set(&self, id: &str, attribute: &str, value: AttributeValue) {
        let update = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(id.to_owned()))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", attribute)
            .expression_attribute_values(":value", value);
        update.send().await.expect("the table");
    }

    /// Removes an item from the state table, without the subscriber.
    pub async fn remove(&self, id: &str) {
        let delete = self
            .dynamodb
            .delete_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(id.to_owned()));
        delete.send().await.expect("the table");
    }

    /// The event with which SQS delivers a continuation.
    pub fn delivery(message: &Message) -> String {
        json!({"Records": [{
            "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
            "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:continuations", "awsRegion": "eu-west-1",
        }]})
        .to_string()
    }

    /// The stored state of a connection.
    pub async fn state(&self, name: &str) -> ConnectionState {
        let id = format!("connection/{}", self.incoming(name));
        let json = self.text(&id, "state").await;
        json.map(|json| serde_json::from_str(&json).expect("state"))
            .unwrap_or_default()
    }

    /// The stored history of a connection.
    pub async fn history(&self, name: &str) -> History {
        let id = format!("history/{}", self.incoming(name));
        let json = self.text(&id, "history").await;
        json.map(|json| serde_json::from_str(&json).expect("a history"))
            .unwrap_or_default()
    }

    async fn text(&self, id: &str, attribute: &str) -> Option<String> {
        let item = self.item(id).await;
        item.get(attribute)
            .and_then(|value| value.as_s().ok().cloned())
    }

    /// An item of the state table.
    pub async fn item(&self, id: &str) -> HashMap<String, AttributeValue> {
        let get = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("id", AttributeValue::S(id.to_owned()))
            .consistent_read(true);
        let answer = get.send().await.expect("the table");
        answer.item.unwrap_or_default()
    }
}

/// Creates a table like that of the template.
pub async fn create_table(dynamodb: &aws_sdk_dynamodb::Client, name: &str) {
    let key = |name: &str, kind: KeyType| {
        let key = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind);
        key.build().expect("a key")
    };
    let string = |name: &str| {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        attribute.build().expect("an attribute")
    };
    let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly);
    let index = GlobalSecondaryIndex::builder()
        .index_name("connections")
        .key_schema(key("kind", KeyType::Hash))
        .key_schema(key("id", KeyType::Range))
        .projection(keys_only.build());
    let create = dynamodb
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(string("id"))
        .attribute_definitions(string("kind"))
        .key_schema(key("id", KeyType::Hash))
        .global_secondary_indexes(index.build().expect("an index"));
    create.send().await.expect("a table can be created");
}
