//! One answer of Protime. Its records stay the bytes in which they came.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Fields;

/// The shape that a read's answer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// `{"value": [...]}` or an array: a list, a continuation or a delta.
    List,
    /// A list or one bare object: a resource that was read by its id, or an entity that the catalogue lacks.
    #[default]
    Any,
}

/// The records of one response.
///
/// A list is `{"value": [...], "nextLink": ..., "deltaLink": ...}` or a bare array; a single object is a page of one
/// record.
#[derive(Debug, Clone)]
pub struct Page {
    body: Bytes,
    records: Vec<Range<usize>>,
    /// The link to the next page, as Protime wrote it. `None` on the last page.
    pub next_link: Option<String>,
    /// The link for polling changes. Only the last page of a delta has one.
    pub delta_link: Option<String>,
}

/// The reason why a body is no page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageError {
    /// What the body holds instead, without showing it.
    pub(crate) problem: String,
    /// Whether it looks cut off rather than wrong.
    pub(crate) is_cut_off: bool,
}

impl Page {
    /// Finds the records in a response body.
    pub(crate) fn parse(body: Bytes, shape: Shape) -> Result<Self, PageError> {
        let content = json(&body);
        let parsed = match content.first() {
            None => return Err(PageError::cut_off("an empty body")),
            Some(b'[') => Parsed {
                records: serde_json::from_slice(content)?,
                ..Parsed::default()
            },
            Some(b'{') => serde_json::from_slice(content)?,
            Some(_) => {
                // If the text is no JSON at all, the error names the place.
                serde_json::from_slice::<IgnoredAny>(content)?;
                return Err(PageError::wrong(
                    "JSON that is neither an object nor an array",
                ));
            }
        };
        let records = match parsed.records {
            Records::List(records) => records
                .iter()
                .map(|record| position(&body, record.get()))
                .collect(),
            Records::Other if shape == Shape::Any && !parsed.is_error => {
                let whole: &RawValue = serde_json::from_slice(content)?;
                vec![position(&body, whole.get())]
            }
            Records::Other if parsed.is_error => return Err(PageError::wrong("an error object")),
            Records::Other => {
                return Err(PageError::wrong("an object whose `value` is not a list"));
            }
        };
        Ok(Self {
            next_link: parsed.next_link.filter(|link| !link.is_empty()),
            delta_link: parsed.delta_link.filter(|link| !link.is_empty()),
            records,
            body,
        })
    }

    /// The records, each the JSON text that Protime sent.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &str> {
        self.records.iter().map(|range| {
            // The ranges were taken from text slices of this very body, so they are valid UTF-8.
            std::str::from_utf8(&self.body[range.clone()]).unwrap_or_default()
        })
    }

    /// The sizes of the records, in bytes.
    pub fn record_sizes(&self) -> impl ExactSizeIterator<Item = usize> {
        self.records.iter().map(Range::len)
    }

    /// The records at these indices as JSON, separated by commas, in pieces of the response body. Indices beyond the
    /// last record are ignored.
    pub fn list(&self, records: Range<usize>) -> Vec<Bytes> {
        const COMMA: Bytes = Bytes::from_static(b",");
        let mut pieces = Vec::new();
        let mut records = self.records.get(records).into_iter().flatten().cloned();
        let Some(mut piece) = records.next() else {
            return pieces;
        };
        for record in records {
            // Nearly all pages are one piece: only a comma stands between their records.
            if record.start == piece.end + 1 {
                piece.end = record.end;
            } else {
                pieces.extend([self.body.slice(piece), COMMA]);
                piece = record;
            }
        }
        pieces.push(self.body.slice(piece));
        pieces
    }

    /// The same page with only the selected `fields` of each record. The records of a delta poll are changes.
    #[must_use]
    pub fn select(&self, fields: &Fields, are_changes: bool) -> Self {
        let mut body = Vec::with_capacity(self.body.len());
        let mut records = Vec::with_capacity(self.records.len());
        let mut selector = if are_changes {
            fields.of_changes()
        } else {
            fields.of_records()
        };
        body.push(b'[');
        for record in &self.records {
            if !records.is_empty() {
                body.push(b',');
            }
            let start = body.len();
            selector.append(&self.body[record.clone()], &mut body);
            records.push(start..body.len());
        }
        body.push(b']');
        Self {
            body: body.into(),
            records,
            next_link: self.next_link.clone(),
            delta_link: self.delta_link.clone(),
        }
    }

    /// Replaces characters with JSON escapes. `None` if the page has none of these characters.
    ///
    /// JSON must allow the characters in strings only.
    pub fn escaped(&self, escapes: &[(char, &str)]) -> Option<Self> {
        if self.body.is_ascii() {
            return None;
        }
        let mut text = Cow::Borrowed(std::str::from_utf8(&self.body).ok()?);
        for (character, escape) in escapes {
            if text.contains(*character) {
                text = Cow::Owned(text.replace(*character, escape));
            }
        }
        match text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Self::parse(text.into(), Shape::Any).ok(),
        }
    }

    /// The size of the decoded response body.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

impl PageError {
    fn cut_off(problem: &str) -> Self {
        Self {
            problem: problem.to_owned(),
            is_cut_off: true,
        }
    }

    fn wrong(problem: &str) -> Self {
        Self {
            problem: problem.to_owned(),
            is_cut_off: false,
        }
    }
}

impl From<serde_json::Error> for PageError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        Self {
            problem: format!(
                "a body that is not the JSON of a page (line {line}, column {column})"
            ),
            is_cut_off: error.is_eof(),
        }
    }
}

/// The body without the white space and byte order mark that may stand around JSON.
pub(crate) fn json(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii();
    body.strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(body)
        .trim_ascii()
}

/// The range of a slice of the body.
fn position(body: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    start..start + part.len()
}

#[derive(Default)]
struct Parsed<'a> {
    records: Records<'a>,
    next_link: Option<String>,
    delta_link: Option<String>,
    /// Whether the object has a member `error` but no `id`, which would make it a record.
    is_error: bool,
}

enum Records<'a> {
    List(Vec<&'a RawValue>),
    /// The object has no list `value`: it is the record itself.
    Other,
}

impl Default for Records<'_> {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Parsed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Parsed<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parsed = Parsed {
                    records: Records::Other,
                    next_link: None,
                    delta_link: None,
                    is_error: false,
                };
                let (mut has_error, mut has_id) = (false, false);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "value" => parsed.records = map.next_value()?,
                        "nextLink" => parsed.next_link = map.next_value()?,
                        "deltaLink" => parsed.delta_link = map.next_value()?,
                        other => {
                            has_error |= other == "error";
                            has_id |= other == "id";
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                parsed.is_error = has_error && !has_id;
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl<'de> Visitor<'de> for AnyValue {
            type Value = Records<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = items.next_element()? {
                    records.push(record);
                }
                Ok(Records::List(records))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Records::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Records::Other)
            }
        }
        deserializer.deserialize_any(AnyValue)
    }
}
