//! The pages, one file each, with a template of the same name.

pub(super) mod connection;
pub(super) mod entities;
pub(super) mod overview;
pub(super) mod parked;
pub(super) mod run;
pub(super) mod trial;

use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use connector::store::RunRecord;
use jiff::Timestamp;
use url::form_urlencoded;

use super::site::{Place, Site};
use super::{Console, held};
use crate::commands::runs;
use crate::error::{Code, Error};
use crate::output::Tone;
use crate::wording::{duration, relative};

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem {
    site: Site,
    title: &'static str,
    message: String,
}

impl Console {
    pub(super) fn site(&self, place: Place) -> Site {
        Site {
            base: self.guard.base().to_owned(),
            stack: self.stack.name.clone(),
            place,
            allows_changes: self.allows_changes,
            form: self.guard.form().to_owned(),
            notice: None,
        }
    }

    /// The frame, with the result of the last change.
    fn site_after_change(&self, place: Place) -> Site {
        Site {
            notice: held(&self.notice).take(),
            ..self.site(place)
        }
    }

    pub(super) fn page(&self, page: Result<impl Template, Error>) -> Response {
        match page {
            Ok(page) => rendered(&page, StatusCode::OK),
            Err(error) => self.problem(&error),
        }
    }

    pub(super) fn problem(&self, error: &Error) -> Response {
        let status = match error.code() {
            Code::Usage => StatusCode::BAD_REQUEST,
            Code::Connection | Code::Other => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_GATEWAY,
        };
        let problem = Problem {
            site: self.site(Place::None),
            title: "The request failed",
            message: error.to_string(),
        };
        rendered(&problem, status)
    }
}

pub(super) async fn missing(State(console): State<Arc<Console>>) -> Response {
    let problem = Problem {
        site: console.site(Place::None),
        title: "Page not found",
        message: "Go to the overview.".to_owned(),
    };
    rendered(&problem, StatusCode::NOT_FOUND)
}

fn rendered(page: &impl Template, status: StatusCode) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Encodes a value for a URL's query.
pub(super) fn percent_encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// A relative time for people, with the exact one behind it.
pub(super) struct When {
    time: Timestamp,
    words: String,
}

impl When {
    pub(super) fn new(time: Timestamp, now: Timestamp) -> Self {
        let words = relative(time, now);
        Self { time, words }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, words } = self;
        write!(
            f,
            "<time datetime=\"{time:.0}\" title=\"{time:.0}\">{words}</time>"
        )
    }
}

/// The time and its words contain no HTML characters.
impl HtmlSafe for When {}

/// A word in a colour.
pub(super) struct Word {
    word: &'static str,
    class: &'static str,
}

impl From<(&'static str, Tone)> for Word {
    fn from((word, tone): (&'static str, Tone)) -> Self {
        let class = tone.class();
        Self { word, class }
    }
}

/// A run in a table.
struct RunRow {
    incoming: String,
    run: String,
    status: Word,
    began: When,
    took: String,
    records: u64,
    error: String,
}

impl RunRow {
    fn new(incoming: &str, run: &RunRecord, now: Timestamp) -> Self {
        let error = run.error.as_ref().map(|error| error.kind.clone());
        Self {
            incoming: incoming.to_owned(),
            run: run.run.clone(),
            status: runs::word(run.status).into(),
            began: When::new(run.started, now),
            took: runs::took(run).map(duration).unwrap_or_default(),
            records: run.counts.records,
            error: error.unwrap_or_default(),
        }
    }
}
