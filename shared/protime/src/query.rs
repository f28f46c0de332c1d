//! Query strings and path parameters, as users write them in JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use url::form_urlencoded::byte_serialize;

/// The query string of a request: `{"type": true, "start": 0}` becomes `type=true&start=0`.
///
/// Values are strings, numbers and booleans. An array repeats the key, null omits it, and the order is kept. The
/// encoding is that of HTML forms (`application/x-www-form-urlencoded` of the WHATWG URL standard).
///
/// ```
/// let query: protime::Query = serde_json::from_str(r#"{"type": true, "start": 0, "tag": ["a b", "c"], "end": null}"#)?;
/// assert_eq!(query.encoded(), "type=true&start=0&tag=a+b&tag=c");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, Option<String>)>);

impl Query {
    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .and_then(|(_, value)| value.as_deref())
    }

    /// The keys in order. A repeated key is returned each time.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Replaces the first value of a key, or adds the key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = Some(value.to_owned()),
            None => self.0.push((key.to_owned(), Some(value.to_owned()))),
        }
        self
    }

    /// Adds a key without a value, such as `delta`.
    #[must_use]
    pub fn with_flag(mut self, key: &str) -> Self {
        self.0.push((key.to_owned(), None));
        self
    }

    /// The query string, without `?`.
    pub fn encoded(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(byte_serialize(key.as_bytes()));
            if let Some(value) = value {
                text.push('=');
                text.extend(byte_serialize(value.as_bytes()));
            }
        }
        text
    }
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut query = Vec::new();
        for (key, raw) in deserializer.deserialize_map(OrderedMap)? {
            let values = match raw.get().as_bytes().first() {
                Some(b'[') => serde_json::from_str::<Vec<Box<RawValue>>>(raw.get())
                    .map_err(D::Error::custom)?,
                _ => vec![raw],
            };
            for value in values {
                match scalar(&value) {
                    Scalar::Null => {}
                    Scalar::Text(text) => query.push((key.clone(), Some(text))),
                    Scalar::Nested => {
                        return Err(D::Error::custom(format!(
                            "query parameter `{key}`: needs a string, number, boolean, null or an array of these"
                        )));
                    }
                }
            }
        }
        Ok(Self(query))
    }
}

/// Values for the `{parameters}` of a path: strings or numbers by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParameters(Vec<(String, String)>);

impl PathParameters {
    /// The value of a parameter; `None` if it was not given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parameters with these names and in their order. The last one may be called `id`. None if others were given.
    pub fn named_as(&self, names: &[&str]) -> Option<Self> {
        let last = names.last();
        let value = |name: &&str| {
            let alias = (Some(name) == last).then(|| self.get("id")).flatten();
            Some(((*name).to_owned(), self.get(name).or(alias)?.to_owned()))
        };
        let values: Option<Vec<_>> = names.iter().map(value).collect();
        values.filter(|_| names.len() == self.len()).map(Self)
    }

    /// The names of the given parameters, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The number of given parameters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no parameter was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for PathParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, raw) in deserializer.deserialize_map(OrderedMap)? {
            let Scalar::Text(text) = scalar(&raw) else {
                return Err(D::Error::custom(format!(
                    "path parameter `{name}`: needs a string or a number"
                )));
            };
            if parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(D::Error::custom(format!(
                    "path parameter `{name}`: given twice"
                )));
            }
            parameters.push((name, text));
        }
        Ok(Self(parameters))
    }
}

enum Scalar {
    Null,
    Text(String),
    Nested,
}

/// Numbers keep the digits with which they were written.
fn scalar(raw: &RawValue) -> Scalar {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Scalar::Null,
        Some(b'"') => serde_json::from_str(text).map_or(Scalar::Nested, Scalar::Text),
        Some(b'[' | b'{') | None => Scalar::Nested,
        Some(_) => Scalar::Text(text.to_owned()),
    }
}

/// Reads a JSON object as its members in order; serde's own maps would sort them.
struct OrderedMap;

impl<'de> Visitor<'de> for OrderedMap {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
