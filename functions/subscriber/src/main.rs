//! The subscriber's Lambda function. It builds every dependency once per execution environment.

use anyhow::Context as _;
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::invocation::Event;
use connector::metrics::Metrics;
use connector::store::StateTable;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;
use subscriber::{CHECKPOINT_INTERVAL, Diagnosis, Error, Invocation, Subscriber};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::transformer::serve_if_worker();
    connector::telemetry::init();
    let pages_queue = variable("PAGES_QUEUE_URL", "the pages queue's URL")?;
    let continuations = variable("CONTINUATION_QUEUE_URL", "the continuation queue's URL")?;
    let state_table = variable("STATE_TABLE", "the state table's name")?;
    // Without a prefix, the function does not check secret names before it asks for the secrets.
    let secret_prefix = std::env::var("CLIENT_SECRET_PREFIX").unwrap_or_default();
    let namespace = connector::telemetry::namespace();
    let http = protime::http_client()?;
    let aws = connector::aws::http::config(http.clone()).load().await;
    let clock = Clock::default();
    let metrics = Metrics::new(namespace, clock.clone(), std::io::stdout());
    // Building the SDK clients takes most of a cold start, since each reads a table of all regions. So they are built
    // here. Lambda gives the start a whole processor, and a handler of 256 MB a seventh of one.
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let subscriber = Subscriber {
        clients: HttpClients::new(
            "subscriber",
            secret_prefix,
            secrets,
            http,
            metrics.observer(),
            clock.clone(),
        ),
        continuations: Queue::new(sqs.clone(), continuations),
        sqs,
        pages_queue,
        state: StateTable::new(aws_sdk_dynamodb::Client::new(&aws), state_table),
        metrics,
        checkpoint_interval: CHECKPOINT_INTERVAL,
    };
    let (subscriber, clock) = (&subscriber, &clock);
    let handler = service_fn(|event: LambdaEvent<Event<Box<RawValue>>>| async move {
        let invocation = Invocation::from_context(&event.context, clock);
        let outcome = match event.payload {
            Event(Ok(event)) => subscriber.handle(&event, &invocation).await,
            Event(Err(problem)) => Err(subscriber.unknown_event(Error::NotJson(problem))),
        };
        outcome.map_err(Diagnosis)
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}

fn variable(name: &str, meaning: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}: needs {meaning}"))
}
