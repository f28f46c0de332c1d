//! The doorbell's Lambda function. Its configuration and clients are made here, once per environment.

use std::sync::LazyLock;

use connector::aws::queue::Queue;
use connector::invocation::{Event, deadline, time_left};
use doorbell::{Config, Diagnosis, Doorbell, Error, Request};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    connector::telemetry::init();
    let config = Config::from_env()?;
    let http = protime::http_client()?;
    let aws = connector::aws::http::config(http).load().await;
    // Built at the first request, so that the start does not wait for the SDK's client. The other functions build theirs
    // at the start.
    let doorbell = LazyLock::new(move || Doorbell {
        rings: Queue::new(aws_sdk_sqs::Client::new(&aws), config.rings_queue),
        token_hashes: config.token_hashes,
    });
    let doorbell = &doorbell;
    let handler = service_fn(|event: LambdaEvent<Event<Request>>| async move {
        let deadline = deadline(time_left(event.context.deadline));
        let answer = match event.payload {
            Event(Ok(request)) => doorbell.answer(&request, deadline).await,
            Event(Err(_)) => Err(Error::NotARequest),
        };
        answer.map_err(Diagnosis::logged)
    });
    lambda_runtime::run(handler)
        .await
        .map_err(anyhow::Error::from_boxed)
}
