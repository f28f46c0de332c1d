//! The subscriber's Lambda function: everything it needs is made here, once per environment.

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use connector::credentials::HttpClients;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use subscriber::{Diagnosis, Invocation, Subscriber};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::telemetry::init();
    let pages_queue = std::env::var("PAGES_QUEUE_URL")
        .context("environment variable PAGES_QUEUE_URL: the pages queue's URL")?;
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .load()
        .await;
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let subscriber = Subscriber {
        clients: HttpClients::new(secrets, protime::http_client().context("the HTTP client")?),
        sqs: aws_sdk_sqs::Client::new(&aws),
        pages_queue,
    };
    let subscriber = &subscriber;
    let handler = service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let invocation = Invocation::from_context(&event.context);
        subscriber
            .run(event.payload.get(), &invocation)
            .await
            .map_err(Diagnosis)
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}
