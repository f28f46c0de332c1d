//! `new`: makes a client, an incoming or an outgoing connection from arguments and answers.

mod ask;
mod client;
mod connection;
mod file;
mod outgoing;
mod yaml;

use crate::arguments::{New, NewWhat, StackArguments};
use crate::commands::entities::unknown;
use crate::error::Error;
use crate::output::Report;

pub(crate) async fn new(arguments: &New, stack: &StackArguments) -> Result<Report, Error> {
    match &arguments.what {
        NewWhat::Client(client) => client::new(client, stack).await,
        NewWhat::Connection(connection) => connection::new(connection),
        NewWhat::Outgoing(outgoing) => outgoing::new(outgoing),
    }
}

/// Refuses an unknown entity name and suggests another. A path is accepted as it is.
fn check_entity(name: &str) -> Result<(), String> {
    let is_known = name.starts_with('/') || protime::catalogue::catalogue().entity(name).is_some();
    is_known.then_some(()).ok_or_else(|| unknown(name))
}
