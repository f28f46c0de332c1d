//! Messages, with bodies whose bytes are passed on without being copied.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

/// A message to be sent to SQS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// A stable id. On a FIFO queue its hash is the deduplication id.
    pub id: String,
    /// The message group, which a FIFO queue keeps in order.
    pub group: String,
    /// The body, in UTF-8.
    pub body: Body,
    /// The message attributes; at most ten.
    pub attributes: Vec<Attribute>,
    /// Delay before the first delivery in seconds, at most [`LONGEST_DELIVERY_DELAY`](super::LONGEST_DELIVERY_DELAY). FIFO queues need 0.
    pub delay_seconds: u32,
}

impl Message {
    /// The bytes that SQS counts: the body, and name, type and value of each attribute.
    pub fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(Attribute::size).sum::<usize>()
    }
}

/// An attribute of an SQS message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Name of the attribute, such as `type`.
    pub name: Cow<'static, str>,
    /// `String`, `Number` or `Binary`, optionally with a label such as `Number.float`.
    pub data_type: Cow<'static, str>,
    /// The value; base64 if the type is `Binary`.
    pub value: String,
}

impl Attribute {
    /// An attribute of type `String`.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            data_type: "String".into(),
            value: value.into(),
        }
    }

    /// The bytes that SQS counts for the attribute, or a few more.
    pub fn size(&self) -> usize {
        self.name.len() + self.data_type.len() + self.value.len()
    }

    pub(super) fn is_binary(&self) -> bool {
        self.data_type.starts_with("Binary")
    }
}

/// The body of a message, in pieces. Protime's bytes are passed on without being copied.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The pieces together are UTF-8.
    pieces: Vec<Bytes>,
}

impl Body {
    /// Appends a piece of text.
    pub fn push(&mut self, text: impl Into<Bytes>) {
        self.pieces.push(text.into());
    }

    /// The size of all pieces in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the pieces of another body.
    pub fn append(&mut self, mut other: Self) {
        self.pieces.append(&mut other.pieces);
    }

    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self {
            pieces: vec![text.into()],
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.pieces.concat()))
    }
}

/// Prints only the size, since bodies hold personal data.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
