//! `run`: runs a connection now.

use serde_json::json;

pub(crate) use super::follow::begin;
use super::follow::start;
use crate::arguments::{Run, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::source::Source;
use crate::stack::Stack;

pub(crate) async fn run(arguments: &Run, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let source = stack.source(&arguments.connection).await?;
    if !confirm(&arguments.change, &what(&source.incoming))? {
        return Ok(Report::undone());
    }
    let event = event(&source)?;
    start(&stack, &source.incoming, &event, arguments.follow).await
}

/// The words for the confirmation.
pub(crate) fn what(incoming: &str) -> String {
    format!("run connection `{incoming}` now")
}

/// The event of a manual run.
pub(crate) fn event(source: &Source) -> Result<String, Error> {
    source.with(json!({"run": null, "scheduled": null, "takeover": null}))
}
