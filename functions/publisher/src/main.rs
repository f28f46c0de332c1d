//! The publisher's Lambda function: everything it needs is made here, once per environment.

use std::sync::LazyLock;

use anyhow::Context as _;
use aws_lambda_events::sqs::SqsEvent;
use connector::credentials::HttpClients;
use connector::invocation;
use connector::queue::Queue;
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::{Breaker, OutgoingConnection, Publisher, SETTLE_AFTER, WriteRecords};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::telemetry::init();
    let outgoing = OutgoingConnection::from_json(&std::env::var("OUTGOING").unwrap_or_default())?;
    let publish_queue = variable("PUBLISH_QUEUE_URL", "the publish queue's URL")?;
    let dead_letters = variable("DEAD_LETTER_QUEUE_URL", "its dead-letter queue's URL")?;
    let state_table = variable("STATE_TABLE", "the state table's name")?;
    let settle_after = match std::env::var("SETTLE_AFTER_SECONDS") {
        Ok(seconds) => SignedDuration::from_secs(
            seconds
                .parse()
                .context("environment variable SETTLE_AFTER_SECONDS: needs a whole number")?,
        ),
        Err(_) => SETTLE_AFTER,
    };
    let http = protime::http_client()?;
    let aws = connector::aws_http::config(http.clone()).load().await;
    let results = std::env::var("RESULTS_QUEUE_URL")
        .ok()
        .filter(|url| !url.is_empty());
    // The clients of the AWS SDK take longer than all else of a start, since each reads a table of all regions when it
    // is made; Lambda need not wait for that to hand out the first event.
    let publisher = LazyLock::new(move || {
        let sqs = aws_sdk_sqs::Client::new(&aws);
        Publisher {
            clients: HttpClients::new(aws_sdk_secretsmanager::Client::new(&aws), http),
            dead_letters: Queue::new(sqs.clone(), dead_letters),
            results: results.map(|url| Queue::new(sqs.clone(), url)),
            records: WriteRecords::new(aws_sdk_dynamodb::Client::new(&aws), state_table),
            sqs,
            publish_queue,
            outgoing,
            breaker: Breaker::default(),
            settle_after,
        }
    });
    let publisher = &publisher;
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = invocation::deadline(invocation::time_left(event.context.deadline));
        publisher
            .publish(&event.payload, Timestamp::now(), deadline)
            .await
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}

fn variable(name: &str, meaning: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}: needs {meaning}"))
}
