//! What a function URL hands over, payload format 2.0
//! (`lambda/latest/dg/urls-invocation.html`, "Request and response payloads").

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A larger body, in bytes as Lambda hands it over, is no delivery. Lambda itself refuses those over 6 MB.
pub const LARGEST_BODY: usize = 1_048_576;

/// A request, without anything that is not needed: headers, query and body are not even kept.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    raw_path: String,
    #[serde(rename = "requestContext")]
    context: Context,
    #[serde(default)]
    body: Size,
}

#[derive(Debug, Deserialize)]
struct Context {
    http: Http,
}

#[derive(Debug, Deserialize)]
struct Http {
    method: String,
}

impl Request {
    /// What stands in the place of the token.
    pub(crate) fn token(&self) -> &str {
        self.raw_path.strip_prefix('/').unwrap_or_default()
    }

    pub(crate) fn is_post(&self) -> bool {
        self.context.http.method == "POST"
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.body.0 > LARGEST_BODY
    }
}

/// How long a text is, which is dropped.
#[derive(Debug, Default)]
struct Size(usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a body, which is text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        Ok(Size(text.len()))
    }

    fn visit_unit<E: Error>(self) -> Result<Size, E> {
        Ok(Size(0))
    }
}
