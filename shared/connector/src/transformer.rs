//! Transformers: jq programs, run by jaq in a sandbox.
//!
//! They see their input and nothing else: no environment variables, no files, no further inputs. `halt` is an
//! error, `debug` and `stderr` write nothing.
//!
//! ```
//! use connector::transformer::Transformer;
//!
//! let transformer = Transformer::outgoing("{method: \"POST\", payload: .}")?;
//! assert_eq!(transformer.run_outgoing("[1.10]")?, [r#"{"method":"POST","payload":[1.10]}"#]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod sandbox;

use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile, unwrap_valr};
use jaq_json::{Val, read, write};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use sandbox::{Environment, Sandbox};

/// Variables of an incoming connection's transformer, in the order of their values.
const VARIABLES: [&str; 3] = ["$now", "$last", "$incoming"];
/// Deeper JSON is not parsed, as the parser's stack grows with it.
const MAX_DEPTH: usize = 128;
/// Callers want one output; a second tells them enough.
const MAX_OUTPUTS: usize = 2;

/// A compiled jq program.
pub struct Transformer {
    filter: Filter<Sandbox>,
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
    /// The zone that `today`, `days(n)`, `months(n)`, `start_of_month` and `start_of_year` are in.
    pub time_zone: TimeZone,
}

/// A program that is not jq.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
}

impl Transformer {
    /// Compiles the program of an incoming connection, which sees a [`Schedule`].
    pub fn incoming(program: &str) -> Result<Self, CompileError> {
        compile(program, &VARIABLES, sandbox::date_functions())
    }

    /// Compiles the program of an outgoing connection.
    pub fn outgoing(program: &str) -> Result<Self, CompileError> {
        compile(program, &[], Vec::new())
    }

    /// Runs an incoming connection's program on JSON; at most two outputs are made.
    pub fn run_incoming(
        &self,
        input: &str,
        schedule: &Schedule<'_>,
    ) -> Result<Vec<String>, RunError> {
        let text = |time: Timestamp| Val::from(format!("{time:.0}"));
        let variables = [
            text(schedule.now),
            schedule.last.map_or(Val::Null, text),
            Val::from(schedule.incoming.to_owned()),
        ];
        self.run(input, variables.into(), Some(schedule))
    }

    /// Runs an outgoing connection's program on JSON; at most two outputs are made.
    pub fn run_outgoing(&self, input: &str) -> Result<Vec<String>, RunError> {
        self.run(input, Vec::new(), None)
    }

    fn run(
        &self,
        input: &str,
        variables: Vec<Val>,
        schedule: Option<&Schedule<'_>>,
    ) -> Result<Vec<String>, RunError> {
        if depth(input) > MAX_DEPTH {
            return Err(RunError::Input(format!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        let input = read::parse_single(input.as_bytes())
            .map_err(|error| RunError::Input(error.to_string()))?;
        let environment = Environment {
            lut: &self.filter.lut,
            schedule,
        };
        let context = Ctx::<Sandbox>::new(environment, Vars::new(variables));
        let outputs = self.filter.id.run((context, input)).map(unwrap_valr);
        outputs
            .take(MAX_OUTPUTS)
            .map(|output| match output {
                Ok(value) => json(&value),
                Err(error) => Err(RunError::Program(error.to_string())),
            })
            .collect()
    }
}

fn json(value: &Val) -> Result<String, RunError> {
    let mut text = Vec::new();
    write::write(&mut text, &write::Pp::default(), 0, value).map_err(|_| RunError::Output)?;
    String::from_utf8(text).map_err(|_| RunError::Output)
}

impl std::fmt::Debug for Transformer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transformer")
    }
}

fn compile(
    program: &str,
    variables: &[&'static str],
    functions: Vec<jaq_core::native::Fun<Sandbox>>,
) -> Result<Transformer, CompileError> {
    let definitions = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    let arena = Arena::default();
    let modules = Loader::new(definitions)
        .load(
            &arena,
            File {
                code: program,
                path: (),
            },
        )
        .map_err(|errors| load_error(program, errors))?;
    let filter = Compiler::default()
        .with_funs(sandbox::standard_functions().chain(functions))
        .with_global_vars(variables.iter().copied())
        .compile(modules)
        .map_err(|errors| undefined(program, errors))?;
    Ok(Transformer { filter })
}

/// The first error; the others often follow from it.
fn load_error(program: &str, errors: load::Errors<&str, ()>) -> CompileError {
    let first = errors.into_iter().map(|(_, error)| error).next();
    match first {
        Some(load::Error::Lex(errors)) => match errors.first() {
            Some((expected, found)) => syntax_error(program, expected.as_str(), found),
            None => error_at(program, "", "not a jq program".to_owned()),
        },
        Some(load::Error::Parse(errors)) => match errors.first() {
            Some((expected, found)) => syntax_error(program, expected.as_str(), found),
            None => error_at(program, "", "not a jq program".to_owned()),
        },
        Some(load::Error::Io(errors)) => {
            let place = errors.first().map_or("", |(place, _)| place);
            error_at(
                program,
                place,
                "modules cannot be loaded; write all definitions in the program".to_owned(),
            )
        }
        None => error_at(program, "", "not a jq program".to_owned()),
    }
}

fn syntax_error(program: &str, expected: &str, found: &str) -> CompileError {
    let word: String = found
        .chars()
        .take_while(|c| !c.is_whitespace())
        .take(20)
        .collect();
    let found_text = if word.is_empty() {
        "the end".to_owned()
    } else {
        format!("`{word}`")
    };
    error_at(
        program,
        found,
        format!("expected {expected}, found {found_text}"),
    )
}

fn undefined(program: &str, errors: compile::Errors<&str, ()>) -> CompileError {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    let Some((name, kind)) = first else {
        return error_at(program, "", "not a jq program".to_owned());
    };
    let message = match kind {
        compile::Undefined::Filter(arity) => format!("undefined function `{name}/{arity}`"),
        kind => format!("undefined {} `{name}`", kind.as_str()),
    };
    error_at(program, name, message)
}

/// `place` is a part of the program's text, or text from elsewhere, which counts as its end.
fn error_at(program: &str, place: &str, message: String) -> CompileError {
    let start = (place.as_ptr() as usize).checked_sub(program.as_ptr() as usize);
    let before = start
        .and_then(|start| program.get(..start))
        .unwrap_or(program);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    CompileError {
        line,
        column,
        message,
    }
}

/// How deeply arrays and objects are nested, brackets in strings left aside.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
