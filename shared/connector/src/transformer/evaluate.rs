//! Compiling and running jq programs with jaq.

use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile, unwrap_valr};
use jaq_json::{Val, read, write};
use jiff::Timestamp;

use super::locate::{Instrumented, Seen};
use super::sandbox::{self, Environment, JaqTypes};
use super::worker::{Answer, Input, Task, Work};
use super::{CompileError, Place, RunError};

/// Variables of an incoming connection's program, in the order of their values.
const VARIABLES: [&str; 3] = ["$now", "$last", "$incoming"];
/// Deepest nesting of JSON that is parsed. The parser's stack grows with it.
const MAX_DEPTH: usize = 128;
/// Callers want exactly one output, so a second one is enough to know that there are too many.
const MAX_OUTPUTS: usize = 2;
/// Longest excerpt of a failing part, in characters.
const LONGEST_EXCERPT: usize = 60;

/// Runs programs, and keeps the last compiled one.
#[derive(Default)]
pub(super) struct Evaluator {
    compiled: Option<(String, bool, Filter<JaqTypes>)>,
}

impl Evaluator {
    pub(super) fn answer(&mut self, task: &Task) -> Answer {
        let filter = match self.filter(&task.program, task.incoming) {
            Ok(filter) => filter,
            Err(error) => return Answer::Compile(error),
        };
        match &task.work {
            Work::Compile => Answer::Outputs(Vec::new()),
            Work::Run(input) => match evaluate(filter, input, None) {
                Ok(outputs) => Answer::Outputs(outputs),
                Err(error) => Answer::Run(error),
            },
            Work::Locate(input, message) => {
                Answer::Place(place(&task.program, task.incoming, input, message))
            }
        }
    }

    fn filter(&mut self, program: &str, incoming: bool) -> Result<&Filter<JaqTypes>, CompileError> {
        let known = self.compiled.take();
        let known = known.filter(|(text, kind, _)| text == program && *kind == incoming);
        let compiled = match known {
            Some(known) => known,
            None => (program.to_owned(), incoming, compile(program, incoming)?),
        };
        Ok(&self.compiled.insert(compiled).2)
    }
}

fn evaluate(
    filter: &Filter<JaqTypes>,
    input: &Input,
    seen: Option<&Seen>,
) -> Result<Vec<String>, RunError> {
    let Input {
        json: input,
        moment,
    } = input;
    if depth(input) > MAX_DEPTH {
        return Err(RunError::Input(format!(
            "nested deeper than {MAX_DEPTH} levels"
        )));
    }
    let input =
        read::parse_single(input.as_bytes()).map_err(|error| RunError::Input(error.to_string()))?;
    let moment = moment.as_ref();
    let variables = moment.map_or_else(Vec::new, |moment| {
        let text = |time: Timestamp| Val::from(format!("{time:.0}"));
        vec![
            text(moment.now),
            moment.last.map_or(Val::Null, text),
            Val::from(moment.incoming.clone()),
        ]
    });
    let environment = Environment {
        lut: &filter.lut,
        moment,
        seen,
    };
    let context = Ctx::<JaqTypes>::new(environment, Vars::new(variables));
    let outputs = filter.id.run((context, input)).map(unwrap_valr);
    outputs
        .take(MAX_OUTPUTS)
        .map(|output| match output {
            Ok(value) => json(&value),
            Err(error) => Err(RunError::Program {
                message: message(error.into_val()),
                place: None,
            }),
        })
        .collect()
}

/// The raised value as a message: a text as it is, anything else as JSON.
fn message(raised: Val) -> String {
    match raised {
        Val::TStr(text) => String::from_utf8_lossy(&text).into_owned(),
        other => other.to_string(),
    }
}

/// Finds where an error comes from, by running the program again with handlers.
fn place(program: &str, incoming: bool, input: &Input, message: &str) -> Option<Place> {
    let watched = Instrumented::new(program)?;
    let filter = compile(&watched.program, incoming).ok()?;
    let seen = Seen::default();
    let again = evaluate(&filter, input, Some(&seen));
    // A different error means that the handlers have changed what the program does.
    if !matches!(again, Err(RunError::Program { message: again, .. }) if again == message) {
        return None;
    }
    let (_, part) = seen.into_inner()?;
    let part = program.get(watched.parts.get(part)?.clone())?;
    let CompileError { line, column, .. } = error_at(program, part, String::new());
    let mut text: String = part.chars().take(LONGEST_EXCERPT).collect();
    if text.len() < part.len() {
        text.push_str("...");
    }
    Some(Place { line, column, text })
}

fn json(value: &Val) -> Result<String, RunError> {
    let mut text = Vec::new();
    write::write(&mut text, &write::Pp::default(), 0, value).map_err(|_| RunError::Output)?;
    String::from_utf8(text).map_err(|_| RunError::Output)
}

fn compile(program: &str, incoming: bool) -> Result<Filter<JaqTypes>, CompileError> {
    let (variables, functions) = if incoming {
        (&VARIABLES[..], sandbox::date_functions())
    } else {
        (&[][..], Vec::new())
    };
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
    Compiler::default()
        .with_funs(
            sandbox::standard_functions()
                .chain(functions)
                .chain([sandbox::handler()]),
        )
        .with_global_vars(variables.iter().copied())
        .compile(modules)
        .map_err(|errors| undefined(program, incoming, errors))
}

/// Reports only the first error; the others often follow from it.
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
    let message = match expected {
        // The lexer found no token here.
        "token" => format!("{found_text} is not expected here"),
        expected => format!("expected {expected}, found {found_text}"),
    };
    error_at(program, found, message)
}

fn undefined(program: &str, incoming: bool, errors: compile::Errors<&str, ()>) -> CompileError {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    let Some((name, kind)) = first else {
        return error_at(program, "", "not a jq program".to_owned());
    };
    let message = match kind {
        compile::Undefined::Filter(arity) => {
            let advice = about_functions(name, incoming).unwrap_or_default();
            format!("undefined function `{name}/{arity}`{advice}")
        }
        compile::Undefined::Var if incoming => {
            format!(
                "undefined variable `{name}`; there are {}",
                VARIABLES.join(", ")
            )
        }
        kind => format!("undefined {} `{name}`", kind.as_str()),
    };
    error_at(program, name, message)
}

/// Advice on an unknown function: other numbers of arguments, or a similar name.
fn about_functions(name: &str, incoming: bool) -> Option<String> {
    let dates = incoming.then(sandbox::date_functions).unwrap_or_default();
    let native = sandbox::standard_functions().chain(dates);
    let native = native.map(|(name, arguments, _)| (name.to_owned(), arguments.len()));
    let defined = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs());
    let defined = defined.map(|definition| (definition.name.to_owned(), definition.args.len()));
    let known: Vec<(String, usize)> = native.chain(defined).collect();
    let mut arities: Vec<usize> = known
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, arity)| *arity)
        .collect();
    if arities.is_empty() {
        let meant = protime::nearest(name, known.iter().map(|(name, _)| name.as_str()))?;
        return Some(format!("; did you mean `{meant}`?"));
    }
    arities.sort_unstable();
    arities.dedup();
    let noun = if arities == [1] {
        "argument"
    } else {
        "arguments"
    };
    let arities: Vec<String> = arities.iter().map(usize::to_string).collect();
    Some(format!("; `{name}` takes {} {noun}", arities.join(" or ")))
}

/// A compile error at `place`, a slice of the program's text. Any other text counts as the program's end.
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

/// How deeply arrays and objects are nested. Brackets in strings do not count.
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
