//! `pause`: stops a connection, or all publishing, for a while.

use connector::store::{DELTA_LIFE, Pause as Until, Watched};
use jiff::Timestamp;

use crate::arguments::{Pause, StackArguments};
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
        return Ok(Report::done(format!(
            "publishing is {pause}; messages wait in the publish queue\n"
        )));
    };
    let known = stack.known(name).await?;
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
    Ok(Report::done(format!("`{name}` is {pause}\n")))
}

/// Refuses a pause in which the delta would expire. A delta that is not polled for 72 hours is lost, and a full load
/// has to follow.
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
