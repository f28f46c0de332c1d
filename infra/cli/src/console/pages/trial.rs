//! The page that runs a transformer and shows input and output side by side.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::super::Console;
use super::super::security::Fields;
use super::super::site::{Place, Site};
use crate::commands::r#try::{self as trial, NO_PARAMETERS, Side, Trial, TrialError};
use crate::error::Error;

const TIME_ZONE: &str = "Europe/Brussels";
/// The program that the page shows at first.
const EXAMPLE: &str = ".query.filter = \"date ge '\\(days(-7))' and date le '\\(today)'\"";

#[derive(Template)]
#[template(path = "try.html")]
struct Page {
    site: Site,
    is_outgoing: bool,
    program: String,
    input: String,
    now: String,
    last: String,
    time_zone: String,
    outcome: Outcome,
}

enum Outcome {
    None,
    Outputs(Vec<String>),
    Wrong { message: String, at: Option<Line> },
}

/// The line of the program that caused the error.
struct Line {
    number: usize,
    /// The text before the error's column, then the text from there on.
    before: String,
    rest: String,
}

pub(in crate::console) async fn form(State(console): State<Arc<Console>>) -> Response {
    console.page(Ok(Page {
        site: console.site(Place::Try),
        is_outgoing: false,
        program: EXAMPLE.to_owned(),
        input: NO_PARAMETERS.to_owned(),
        now: String::new(),
        last: String::new(),
        time_zone: TIME_ZONE.to_owned(),
        outcome: Outcome::None,
    }))
}

pub(in crate::console) async fn outcome(
    State(console): State<Arc<Console>>,
    Extension(fields): Extension<Fields>,
) -> Response {
    // Browsers end lines in forms with CR LF.
    let text = |name| fields.get(name).unwrap_or_default().replace("\r\n", "\n");
    let mut page = Page {
        site: console.site(Place::Try),
        is_outgoing: fields.get("side") == Some("outgoing"),
        program: text("program"),
        input: text("input"),
        now: text("now"),
        last: text("last"),
        time_zone: text("time_zone"),
        outcome: Outcome::None,
    };
    // A program may run until it is stopped. A thread of its own keeps the pages served meanwhile.
    let run = tokio::task::spawn_blocking(move || {
        page.outcome = page.run();
        page
    });
    let ran = run.await.map_err(|error| Error::Other(error.to_string()));
    console.page(ran)
}

impl Page {
    fn run(&self) -> Outcome {
        let side = match self.side() {
            Ok(side) => side,
            Err(message) => return Outcome::Wrong { message, at: None },
        };
        let (program, input) = (&self.program, &self.input);
        match trial::outputs(&Trial {
            program,
            input,
            side,
        }) {
            Ok(outputs) => {
                Outcome::Outputs(outputs.iter().map(|output| format!("{output:#}")).collect())
            }
            Err(error) => Outcome::Wrong {
                at: line(&self.program, &error),
                message: error.to_string(),
            },
        }
    }

    fn side(&self) -> Result<Side<'_>, String> {
        if self.is_outgoing {
            return Ok(Side::Outgoing);
        }
        let time = |name: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => match text.parse::<Timestamp>() {
                Ok(time) => Ok(Some(time)),
                Err(error) => Err(format!("{name}: {error}")),
            },
        };
        Ok(Side::Incoming {
            now: time("$now", &self.now)?.unwrap_or_else(Timestamp::now),
            last: time("$last", &self.last)?,
            time_zone: self.time_zone.trim(),
        })
    }
}

fn line(program: &str, error: &TrialError) -> Option<Line> {
    let (number, column) = error.place()?;
    let line = program.lines().nth(number.checked_sub(1)?)?;
    let characters = line.chars();
    let split = column.saturating_sub(1);
    Some(Line {
        number,
        before: characters.clone().take(split).collect(),
        rest: characters.skip(split).collect(),
    })
}
