//! Finds the place in a connection that causes a wrong request.

use connector::contract::connection::IncomingConnection;
use connector::contract::parameters::ParametersError;
use connector::transformer::RunError;
use protime::RequestError;

use super::document::Document;
use super::finding::Finding;
use super::text::{Span, Text};

const TRANSFORM: &[&str] = &["transform"];
const QUERY: &[&str] = &["query"];
const FILTER: &[&str] = &["query", "filter"];
const ENTITY: &[&str] = &["entity"];
/// Separates the problems of one filter.
const NEXT_PROBLEM: &str = "; filter: ";

/// A place in a connection. `None` if its text is made of values that only a deployment knows.
pub(super) struct Place(Option<Span>);

impl Place {
    pub(super) fn finding(self, message: String) -> Option<Finding> {
        Some(Finding::mistake(self.0?, message))
    }
}

/// The problems with a connection's requests.
pub(super) fn findings(
    document: &Document<'_>,
    connection: &IncomingConnection,
    label: &str,
    error: &subscriber::Error,
) -> Vec<Finding> {
    let one = |place: Place, message: String| place.finding(message).into_iter().collect();
    match error {
        subscriber::Error::Parameters(error) => {
            one(of_parameters(document, error), format!("{label}: {error}"))
        }
        subscriber::Error::Request(RequestError::Filter(problems)) => {
            let problems = problems.strip_prefix("filter: ").unwrap_or(problems);
            let told = problems.split(NEXT_PROBLEM).filter_map(|problem| {
                let place = of_filter(document, connection, None, problem);
                place.finding(format!("{label}: filter: {problem}"))
            });
            told.collect()
        }
        subscriber::Error::Request(error) => one(
            of_request(document, connection, error),
            format!("{label}: {error}"),
        ),
        error => one(at(document, &[]), format!("{label}: {error}")),
    }
}

/// The place that a warning is about, by its first words.
pub(super) fn place_of_words(
    document: &Document<'_>,
    connection: &IncomingConnection,
    words: &str,
) -> Place {
    let quoted = words.split('`').nth(1).unwrap_or_default();
    if words.starts_with("filter") {
        of_filter(document, connection, None, words)
    } else if words.starts_with("fields") {
        at(document, &[&["fields"], ENTITY])
    } else if words.starts_with("query parameter") {
        at(document, &[&["query", quoted], TRANSFORM, QUERY])
    } else {
        at(document, &[ENTITY])
    }
}

fn of_parameters(document: &Document<'_>, error: &ParametersError) -> Place {
    match error {
        ParametersError::Run(RunError::Program {
            place: Some(place), ..
        }) => {
            let known = of_program(document);
            let length = place.text.lines().next().unwrap_or_default().len();
            let exact = document.in_program(place.line, place.column, length);
            Place(known.0.map(|span| exact.unwrap_or(span)))
        }
        ParametersError::Shape { origin, problem } if *origin != "transform" => {
            let name = problem.split('`').nth(1).unwrap_or_default();
            at(
                document,
                &[&["query", name], &["path", name], QUERY, &["path"]],
            )
        }
        _ => of_program(document),
    }
}

fn of_request(
    document: &Document<'_>,
    connection: &IncomingConnection,
    error: &RequestError,
) -> Place {
    match error {
        RequestError::NoDelta(_) => at(document, &[&["sync"]]),
        RequestError::Split(_) => at(document, &[&["window"], FILTER, TRANSFORM]),
        RequestError::PathParameters { .. } => {
            let is_made = document
                .string(TRANSFORM)
                .is_some_and(|program| program.as_str().contains("path"));
            let path: &[&str] = if is_made { TRANSFORM } else { &["path"] };
            at(document, &[path, ENTITY])
        }
        RequestError::FilterSyntax(error) => {
            of_filter(document, connection, Some(error.position), &error.message)
        }
        RequestError::Filter(words) | RequestError::MatchesNothing(words) => {
            of_filter(document, connection, None, words)
        }
        RequestError::Query { parameter, .. } | RequestError::ReservedQuery(parameter, _) => {
            match document.member(&["query", parameter]) {
                Some(member) => Place(document.text.span(member.key)),
                None => at(document, &[TRANSFORM, QUERY]),
            }
        }
        RequestError::ExternalReferences(_) => {
            at(document, &[&["query", "externalReferences"], TRANSFORM])
        }
        _ => at(document, &[ENTITY]),
    }
}

/// A place in the filter, or in the program that makes the filter.
fn of_filter(
    document: &Document<'_>,
    connection: &IncomingConnection,
    position: Option<usize>,
    words: &str,
) -> Place {
    let word = words.split('`').nth(1);
    let written = document.string(FILTER).filter(|written| {
        let parameters = connection.parameters(None).ok();
        parameters.is_none_or(|made| made.query.get("filter") == Some(written.as_str()))
    });
    let Some(filter) = written else {
        if document.member(TRANSFORM).is_none() {
            return at(document, &[FILTER, QUERY, ENTITY]);
        }
        let whole = of_program(document);
        let program = document.string(TRANSFORM);
        let exact = program.and_then(|program| only_occurrence(&program, word?));
        return Place(whole.0.map(|span| exact.unwrap_or(span)));
    };
    let whole = at(document, &[FILTER]);
    let exact = match position {
        Some(position) => {
            let mut characters = filter.as_str().char_indices();
            let found = characters.nth(position.saturating_sub(1));
            found.and_then(|(start, c)| {
                let rest = &filter.as_str()[start..];
                let word = rest.find(|c: char| !c.is_alphanumeric());
                filter.span(start..start + word.unwrap_or(rest.len()).max(c.len_utf8()))
            })
        }
        None => word.and_then(|word| only_occurrence(&filter, word)),
    };
    Place(whole.0.map(|span| exact.unwrap_or(span)))
}

/// The place of a word that occurs only once in a text.
fn only_occurrence(text: &Text, word: &str) -> Option<Span> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let whole = text.as_str();
    let mut found = whole.match_indices(word).filter(|(at, _)| {
        let before = whole[..*at].chars().next_back();
        let behind = whole[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !behind.is_some_and(is_part)
    });
    let (at, _) = found.next().filter(|_| !word.is_empty())?;
    match found.next() {
        Some(_) => None,
        None => text.span(at..at + word.len()),
    }
}

/// The place of the program. `None` if the program or its input was made up.
fn of_program(document: &Document<'_>) -> Place {
    let is_placeholder = [TRANSFORM, QUERY, &["path"]].iter().any(|path| {
        let member = document.member(path);
        member.is_some_and(|member| document.text.has_placeholder(member.value))
    });
    if is_placeholder {
        Place(None)
    } else {
        at(document, &[TRANSFORM])
    }
}

/// The place of the first of these members that exists, unless it was made up.
fn at(document: &Document<'_>, paths: &[&[&str]]) -> Place {
    let range = document.first_of(paths);
    let is_placeholder = document.text.has_placeholder(range.clone());
    Place(document.text.span(range).filter(|_| !is_placeholder))
}
