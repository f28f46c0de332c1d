//! Text in which each byte knows where it was written.

use std::ops::Range;

/// A file of a template, or of one nested in it.
#[derive(Debug)]
pub(super) struct File {
    /// The path as a user would write it.
    pub(super) path: String,
    pub(super) text: String,
}

/// A part of a file, as a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The index of the file among those that were read.
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The place where a byte was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    file: usize,
    offset: usize,
    is_placeholder: bool,
}

/// Text that `CloudFormation` would make of parts of files.
#[derive(Debug, Clone, Default)]
pub(super) struct Text {
    text: String,
    /// One place for each byte of the text.
    places: Vec<Place>,
}

impl Text {
    /// Text that a file holds as it is, with the offset of each byte.
    pub(super) fn written(text: String, file: usize, offsets: &[usize]) -> Self {
        let place = |&offset| Place {
            file,
            offset,
            is_placeholder: false,
        };
        let places = offsets.iter().map(place).collect();
        Self { text, places }
    }

    /// Text for which the file has other words. All of it gets the place of these words.
    pub(super) fn at_span(text: impl Into<String>, span: Span) -> Self {
        let text = text.into();
        let place = Place {
            file: span.file,
            offset: span.start,
            is_placeholder: false,
        };
        Self {
            places: vec![place; text.len()],
            text,
        }
    }

    /// Marks the text as unknown before a deployment.
    pub(super) fn into_placeholder(mut self) -> Self {
        for place in &mut self.places {
            place.is_placeholder = true;
        }
        self
    }

    /// The same text with another place.
    pub(super) fn moved_to(mut self, span: Span) -> Self {
        for place in &mut self.places {
            (place.file, place.offset) = (span.file, span.start);
        }
        self
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn push(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        self.places.extend_from_slice(&other.places);
    }

    /// A part of the text. Its ends must be character boundaries.
    pub(super) fn slice(&self, range: Range<usize>) -> Self {
        let text = self.text.get(range.clone());
        let part = text.and_then(|text| {
            let places = self.places.get(range)?.to_vec();
            Some(Self {
                text: text.to_owned(),
                places,
            })
        });
        part.unwrap_or_default()
    }

    /// The parts between separators.
    pub(super) fn split(&self, separator: &str) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut start = 0;
        for (at, found) in self.text.match_indices(separator) {
            parts.push(self.slice(start..at));
            start = at + found.len();
        }
        parts.push(self.slice(start..self.text.len()));
        parts
    }

    /// Whether any byte in the range was made up.
    pub(super) fn has_placeholder(&self, range: Range<usize>) -> bool {
        let places = self.places.get(range).unwrap_or_default();
        places.iter().any(|place| place.is_placeholder)
    }

    pub(super) fn is_all_placeholder(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.is_placeholder)
    }

    /// The place of a part. `None` for an empty part.
    pub(super) fn span(&self, range: Range<usize>) -> Option<Span> {
        let last = self.places.len().checked_sub(1)?;
        let first = self.places.get(range.start.min(last))?;
        let end = self.places.get(range.end.saturating_sub(1).min(last))?;
        let is_behind = end.file == first.file && end.offset >= first.offset;
        Some(Span {
            file: first.file,
            start: first.offset,
            end: if is_behind { end.offset } else { first.offset } + 1,
        })
    }
}

impl File {
    /// Line and column of an offset, both from 1. The column counts characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The part of a span on its first line, cut at character boundaries. It has at least one character if the line has
    /// one.
    pub(super) fn on_one_line(&self, span: Span) -> Range<usize> {
        let floor = |mut offset: usize| {
            while !self.text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let ceiling = |mut offset: usize| {
            while !self.text.is_char_boundary(offset) {
                offset += 1;
            }
            offset
        };
        let start = floor(span.start.min(self.text.len()));
        let rest = &self.text[start..];
        let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = ceiling(span.end.min(self.text.len())).min(start + line);
        let least = rest.chars().next().filter(|_| line > 0);
        start..end.max(start + least.map_or(0, char::len_utf8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_spans_end_with_their_line() {
        let file = File {
            path: String::new(),
            text: "ä: b\nc: é\n".to_owned(),
        };
        let at = file.text.find('é').unwrap();
        assert_eq!(file.position(at), (2, 4));
        let span = |start, end| Span {
            file: 0,
            start,
            end,
        };
        assert_eq!(&file.text[file.on_one_line(span(0, 9))], "ä: b");
        assert_eq!(&file.text[file.on_one_line(span(at, at + 1))], "é");
        let end = file.text.len();
        assert_eq!(file.on_one_line(span(end, end + 5)), end..end);
    }
}
