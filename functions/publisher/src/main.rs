//! The publisher's Lambda function: everything it needs is made here, once per environment.

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use aws_lambda_events::sqs::SqsEvent;
use connector::credentials::HttpClients;
use connector::queue::Queue;
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::{OutgoingConnection, Publisher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::telemetry::init();
    let outgoing = OutgoingConnection::from_json(&std::env::var("OUTGOING").unwrap_or_default())?;
    let publish_queue = variable("PUBLISH_QUEUE_URL", "the publish queue's URL")?;
    let dead_letters = variable("DEAD_LETTER_QUEUE_URL", "its dead-letter queue's URL")?;
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .load()
        .await;
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let publisher = Publisher {
        clients: HttpClients::new(secrets, protime::http_client().context("the HTTP client")?),
        dead_letters: Queue::new(sqs.clone(), dead_letters),
        sqs,
        publish_queue,
        outgoing,
    };
    let publisher = &publisher;
    let handler = service_fn(|event: LambdaEvent<SqsEvent>| async move {
        publisher
            .publish(
                &event.payload,
                connector::invocation::deadline(connector::invocation::time_left(
                    event.context.deadline,
                )),
            )
            .await
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}

fn variable(name: &str, meaning: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}: needs {meaning}"))
}
