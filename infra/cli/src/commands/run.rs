//! A connection, now.

use serde_json::json;

use super::follow::start;
use crate::arguments::{Run, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::stack::Stack;

pub(crate) async fn run(arguments: &Run, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let source = stack.source(&arguments.connection).await?;
    let what = format!("run connection `{}` now", source.incoming);
    if !confirm(&arguments.change, &what)? {
        return Ok(Report::undone());
    }
    let fields = json!({"run": null, "scheduled": null, "takeover": null});
    let event = source.with(fields)?;
    start(&stack, &source.incoming, &event, arguments.follow).await
}
