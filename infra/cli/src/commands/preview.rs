//! What a connection reads, and what a publish request writes. Nothing is sent on, nothing stored, no delta touched.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use connector::aws::queue::MESSAGE_LIMIT;
use connector::contract::outgoing::OutgoingConnection;
use connector::contract::page_message::RunHeader;
use connector::contract::publish_request::PublishRequest;
use connector::store::{ConnectionState, LoadKind};
use jiff::Timestamp;
use protime::catalogue::{AfterUncertain, Operation};
use protime::{Page, Request, Settings};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::arguments::{Preview, StackArguments};
use crate::error::Error;
use crate::output::{FAINT, HEADING, Report, hint, styled};
use crate::source::{self, Source};
use crate::stack::{Account, Stack};
use crate::wording::counted;

/// What Protime gets for an answer.
const ANSWER: Duration = Duration::from_secs(30);

pub(crate) async fn preview(arguments: &Preview, stack: &StackArguments) -> Result<Report, Error> {
    match (&arguments.publish, &arguments.connection) {
        (Some(file), _) => publish(arguments, file, stack).await,
        (None, Some(connection)) => read(arguments, connection, stack).await,
        (None, None) => Err(Error::Usage("which connection?".to_owned())),
    }
}

async fn read(arguments: &Preview, name: &str, stack: &StackArguments) -> Result<Report, Error> {
    let now = arguments.now.unwrap_or_else(Timestamp::now);
    let (account, source, state) = if source::is_file(name) {
        let account = Account::open(stack).await?;
        (account, Source::read(name)?, ConnectionState::default())
    } else {
        let stack = Stack::open(stack).await?;
        let source = stack.connection(name).await?;
        let known = stack
            .state()?
            .connection(name)
            .await
            .map_err(subscriber::Error::from)?;
        let state = known.map(|known| known.state).unwrap_or_default();
        (stack.account, source, state)
    };
    let connection = source.connection(now)?;
    let clients = account.clients("protimectl");
    let client = clients
        .get(&connection.client)
        .await
        .map_err(subscriber::Error::from)?;
    let requests = subscriber::reads(&connection, &state, &client.settings())?;
    let Some(first) = requests.first() else {
        let text = "There is nothing to read this time: no record can match the filter.\n";
        return Ok(Report::new(json!({"requests": 0}), text));
    };
    let mut warnings = connection.warnings();
    warnings.extend(first.warnings.clone());
    for warning in &warnings {
        hint(format!("warning: {warning}"));
    }
    let url = first.url(&client.settings().base_uri);
    let mut pages = client.pages(first, Instant::now() + ANSWER);
    let page = pages.next().await.map_err(subscriber::Error::from)?;
    let mut source = url.clone();
    source.set_query(None);
    let header = RunHeader {
        incoming: connection.incoming.clone(),
        entity: connection.entity.clone(),
        source: source.into(),
        run: "preview".to_owned(),
        load: LoadKind::Full,
        fields: connection.fields.clone(),
        largest_message: MESSAGE_LIMIT,
    };
    let seen = match &page {
        Some(page) => first_page(&header, page, arguments.records, now)?,
        None => json!({"records": 0, "messages": 0, "bytes": 0, "first": [], "leftOut": []}),
    };
    Ok(shown(
        first,
        &warnings,
        url.as_str(),
        requests.len(),
        &seen,
        pages.position().is_some(),
    ))
}

fn first_page(
    header: &RunHeader,
    page: &Page,
    most: usize,
    now: Timestamp,
) -> Result<Value, Error> {
    let (mut messages, mut bytes) = (0_u64, 0_usize);
    for message in header.page_messages(page, 0, 0, now) {
        let message = message.map_err(subscriber::Error::from)?;
        messages += 1;
        bytes += message.size();
    }
    // As consumers get them.
    let sent = match &header.fields {
        Some(fields) => Cow::Owned(page.select(fields, false)),
        None => Cow::Borrowed(page),
    };
    let first: Vec<Value> = parsed(&sent).take(most).collect();
    let left_out: Vec<String> = match &header.fields {
        Some(_) => all_paths(page)
            .difference(&all_paths(&sent))
            .cloned()
            .collect(),
        None => Vec::new(),
    };
    Ok(json!({
        "records": page.records().len(), "messages": messages, "bytes": bytes, "first": first, "leftOut": left_out,
    }))
}

fn parsed(page: &Page) -> impl Iterator<Item = Value> {
    page.records()
        .map(|record| serde_json::from_str(record).unwrap_or_default())
}

fn all_paths(page: &Page) -> BTreeSet<String> {
    parsed(page).flat_map(|record| paths(&record)).collect()
}

/// Of what a value holds, as `fields` names it.
fn paths(value: &Value) -> Vec<String> {
    let below = |name: &str, inner: &Value| -> Vec<String> {
        let inner = paths(inner);
        if inner.is_empty() {
            return vec![name.to_owned()];
        }
        let joined = inner.into_iter().map(|path| match path.strip_prefix("[]") {
            Some(item) => format!("{name}[]{item}"),
            None => format!("{name}.{path}"),
        });
        joined.collect()
    };
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| below(name, inner))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| below("[]", item)).collect(),
        _ => Vec::new(),
    }
}

fn shown(
    first: &Request,
    warnings: &[String],
    url: &str,
    requests: usize,
    page: &Value,
    has_more: bool,
) -> Report {
    let mut text = format!("{} {url}\n", first.method);
    if requests > 1 {
        let _ = writeln!(
            text,
            "{}",
            styled(
                FAINT,
                format!("and {} more requests like this one", requests - 1)
            )
        );
    }
    let more = if has_more { ", more pages follow" } else { "" };
    let count = |what: &str| page[what].as_u64().unwrap_or_default();
    let records = counted(count("records"), "record");
    let messages = counted(count("messages"), "message");
    let bytes = count("bytes");
    let _ = writeln!(
        text,
        "\n{}",
        styled(
            HEADING,
            format!("The first page: {records} in {messages}, {bytes} bytes{more}")
        )
    );
    for record in page["first"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "{record:#}");
    }
    let left_out = page["leftOut"].as_array().into_iter().flatten();
    let left_out: Vec<&str> = left_out.filter_map(Value::as_str).collect();
    if !left_out.is_empty() {
        let _ = writeln!(
            text,
            "\nNot sent, since `fields` does not name it: {}",
            left_out.join(", ")
        );
    }
    let json = json!({
        "method": first.method.as_str(), "url": url, "requests": requests, "page": page, "more": has_more, "warnings": warnings,
    });
    Report::new(json, text)
}

async fn publish(arguments: &Preview, file: &str, stack: &StackArguments) -> Result<Report, Error> {
    let body = source::text(file)?;
    let (account, outgoing) = if let Some(file) = &arguments.outgoing {
        let outgoing = source::text(&file.to_string_lossy())?;
        (Account::open(stack).await?, outgoing)
    } else {
        let stack = Stack::open(stack).await?;
        let outgoing = deployed(&stack).await?;
        (stack.account, outgoing)
    };
    let wrong = |error: &dyn std::fmt::Display| Error::Connection(error.to_string());
    let outgoing = OutgoingConnection::from_json(&outgoing).map_err(|error| wrong(&error))?;
    let request = PublishRequest::from_body(&body, &outgoing).map_err(|error| wrong(&error))?;
    let Some(request) = request else {
        let text = "The transformer writes nothing for this message.\n";
        return Ok(Report::new(json!({"request": null}), text));
    };
    // As the function names itself.
    let clients = account.clients("publisher");
    let client = clients
        .get(&request.client)
        .await
        .map_err(subscriber::Error::from)?;
    let settings = client.settings();
    let resolved = request
        .resolve(&settings.scopes)
        .map_err(|error| match error {
            connector::contract::publish_request::InvalidRequest::Request(error) => {
                Error::Run(error.into())
            }
            error => wrong(&error),
        })?;
    Ok(written(&request, &resolved, &settings))
}

/// The deployed outgoing connection.
async fn deployed(stack: &Stack) -> Result<String, Error> {
    let name = stack.id("Publisher")?;
    let asked = stack.account.lambda().get_function_configuration();
    let answer = asked.function_name(name).send().await;
    let answer = answer.map_err(|error| Error::aws(format!("function {name}"), &error))?;
    let variables = answer
        .environment
        .and_then(|environment| environment.variables);
    Ok(variables
        .and_then(|mut variables| variables.remove("OUTGOING"))
        .unwrap_or_default())
}

fn written(request: &PublishRequest, resolved: &Request, settings: &Settings) -> Report {
    for warning in &resolved.warnings {
        hint(format!("warning: {warning}"));
    }
    let url = resolved.url(&settings.base_uri);
    let mut headers = vec![
        ("authorization", "Bearer ***".to_owned()),
        (
            "user-agent",
            settings.user_agent.to_str().unwrap_or_default().to_owned(),
        ),
        ("accept", "application/json".to_owned()),
    ];
    if request.payload.is_some() {
        headers.push(("content-type", "application/json".to_owned()));
    }
    let body = request.payload.as_deref().map(String::from_utf8_lossy);
    let scopes = resolved
        .operation
        .map_or_else(Vec::new, Operation::needed_scopes);
    let lost = if_answer_is_lost(resolved);
    let mut text = format!("{} {url}\n", resolved.method);
    for (name, value) in &headers {
        let _ = writeln!(text, "{name}: {value}");
    }
    if let Some(body) = &body {
        let _ = writeln!(text, "\n{body}");
    }
    let _ = writeln!(
        text,
        "\n{} {}",
        styled(HEADING, "needs the scope"),
        scopes.join(" or ")
    );
    let _ = writeln!(text, "{} {lost}", styled(HEADING, "if the answer is lost,"));
    let headers: serde_json::Map<String, Value> = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let json = json!({"request": {
        "method": resolved.method.as_str(), "url": url.as_str(), "headers": headers, "body": body, "scopes": scopes,
        "ifAnswerIsLost": lost, "warnings": resolved.warnings,
    }});
    Report::new(json, text)
}

fn if_answer_is_lost(resolved: &Request) -> &'static str {
    match resolved
        .operation
        .map(|operation| &operation.after_uncertain)
    {
        Some(AfterUncertain::Repeat) => "it is sent again, which has the same effect as once",
        Some(AfterUncertain::LookUp(_)) => {
            "the record is looked up, and it is sent again only if it is not there"
        }
        Some(AfterUncertain::Park) | None => {
            "it is parked as `unknown-outcome`: it can neither be repeated nor looked up"
        }
    }
}
