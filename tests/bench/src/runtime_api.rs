//! The part of the Lambda Runtime API that a function needs.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::JoinHandle;

use crate::aws::no_delay;

/// The time limit of an invocation: Lambda's maximum.
const TIME_LIMIT: Duration = Duration::from_mins(15);

/// A Runtime API for one function process.
pub(crate) struct RuntimeApi {
    /// The value of `AWS_LAMBDA_RUNTIME_API` for the function.
    pub(crate) address: String,
    events: mpsc::UnboundedSender<String>,
    answers: mpsc::UnboundedReceiver<Answer>,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Answer {
    succeeded: bool,
    body: String,
}

struct Shared {
    events: AsyncMutex<mpsc::UnboundedReceiver<String>>,
    answers: mpsc::UnboundedSender<Answer>,
    first_poll: OnceLock<SystemTime>,
    issued: Mutex<SystemTime>,
}

impl RuntimeApi {
    /// Starts listening on a free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let listener = listener.tap_io(no_delay);
        let (events, waiting) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: AsyncMutex::new(waiting),
            answers: answered,
            first_poll: OnceLock::new(),
            issued: Mutex::new(SystemTime::now()),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(error))
            .with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            events,
            answers,
            shared,
            server,
        })
    }

    /// The time at which the function asked for its first event.
    pub(crate) async fn first_poll(&self) -> anyhow::Result<SystemTime> {
        let ready = async {
            loop {
                if let Some(time) = self.shared.first_poll.get() {
                    return *time;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), ready)
            .await
            .context("the function did not ask for an event; see its log")
    }

    /// The time at which the function got its last event.
    pub(crate) fn issued(&self) -> SystemTime {
        let issued = self.shared.issued.lock();
        *issued.unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an event to the function. Returns the duration and the answer.
    pub(crate) async fn invoke(&mut self, event: String) -> anyhow::Result<(Duration, String)> {
        self.events.send(event).context("the Runtime API ended")?;
        let answer = tokio::time::timeout(TIME_LIMIT, self.answers.recv())
            .await
            .context("the function did not answer in time")?
            .context("the Runtime API ended")?;
        let took = self.issued().elapsed()?;
        if !answer.succeeded {
            bail!("the function failed: {}", answer.body);
        }
        Ok((took, answer.body))
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.first_poll.get_or_init(SystemTime::now);
    let event = shared.events.lock().await.recv().await.unwrap_or_default();
    let deadline = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        + TIME_LIMIT;
    *shared.issued.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    let headers = [
        ("content-type", "application/json".to_owned()),
        (
            "lambda-runtime-aws-request-id",
            format!("request-{}", deadline.as_nanos()),
        ),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:bench".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0".to_owned(),
        ),
    ];
    (headers, event)
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(_): Path<String>,
    body: String,
) -> StatusCode {
    answered(&shared, true, body)
}

async fn error(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    answered(&shared, false, body)
}

fn answered(shared: &Shared, succeeded: bool, body: String) -> StatusCode {
    // If the benchmark has ended, nobody receives the answer.
    let _ = shared.answers.send(Answer { succeeded, body });
    StatusCode::ACCEPTED
}
