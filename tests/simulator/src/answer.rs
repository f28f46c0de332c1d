//! Answers: pages, and the error bodies of `reference/responses`.

use bytes::Bytes;
use serde_json::{Value, json};

/// An answer, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// The pieces of the body, in order.
    pub(crate) body: Vec<Bytes>,
}

impl Answer {
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::raw(status, vec![value.to_string().into()])
    }

    pub(crate) fn raw(status: u16, body: Vec<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body,
        }
    }

    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        // §7.2: Standard (most 4xx/5xx)
        Self::json(
            status,
            &json!({"error": {"code": code, "message": message}}),
        )
    }

    /// A broken filter rule or business rule.
    pub(crate) fn refused(reasons: &[String]) -> Self {
        // §7.2: Filter/business-rule rejection
        let error = json!({"code": "BadRequest", "message": "The request was refused.", "reasons": reasons});
        Self::json(400, &json!({"error": error}))
    }

    /// A failed model validation, without `error` around it. The documentation does not show the items' shape; here
    /// they are strings.
    pub(crate) fn not_valid(errors: &[String]) -> Self {
        // §7.2: **no `error` wrapper**
        let message = "The model is not valid.";
        Self::json(
            400,
            &json!({"code": "ValidationFailed", "message": message, "validationErrors": errors}),
        )
    }

    pub(crate) fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }
}
