//! `resume`: ends a pause.

use crate::arguments::{Resume, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::stack::Stack;

pub(crate) async fn resume(arguments: &Resume, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let state = stack.state()?;
    let Some(name) = &arguments.connection else {
        if !confirm(&arguments.change, "end the pause of publishing")? {
            return Ok(Report::undone());
        }
        state
            .pause_publishing(None)
            .await
            .map_err(subscriber::Error::from)?;
        return Ok(Report::done(
            "publishing continues; each waiting message is delivered when its delay ends\n",
        ));
    };
    if stack.known(name).await?.is_none() {
        return Ok(Report::done(format!("`{name}` was not paused\n")));
    }
    if !confirm(
        &arguments.change,
        &format!("end the pause of connection `{name}`"),
    )? {
        return Ok(Report::undone());
    }
    state
        .pause(name, None)
        .await
        .map_err(subscriber::Error::from)?;
    Ok(Report::done(format!(
        "`{name}` continues with its next scheduled run; an unfinished run continues within 15 minutes\n"
    )))
}
