//! `preview`: shows what a connection reads or what a publish request writes. It sends nothing on, stores nothing and
//! touches no delta.

mod reading;

use std::fmt::Write as _;

use connector::after_lost_response::AfterLostResponse;
use connector::contract::outgoing::OutgoingConnection;
use connector::contract::publish_request::PublishRequest;
use connector::store::ConnectionState;
use jiff::Timestamp;
use protime::catalogue::Operation;
use protime::{Request, Settings};
use serde_json::{Value, json};

pub(crate) use self::reading::{FirstPage, Reading};
use crate::arguments::{Preview, StackArguments};
use crate::error::Error;
use crate::output::{FAINT, HEADING, Report, hint, styled};
use crate::source::{self, Source};
use crate::stack::{Account, Stack};
use crate::wording::counted;

pub(crate) async fn preview(arguments: &Preview, stack: &StackArguments) -> Result<Report, Error> {
    match (&arguments.publish, &arguments.connection) {
        (Some(file), _) => publish(arguments, file, stack).await,
        (None, Some(connection)) => read(arguments, connection, stack).await,
        (None, None) => Err(Error::Usage("which connection?".to_owned())),
    }
}

async fn read(arguments: &Preview, name: &str, stack: &StackArguments) -> Result<Report, Error> {
    let now = arguments.now.unwrap_or_else(Timestamp::now);
    let reading = if source::is_file(name) {
        let account = Account::open(stack).await?;
        let state = ConnectionState::default();
        Reading::new(&account, &Source::read(name)?, state, now).await?
    } else {
        let stack = Stack::open(stack).await?;
        Reading::deployed(&stack, name, now).await?
    };
    for warning in &reading.warnings {
        hint(format!("warning: {warning}"));
    }
    let Some(seen) = reading.first_page(arguments.records, now).await? else {
        let text = "There is nothing to read this time: no record can match the filter.\n";
        return Ok(Report::new(json!({"requests": 0}), text));
    };
    Ok(shown(&reading, &seen))
}

fn shown(reading: &Reading, page: &FirstPage) -> Report {
    let FirstPage {
        method,
        url,
        requests,
        ..
    } = page;
    let mut text = format!("{method} {url}\n");
    if *requests > 1 {
        let _ = writeln!(
            text,
            "{}",
            styled(
                FAINT,
                format!("and {} more requests like this one", requests - 1)
            )
        );
    }
    let more = if page.has_more {
        ", more pages follow"
    } else {
        ""
    };
    let records = counted(page.records, "record");
    let messages = counted(page.messages, "message");
    let bytes = page.bytes;
    let _ = writeln!(
        text,
        "\n{}",
        styled(
            HEADING,
            format!("The first page: {records} in {messages}, {bytes} bytes{more}")
        )
    );
    for record in &page.first {
        let _ = writeln!(text, "{record:#}");
    }
    if !page.left_out.is_empty() {
        let _ = writeln!(
            text,
            "\nNot sent, since `fields` does not name it: {}",
            page.left_out.join(", ")
        );
    }
    let json = json!({
        "method": method, "url": url, "requests": requests, "page": page, "more": page.has_more, "warnings": reading.warnings,
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
    // The publisher's own name in the `User-Agent`.
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

/// The outgoing connection of the deployed publisher.
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
    match AfterLostResponse::of(resolved.operation) {
        AfterLostResponse::Repeat => "it is sent again, which has the same effect as once",
        AfterLostResponse::LookUp(_) => {
            "the record is looked up, and it is sent again only if it is not there"
        }
        AfterLostResponse::Park => {
            "it is parked as `unknown-outcome`: it can neither be repeated nor looked up"
        }
    }
}
