//! `backfill`: reads a span of dates of a connection again.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::follow::start;
use crate::arguments::{Backfill, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::source::Source;
use crate::stack::Stack;

/// Runs the connection under another name, so that its own runs and their times stay as they are.
pub(crate) async fn backfill(
    arguments: &Backfill,
    stack: &StackArguments,
) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let source = stack.source(&arguments.connection).await?;
    let Backfill { from, to, .. } = arguments;
    if from > to {
        return Err(Error::Usage(format!("--from {from} is after --to {to}")));
    }
    let name = format!("{}-backfill", source.incoming);
    let what = format!(
        "read `{}` from {from} to {to} again, as connection `{name}`",
        source.incoming
    );
    if !confirm(&arguments.change, &what)? {
        return Ok(Report::undone());
    }
    let event = between(&source, *from, *to)?;
    let mut fields = json!({
        "incoming": name, "run": format!("{name}@{}", Timestamp::now()), "window": arguments.window.as_deref().unwrap_or("P1M"),
        "sync": null, "takeover": null, "scheduled": null, "fresh": null,
    });
    if let Some(concurrency) = arguments.concurrency {
        fields["concurrency"] = concurrency.into();
    }
    let event = Source { event, ..source }.with(fields)?;
    start(&stack, &name, &event, arguments.follow).await
}

/// The event that reads these dates. Its `transform` replaces the date conditions of the connection's filter.
pub(crate) fn between(
    source: &Source,
    from: jiff::civil::Date,
    to: jiff::civil::Date,
) -> Result<String, Error> {
    let event: Value = serde_json::from_str(&source.event)
        .map_err(|error| Error::Connection(format!("connection: not JSON: {error}")))?;
    let range = format!("date ge '{from}' and date le '{to}'");
    let program = format!(
        ".query.filter = ([(.query.filter // \"\" | split(\" and \")[] | select(startswith(\"date \") | not) | select(. != \"\")), {range:?}] | join(\" and \"))"
    );
    let transform = match event["transform"].as_str() {
        Some(own) => format!("({own}) | {program}"),
        None => program,
    };
    source.with(json!({"transform": transform, "sync": null}))
}
