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
mod sandbox;
mod worker;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use worker::{Answer, Task};

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
    #[error("jq: {0}")]
    Program(String),
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
        match worker::answer(&transformer.task(None, None)) {
            // Whether a program is right cannot be told without the process; running it tells so again.
            Answer::Outputs(_) | Answer::Run(RunError::Unavailable(_)) => Ok(transformer),
            Answer::Compile(error) => Err(error),
            Answer::Run(error) => Err(CompileError {
                line: 1,
                column: 1,
                message: error.to_string(),
            }),
        }
    }

    fn run(&self, input: &str, moment: Option<Moment>) -> Result<Vec<String>, RunError> {
        match worker::answer(&self.task(Some(input), moment)) {
            Answer::Outputs(outputs) => Ok(outputs),
            Answer::Run(error) => Err(error),
            Answer::Compile(error) => Err(RunError::Program(error.to_string())),
        }
    }

    fn task(&self, input: Option<&str>, moment: Option<Moment>) -> Task {
        Task {
            program: self.program.clone(),
            input: input.map(str::to_owned),
            incoming: self.incoming,
            moment,
        }
    }
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transformer")
    }
}
