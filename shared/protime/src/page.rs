//! One response of Protime, its records left as the bytes they came in.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The records of one response.
///
/// A list is `{"value": [...], "nextLink": ..., "deltaLink": ...}`; a single object is a page of one record, a
/// bare array a page of its elements, an empty body a page of none.
#[derive(Debug, Clone)]
pub struct Page {
    body: Bytes,
    records: Vec<Range<usize>>,
    /// Where the next page is, as Protime wrote it; without it, this is the last.
    pub next_link: Option<String>,
    /// Where changes can be polled, on the last page of a delta.
    pub delta_link: Option<String>,
}

impl Page {
    /// Finds the records in a response body.
    pub(crate) fn parse(body: Bytes) -> Result<Self, serde_json::Error> {
        let content = body.trim_ascii();
        let parsed = match content.first() {
            None => Parsed::default(),
            Some(b'[') => Parsed {
                records: serde_json::from_slice(content)?,
                ..Parsed::default()
            },
            Some(b'{') => serde_json::from_slice(content)?,
            // Not a shape that Protime sends: the error names what is there.
            Some(_) => {
                return Err(serde_json::from_slice::<Parsed>(content)
                    .err()
                    .unwrap_or_else(unexpected));
            }
        };
        let records = match parsed.records {
            Records::List(records) => records
                .iter()
                .map(|record| position(&body, record.get()))
                .collect(),
            Records::Other => {
                let whole: &RawValue = serde_json::from_slice(content)?;
                vec![position(&body, whole.get())]
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
            // The ranges come from text slices of this very body, so they are valid UTF-8.
            std::str::from_utf8(&self.body[range.clone()]).unwrap_or_default()
        })
    }

    /// The sizes of the records, in bytes.
    pub fn record_sizes(&self) -> impl ExactSizeIterator<Item = usize> {
        self.records.iter().map(Range::len)
    }

    /// Those of these records that there are as JSON, separated by commas, in pieces of the response body.
    pub fn list(&self, records: Range<usize>) -> Vec<Bytes> {
        const COMMA: Bytes = Bytes::from_static(b",");
        let mut pieces = Vec::new();
        let mut records = self.records.get(records).into_iter().flatten().cloned();
        let Some(mut piece) = records.next() else {
            return pieces;
        };
        for record in records {
            // Nearly all pages are one piece: between their records is a comma and no more.
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

    /// The page with characters written as JSON escapes; none if it has none of them.
    ///
    /// They must be characters that JSON has in strings only.
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
            Cow::Owned(text) => Self::parse(text.into()).ok(),
        }
    }

    /// The size of the decoded response body.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// Where a slice of the body begins and ends in it.
fn position(body: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - body.as_ptr() as usize;
    start..start + part.len()
}

fn unexpected() -> serde_json::Error {
    serde::de::Error::custom("expected an object or an array")
}

#[derive(Default)]
struct Parsed<'a> {
    records: Records<'a>,
    next_link: Option<String>,
    delta_link: Option<String>,
}

enum Records<'a> {
    List(Vec<&'a RawValue>),
    /// There is no `value` that is a list: the object itself is the record.
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
                };
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "value" => parsed.records = map.next_value()?,
                        "nextLink" => parsed.next_link = map.next_value()?,
                        "deltaLink" => parsed.delta_link = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
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
