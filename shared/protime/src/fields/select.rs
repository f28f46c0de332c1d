//! What is kept of JSON, as slices of it.
//!
//! The JSON was parsed before, so that nothing is checked again. What would not be JSON ends the selection: less is kept then,
//! never more.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::tree::{Kept, Parts};

/// Appends what is kept of an object; of any other value, which has no properties, an empty object.
pub(super) fn append(json: &[u8], kept: &Parts, selected: &mut Vec<u8>) {
    let start = selected.len();
    let mut reader = Reader { json, at: 0 };
    reader.skip_space();
    let is_object = reader.peek() == Some(b'{');
    if !is_object || reader.copy(kept, selected).is_none() {
        selected.truncate(start);
        selected.extend_from_slice(b"{}");
    }
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Goes behind this sign and the space around it.
    fn skip_sign(&mut self, sign: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(sign);
        if found {
            self.at += 1;
            self.skip_space();
        }
        found
    }

    /// Goes behind a string, and says whether it has escapes.
    fn skip_string(&mut self) -> Option<bool> {
        let mut has_escapes = false;
        self.at += 1;
        loop {
            let rest = self.json.get(self.at..)?;
            let end = memchr2(b'"', b'\\', rest)?;
            self.at += end + 1;
            if rest[end] == b'"' {
                return Some(has_escapes);
            }
            has_escapes = true;
            self.at += 1;
        }
    }

    /// Goes behind a value, however deep it is.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ if depth > 0 => self.at += 1,
                _ => self.skip_scalar(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes behind a number or a word.
    fn skip_scalar(&mut self) {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().position(is_end).unwrap_or(rest.len());
    }

    fn since(&self, start: usize) -> Option<&'a [u8]> {
        self.json.get(start..self.at)
    }

    /// Copies what is kept of an object or of a list.
    fn copy(&mut self, kept: &Parts, selected: &mut Vec<u8>) -> Option<()> {
        let (opening, closing) = match self.peek()? {
            b'{' => (b'{', b'}'),
            _ => (b'[', b']'),
        };
        self.skip_sign(opening);
        selected.push(opening);
        let mut pieces = Pieces::within(self.json, selected);
        while self.peek()? != closing {
            let start = self.at;
            let kept = if opening == b'{' {
                let has_escapes = self.skip_string()?;
                let name = name(self.since(start)?, has_escapes);
                if !self.skip_sign(b':') {
                    return None;
                }
                kept.of_member(&name)
            } else {
                kept.of_items()
            };
            match kept {
                Some(Kept::Whole) => {
                    self.skip_value()?;
                    pieces.push(start..self.at);
                }
                Some(Kept::Parts(parts)) if parts.fit(self.peek()?) => {
                    pieces.push(start..self.at);
                    self.copy(parts, pieces.flush())?;
                }
                _ => self.skip_value()?,
            }
            if !self.skip_sign(b',') {
                break;
            }
        }
        pieces.flush().push(closing);
        self.skip_sign(closing).then_some(())
    }
}

/// Members or items that are kept. Those that are neighbours in the source are copied together.
struct Pieces<'a, 's> {
    json: &'a [u8],
    waiting: Option<Range<usize>>,
    is_first: bool,
    selected: &'s mut Vec<u8>,
}

impl<'a, 's> Pieces<'a, 's> {
    fn within(json: &'a [u8], selected: &'s mut Vec<u8>) -> Self {
        Self {
            json,
            waiting: None,
            is_first: true,
            selected,
        }
    }

    fn push(&mut self, piece: Range<usize>) {
        match &mut self.waiting {
            // Between them is a comma and no more.
            Some(waiting) if piece.start == waiting.end + 1 => waiting.end = piece.end,
            _ => {
                self.flush();
                self.waiting = Some(piece);
            }
        }
    }

    fn flush(&mut self) -> &mut Vec<u8> {
        if let Some(piece) = self.waiting.take() {
            if !self.is_first {
                self.selected.push(b',');
            }
            self.is_first = false;
            let piece = self.json.get(piece).unwrap_or_default();
            self.selected.extend_from_slice(piece);
        }
        self.selected
    }
}

/// A member's name. Empty, as no path's name is, where the escapes are no text.
fn name(string: &[u8], has_escapes: bool) -> Cow<'_, [u8]> {
    if has_escapes {
        let unescaped: Result<String, _> = serde_json::from_slice(string);
        return Cow::Owned(unescaped.unwrap_or_default().into_bytes());
    }
    let plain = string.strip_prefix(b"\"").unwrap_or_default();
    Cow::Borrowed(plain.strip_suffix(b"\"").unwrap_or_default())
}
