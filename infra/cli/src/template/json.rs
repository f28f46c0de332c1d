//! Finds the places of members in JSON.

use std::ops::Range;

use connector::contract::Members;
use serde_json::value::RawValue;

use super::text::Text;

/// A member of an object, with ranges in bytes of the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The members of the object in a range, including duplicates. Empty if there is no object.
pub(super) fn members(json: &str, range: Range<usize>) -> Vec<Member> {
    let Some(object) = json.get(range.clone()) else {
        return Vec::new();
    };
    let Ok(Members(found)) = serde_json::from_str::<Members<'_>>(object) else {
        return Vec::new();
    };
    let mut behind = range.start;
    let mut members = Vec::new();
    for (name, value) in found {
        let value = place(json, value);
        let before = json.get(behind..value.start).unwrap_or_default();
        let key = before.find('"').map_or(behind, |at| behind + at);
        let before = before.trim_end().trim_end_matches(':').trim_end();
        let key_end = behind + before.len();
        behind = value.end;
        members.push(Member {
            name,
            key: key..key_end,
            value,
        });
    }
    members
}

/// Finds a member by its path.
pub(super) fn member(json: &str, path: &[&str]) -> Option<Member> {
    let (last, objects) = path.split_last()?;
    let mut range = 0..json.len();
    for name in objects {
        range = named(json, range, name)?.value;
    }
    named(json, range, last)
}

fn named(json: &str, range: Range<usize>, name: &str) -> Option<Member> {
    let mut members = members(json, range);
    // Of two members with one name, the second is wrong.
    let at = members.iter().rposition(|member| member.name == name)?;
    Some(members.swap_remove(at))
}

/// The object without one member.
pub(super) fn without(json: &str, name: &str) -> String {
    let members = members(json, 0..json.len());
    let kept = members
        .iter()
        .filter(|member| member.name != name)
        .filter_map(|member| json.get(member.key.start..member.value.end));
    format!("{{{}}}", kept.collect::<Vec<_>>().join(","))
}

/// The content of a JSON string, in which each character has the place where it is written.
pub(super) fn string(json: &Text, range: Range<usize>) -> Option<Text> {
    let inner = range.start + 1..range.end.checked_sub(1)?;
    let written = json.as_str();
    if !written.get(range)?.starts_with('"') {
        return None;
    }
    let mut said = Text::default();
    let mut at = inner.start;
    while at < inner.end {
        let rest = written.get(at..inner.end)?;
        let plain = rest.find('\\').unwrap_or(rest.len());
        said.push(&json.slice(at..at + plain));
        at += plain;
        let rest = &rest[plain..];
        if rest.is_empty() {
            break;
        }
        // A character outside the first plane is written as two escapes.
        let (character, length) = [2, 6, 12].into_iter().find_map(|length| {
            let escape = rest.get(..length)?;
            let character: String = serde_json::from_str(&format!("\"{escape}\"")).ok()?;
            Some((character, length))
        })?;
        let span = json.span(at..at + length)?;
        said.push(&Text::at_span(character, span));
        at += length;
    }
    Some(said)
}

fn place(json: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - json.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_with_their_keys() {
        let json = r#" {"a" : {"b\"": [1], "c": "x"}, "a": 2}"#;
        let texts = |path: &[&str]| {
            let member = member(json, path).unwrap();
            (&json[member.key], &json[member.value])
        };
        assert_eq!(texts(&["a"]), (r#""a""#, "2"));
        let first = &members(json, 0..json.len())[0];
        assert_eq!(&json[first.value.clone()], r#"{"b\"": [1], "c": "x"}"#);
        let inner = members(json, first.value.clone());
        assert_eq!(&json[inner[0].key.clone()], r#""b\"""#);
        assert_eq!(&json[inner[1].value.clone()], r#""x""#);
        assert_eq!(without(json, "a"), "{}");
    }

    #[test]
    fn a_string_knows_where_its_characters_are_written() {
        let json = r#""a\n\"\ud83d\ude00b""#;
        let offsets: Vec<usize> = (0..json.len()).collect();
        let json = Text::written(json.to_owned(), 0, &offsets);
        let said = string(&json, 0..json.as_str().len()).unwrap();
        assert_eq!(said.as_str(), "a\n\"😀b");
        let at = said.as_str().find('b').unwrap();
        assert_eq!(said.span(at..at + 1).map(|span| span.start), Some(18));
    }
}
