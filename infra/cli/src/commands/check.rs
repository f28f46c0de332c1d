//! `check`: templates offline, connections inside the function or from this machine.

use std::fmt::Write as _;
use std::time::Duration;

use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::metrics::Metrics;
use connector::store::ConnectionState;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use subscriber::{CheckResult, Invocation, Subscriber, Verdict};

use crate::arguments::{Check, StackArguments};
use crate::error::{Code, Error};
use crate::output::{GOOD, HEADING, Report, Tone, WARNING, styled};
use crate::source::{self, Source};
use crate::stack::Stack;
use crate::template;

/// Parallel checks. Each occupies one environment of the function.
const CHECKS_AT_ONCE: usize = 10;

/// The time that a check from this machine may take.
const TIME: Duration = Duration::from_mins(1);

pub(crate) async fn check(arguments: &Check, stack: &StackArguments) -> Result<Report, Error> {
    let all = arguments.what.iter().map(String::as_str);
    let (templates, connections): (Vec<&str>, Vec<&str>) =
        all.partition(|what| template::is_template(what));
    if templates.is_empty() {
        return check_connections(arguments, &connections, stack).await;
    }
    let offline = template::check(&templates, Timestamp::now())?;
    if connections.is_empty() {
        return Ok(offline);
    }
    let tried = check_connections(arguments, &connections, stack).await?;
    Ok(both(offline, &tried))
}

fn both(first: Report, second: &Report) -> Report {
    let mut json = first.json;
    if let (Some(fields), Some(more)) = (json.as_object_mut(), second.json.as_object()) {
        fields.extend(more.clone());
    }
    let code = match first.code {
        Code::Ok => second.code,
        code => code,
    };
    Report::new(json, first.text + &second.text).with_code(code)
}

/// Checks the named connections or files, or all of the stack if there are none.
async fn check_connections(
    arguments: &Check,
    names: &[&str],
    stack: &StackArguments,
) -> Result<Report, Error> {
    if arguments.offline {
        return offline(names);
    }
    let deployed = Stack::open(stack).await?;
    let mut sources = Vec::new();
    for what in names {
        sources.push(deployed.source(what).await?);
    }
    if names.is_empty() {
        sources = deployed.connections().await?;
    }
    let deployed = &deployed;
    let asked = sources.iter().map(|source| async move {
        if arguments.here {
            here(deployed, source).await
        } else {
            inside(deployed, source).await
        }
    });
    let checks: Vec<_> = stream::iter(asked)
        .buffered(CHECKS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(told(&checks))
}

/// Checks files without a network: their fields, transformers and requests.
fn offline(files: &[&str]) -> Result<Report, Error> {
    let settings = template::settings()?;
    let mut text = String::new();
    let mut urls = Vec::new();
    for file in files {
        if !source::is_file(file) {
            let problem =
                format!("`{file}` is no file; what is deployed can only be checked with AWS");
            return Err(Error::Usage(problem));
        }
        let connection = Source::read(file)?.connection(Timestamp::now())?;
        let requests = subscriber::reads(&connection, &ConnectionState::default(), &settings)?;
        let _ = writeln!(text, "{file}: {}", styled(GOOD, "no mistakes"));
        let of_requests = requests.iter().flat_map(|request| request.warnings.clone());
        for warning in connection.warnings().into_iter().chain(of_requests) {
            let _ = writeln!(text, "  {} {warning}", styled(WARNING, "warning"));
        }
        let url = |request: &protime::Request| request.url(&settings.base_uri).to_string();
        urls.push(json!({"file": file, "urls": requests.iter().map(url).collect::<Vec<_>>()}));
    }
    if files.is_empty() {
        let problem =
            "which template or file? Without --offline, all deployed connections are checked";
        return Err(Error::Usage(problem.to_owned()));
    }
    Ok(Report::new(json!({"offline": urls}), text))
}

/// Checks inside the function, with its role, network and credentials.
pub(crate) async fn inside(stack: &Stack, source: &Source) -> Result<subscriber::Check, Error> {
    let event: Value = serde_json::from_str(&source.event)
        .map_err(|error| Error::Connection(format!("connection: not JSON: {error}")))?;
    let payload = json!({"check": event}).to_string();
    let answer = stack.invoke(payload).await?;
    serde_json::from_slice(&answer).map_err(|_| {
        Error::Other("the function does not know `check`; deploy this release first".to_owned())
    })
}

/// Checks from this machine, with the operator's rights.
async fn here(stack: &Stack, source: &Source) -> Result<subscriber::Check, Error> {
    let queue = |name: &str| Ok::<_, Error>(stack.id(name)?.to_owned());
    let sqs = stack.account.sqs();
    let subscriber = Subscriber {
        clients: stack.account.clients("protimectl"),
        continuations: Queue::new(sqs.clone(), queue("ContinuationQueue")?),
        sqs,
        pages_queue: queue("PagesQueue")?,
        state: stack.state()?,
        metrics: Metrics::new(String::new(), Clock::default(), std::io::sink()),
        checkpoint_interval: subscriber::CHECKPOINT_INTERVAL,
    };
    let invocation = Invocation::new("check", &Clock::default(), TIME);
    Ok(subscriber.check(&source.event, &invocation).await)
}

fn told(checks: &[subscriber::Check]) -> Report {
    let mut text = String::new();
    for check in checks {
        let name = check.incoming.as_deref().unwrap_or("?");
        let _ = writeln!(text, "{}", styled(HEADING, name));
        for verdict in &check.verdicts {
            let (word, tone) = word(verdict.result);
            let part = part(verdict);
            // Padded before it is styled: escape sequences have no width.
            let word = styled(tone.style(), format!("{word:<8}"));
            let _ = writeln!(text, "  {part:<11} {word} {}", verdict.message);
        }
    }
    let fault = checks.iter().find_map(subscriber::Check::fault);
    let code = fault.map_or(Code::Ok, Code::from);
    Report::new(json!({"checks": checks}), text).with_code(code)
}

/// The word and colour for a judgement.
pub(crate) fn word(judgement: CheckResult) -> (&'static str, Tone) {
    match judgement {
        CheckResult::Passed => ("ok", Tone::Good),
        CheckResult::Warned => ("warning", Tone::Warning),
        CheckResult::Failed => ("failed", Tone::Bad),
        CheckResult::Skipped => ("skipped", Tone::Faint),
    }
}

/// The checked part, in words.
pub(crate) fn part(verdict: &Verdict) -> String {
    let part = serde_json::to_value(verdict.part).unwrap_or_default();
    part.as_str().unwrap_or_default().to_owned()
}
