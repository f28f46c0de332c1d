//! One request of a probe and its answer.

use protime::catalogue::{Entity, Operation};
use protime::{HeaderMap, HeaderValue, RawAnswer};
use serde_json::Value;

/// A read to send.
pub(super) struct Ask {
    /// The request's name in the report. It contains nothing from a record.
    pub(super) what: String,
    pub(super) entity: &'static str,
    /// The path from `/connector/protimeapi/api/v1` on, or a `nextLink`.
    pub(super) target: String,
    pub(super) variation: Variation,
}

/// How the request differs from a usual read.
pub(super) enum Variation {
    Usual,
    Gzip,
    WithoutUserAgent,
    IfNoneMatch(HeaderValue),
    /// Sent with a token of one scope, which belongs to another list.
    NarrowToken,
    /// The target is a link in the answer to this earlier target.
    LinkIn(String),
}

impl Ask {
    pub(super) fn new(what: impl Into<String>, entity: &'static str, target: String) -> Self {
        Self {
            what: what.into(),
            entity,
            target,
            variation: Variation::Usual,
        }
    }

    pub(super) fn varied(self, variation: Variation) -> Self {
        Self { variation, ..self }
    }
}

/// The outcome of a request: an answer of any status, or the reason why there is none.
pub(super) struct Reply {
    pub(super) what: String,
    pub(super) entity: &'static str,
    pub(super) target: String,
    pub(super) outcome: Result<Answer, String>,
}

impl Reply {
    /// The answer if its status is 200.
    pub(super) fn success(&self) -> Option<&Answer> {
        let answer = self.outcome.as_ref().ok();
        answer.filter(|answer| answer.status == 200)
    }
}

/// An answer of any status, with what the report needs.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Empty,
    Json(Value),
    Other,
}

impl Answer {
    pub(super) fn new(raw: &RawAnswer) -> Self {
        let content = match serde_json::from_slice(&raw.body) {
            Ok(value) => Content::Json(value),
            Err(_) if raw.body.is_empty() => Content::Empty,
            Err(_) => Content::Other,
        };
        Self {
            status: raw.status,
            headers: raw.headers.clone(),
            content,
        }
    }

    /// The records, if the answer is a list.
    pub(super) fn records(&self) -> Option<&Vec<Value>> {
        let Content::Json(body) = &self.content else {
            return None;
        };
        body["value"].as_array()
    }

    pub(super) fn next_link(&self) -> Option<&str> {
        let Content::Json(body) = &self.content else {
            return None;
        };
        body["nextLink"].as_str()
    }
}

/// A list that was read successfully.
pub(super) struct List {
    pub(super) entity: &'static Entity,
    pub(super) operation: &'static Operation,
    pub(super) target: String,
    pub(super) first: Answer,
}

impl List {
    /// The id of the first record, if a path can hold it unencoded.
    pub(super) fn id(&self) -> Option<String> {
        let id = match &self.first.records()?.first()?["id"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let is_plain = id
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        is_plain.then_some(id)
    }
}
