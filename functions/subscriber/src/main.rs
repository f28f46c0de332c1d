//! The subscriber's Lambda function: everything it needs is made here, once per environment.

use anyhow::Context as _;
use aws_config::BehaviorVersion;
use connector::credentials::HttpClients;
use connector::queue::Queue;
use connector::state::StateTable;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use subscriber::{CHECKPOINT_INTERVAL, Diagnosis, Invocation, Subscriber};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::telemetry::init();
    let pages_queue = variable("PAGES_QUEUE_URL", "the pages queue's URL")?;
    let continuations = variable("CONTINUATION_QUEUE_URL", "the continuation queue's URL")?;
    let state_table = variable("STATE_TABLE", "the state table's name")?;
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .load()
        .await;
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let subscriber = Subscriber {
        clients: HttpClients::new(secrets, protime::http_client().context("the HTTP client")?),
        continuations: Queue::new(sqs.clone(), continuations),
        sqs,
        pages_queue,
        state: StateTable::new(aws_sdk_dynamodb::Client::new(&aws), state_table),
        checkpoint_interval: CHECKPOINT_INTERVAL,
    };
    let subscriber = &subscriber;
    let handler = service_fn(|event: LambdaEvent<Box<RawValue>>| async move {
        let invocation = Invocation::from_context(&event.context);
        subscriber
            .handle(&event.payload, &invocation)
            .await
            .map_err(Diagnosis)
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}

fn variable(name: &str, meaning: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}: needs {meaning}"))
}
