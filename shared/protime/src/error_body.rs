//! Reads the text of an error from any shape of body.
//!
//! The documentation shows `{"error": {code, message, reasons}}` and `{code, message, validationErrors}`
//! (`reference/responses`). Gateways, frameworks and newer releases send others: problem details (RFC 9457), `errors`
//! by field, numeric codes, plain text, a bare string.

use serde_json::{Map, Value};

/// In characters. More of a plain text would help nobody.
const LONGEST_TEXT: usize = 2_000;

/// The parts of an error's body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) reasons: Vec<String>,
    pub(crate) validation_errors: Vec<String>,
}

impl ErrorBody {
    /// Reads a body. Parts that it does not have stay empty.
    pub(crate) fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(crate::page::json(body)) {
            Ok(Value::Object(members)) => Self::of_object(&members),
            Ok(Value::String(text)) => Self::of_text(&text),
            Ok(Value::Array(items)) => Self {
                reasons: items.iter().map(text).collect(),
                ..Self::default()
            },
            Ok(_) => Self::default(),
            Err(_) => match std::str::from_utf8(body) {
                Ok(text) if text.trim_start().starts_with('<') => Self::of_markup(text),
                Ok(text) => Self::of_text(text),
                Err(_) => Self::default(),
            },
        }
    }

    fn of_object(members: &Map<String, Value>) -> Self {
        // The documented envelope. Empty if the members stand at the top.
        let empty = Map::new();
        let inner = member(members, &["error"])
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let of_both = |names: &[&str]| member(inner, names).or_else(|| member(members, names));
        let word = |names: &[&str]| of_both(names).and_then(scalar);
        let list = |names: &[&str]| of_both(names).map(texts).unwrap_or_default();
        let (title, detail) = (word(&["title"]), word(&["detail"]));
        let problem = match (title, detail) {
            (Some(title), Some(detail)) => Some(format!("{title}: {detail}")),
            (title, detail) => title.or(detail),
        };
        Self {
            code: word(&["code", "errorCode", "error_code", "type"])
                .filter(|code| code != "about:blank"),
            message: word(&[
                "message",
                "errorMessage",
                "error_description",
                "description",
            ])
            .or(problem)
            .or_else(|| member(members, &["error"]).and_then(scalar)),
            reasons: list(&["reasons", "details"]),
            validation_errors: list(&["validationErrors", "errors"]),
        }
    }

    fn of_text(text: &str) -> Self {
        let text: String = text.trim().chars().take(LONGEST_TEXT).collect();
        Self {
            message: (!text.is_empty()).then_some(text),
            ..Self::default()
        }
    }

    /// Takes the title of an HTML page, such as gateways send.
    fn of_markup(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let title = lower.find("<title>").and_then(|start| {
            let start = start + "<title>".len();
            let end = start + lower[start..].find("</title>")?;
            Some(
                text[start..end]
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        });
        Self {
            message: title.filter(|title| !title.is_empty()).map(|title| {
                let title: String = title.chars().take(200).collect();
                format!("an HTML page titled \"{title}\"")
            }),
            ..Self::default()
        }
    }
}

/// The first of these members that is not empty. Names are compared without case.
fn member<'a>(members: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|wanted| {
        members
            .iter()
            .find(|(name, value)| name.eq_ignore_ascii_case(wanted) && !says_nothing(value))
            .map(|(_, value)| value)
    })
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// One text for each item of a list. An object gives one text for each member, with its name.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match value {
                Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(text).collect();
                    format!("{name}: {}", items.join("; "))
                }
                value => format!("{name}: {}", text(value)),
            })
            .collect(),
        value => vec![text(value)],
    }
}

/// Strings as they are, anything else as JSON.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body, and the code, the message, and the reasons and validation errors in it.
    const BODIES: &[(&str, &str, &str, &str)] = &[
        (
            r#"{"error":{"code":"BadRequest","message":"No.","reasons":["why"]}}"#,
            "BadRequest",
            "No.",
            "why",
        ),
        (
            r#"{"code":"Validation","message":"No.","validationErrors":[{"a":1}]}"#,
            "Validation",
            "No.",
            r#"{"a":1}"#,
        ),
        (
            r#"{"type":"https://x/closed","title":"Closed","status":400,"detail":"The period is closed."}"#,
            "https://x/closed",
            "Closed: The period is closed.",
            "",
        ),
        (
            r#"{"title":"Invalid","errors":{"date":["too old","no date"]}}"#,
            "",
            "Invalid",
            "date: too old; no date",
        ),
        (r#"{"errors":{"date":"too old"}}"#, "", "", "date: too old"),
        (r#"{"code":4711,"message":"No."}"#, "4711", "No.", ""),
        (
            r#"{"error":"the period is closed"}"#,
            "",
            "the period is closed",
            "",
        ),
        (r#"{"error":{"code":17,"Message":"No."}}"#, "17", "No.", ""),
        (r#"{"Message":"No."}"#, "", "No.", ""),
        (
            r#"{"error":{"message":"No.","reasons":"one"}}"#,
            "",
            "No.",
            "one",
        ),
        (r#"["one"]"#, "", "", "one"),
        (r#""the period is closed""#, "", "the period is closed", ""),
        ("the period is closed\n", "", "the period is closed", ""),
        ("\u{feff}{\"message\":\"No.\"}", "", "No.", ""),
        (
            "<html><TITLE>502  Bad\nGateway</TITLE></html>",
            "",
            "an HTML page titled \"502 Bad Gateway\"",
            "",
        ),
        ("<error>", "", "", ""),
        ("{}", "", "", ""),
        ("", "", "", ""),
    ];

    #[test]
    fn the_words_arrive_whatever_the_shape() {
        for &(body, code, message, further) in BODIES {
            let read = ErrorBody::read(body.as_bytes());
            assert_eq!(read.code.unwrap_or_default(), code, "{body}");
            assert_eq!(read.message.unwrap_or_default(), message, "{body}");
            let found = [read.reasons, read.validation_errors].concat().join("|");
            assert_eq!(found, further, "{body}");
        }
    }
}
