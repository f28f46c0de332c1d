//! `try`: a transformer on an input.

use std::fmt::Write as _;

use connector::transformer::{Schedule, Transformer};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::arguments::Try;
use crate::error::Error;
use crate::output::Report;
use crate::source;

pub(crate) fn run(arguments: &Try) -> Result<Report, Error> {
    let program = match (&arguments.program, &arguments.file) {
        (Some(program), _) => program.clone(),
        (None, Some(file)) => source::text(file)?,
        (None, None) => return Err(Error::Usage("there is no program".to_owned())),
    };
    let input = match &arguments.input {
        Some(file) => source::text(file)?,
        None if arguments.incoming => r#"{"path": {}, "query": {}}"#.to_owned(),
        None => "null".to_owned(),
    };
    let outputs = if arguments.incoming {
        incoming(arguments, &program, &input)?
    } else {
        let transformer = Transformer::outgoing(&program).map_err(|error| wrong(&error))?;
        transformer.run_outgoing(&input)
    };
    let outputs = outputs.map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let mut values = Vec::new();
    for output in outputs {
        let value: Value = serde_json::from_str(&output).unwrap_or_default();
        let _ = writeln!(text, "{value:#}");
        values.push(value);
    }
    Ok(Report::new(json!({"outputs": values}), text))
}

type Outputs = Result<Vec<String>, connector::transformer::RunError>;

fn incoming(arguments: &Try, program: &str, input: &str) -> Result<Outputs, Error> {
    let zone = &arguments.time_zone;
    let time_zone = TimeZone::get(zone).map_err(|_| {
        Error::Usage(format!(
            "time zone `{zone}`: unknown; give one such as Europe/Brussels"
        ))
    })?;
    let schedule = Schedule {
        now: arguments.now.unwrap_or_else(Timestamp::now),
        last: arguments.last,
        incoming: "try",
        time_zone,
    };
    let transformer = Transformer::incoming(program).map_err(|error| wrong(&error))?;
    Ok(transformer.run_incoming(input, &schedule))
}

fn wrong(error: &impl std::fmt::Display) -> Error {
    Error::Connection(format!("transform: {error}"))
}
