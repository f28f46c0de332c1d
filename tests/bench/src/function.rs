//! Runs Lambda functions as Lambda does: started once, they ask a Runtime API for events.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::ensure;

use crate::aws::Aws;
use crate::process::{Running, Usage};
use crate::runtime_api::RuntimeApi;

/// The root folder of the project.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder for working files and logs.
pub(crate) fn work() -> anyhow::Result<PathBuf> {
    let directory = root().join("target/bench");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// The Python interpreter of the peers.
pub(crate) fn python() -> String {
    shown(&root().join(".tools/peers/bin/python"))
}

pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The binary of a function or a peer, built by `cargo lambda`.
pub(crate) fn bootstrap(name: &str) -> PathBuf {
    root().join("target/lambda").join(name).join("bootstrap")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Subscriber,
    Publisher,
    /// A function that does nothing, as the lower limit for Rust.
    Minimal,
    PythonSubscriber,
    PythonPublisher,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Publisher => "publisher",
            Self::Minimal => "minimal Rust function",
            Self::PythonSubscriber | Self::PythonPublisher => "Python function",
        }
    }

    fn command(self) -> Vec<String> {
        let rust = |name| vec![shown(&bootstrap(name))];
        let python = |handler| ["-m", "awslambdaric", handler].map(str::to_owned);
        match self {
            Self::Subscriber => rust("subscriber"),
            Self::Publisher => rust("publisher"),
            Self::Minimal => rust("minimal"),
            Self::PythonSubscriber => {
                [vec![self::python()], python("function.subscriber").to_vec()].concat()
            }
            Self::PythonPublisher => {
                [vec![self::python()], python("function.publisher").to_vec()].concat()
            }
        }
    }
}

/// A running function and its Runtime API.
pub(crate) struct Function {
    running: Running,
    api: RuntimeApi,
}

impl Function {
    /// Starts a function with the environment that Lambda would give it.
    pub(crate) async fn start(program: Program, aws: &Aws) -> anyhow::Result<Self> {
        let api = RuntimeApi::start().await?;
        let endpoint = &aws.endpoint;
        let queue = |name: &str| format!("{endpoint}/000000000000/{name}");
        let environment = HashMap::from(
            [
                ("AWS_LAMBDA_RUNTIME_API", api.address.clone()),
                ("AWS_LAMBDA_FUNCTION_NAME", program.name().to_owned()),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "bench".to_owned()),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".to_owned()),
                ("AWS_REGION", "eu-west-1".to_owned()),
                ("AWS_DEFAULT_REGION", "eu-west-1".to_owned()),
                ("AWS_ACCESS_KEY_ID", "bench".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "bench".to_owned()),
                ("AWS_ENDPOINT_URL", endpoint.clone()),
                ("PYTHONPATH", shown(&root().join("tests/bench/peers"))),
                ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
                ("LOG_LEVEL", "info".to_owned()),
                ("STATE_TABLE", "state".to_owned()),
                ("PAGES_QUEUE_URL", queue("pages")),
                ("CONTINUATION_QUEUE_URL", queue("continuations")),
                ("PUBLISH_QUEUE_URL", queue("publish")),
                ("DEAD_LETTER_QUEUE_URL", queue("dead-letters")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let log = work()?.join(format!("{}.log", program.name()));
        let running = Running::start(&program.command(), &environment, &log).await?;
        Ok(Self { running, api })
    }

    /// The time at which the process was started.
    pub(crate) fn started(&self) -> SystemTime {
        self.running.started
    }

    /// The time at which the function got its last event.
    pub(crate) fn event_issued(&self) -> SystemTime {
        self.api.issued()
    }

    pub(crate) fn process(&self) -> u32 {
        self.running.id
    }

    /// The time from the start to the request for the first event.
    pub(crate) async fn first_poll(&self) -> anyhow::Result<Duration> {
        Ok(self
            .api
            .first_poll()
            .await?
            .duration_since(self.started())?)
    }

    /// Passes an event to the function. Returns the duration and the answer.
    pub(crate) async fn invoke(&mut self, event: String) -> anyhow::Result<(Duration, String)> {
        self.api.invoke(event).await
    }

    /// Kills the process and returns its usage.
    pub(crate) async fn stop(self) -> anyhow::Result<Usage> {
        self.running.stop().await
    }
}

/// Fails unless a program did all of its work.
pub(crate) fn ensure_all(what: &str, found: u64, expected: u64) -> anyhow::Result<()> {
    ensure!(
        found == expected,
        "{what}: {found}, but {expected} were expected"
    );
    Ok(())
}
