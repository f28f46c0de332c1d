//! JSON without its values: names and types.

use std::collections::BTreeSet;

use serde_json::Value;

/// In bytes. Longer names and codes are hidden: they may be texts.
const LONGEST_WORD: usize = 40;

/// The names and types in JSON: `{"error": {"code": "BadRequest", "reasons": ["x"]}}` becomes `{error: {code:
/// BadRequest, reasons: [string]}}`. Only codes keep their value.
pub(super) fn shape(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let shapes: BTreeSet<String> = items.iter().map(shape).collect();
            let shapes: Vec<String> = shapes.into_iter().collect();
            format!("[{}]", shapes.join(" | "))
        }
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let name = if is_word(name) { name } else { "?" };
                match value.as_str() {
                    Some(code) if name == "code" && is_word(code) => format!("code: {code}"),
                    _ => format!("{name}: {}", shape(value)),
                }
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        scalar => kind(scalar).to_owned(),
    }
}

/// The type of a value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether the text looks like a name in a program.
pub(super) fn is_word(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    text.len() <= LONGEST_WORD
        && text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '@')
        && text.chars().all(is_plain)
}
