//! Payloads as they were written, and whether two of them are the same.

use bytes::Bytes;
use connector::contract::Members;
use serde_json::value::RawValue;

/// Deeper payloads are compared byte by byte.
const DEEPEST: u32 = 100;

/// Hashes that identify a payload, as records store them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PayloadHash {
    /// Hash of the payload with its members sorted and without spaces.
    pub(crate) canonical: String,
    /// Hash of the bytes as sent. Earlier releases stored this one.
    bytes: String,
}

impl PayloadHash {
    pub(crate) fn of(payload: Option<&Bytes>) -> Self {
        let bytes = connector::hash(payload);
        let text = payload.and_then(|payload| std::str::from_utf8(payload).ok());
        let canonical = text.and_then(canonical).map(|text| connector::hash([text]));
        Self {
            canonical: canonical.unwrap_or_else(|| bytes.clone()),
            bytes,
        }
    }

    /// Whether `kept` is a stored hash of this payload.
    pub(crate) fn is(&self, kept: &str) -> bool {
        kept == self.canonical || kept == self.bytes
    }
}

/// JSON with its members sorted by name and without spaces. Numbers and strings stay as written. None if two members
/// share a name: nobody knows which of them counts.
fn canonical(json: &str) -> Option<String> {
    let mut text = String::with_capacity(json.len());
    write(json, DEEPEST, &mut text)?;
    Some(text)
}

fn write(json: &str, deepest: u32, text: &mut String) -> Option<()> {
    let deepest = deepest.checked_sub(1)?;
    let json = json.trim();
    match json.as_bytes().first()? {
        b'{' => {
            let Members(mut members) = serde_json::from_str(json).ok()?;
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return None;
            }
            text.push('{');
            for (index, (name, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&name).ok()?);
                text.push(':');
                write(value.get(), deepest, text)?;
            }
            text.push('}');
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            text.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item.get(), deepest, text)?;
            }
            text.push(']');
        }
        _ => text.push_str(json),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(payload: &str) -> PayloadHash {
        PayloadHash::of(Some(&Bytes::from(payload.to_owned())))
    }

    #[test]
    fn the_same_json_is_the_same_payload() {
        let one = hash(r#"{"a": 1.10, "b": {"x": [1, 2], "y": "é"}}"#);
        for same in [
            r#"{"b":{"y":"é","x":[1,2]},"a":1.10}"#,
            "{\n\"b\" : {\"x\":[ 1 ,2 ],\"y\":\"é\"} , \"a\":1.10 }",
        ] {
            assert!(one.is(&hash(same).canonical), "{same}");
        }
        for other in [
            r#"{"b":{"y":"é","x":[2,1]},"a":1.10}"#,
            r#"{"b":{"y":"é","x":[1,2]},"a":1.1}"#,
            r#"{"b":{"y":"\u00e9","x":[1,2]},"a":1.10}"#,
            r#"{"b":{"y":"é","x":[1,2]}}"#,
        ] {
            assert!(!one.is(&hash(other).canonical), "{other}");
        }
    }

    #[test]
    fn members_of_one_name_are_told_apart_byte_for_byte() {
        let one = hash(r#"{"a":1,"a":2}"#);
        assert!(one.is(&hash(r#"{"a":1,"a":2}"#).canonical));
        assert!(!one.is(&hash(r#"{"a":1, "a":2}"#).canonical));
        assert!(!one.is(&hash(r#"{"a":2,"a":1}"#).canonical));
    }

    #[test]
    fn what_earlier_releases_kept_is_known() {
        let payload = r#"{"b": 1, "a": 2}"#;
        assert!(hash(payload).is(&connector::hash([payload])));
        let none = PayloadHash::of(None);
        assert!(none.is(&connector::hash(None::<&[u8]>)));
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(hash(&deep).is(&hash(&deep).canonical));
    }
}
