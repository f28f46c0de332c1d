//! `new`: a client, an incoming or an outgoing connection, of arguments and of answers.

mod ask;
mod client;
mod connection;
mod file;
mod outgoing;
mod yaml;

use crate::arguments::{New, NewWhat, StackArguments};
use crate::error::Error;
use crate::output::Report;

pub(crate) async fn new(arguments: &New, stack: &StackArguments) -> Result<Report, Error> {
    match &arguments.what {
        NewWhat::Client(client) => client::new(client, stack).await,
        NewWhat::Connection(connection) => connection::new(connection),
        NewWhat::Outgoing(outgoing) => outgoing::new(outgoing),
    }
}

/// What is wrong with the name of an entity; a path is taken as it is.
fn check_entity(name: &str) -> Result<(), String> {
    let catalogue = protime::catalogue::catalogue();
    if name.starts_with('/') || catalogue.entity(name).is_some() {
        return Ok(());
    }
    let names = catalogue.entities().iter().map(|entity| entity.name);
    let hint = match protime::nearest(name, names) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`protimectl entities` lists them".to_owned(),
    };
    Err(format!("entity `{name}`: unknown; {hint}"))
}
