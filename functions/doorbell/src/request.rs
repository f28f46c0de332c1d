//! The event of a function URL, payload format 2.0 (`lambda/latest/dg/urls-invocation.html`, "Request and response
//! payloads").

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// The largest body of a delivery, in bytes as Lambda hands it over (perhaps in base64). Lambda itself refuses bodies
/// over 6 MB.
pub const LARGEST_BODY: usize = 1_048_576;

/// A request to the function's URL. Headers, query and body are dropped while the event is read.
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
    /// The path without its first `/`: a token, if the request is a ring.
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

/// The length of a text in bytes. The text itself is dropped.
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
