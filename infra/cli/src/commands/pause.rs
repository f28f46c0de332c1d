//! `pause`, `resume` and `forget`.

use connector::store::{DELTA_LIFE, Pause as Until, Watched};
use jiff::Timestamp;
use serde_json::json;

use crate::arguments::{Forget, Pause, Resume, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::{Report, hint};
use crate::stack::Stack;
use crate::wording::relative;

pub(crate) async fn pause(arguments: &Pause, stack: &StackArguments) -> Result<Report, Error> {
    let now = Timestamp::now();
    let until = match (arguments.until, arguments.long) {
        (Some(until), _) => until,
        (None, Some(long)) => now.saturating_add(long).unwrap_or(Timestamp::MAX),
        (None, None) => return Err(Error::Usage("until when?".to_owned())),
    };
    if until <= now {
        return Err(Error::Usage(format!("{until:.0} is over already")));
    }
    let pause = Until {
        until,
        reason: arguments.reason.clone(),
    };
    let stack = Stack::open(stack).await?;
    let state = stack.state()?;
    let Some(name) = &arguments.connection else {
        if !confirm(
            &arguments.change,
            &format!("pause all publishing until {until:.0}"),
        )? {
            return Ok(Report::undone());
        }
        state
            .pause_publishing(Some(&pause))
            .await
            .map_err(subscriber::Error::from)?;
        return Ok(done(format!(
            "publishing is {pause}; messages wait in the publish queue\n"
        )));
    };
    let known = state
        .connection(name)
        .await
        .map_err(subscriber::Error::from)?;
    if known.is_none() {
        stack.connection(name).await?;
    }
    if !arguments.let_delta_expire {
        spare_delta(name, known.as_ref(), until)?;
    }
    if !confirm(
        &arguments.change,
        &format!("pause connection `{name}` until {until:.0}"),
    )? {
        return Ok(Report::undone());
    }
    state
        .pause(name, Some(&pause))
        .await
        .map_err(subscriber::Error::from)?;
    if known.is_some_and(|known| known.is_running(now)) {
        hint("A run is under way; it goes on until its invocation ends.");
    }
    Ok(done(format!("`{name}` is {pause}\n")))
}

/// A delta that is not polled for 72 hours is lost, and everything has to be loaded anew.
fn spare_delta(name: &str, known: Option<&Watched>, until: Timestamp) -> Result<(), Error> {
    let delta = known.and_then(|known| known.state.delta.as_ref());
    let Some(expires) = delta.and_then(|delta| delta.polled.checked_add(DELTA_LIFE).ok()) else {
        return Ok(());
    };
    if until < expires {
        return Ok(());
    }
    let now = Timestamp::now();
    Err(Error::Usage(format!(
        "the delta of `{name}` expires {} ({expires:.0}), and everything would be loaded anew; choose an earlier end, or give --let-delta-expire",
        relative(expires, now)
    )))
}

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
        return Ok(done(
            "publishing goes on; what waits is delivered as its delay ends\n".to_owned(),
        ));
    };
    let known = state
        .connection(name)
        .await
        .map_err(subscriber::Error::from)?;
    if known.is_none() {
        stack.connection(name).await?;
        return Ok(done(format!("`{name}` was not paused\n")));
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
    Ok(done(format!(
        "`{name}` goes on: with its schedule, or within 15 minutes where a run is unfinished\n"
    )))
}

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
            "connection `{name}`: nothing is remembered of it"
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
    Ok(done(format!("`{name}` is forgotten\n")))
}

fn done(text: String) -> Report {
    Report::new(json!({"done": true, "message": text.trim_end()}), text)
}
