//! Reads the parameters that `sam deploy` would set from `samconfig.toml`.

/// In order of precedence.
const SECTIONS: [&str; 2] = ["[default.deploy.parameters]", "[default.global.parameters]"];

/// Names and values of the parameters in the default environment.
pub(super) fn overrides(text: &str) -> Vec<(String, String)> {
    let found = SECTIONS
        .iter()
        .find_map(|section| setting(text, section, "parameter_overrides"));
    found.map(pairs).unwrap_or_default()
}

/// The text after the name of a setting, with the rest of the section.
fn setting<'t>(text: &'t str, section: &str, name: &str) -> Option<&'t str> {
    let mut is_inside = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let plain = line.trim();
        if plain.starts_with('[') {
            is_inside = plain.split('#').next().unwrap_or(plain).trim() == section;
        }
        let value = plain
            .strip_prefix(name)
            .and_then(|rest| rest.trim_start().strip_prefix('='));
        if let (true, Some(value)) = (is_inside, value) {
            let start = at - line.len() + line.find('=')? + 1;
            return if value.is_empty() {
                None
            } else {
                text.get(start..)
            };
        }
    }
    None
}

/// The pairs, written as one string or as an array of strings.
fn pairs(value: &str) -> Vec<(String, String)> {
    let mut rest = value.trim_start();
    let Some(array) = rest.strip_prefix('[') else {
        let words = string(rest).map_or_else(Vec::new, |(text, _)| words(&text));
        return words.iter().filter_map(|word| pair(word)).collect();
    };
    let mut found = Vec::new();
    rest = array;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if let Some(comment) = rest.strip_prefix('#') {
            rest = &comment[comment.find('\n').unwrap_or(comment.len())..];
            continue;
        }
        let Some((text, length)) = string(rest) else {
            return found;
        };
        found.extend(pair(&text));
        rest = &rest[length..];
    }
}

/// A TOML string at the start of a text, and its length in the source.
fn string(text: &str) -> Option<(String, usize)> {
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| text.starts_with(quote))?;
    let inner = &text[quote.len()..];
    let mut is_escaped = false;
    let end = inner.char_indices().find_map(|(at, c)| {
        let is_end = !is_escaped && inner[at..].starts_with(quote);
        is_escaped = quote.starts_with('"') && c == '\\' && !is_escaped;
        is_end.then_some(at)
    })?;
    let written = &inner[..end];
    let length = end + 2 * quote.len();
    if quote.starts_with('\'') {
        return Some((written.to_owned(), length));
    }
    // In a multi-line string, quotes need no escape.
    let line = written.replace("\\\n", " ").replace(['\n', '\r'], " ");
    let line = if quote.len() == 1 {
        line
    } else {
        line.replace("\\\"", "\"").replace('"', "\\\"")
    };
    Some((serde_json::from_str(&format!("\"{line}\"")).ok()?, length))
}

/// The words between spaces. Quotes that hold words together are removed.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(open) if open == c => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c.is_whitespace() => words.push(String::new()),
            _ => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn pair(word: &str) -> Option<(String, String)> {
    let long = word.strip_prefix("ParameterKey=");
    let (name, value) = match long {
        Some(rest) => rest.split_once(",ParameterValue=")?,
        None => word.split_once('=')?,
    };
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some((name.trim().to_owned(), unquoted.unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_parameters_is_read() {
        let expected = [("A", "b"), ("C", "d e")];
        for value in [
            r#""A=b C=\"d e\"""#,
            r#"'A=b C="d e"'"#,
            "\"\"\"\nA=b\nC=\"d e\"\n\"\"\"",
            r#""ParameterKey=A,ParameterValue=b ParameterKey=C,ParameterValue='d e'""#,
            "[\n  \"A=b\", # one\n  'C=\"d e\"',\n]",
        ] {
            let text = format!(
                "version = 0.1\n[other.deploy.parameters]\nparameter_overrides = \"A=x\"\n[default.deploy.parameters]  # here\nx = 1\nparameter_overrides = {value}\ny = \"Z=1\"\n"
            );
            let found = setting(&text, SECTIONS[0], "parameter_overrides").map(pairs);
            let found = found.unwrap();
            let found: Vec<(&str, &str)> = found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            assert_eq!(found, expected, "{value}");
            assert_eq!(setting(&text, SECTIONS[1], "parameter_overrides"), None);
        }
    }
}
