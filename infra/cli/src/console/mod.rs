//! `console`: what the commands tell, as pages in a browser on this machine.
//!
//! Loopback is no boundary: every page of the web can send requests to it, and so can everybody on this machine.
//! [`security`] says what is let in. Nothing here decides anything about connections or messages: pages show what the
//! functions of the commands return, and changes are made by these.

mod activity;
mod changes;
mod charts;
mod pages;
mod parked_times;
mod security;
mod server;
mod site;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::net::TcpListener;

use self::activity::Activity;
use self::changes::Asked;
use self::parked_times::ParkedTimes;
use self::security::Door;
use crate::arguments::{Console as Arguments, StackArguments};
use crate::error::Error;
use crate::output::{Report, hint};
use crate::stack::Stack;
use crate::wording::duration;

/// What all pages have in common.
struct Console {
    stack: Stack,
    door: Door,
    activity: Activity,
    allows_changes: bool,
    /// Changes that wait for a yes.
    asked: Mutex<Asked>,
    /// What the next page says of the change before it.
    notice: Mutex<Option<String>>,
    parked: Mutex<ParkedTimes>,
}

/// Serves until nobody has asked for anything for a while.
pub(crate) async fn console(
    arguments: &Arguments,
    stack: &StackArguments,
    as_json: bool,
) -> Result<Report, Error> {
    if as_json {
        let problem = "a console has nothing to print as JSON; leave out --json";
        return Err(Error::Usage(problem.to_owned()));
    }
    let stack = Stack::open(stack).await?;
    let cannot_listen = |error: std::io::Error| {
        let port = arguments.port;
        Error::Other(format!(
            "port {port} of 127.0.0.1: {error}; without --port, a free one is taken"
        ))
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await;
    let listener = listener.map_err(cannot_listen)?;
    let port = listener.local_addr().map_err(cannot_listen)?.port();
    let idle = arguments.idle;
    let console = Arc::new(Console {
        stack,
        door: Door::new(port)?,
        activity: Activity::new(),
        allows_changes: arguments.allow_changes,
        asked: Mutex::default(),
        notice: Mutex::default(),
        parked: Mutex::default(),
    });
    anstream::println!("{}", console.door.url());
    hint("Open this in a browser; it works once. Ctrl-C ends the console.");
    tokio::select! {
        served = axum::serve(listener, server::router(&console)).into_future() => served.map_err(cannot_listen)?,
        () = console.activity.ends_after(idle.unsigned_abs()) => {}
    }
    let text = format!("Nobody has used the console for {}.\n", duration(idle));
    Ok(Report::new(json!({"ended": "idle"}), text))
}

/// What is held is replaced whole, so that a panic leaves nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
