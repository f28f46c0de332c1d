//! `completions`: the script with which a shell completes commands.

use clap::CommandFactory as _;
use serde_json::json;

use crate::arguments::{Arguments, Completions};
use crate::output::Report;

pub(crate) fn print(Completions { shell }: &Completions) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut Arguments::command(), "protimectl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Report::new(json!({"script": script}), script)
}
