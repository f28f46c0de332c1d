//! `console`: the output of the commands as pages in a browser on this machine.
//!
//! Loopback is no protection: any web page and anybody on this machine can send requests to it. [`security`] decides
//! which requests are let in. The pages decide nothing about connections or messages. They show what the functions of
//! the commands return, and make changes through them.

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
use self::changes::PendingChanges;
use self::parked_times::ParkedTimes;
use self::security::RequestGuard;
use crate::arguments::{Console as Arguments, StackArguments};
use crate::error::Error;
use crate::output::{Report, hint};
use crate::stack::Stack;
use crate::wording::duration;

/// The state that all pages share.
struct Console {
    stack: Stack,
    guard: RequestGuard,
    activity: Activity,
    allows_changes: bool,
    /// Changes that wait for a confirmation.
    asked: Mutex<PendingChanges>,
    /// The result of the last change, which the next page shows.
    notice: Mutex<Option<String>>,
    parked: Mutex<ParkedTimes>,
}

/// Serves pages until no request has come for a while.
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
        guard: RequestGuard::new(port)?,
        activity: Activity::new(),
        allows_changes: arguments.allow_changes,
        asked: Mutex::default(),
        notice: Mutex::default(),
        parked: Mutex::default(),
    });
    anstream::println!("{}", console.guard.url());
    hint("Open this in a browser; it works once. Ctrl-C ends the console.");
    tokio::select! {
        served = axum::serve(listener, server::router(&console)).into_future() => served.map_err(cannot_listen)?,
        () = console.activity.ends_after(idle.unsigned_abs()) => {}
    }
    let text = format!("Nobody has used the console for {}.\n", duration(idle));
    Ok(Report::new(json!({"ended": "idle"}), text))
}

/// Ignores poisoning: the values are replaced whole, so that a panic leaves nothing half done.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
