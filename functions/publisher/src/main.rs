//! The publisher's Lambda function: everything it needs is made here, once per environment.

use std::sync::LazyLock;

use anyhow::Context as _;
use aws_lambda_events::sqs::SqsEvent;
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::invocation;
use connector::metrics::Metrics;
use jiff::SignedDuration;
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::{Breaker, Kind, OutgoingConnection, Publisher, SETTLE_AFTER, WriteRecords};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::transformer::serve_if_worker();
    connector::telemetry::init();
    // A wrong one must not keep the function from starting: SQS would use up the messages' receives and park them
    // without a reason.
    let outgoing = OutgoingConnection::from_json(&std::env::var("OUTGOING").unwrap_or_default());
    if let Err(error) = &outgoing {
        tracing::error!(kind = Kind::InvalidOutgoing.name(), %error, "every message is deferred");
    }
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
    let namespace = connector::telemetry::namespace();
    let http = protime::http_client()?;
    let aws = connector::aws::http::config(http.clone()).load().await;
    let results = std::env::var("RESULTS_QUEUE_URL")
        .ok()
        .filter(|url| !url.is_empty());
    let clock = Clock::default();
    let metrics = Metrics::new(namespace, clock.clone(), std::io::stdout());
    let times = clock.clone();
    // The clients of the AWS SDK take longer than all else of a start, since each reads a table of all regions when it
    // is made; Lambda need not wait for that to hand out the first event.
    let publisher = LazyLock::new(move || {
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let secrets = aws_sdk_secretsmanager::Client::new(&aws);
        Publisher {
            clients: HttpClients::new(secrets, http, metrics.observer(), times),
            dead_letters: Queue::new(sqs.clone(), dead_letters),
            results: results.map(|url| Queue::new(sqs.clone(), url)),
            records: WriteRecords::new(aws_sdk_dynamodb::Client::new(&aws), state_table),
            sqs,
            publish_queue,
            outgoing,
            breaker: Breaker::default(),
            metrics,
            settle_after,
        }
    });
    let (publisher, clock) = (&publisher, &clock);
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = invocation::deadline(invocation::time_left(event.context.deadline));
        publisher
            .publish(&event.payload, clock.now(), deadline)
            .await
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}

fn variable(name: &str, meaning: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}: needs {meaning}"))
}
