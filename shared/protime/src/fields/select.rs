//! Selects parts of JSON, as slices of it.
//!
//! The JSON was parsed before, so nothing is checked again. At text that is not JSON the selection ends: it then keeps
//! less, never more.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

use super::tree::{Kept, Parts};

/// Selects the kept parts of records, one after the other.
///
/// It learns the layout of records. One selector for all records of a page is therefore faster than one for each.
pub struct Selector<'k> {
    kept: &'k Parts,
    layout: Layout<'k>,
}

impl<'k> Selector<'k> {
    pub(super) fn new(kept: &'k Parts) -> Self {
        let layout = Layout::default();
        Self { kept, layout }
    }

    /// The JSON of an object, with only the kept properties. Any other value has no properties and becomes an empty
    /// object.
    pub fn select(&mut self, json: &str) -> String {
        let mut selected = Vec::new();
        self.append(json.as_bytes(), &mut selected);
        // The pieces are cut at ASCII signs, so they remain valid UTF-8.
        String::from_utf8(selected).unwrap_or_default()
    }

    /// Appends the kept parts of a record.
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

/// The most members that a layout remembers. At the limit it starts anew, so that objects whose keys always differ cost
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
        // Protime usually writes no white space.
        while self.peek().is_some_and(|byte| byte <= b' ') {
            self.at += 1;
        }
    }

    /// Moves past this sign and the white space around it.
    fn skip_sign(&mut self, sign: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(sign);
        if found {
            self.at += 1;
            self.skip_space();
        }
        found
    }

    /// Moves past a string. Returns whether the string has escapes.
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

    /// Moves past a value, at any depth.
    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.skip_string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            // A number, `true`, `false` or `null`.
            _ => self.skip_until(&ENDS_SCALAR),
        }
    }

    /// Moves past an object or a list.
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

    /// Moves to the next byte of a kind.
    fn skip_until(&mut self, is_wanted: &[bool; 256]) -> Option<()> {
        let mut rest = self.json.get(self.at..)?.iter();
        self.at += rest.position(|byte| is_wanted[usize::from(*byte)])?;
        Some(())
    }

    /// Copies the kept parts of an object or a list.
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

    /// Copies the kept parts of a value. Its member begins at `start`, with the name.
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

    /// Reads the key of the member that begins here. Returns it with what is kept of the member.
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

/// The members of earlier values, in order. Protime writes all records of a page alike, so a key usually equals the
/// earlier one at this place.
#[derive(Default)]
struct Layout<'k> {
    members: Vec<Member<'k>>,
    items: Option<Box<Layout<'k>>>,
}

/// The key of a member that was seen, and what is kept of its value.
struct Member<'k> {
    /// The key with its quotes and the colon, as Protime wrote it.
    key: Box<[u8]>,
    kept: Option<&'k Kept>,
    inside: Layout<'k>,
}

impl<'k> Layout<'k> {
    /// The first member from `next` on whose key matches the start of the JSON.
    fn expected(&self, next: usize, json: &[u8]) -> Option<usize> {
        let mut members = self.members.iter().enumerate().skip(next);
        let found = members.find(|(_, member)| json.starts_with(&member.key));
        found.map(|(index, _)| index)
    }

    /// Inserts a member before `next`. Returns its index.
    fn learn(&mut self, next: usize, member: Member<'k>) -> usize {
        if self.members.len() >= MOST_MEMBERS {
            self.members.clear();
        }
        let index = next.min(self.members.len());
        self.members.insert(index, member);
        index
    }
}

/// The kept members or items. Those that are neighbours in the source are copied together.
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
            // Only a comma stands between the two.
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

/// A member's name without escapes. If an escape is invalid, the name is empty, which matches no path.
fn name(string: &[u8], has_escapes: bool) -> Cow<'_, [u8]> {
    if has_escapes {
        let unescaped: Result<String, _> = serde_json::from_slice(string);
        return Cow::Owned(unescaped.unwrap_or_default().into_bytes());
    }
    let plain = string.strip_prefix(b"\"").unwrap_or_default();
    Cow::Borrowed(plain.strip_suffix(b"\"").unwrap_or_default())
}
