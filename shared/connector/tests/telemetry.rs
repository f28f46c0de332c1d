//! Log lines: flat JSON with the request id.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn lines(level: Level, log: impl FnOnce()) -> Vec<Value> {
    let captured = Captured::default();
    tracing::subscriber::with_default(
        connector::telemetry::subscriber(level, captured.clone()),
        log,
    );
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn runtime_span() -> tracing::Span {
    // The span that `lambda_runtime` makes.
    tracing::info_span!(target: "lambda_runtime::layers::trace", "Lambda runtime invoke", requestId = "request-1")
}

#[test]
fn a_line_is_one_flat_object() {
    let lines = lines(Level::INFO, || {
        runtime_span().in_scope(|| tracing::info!(target: "subscriber", pages = 3, text = "a \"b\"\nç", "run completed"));
    });
    let [line] = lines.try_into().unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "run completed");
    assert_eq!(
        (&line["pages"], &line["text"]),
        (&3.into(), &"a \"b\"\nç".into())
    );
    assert_eq!(line["requestId"], "request-1");
    assert!(
        line["timestamp"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
}

#[test]
fn only_our_crates_follow_the_level_and_the_request_id_is_never_lost() {
    let at = |level| {
        lines(level, || {
            runtime_span().in_scope(|| {
                tracing::debug!(target: "protime::client", "ours");
                tracing::info!(target: "aws_config", "theirs");
                tracing::info!(target: "lambda_runtime::layers::trace", "the runtime's");
                tracing::error!(target: "publisher", "bad");
            });
        })
    };
    let messages = |level| {
        at(level)
            .iter()
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(messages(Level::DEBUG), ["ours", "the runtime's", "bad"]);
    assert_eq!(messages(Level::WARN), ["bad"]);
    assert_eq!(at(Level::ERROR)[0]["requestId"], "request-1");
}

#[test]
fn the_runtime_tells_of_panics_but_not_of_errors_again() {
    // The lines that `lambda_runtime` logs.
    let lines = lines(Level::INFO, || {
        tracing::error!(target: "lambda_runtime::layers::panic", "run failed");
        tracing::error!(target: "lambda_runtime::layers::panic", error = "Any", "user handler panicked");
    });
    let [line] = lines.try_into().unwrap();
    assert_eq!(line["message"], "user handler panicked");
}
