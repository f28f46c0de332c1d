//! All output. Data goes to stdout as text or JSON, hints and errors to stderr.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};

use crate::error::{Code, Error};

/// The version of the JSON documents. It rises when a field changes its meaning or is removed.
const VERSION: u32 = 1;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The colour beside a word that describes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Warning,
    Bad,
    Faint,
}

impl Tone {
    /// The tone's style on a terminal.
    pub(crate) fn style(self) -> Style {
        match self {
            Self::Good => GOOD,
            Self::Warning => WARNING,
            Self::Bad => BAD,
            Self::Faint => FAINT,
        }
    }

    /// The tone's class in the console's style sheet.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Faint => "faint",
        }
    }
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Report {
    /// Always an object.
    pub(crate) json: Value,
    pub(crate) text: String,
    pub(crate) code: Code,
}

impl Report {
    pub(crate) fn new(json: Value, text: impl Into<String>) -> Self {
        Self {
            json,
            text: text.into(),
            code: Code::Ok,
        }
    }

    /// The report of a change that was made, in one line.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::new(json!({"done": true, "message": text.trim_end()}), text)
    }

    /// The report of a change that was not confirmed, or only tried.
    pub(crate) fn undone() -> Self {
        Self::new(json!({"done": false}), "")
    }

    pub(crate) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }
}

pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Aligns rows below a head, without lines around them.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head);
    for row in rows {
        table.add_row(row);
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Prints to stderr, only if it is a terminal.
pub(crate) fn hint(text: impl std::fmt::Display) {
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("{FAINT}{text}{FAINT:#}");
    }
}

/// Prints the result of a command and returns its exit code.
pub(crate) fn end(command: &str, result: Result<Report, Error>, as_json: bool) -> ExitCode {
    let code = match result {
        Ok(report) if as_json => {
            print(&document(command, report.json, report.code));
            report.code
        }
        Ok(report) => {
            anstream::print!("{}", report.text);
            report.code
        }
        Err(error) => {
            let code = error.code();
            if as_json {
                let problem = json!({"error": {"message": error.to_string()}});
                print(&document(command, problem, code));
            } else {
                anstream::eprintln!("{BAD}error:{BAD:#} {error}");
            }
            code
        }
    };
    ExitCode::from(code as u8)
}

fn document(command: &str, mut json: Value, code: Code) -> Value {
    let mut document = json!({"version": VERSION, "command": command, "exitCode": code as u8});
    if let (Some(document), Some(fields)) = (document.as_object_mut(), json.as_object_mut()) {
        document.append(fields);
    }
    document
}

fn print(document: &Value) {
    anstream::println!("{document:#}");
}
