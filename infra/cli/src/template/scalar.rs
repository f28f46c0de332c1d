//! Maps the characters of a YAML scalar to their places in the source, for every style.

/// The offset in `source` of each byte of `value`. The scalar begins at `start`. `None` if they do not match, as for an
/// alias, whose text is elsewhere.
///
/// White space is matched loosely, since YAML folds and strips it. Everything else must match exactly and in order.
pub(super) fn offsets(source: &str, start: usize, value: &str) -> Option<Vec<usize>> {
    let mut reader = Reader::new(source, start)?;
    let mut offsets = Vec::with_capacity(value.len());
    for wanted in value.chars() {
        let at = reader.find(wanted)?;
        offsets.extend(std::iter::repeat_n(at, wanted.len_utf8()));
    }
    Some(offsets)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Plain, literal or folded: no escapes.
    AsWritten,
    SingleQuoted,
    DoubleQuoted,
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    style: Style,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, start: usize) -> Option<Self> {
        let start = behind_properties(source, start)?;
        let rest = source.get(start..)?;
        let (skipped, style) = match rest.chars().next() {
            Some('\'') => (1, Style::SingleQuoted),
            Some('"') => (1, Style::DoubleQuoted),
            Some('|' | '>') => (rest.find('\n')? + 1, Style::AsWritten),
            _ => (0, Style::AsWritten),
        };
        Some(Self {
            source,
            at: start + skipped,
            style,
        })
    }

    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    /// Moves past the next occurrence of a character, with only white space before it. Returns its place.
    fn find(&mut self, wanted: char) -> Option<usize> {
        loop {
            let at = self.at;
            let Some((found, length)) = self.next() else {
                return wanted.is_whitespace().then_some(at);
            };
            if found == Some(wanted) {
                self.at += length;
                return Some(at);
            }
            match found {
                // YAML folded a line break into a space.
                _ if wanted.is_whitespace() => return Some(at),
                Some(found) if !found.is_whitespace() => return None,
                _ => self.at += length,
            }
        }
    }

    /// The next character and its length in the source. The character is `None` if the source has only an escaped line
    /// break.
    fn next(&self) -> Option<(Option<char>, usize)> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        match (self.style, first) {
            (Style::SingleQuoted, '\'') => rest.starts_with("''").then_some((Some('\''), 2)),
            (Style::DoubleQuoted, '"') => None,
            (Style::DoubleQuoted, '\\') => escape(rest),
            _ => Some((Some(first), first.len_utf8())),
        }
    }
}

/// The start of the scalar itself, after its tag and anchor.
fn behind_properties(source: &str, start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let rest = source.get(at..)?;
        if !rest.starts_with(['!', '&']) {
            return Some(at);
        }
        let property = rest.find(char::is_whitespace)?;
        at += rest.len() - rest[property..].trim_start().len();
    }
}

/// An escape in a double-quoted scalar. An escaped line break gives no character.
fn escape(text: &str) -> Option<(Option<char>, usize)> {
    let kind = text.chars().nth(1)?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    if digits > 0 {
        let number = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
        return Some((Some(char::from_u32(number)?), 2 + digits));
    }
    let meant = match kind {
        'n' => Some('\n'),
        't' | '\t' => Some('\t'),
        'r' => Some('\r'),
        '0' => Some('\0'),
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'v' => Some('\x0b'),
        'f' => Some('\x0c'),
        'e' => Some('\x1b'),
        'N' => Some('\u{85}'),
        '_' => Some('\u{a0}'),
        'L' => Some('\u{2028}'),
        'P' => Some('\u{2029}'),
        '\n' | '\r' => None,
        other => Some(other),
    };
    Some((meant, 1 + kind.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::offsets;

    /// The source text at the place of a part of the value.
    fn written(source: &str, start: &str, value: &str, part: &str) -> String {
        let start = source.find(start).unwrap();
        let offsets = offsets(source, start, value).unwrap();
        let at = value.find(part).unwrap();
        let (first, last) = (offsets[at], offsets[at + part.len() - 1]);
        source[first..=last].to_owned()
    }

    #[test]
    fn every_style_is_followed() {
        let literal = "a: |\n    {\n      \"x\": 1\n    }\n";
        assert_eq!(
            written(literal, "|", "{\n  \"x\": 1\n}\n", "\"x\": 1"),
            "\"x\": 1"
        );
        let folded = "a: >-\n  one\n  two\n\n  three";
        assert_eq!(written(folded, ">", "one two\nthree", "three"), "three");
        assert_eq!(written("a: 'it''s b'", "'", "it's b", "s b"), "s b");
        let double = r#"a: "{\"x\":\n  \u00e9 \
            y}""#;
        assert_eq!(
            written(double, "\"", "{\"x\":\n  é y}", "y"),
            "y",
            "{double}"
        );
        assert_eq!(written(double, "\"", "{\"x\":\n  é y}", "\"x\""), r#"\"x\"#);
        assert_eq!(written("a: b\n  c", "b", "b c", "c"), "c");
    }

    #[test]
    fn an_alias_fits_nothing() {
        assert_eq!(offsets("a: *b", 3, "text"), None);
    }
}
