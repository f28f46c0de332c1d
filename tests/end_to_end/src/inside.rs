//! The subscriber inside the test's own process, on local AWS: its clock, its time and its death are the test's.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use connector::credentials::HttpClients;
use connector::queue::Queue;
use connector::state::{ConnectionState, StateTable};
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use simulator::Options;
use subscriber::{Error, Invocation, Subscriber};

use crate::fuse::Fuse;
use crate::{Tenant, variable};

/// A tenant with a subscriber of its own.
pub struct Inside {
    /// The tenant: Protime, secret, pages queue.
    pub tenant: Tenant,
    /// The subscriber, whose requests pass the fuse.
    pub subscriber: Subscriber,
    /// Its continuation queue.
    pub continuations: String,
    /// Stops it.
    pub fuse: Arc<Fuse>,
    dynamodb: aws_sdk_dynamodb::Client,
    /// Makes connection names unique, as the state table is shared.
    prefix: String,
}

impl Inside {
    /// A tenant as wanted, and the subscriber.
    pub async fn new(options: Options) -> Self {
        let fuse = Arc::new(Fuse::default());
        let tenant = Tenant::behind(&fuse, options).await;
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
        let proxied = fuse
            .proxy(&variable("AWS_ENDPOINT_URL"))
            .await
            .expect("a proxy");
        let aws = crate::aws().endpoint_url(proxied).load().await;
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let http = protime::http_client().expect("an HTTP client");
        let subscriber = Subscriber {
            clients: HttpClients::new(aws_sdk_secretsmanager::Client::new(&aws), http),
            continuations: Queue::new(sqs.clone(), &continuations),
            sqs,
            pages_queue: tenant.pages.clone(),
            state: StateTable::new(
                aws_sdk_dynamodb::Client::new(&aws),
                variable("STATE_TABLE_NAME"),
            ),
            checkpoint_interval: Duration::ZERO,
        };
        let dynamodb = aws_sdk_dynamodb::Client::new(&direct);
        Self {
            tenant,
            subscriber,
            continuations,
            fuse,
            dynamodb,
            prefix,
        }
    }

    /// The event of a connection of this tenant; `incoming` gets a unique prefix.
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

    /// A connection's name as the state table knows it.
    pub fn incoming(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs a connection now, with a minute of time.
    pub async fn run(&self, connection: &Value) -> Result<Value, Error> {
        self.run_at(connection, Timestamp::now(), Duration::from_mins(1))
            .await
    }

    /// Runs a connection at another time, with less of it.
    pub async fn run_at(
        &self,
        connection: &Value,
        now: Timestamp,
        left: Duration,
    ) -> Result<Value, Error> {
        self.handle(self.event(connection), now, left).await
    }

    /// Lets the subscriber handle an event.
    pub async fn handle(
        &self,
        event: String,
        now: Timestamp,
        left: Duration,
    ) -> Result<Value, Error> {
        static REQUEST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = REQUEST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let invocation = Invocation::new(&format!("request-{number}"), now, left);
        let event = RawValue::from_string(event).expect("JSON");
        self.subscriber.handle(&event, &invocation).await
    }

    /// The event by which SQS delivers a continuation.
    pub fn delivery(message: &Message) -> String {
        json!({"Records": [{
            "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
            "attributes": {"ApproximateReceiveCount": "1"}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:continuations", "awsRegion": "eu-west-1",
        }]})
        .to_string()
    }

    /// What is remembered of a connection.
    pub async fn state(&self, name: &str) -> ConnectionState {
        let key = aws_sdk_dynamodb::types::AttributeValue::S(format!(
            "connection/{}",
            self.incoming(name)
        ));
        let get = self
            .dynamodb
            .get_item()
            .table_name(variable("STATE_TABLE_NAME"))
            .key("id", key)
            .consistent_read(true);
        let item = get
            .send()
            .await
            .expect("the table")
            .item
            .unwrap_or_default();
        let json = item
            .get("state")
            .and_then(|state| state.as_s().ok().cloned());
        json.map(|json| serde_json::from_str(&json).expect("state"))
            .unwrap_or_default()
    }
}
