//! Transformers: jq programs, run by jaq in a sandbox.
//!
//! They see their input and nothing else: no environment variables, no files, no further inputs. `halt` is an
//! error, `debug` and `stderr` write nothing. A program that does not end, recurses without an end or takes too much
//! memory is stopped: functions run programs in a process of their own ([`serve_if_worker`]).
//!
//! ```
//! use connector::transformer::Transformer;
//!
//! let transformer = Transformer::outgoing("{method: \"POST\", payload: .}")?;
//! assert_eq!(transformer.run_outgoing("[1.10]")?, [r#"{"method":"POST","payload":[1.10]}"#]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod evaluate;
mod locate;
mod sandbox;
mod worker;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use worker::{Answer, Input, Task, Work};

pub use worker::serve_if_worker;

/// A jq program that compiles.
#[derive(Clone)]
pub struct Transformer {
    program: String,
    incoming: bool,
}

/// What an incoming connection's transformer sees besides its input.
#[derive(Debug, Clone)]
pub struct Schedule<'a> {
    /// `$now`: when the run was due.
    pub now: Timestamp,
    /// `$last`: when the last completed run was due.
    pub last: Option<Timestamp>,
    /// `$incoming`: the connection's name.
    pub incoming: &'a str,
    /// The zone that `today`, `days(n)` and the other dates are in.
    pub time_zone: TimeZone,
}

/// The same, to be written as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moment {
    now: Timestamp,
    last: Option<Timestamp>,
    incoming: String,
    time_zone: String,
}

/// A program that is not jq.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("jq, line {line}, column {column}: {message}")]
pub struct CompileError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A program that failed on its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RunError {
    /// The input is not JSON that jq takes.
    #[error("the input is not JSON: {0}")]
    Input(String),
    /// The program raised an error, which may quote its input.
    #[error("jq{}: {message}", place.as_ref().map(Place::to_string).unwrap_or_default())]
    Program {
        /// What it raised.
        message: String,
        /// Where, if that can be told.
        place: Option<Place>,
    },
    /// The program returned text that is not UTF-8.
    #[error("jq: the output is not UTF-8")]
    Output,
    /// The program was stopped.
    #[error("jq: the program was stopped: {0}")]
    Limit(String),
    /// The process that runs programs cannot be had, which is not the program's fault.
    #[error(
        "jq: the process that runs programs cannot be started: {0}; raise MemorySize if that lasts"
    )]
    Unavailable(String),
}

/// A part of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The part, or its beginning.
    pub text: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, column, text } = self;
        write!(f, ", line {line}, column {column}, in `{text}`")
    }
}

impl Transformer {
    /// Compiles the program of an incoming connection, which sees a [`Schedule`].
    pub fn incoming(program: &str) -> Result<Self, CompileError> {
        Self::compiled(program, true)
    }

    /// Compiles the program of an outgoing connection.
    pub fn outgoing(program: &str) -> Result<Self, CompileError> {
        Self::compiled(program, false)
    }

    /// Runs an incoming connection's program on JSON; at most two outputs are made.
    pub fn run_incoming(
        &self,
        input: &str,
        schedule: &Schedule<'_>,
    ) -> Result<Vec<String>, RunError> {
        let zone = schedule.time_zone.iana_name();
        let moment = Moment {
            now: schedule.now,
            last: schedule.last,
            incoming: schedule.incoming.to_owned(),
            time_zone: zone.unwrap_or("UTC").to_owned(),
        };
        self.run(input, Some(moment))
    }

    /// Runs an outgoing connection's program on JSON; at most two outputs are made.
    pub fn run_outgoing(&self, input: &str) -> Result<Vec<String>, RunError> {
        self.run(input, None)
    }

    fn compiled(program: &str, incoming: bool) -> Result<Self, CompileError> {
        let transformer = Self {
            program: program.to_owned(),
            incoming,
        };
        match worker::answer(&transformer.task(Work::Compile)) {
            Answer::Compile(error) => Err(error),
            // Whether a program is right cannot be told without the process; running it tells so again.
            Answer::Outputs(_) | Answer::Place(_) | Answer::Run(RunError::Unavailable(_)) => {
                Ok(transformer)
            }
            Answer::Run(error) => Err(CompileError {
                line: 1,
                column: 1,
                message: error.to_string(),
            }),
        }
    }

    fn run(&self, input: &str, moment: Option<Moment>) -> Result<Vec<String>, RunError> {
        let input = Input {
            json: input.to_owned(),
            moment,
        };
        match worker::answer(&self.task(Work::Run(input.clone()))) {
            Answer::Outputs(outputs) => Ok(outputs),
            Answer::Run(RunError::Program { message, .. }) => Err(RunError::Program {
                place: self.place(input, message.clone()),
                message,
            }),
            Answer::Run(error) => Err(error),
            Answer::Compile(error) => Err(RunError::Program {
                message: error.message,
                place: None,
            }),
            Answer::Place(_) => Ok(Vec::new()),
        }
    }

    /// Asked for by itself, so that what goes wrong with it does not take the place of the program's error.
    fn place(&self, input: Input, message: String) -> Option<Place> {
        match worker::answer(&self.task(Work::Locate(input, message))) {
            Answer::Place(place) => place,
            _ => None,
        }
    }

    fn task(&self, work: Work) -> Task {
        Task {
            program: self.program.clone(),
            incoming: self.incoming,
            work,
        }
    }
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transformer")
    }
}
