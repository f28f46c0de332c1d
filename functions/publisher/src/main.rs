//! The publisher's Lambda function. It builds every dependency once per execution environment.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::invocation::Event;
use connector::metrics::Metrics;
use lambda_runtime::{LambdaEvent, service_fn};
use publisher::{
    CircuitBreaker, Config, IdempotencyStore, Invocation, Kind, MalformedEvent, Publisher,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::transformer::serve_if_worker();
    connector::telemetry::init();
    let config = Config::from_env()?;
    if let Err(error) = &config.outgoing {
        tracing::error!(kind = Kind::InvalidOutgoing.name(), %error, "every message is deferred");
    }
    let namespace = connector::telemetry::namespace();
    let http = protime::http_client()?;
    let aws = connector::aws::http::config(http.clone()).load().await;
    let clock = Clock::default();
    let metrics = Metrics::new(namespace, clock.clone(), std::io::stdout());
    // Building the SDK clients takes most of a cold start, since each reads a table of all regions. So they are built
    // here. Lambda gives the start a whole processor, and a handler of 256 MB a seventh of one.
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    let queue = |url: String| Queue::new(sqs.clone(), url);
    let publisher = Publisher {
        clients: HttpClients::new(
            "publisher",
            config.secret_prefix,
            secrets,
            http,
            metrics.observer(),
            clock.clone(),
        ),
        dead_letters: queue(config.dead_letter_queue),
        results: config.results_queue.map(queue),
        store: IdempotencyStore::new(aws_sdk_dynamodb::Client::new(&aws), config.state_table),
        publish_queue: config.publish_queue,
        outgoing: config.outgoing.map(Arc::new),
        breaker: CircuitBreaker::default(),
        rules: config.rules,
        metrics,
        sqs: sqs.clone(),
    };
    let (publisher, clock) = (&publisher, &clock);
    let handler = service_fn(|event: LambdaEvent<Event<SqsEvent>>| async move {
        let invocation = Invocation::from_context(&event.context, clock);
        match event.payload {
            Event(Ok(event)) => publisher.publish(&event, &invocation).await,
            Event(Err(_)) => Err(MalformedEvent::NotFromSqs.logged()),
        }
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}
