//! protimectl: checks connections, shows what they read and write, reports their status, and repairs failures.
//!
//! It uses the functions' own libraries, so that it shows what they do. Data goes to stdout, everything else to stderr.

mod advice;
mod arguments;
mod commands;
mod confirm;
mod console;
mod error;
mod excerpt;
mod local_time;
mod output;
mod pass;
mod queue;
mod schedule;
mod source;
mod stack;
mod template;
mod wording;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    connector::transformer::serve_if_worker();
    let arguments = Arguments::parse();
    let name = arguments.command.name();
    let result = tokio::select! {
        result = commands::execute(&arguments) => result,
        _ = tokio::signal::ctrl_c() => Err(error::Error::Interrupted),
    };
    output::end(name, result, arguments.json)
}
