//! `forget`: removes the stored state of a connection that no longer exists.

use jiff::Timestamp;

use crate::arguments::{Forget, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::{Report, hint};
use crate::stack::Stack;

pub(crate) async fn forget(arguments: &Forget, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    let name = &arguments.connection;
    let state = stack.state()?;
    let known = state
        .connection(name)
        .await
        .map_err(subscriber::Error::from)?;
    let Some(known) = known else {
        return Err(Error::Connection(format!(
            "connection `{name}`: the state table has nothing about it"
        )));
    };
    if known.is_running(Timestamp::now()) {
        return Err(Error::Other(format!(
            "connection `{name}`: a run is under way; pause it, and wait for its end"
        )));
    }
    if stack
        .connections()
        .await?
        .iter()
        .any(|source| source.incoming == *name)
    {
        hint(format!(
            "The stack has a schedule for `{name}`: its next run begins anew."
        ));
    }
    if !confirm(
        &arguments.change,
        &format!("forget connection `{name}`, its history, checkpoint and delta"),
    )? {
        return Ok(Report::undone());
    }
    state.forget(name).await.map_err(subscriber::Error::from)?;
    Ok(Report::done(format!("`{name}` is forgotten\n")))
}
