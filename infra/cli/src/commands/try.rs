//! `try`: runs a transformer on an input.

use std::fmt::Write as _;

use connector::transformer::{CompileError, RunError, Schedule, Transformer};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::arguments::Try;
use crate::error::Error;
use crate::output::Report;
use crate::source;

/// A program, its input and the time that it sees.
pub(crate) struct Trial<'a> {
    pub(crate) program: &'a str,
    pub(crate) input: &'a str,
    pub(crate) side: Side<'a>,
}

/// The kind of transformer.
pub(crate) enum Side<'a> {
    /// Changes request parameters.
    Incoming {
        now: Timestamp,
        last: Option<Timestamp>,
        /// The time zone of the dates.
        time_zone: &'a str,
    },
    /// Turns a message into a publish request.
    Outgoing,
}

/// The reason why there is no output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    #[error("time zone `{0}`: unknown; give one such as Europe/Brussels")]
    TimeZone(String),
    #[error("transform: {0}")]
    Compile(#[from] CompileError),
    #[error("transform: {0}")]
    Run(#[from] RunError),
}

impl From<TrialError> for Error {
    fn from(error: TrialError) -> Self {
        match error {
            TrialError::TimeZone(_) => Self::Usage(error.to_string()),
            TrialError::Compile(_) | TrialError::Run(_) => Self::Connection(error.to_string()),
        }
    }
}

impl TrialError {
    /// The place in the program: line, and column in characters, both from 1.
    pub(crate) fn place(&self) -> Option<(usize, usize)> {
        match self {
            Self::Compile(error) => Some((error.line, error.column)),
            Self::Run(RunError::Program {
                place: Some(place), ..
            }) => Some((place.line, place.column)),
            Self::TimeZone(_) | Self::Run(_) => None,
        }
    }
}

/// The parameters of a request that has none.
pub(crate) const NO_PARAMETERS: &str = r#"{"path": {}, "query": {}}"#;

pub(crate) fn run(arguments: &Try) -> Result<Report, Error> {
    let program = match (&arguments.program, &arguments.file) {
        (Some(program), _) => program.clone(),
        (None, Some(file)) => source::text(file)?,
        (None, None) => {
            return Err(Error::Usage(
                "no program; give PROGRAM or --file".to_owned(),
            ));
        }
    };
    let input = match &arguments.input {
        Some(file) => source::text(file)?,
        None if arguments.incoming => NO_PARAMETERS.to_owned(),
        None => "null".to_owned(),
    };
    let side = if arguments.incoming {
        Side::Incoming {
            now: arguments.now.unwrap_or_else(Timestamp::now),
            last: arguments.last,
            time_zone: &arguments.time_zone,
        }
    } else {
        Side::Outgoing
    };
    let values = outputs(&Trial {
        program: &program,
        input: &input,
        side,
    })?;
    let mut text = String::new();
    for value in &values {
        let _ = writeln!(text, "{value:#}");
    }
    Ok(Report::new(json!({"outputs": values}), text))
}

/// Runs the program as the functions do.
pub(crate) fn outputs(trial: &Trial<'_>) -> Result<Vec<Value>, TrialError> {
    let outputs = match &trial.side {
        Side::Incoming {
            now,
            last,
            time_zone,
        } => {
            let zone = TimeZone::get(time_zone)
                .map_err(|_| TrialError::TimeZone((*time_zone).to_owned()))?;
            let schedule = Schedule {
                now: *now,
                last: *last,
                incoming: "try",
                time_zone: zone,
            };
            let transformer = Transformer::incoming(trial.program)?;
            transformer.run_incoming(trial.input, &schedule)?
        }
        Side::Outgoing => Transformer::outgoing(trial.program)?.run_outgoing(trial.input)?,
    };
    let parsed = outputs.iter().map(|output| serde_json::from_str(output));
    Ok(parsed.map(Result::unwrap_or_default).collect())
}
