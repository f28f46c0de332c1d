//! Outgoing connections: the environment variable `OUTGOING` of a publisher.

use connector::contract::outgoing::{OutgoingConnection, OutgoingError};
use protime::catalogue::catalogue;

use super::document::Document;
use super::finding::Finding;
use super::text::Text;

/// The name of the variable in messages.
const NAME: &str = "environment variable OUTGOING";

/// Checks the value of the variable. An empty value is correct.
pub(super) fn check(text: &Text, prefix: Option<&Text>, findings: &mut Vec<Finding>) {
    if text.as_str().trim().is_empty() || text.is_all_placeholder() {
        return;
    }
    let Some(document) = Document::new(NAME, text, findings) else {
        return;
    };
    super::incoming::check_client(&document, prefix, findings);
    let Err(error) = OutgoingConnection::from_json(text.as_str()) else {
        return;
    };
    let (place, exact) = match &error {
        OutgoingError::Shape(problem) => {
            let name = problem.split('`').nth(1).unwrap_or_default();
            let paths: [&[&str]; 2] = [&["query", name], &["path", name]];
            (document.first_of(&paths), None)
        }
        OutgoingError::Transform(error) => (
            document.first_of(&[&["transform"]]),
            document.in_program(error.line, error.column, 1),
        ),
        OutgoingError::Field { field, problem } => (document.field(field, problem), None),
    };
    let message = format!("{}{}", without_json_place(&error), meant(&document, &error));
    if let Some(finding) = document.mistake(place, message) {
        let span = exact.unwrap_or(finding.span);
        findings.push(Finding { span, ..finding });
    }
}

/// Removes the place within the JSON: readers would take it for a place in the file.
fn without_json_place(error: &OutgoingError) -> String {
    let text = error.to_string();
    let end = match error {
        OutgoingError::Shape(_) => text.find(" at line "),
        _ => None,
    };
    text[..end.unwrap_or(text.len())].to_owned()
}

/// A suggestion for a misspelt entity, which the function's own error lacks.
fn meant(document: &Document<'_>, error: &OutgoingError) -> String {
    let entity = match error {
        OutgoingError::Field { field, problem }
            if field == "entity" && problem.starts_with("unknown entity") =>
        {
            document.string(&["entity"])
        }
        _ => None,
    };
    let names = catalogue().entities().iter().map(|entity| entity.name);
    match entity.and_then(|entity| protime::nearest(entity.as_str(), names)) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    }
}
