//! A Lambda Runtime API that gives one event to a built function.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::{PATIENCE, variable};

/// Runs the function whose binary is in the variable `binary`. Returns the error that it reports for the event.
pub async fn failed(binary: &str, event: &str) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let (errors, mut error) = mpsc::unbounded_channel();
    let event = Arc::new(Mutex::new(Some(event.to_owned())));
    let next = move || {
        let event = event.lock().expect("not poisoned").take();
        async move {
            match event {
                Some(event) => (
                    [
                        ("lambda-runtime-aws-request-id", "1"),
                        ("lambda-runtime-deadline-ms", "99999999999999"),
                    ],
                    event,
                ),
                // There is only one event.
                None => std::future::pending().await,
            }
        }
    };
    let report = async move |body: String| {
        let _ = errors.send(body);
        StatusCode::ACCEPTED
    };
    let router = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(report));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut function = Command::new(variable(binary))
        .env("AWS_LAMBDA_RUNTIME_API", address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "alone")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
        .env("STATE_TABLE", variable("STATE_TABLE_NAME"))
        .env("CONTINUATION_QUEUE_URL", variable("PAGES_QUEUE_URL"))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the function starts");
    let error = tokio::time::timeout(PATIENCE, error.recv()).await;
    let error = error
        .expect("the function answers")
        .expect("the server lives");
    function.kill().await.expect("it can be ended");
    server.abort();
    serde_json::from_str(&error).expect("JSON")
}
