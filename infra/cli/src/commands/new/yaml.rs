//! Writes JSON into a YAML template.

use serde_json::Value;

/// One object in the given order, with one member on each line.
pub(super) fn object(members: &[(&str, Value)]) -> String {
    let lines = members
        .iter()
        .map(|(name, value)| format!("  \"{name}\": {value}"));
    let lines = lines.collect::<Vec<_>>().join(",\n");
    written(&format!("{{\n{lines}\n}}"))
}

/// JSON that YAML reads unchanged. Characters that YAML forbids or takes for line ends become JSON escapes.
pub(super) fn written(json: &str) -> String {
    let is_plain =
        |c: char| c == '\n' || !(c.is_control() || "\u{2028}\u{2029}\u{feff}".contains(c));
    let escaped = json.chars().map(|c| match c {
        c if is_plain(c) => c.to_string(),
        c => format!("\\u{:04x}", u32::from(c)),
    });
    escaped.collect()
}

/// A logical id that `CloudFormation` accepts: `clockings-delta` becomes `ClockingsDelta`.
pub(super) fn logical_id(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let capitalised = words.map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    capitalised.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_logical_ids() {
        for (name, expected) in [
            ("absences", "Absences"),
            ("clockings-delta", "ClockingsDelta"),
            ("a.b_c", "ABC"),
            ("2025", "2025"),
            ("...", ""),
        ] {
            assert_eq!(logical_id(name), expected);
        }
    }

    #[test]
    fn yaml_reads_the_json_that_was_written() {
        let json = object(&[("b", "\u{85}\u{2028}\u{1}é".into()), ("a", 1.into())]);
        assert_eq!(
            json,
            "{\n  \"b\": \"\\u0085\\u2028\\u0001é\",\n  \"a\": 1\n}"
        );
    }
}
