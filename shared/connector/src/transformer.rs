//! Transformers: jq programs that jaq runs in a sandbox.
//!
//! A program sees only its input: no environment variables, no files, no further inputs. `halt` is an error; `debug`
//! and `stderr` write nothing. Functions run programs in a process of their own ([`serve_if_worker`]). That stops a
//! program that never ends, recurses without end or takes too much memory.
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

/// The variables and functions of an incoming connection's program, besides its input.
#[derive(Debug, Clone)]
pub struct Schedule<'a> {
    /// `$now`: when the run was due.
    pub now: Timestamp,
    /// `$last`: when the last completed run was due. None, and null in jq, before the first.
    pub last: Option<Timestamp>,
    /// `$incoming`: the connection's name.
    pub incoming: &'a str,
    /// The time zone of `today`, `days(n)` and the other date functions.
    pub time_zone: TimeZone,
}

/// A [`Schedule`] that can be sent to the worker process as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Moment {
    now: Timestamp,
    last: Option<Timestamp>,
    incoming: String,
    time_zone: String,
}

/// Why a text is not a valid program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("jq, line {line}, column {column}: {message}")]
pub struct CompileError {
    /// Line of the error, from 1.
    pub line: usize,
    /// Column of the error in characters, from 1.
    pub column: usize,
    /// What is wrong, and often what to write instead.
    pub message: String,
}

/// Why a program failed on its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RunError {
    /// The input is not JSON, or is nested too deeply.
    #[error("the input is not JSON: {0}")]
    Input(String),
    /// The program raised an error. The message may quote its input.
    #[error("jq{}: {message}", place.as_ref().map(Place::to_string).unwrap_or_default())]
    Program {
        /// The raised value: a text as it is, anything else as JSON.
        message: String,
        /// The part of the program that raised it. None if that is unknown.
        place: Option<Place>,
    },
    /// The program returned text that is not UTF-8.
    #[error("jq: the output is not UTF-8")]
    Output,
    /// The program was stopped at a limit of time, memory or output.
    #[error("jq: the program was stopped: {0}")]
    Limit(String),
    /// The worker process cannot be started, which is not the program's fault.
    #[error(
        "jq: the process that runs programs cannot be started: {0}; raise MemorySize if that lasts"
    )]
    Unavailable(String),
}

/// A part of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Line of the part, from 1.
    pub line: usize,
    /// Column of the part in characters, from 1.
    pub column: usize,
    /// The part's text, or its beginning.
    pub text: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, column, text } = self;
        write!(f, ", line {line}, column {column}, in `{text}`")
    }
}

impl Transformer {
    /// Compiles the program of an incoming connection, which can use a [`Schedule`].
    pub fn incoming(program: &str) -> Result<Self, CompileError> {
        Self::compiled(program, true)
    }

    /// Compiles the program of an outgoing connection, which sees only the message.
    pub fn outgoing(program: &str) -> Result<Self, CompileError> {
        Self::compiled(program, false)
    }

    /// Runs an incoming connection's program on JSON. It stops after two outputs.
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

    /// Runs an outgoing connection's program on JSON. It stops after two outputs.
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
            // Without the worker process it is unknown whether the program is valid. Running it reports the same error
            // again.
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

    /// Finds the place with a task of its own: a failure of that task must not hide the program's error.
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
