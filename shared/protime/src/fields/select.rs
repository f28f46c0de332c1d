//! What is kept of JSON, as slices of it.
//!
//! The JSON was parsed before, so that nothing is checked again. What would not be JSON ends the selection: less is kept then,
//! never more.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::tree::{Kept, Parts};

/// Selects from one record after the other what is kept of it.
///
/// It learns what records look like: one selector for all records of a page is faster than one for each.
pub struct Selector<'k> {
    kept: &'k Parts,
    layout: Layout<'k>,
}

impl<'k> Selector<'k> {
    pub(super) fn new(kept: &'k Parts) -> Self {
        let layout = Layout::default();
        Self { kept, layout }
    }

    /// What is kept of an object: its JSON without everything else. Of any other value, which has no properties, an empty
    /// object.
    pub fn select(&mut self, json: &str) -> String {
        let mut selected = Vec::new();
        self.append(json.as_bytes(), &mut selected);
        // Pieces of a text that were cut beside its ASCII signs are text.
        String::from_utf8(selected).unwrap_or_default()
    }

    /// Appends what is kept.
    pub(crate) fn append(&mut self, json: &[u8], selected: &mut Vec<u8>) {
        let start = selected.len();
        let mut reader = Reader { json, at: 0 };
        reader.skip_space();
        let is_object = reader.peek() == Some(b'{');
        let mut copy = || reader.copy(self.kept, &mut self.layout, selected);
        if !is_object || copy().is_none() {
            selected.truncate(start);
            selected.extend_from_slice(b"{}");
        }
    }
}

/// So many members of a value are remembered; then it is begun anew, so that objects whose keys are never the same cost
/// little.
const MOST_MEMBERS: usize = 64;

const IS_STRUCTURE: [bool; 256] = table(b"\"{}[]");
const ENDS_SCALAR: [bool; 256] = table(b",}] \n\r\t");

const fn table(bytes: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut index = 0;
    while index < bytes.len() {
        table[bytes[index] as usize] = true;
        index += 1;
    }
    table
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
        // Protime writes none, mostly.
        while self.peek().is_some_and(|byte| byte <= b' ') {
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
        match self.peek()? {
            b'"' => self.skip_string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            // A number or a word.
            _ => self.skip_until(&ENDS_SCALAR),
        }
    }

    /// Goes behind an object or a list.
    fn skip_nested(&mut self) -> Option<()> {
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
                _ => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
            }
            if depth == 0 {
                return Some(());
            }
            self.skip_until(&IS_STRUCTURE)?;
        }
    }

    /// Goes to the next byte of a kind.
    fn skip_until(&mut self, is_wanted: &[bool; 256]) -> Option<()> {
        let mut rest = self.json.get(self.at..)?.iter();
        self.at += rest.position(|byte| is_wanted[usize::from(*byte)])?;
        Some(())
    }

    /// Copies what is kept of an object or of a list.
    fn copy<'k>(
        &mut self,
        kept: &'k Parts,
        layout: &mut Layout<'k>,
        selected: &mut Vec<u8>,
    ) -> Option<()> {
        if self.peek()? == b'{' {
            self.copy_object(kept, layout, selected)
        } else {
            self.copy_list(kept, layout, selected)
        }
    }

    fn copy_object<'k>(
        &mut self,
        kept: &'k Parts,
        layout: &mut Layout<'k>,
        selected: &mut Vec<u8>,
    ) -> Option<()> {
        self.skip_sign(b'{');
        selected.push(b'{');
        let mut pieces = Pieces::within(self.json, selected);
        let mut next = 0;
        while self.peek()? != b'}' {
            let start = self.at;
            let index = match layout.expected(next, self.json.get(start..)?) {
                Some(index) => index,
                None => layout.learn(next, self.key(kept)?),
            };
            let member = layout.members.get_mut(index)?;
            self.at = start + member.key.len();
            self.skip_space();
            next = index + 1;
            self.copy_value(start, member.kept, &mut member.inside, &mut pieces)?;
            if !self.skip_sign(b',') {
                break;
            }
        }
        pieces.flush().push(b'}');
        self.skip_sign(b'}').then_some(())
    }

    fn copy_list<'k>(
        &mut self,
        kept: &'k Parts,
        layout: &mut Layout<'k>,
        selected: &mut Vec<u8>,
    ) -> Option<()> {
        self.skip_sign(b'[');
        selected.push(b'[');
        let mut pieces = Pieces::within(self.json, selected);
        let inside = layout.items.get_or_insert_with(Box::default);
        while self.peek()? != b']' {
            self.copy_value(self.at, kept.of_items(), inside, &mut pieces)?;
            if !self.skip_sign(b',') {
                break;
            }
        }
        pieces.flush().push(b']');
        self.skip_sign(b']').then_some(())
    }

    /// Copies what is kept of a value, with its name from `start` on.
    fn copy_value<'k>(
        &mut self,
        start: usize,
        kept: Option<&'k Kept>,
        layout: &mut Layout<'k>,
        pieces: &mut Pieces<'a, '_>,
    ) -> Option<()> {
        match kept {
            Some(Kept::Whole) => {
                self.skip_value()?;
                pieces.push(start..self.at);
            }
            Some(Kept::Parts(parts)) if parts.fit(self.peek()?) => {
                pieces.push(start..self.at);
                self.copy(parts, layout, pieces.flush())?;
            }
            _ => self.skip_value()?,
        }
        Some(())
    }

    /// The key of a member that begins here, and what is kept of the member.
    fn key<'k>(&mut self, kept: &'k Parts) -> Option<Member<'k>> {
        let start = self.at;
        let has_escapes = self.skip_string()?;
        let name = name(self.json.get(start..self.at)?, has_escapes);
        self.skip_space();
        let is_key = self.peek()? == b':';
        let key = self.json.get(start..=self.at)?;
        is_key.then(|| Member {
            key: key.into(),
            kept: kept.of_member(&name),
            inside: Layout::default(),
        })
    }
}

/// Which members the values before had, in their order. Protime writes the records of a page alike, so that a key is
/// found by comparing it with what came there before.
#[derive(Default)]
struct Layout<'k> {
    members: Vec<Member<'k>>,
    items: Option<Box<Layout<'k>>>,
}

/// A member as it was seen, and what is kept of its value.
struct Member<'k> {
    /// With its quotes and the colon, as Protime wrote it.
    key: Box<[u8]>,
    kept: Option<&'k Kept>,
    inside: Layout<'k>,
}

impl<'k> Layout<'k> {
    /// The first member from `next` on whose key the JSON begins with.
    fn expected(&self, next: usize, json: &[u8]) -> Option<usize> {
        let mut members = self.members.iter().enumerate().skip(next);
        let found = members.find(|(_, member)| json.starts_with(&member.key));
        found.map(|(index, _)| index)
    }

    /// Adds a member before `next`; returns its index.
    fn learn(&mut self, next: usize, member: Member<'k>) -> usize {
        if self.members.len() >= MOST_MEMBERS {
            self.members.clear();
        }
        let index = next.min(self.members.len());
        self.members.insert(index, member);
        index
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
