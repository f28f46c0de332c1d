//! Answers of Protime other than success: what they say, and what they ask of the caller.

use std::time::Duration;

use url::Url;

use crate::API_PATH;
use crate::catalogue::{Method, Operation, catalogue};
use crate::client::shown_path;
use crate::error_body::ErrorBody;
use crate::transport::HttpResponse;

/// What a refusal asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 401: the client needs another token, or scopes that it does not have.
    Unauthorized,
    /// 400, 404, 409 or 410 to a continuation. Its continuation token is invalid or has expired, so the list has to
    /// begin again (`reference/collections/breaks/work-interruptions/get-list`).
    InvalidContinuation,
    /// 410 to anything else: the delta has expired, and a full load has to follow.
    Gone,
    /// 409 to anything else: somebody else changed the same resource at the same time.
    Conflict,
    /// 414: the request has to be made shorter.
    TooLong,
    /// 429 or any 5xx: the same request may succeed later.
    Unavailable,
    /// 403: the client lacks a scope, or the tenant lacks a feature.
    Forbidden,
    /// Any other status: the request itself has to be changed.
    Invalid,
}

/// An answer of Protime other than success. Its body has any of the documented shapes of errors, or none
/// (`reference/responses`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The method of the request.
    pub method: Method,
    /// The path of the request, without the query.
    pub path: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Protime's code, such as `BadRequest`.
    pub code: Option<String>,
    /// Protime's message, or a description of a body that has none.
    pub message: String,
    /// The filter rules or business rules that the request breaks.
    pub reasons: Vec<String>,
    /// Failed model validations. The documentation does not show the items' shape, so they are kept as JSON.
    pub validation_errors: Vec<String>,
    /// The wait that the `Retry-After` header asks for.
    pub retry_after: Option<Duration>,
    /// Whether the request carried a `continuationToken`.
    pub is_continuation: bool,
    /// The scopes of the token. `None` if the token endpoint did not name them.
    pub granted: Option<Vec<String>>,
    /// A warning that `base_uri` and `access_token_url` belong to different tenants, if they do.
    pub tenant_mismatch: Option<String>,
}

impl std::error::Error for Refusal {}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Protime answered {} to {} {}: ",
            self.status, self.method, self.path
        )?;
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)?;
        if !self.reasons.is_empty() {
            write!(f, "; reasons: {}", self.reasons.join("; "))?;
        }
        if !self.validation_errors.is_empty() {
            write!(
                f,
                "; validation errors: {}",
                self.validation_errors.join("; ")
            )?;
        }
        if let Some(advice) = self.advice() {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

impl Refusal {
    /// The kind of the refusal, which follows from the status and from `is_continuation`.
    pub fn kind(&self) -> RefusalKind {
        match self.status {
            401 => RefusalKind::Unauthorized,
            400 | 404 | 409 | 410 if self.is_continuation => RefusalKind::InvalidContinuation,
            403 => RefusalKind::Forbidden,
            409 => RefusalKind::Conflict,
            410 => RefusalKind::Gone,
            414 => RefusalKind::TooLong,
            429 | 500.. => RefusalKind::Unavailable,
            _ => RefusalKind::Invalid,
        }
    }

    /// The client needs one of these scopes for the request. Empty if the catalogue does not know the request.
    pub fn scopes(&self) -> Vec<String> {
        self.operation()
            .map_or_else(Vec::new, Operation::needed_scopes)
    }

    fn operation(&self) -> Option<&'static Operation> {
        let path = self.path.strip_prefix(API_PATH)?;
        catalogue().operation_at(self.method, path)
    }

    /// What the user should check, where Protime's answer does not say it.
    fn advice(&self) -> Option<String> {
        let advice = match self.status {
            401 | 403 => self.advice_on_scopes(),
            300..=399 => "check the field `base_uri` of the secret".to_owned(),
            // The path is right, so `base_uri` must be wrong.
            404 if !self.is_continuation && self.is_collection() => {
                "Protime documents this path: check the field `base_uri` of the secret".to_owned()
            }
            _ => return None,
        };
        Some(match &self.tenant_mismatch {
            Some(mismatch) => format!("{advice}; {mismatch}"),
            None => advice,
        })
    }

    /// Whether the request went to a documented path without parameters.
    fn is_collection(&self) -> bool {
        let path = self.path.strip_prefix(API_PATH);
        self.operation()
            .is_some_and(|operation| Some(operation.path) == path)
    }

    fn advice_on_scopes(&self) -> String {
        let needed = self.scopes();
        let shown = quoted(&needed, " or ");
        match &self.granted {
            _ if needed.is_empty() => {
                "a scope may be missing, or the tenant may lack the feature".to_owned()
            }
            None => format!(
                "it needs the scope {shown}, which Protime has to have granted to the client, and the tenant the feature"
            ),
            Some(granted) if granted.iter().any(|scope| needed.contains(scope)) => format!(
                "it needs the scope {shown}, which the token has; the tenant may lack the feature, or the token is of another tenant than `base_uri`"
            ),
            Some(granted) if granted.is_empty() => {
                format!("it needs the scope {shown}; Protime granted none to the client")
            }
            Some(granted) => format!(
                "it needs the scope {shown}; granted are {}. Ask Protime to grant it, and add it to the field `scopes` of the secret",
                quoted(granted, ", ")
            ),
        }
    }

    /// Reads whatever body came with the status.
    pub(crate) fn of(method: Method, url: &Url, answer: &HttpResponse) -> Self {
        let (status, body) = (answer.status, &answer.body);
        let mut refusal = Self {
            method,
            path: shown_path(method, url),
            status,
            code: None,
            message: String::new(),
            reasons: Vec::new(),
            validation_errors: Vec::new(),
            retry_after: answer.retry_after,
            is_continuation: url
                .query_pairs()
                .any(|(name, _)| name == "continuationToken"),
            granted: None,
            tenant_mismatch: None,
        };
        let said = ErrorBody::read(body);
        refusal.code = said.code;
        refusal.message = said.message.unwrap_or_default();
        refusal.reasons = said.reasons;
        refusal.validation_errors = said.validation_errors;
        if refusal.message.is_empty() {
            refusal.message = match &answer.location {
                Some(location) if (300..400).contains(&status) => {
                    format!(
                        "redirect to {}, which is not followed",
                        without_query(location)
                    )
                }
                _ if body.is_empty() => "no body".to_owned(),
                _ if refusal.code.is_some()
                    || !refusal.reasons.is_empty()
                    || !refusal.validation_errors.is_empty() =>
                {
                    "no message".to_owned()
                }
                _ => format!(
                    "a {} body of {} bytes",
                    answer.content_type.as_deref().unwrap_or("non-JSON"),
                    body.len()
                ),
            };
        }
        refusal
    }
}

fn quoted(names: &[String], separator: &str) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(separator)
}

fn without_query(location: &str) -> &str {
    location.split(['?', '#']).next().unwrap_or_default()
}
