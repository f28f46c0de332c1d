//! What can go wrong between us and Protime, by what a caller can do about it.

use std::time::Duration;

use url::Url;

use crate::API_PATH;
use crate::catalogue::{Method, Operation, catalogue};
use crate::client::shown_path;
use crate::error_body::ErrorBody;
use crate::link::LinkError;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Protime answered, but not with success.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Protime could not be reached, or the connection broke.
    #[error("no answer from Protime to {request}: {reason}")]
    Transport {
        /// Method and path.
        request: String,
        /// What broke.
        reason: String,
        /// Whether the request may have reached Protime, so that a write may have happened.
        sent: bool,
    },
    /// Protime answered with success and something that is not the JSON we know.
    #[error("Protime answered {request} with status {status} and {problem}")]
    Content {
        /// Method and path.
        request: String,
        /// The success code.
        status: u16,
        /// What is wrong with the body, without showing it.
        problem: String,
        /// Whether the body looks cut off rather than wrong.
        truncated: bool,
    },
    /// The answer is larger than the caller has memory for.
    #[error(
        "Protime answered {request} with more than {} MiB, which is what the memory allows; narrow the request, or raise MemorySize",
        limit >> 20
    )]
    TooLarge {
        /// Method and path.
        request: String,
        /// What is taken, in bytes.
        limit: usize,
    },
    /// The token endpoint refused the client, also with settings read anew.
    #[error(
        "the token endpoint rejected the client of {settings} with `{code}`: check {}",
        rejected_fields(code)
    )]
    ClientRejected {
        /// Where the settings are.
        settings: String,
        /// The OAuth 2.0 error code, such as `invalid_client` or `invalid_scope`.
        code: String,
    },
    /// A host in the settings does not exist, or is not who it should be.
    #[error("{settings}, field `{field}`: {problem}")]
    WrongHost {
        /// Where the settings are.
        settings: String,
        /// The field with the host.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The token endpoint is unavailable or answers something that is not OAuth 2.0.
    #[error("no token from the token endpoint of {settings}: {reason}")]
    TokenEndpoint {
        /// Where the settings are.
        settings: String,
        /// What happened.
        reason: String,
        /// The status of its answer, if there was one.
        status: Option<u16>,
        /// Whether trying later may help.
        retryable: bool,
        /// When, if the endpoint said so.
        retry_after: Option<Duration>,
    },
    /// The settings could not be read again when there was no token.
    #[error("there is no token, and reading the settings again failed: {0}")]
    SettingsUnavailable(String),
    /// The settings read anew name another Protime.
    #[error(
        "there is no token, and the settings now have another base_uri; the next run will use it"
    )]
    BaseUriChanged,
    /// A link to follow is not to be followed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The caller's deadline leaves no time for a further attempt.
    #[error("gave up after {attempts} attempts, as the next would end after the deadline: {last}")]
    Deadline {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        last: Box<Error>,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.kind() == RefusalKind::Unavailable,
            Self::Transport { .. } => true,
            Self::Content { truncated, .. } => *truncated,
            Self::TokenEndpoint { retryable, .. } => *retryable,
            Self::TooLarge { .. }
            | Self::ClientRejected { .. }
            | Self::WrongHost { .. }
            | Self::SettingsUnavailable(_)
            | Self::BaseUriChanged
            | Self::Link(_)
            | Self::Deadline { .. } => false,
        }
    }

    /// How long Protime asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::TokenEndpoint { retry_after, .. } => *retry_after,
            Self::Deadline { last, .. } => last.retry_after(),
            _ => None,
        }
    }

    /// The status of Protime's refusal.
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// What Protime's refusal asks of the caller.
    pub fn refusal_kind(&self) -> Option<RefusalKind> {
        self.refusal().map(Refusal::kind)
    }

    /// Protime's refusal, if that is what it was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Deadline { last, .. } => last.refusal(),
            _ => None,
        }
    }
}

/// By the codes of RFC 6749, section 5.2.
fn rejected_fields(code: &str) -> &'static str {
    match code {
        "invalid_client" => "its fields `client_id` and `client_secret`",
        "invalid_scope" => "its field `scopes`: Protime has to have granted each of them",
        "unauthorized_client" => {
            "with Protime whether the client of its field `client_id` may use client credentials"
        }
        _ => "its fields `client_id`, `client_secret` and `scopes`",
    }
}

/// What a refusal asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 401: another token, or scopes that the client does not have.
    Unauthorized,
    /// 400, 404, 409 or 410 to a continuation: its paging token is invalid or has expired, so that the list has to begin
    /// again (`reference/collections/breaks/work-interruptions/get-list`).
    InvalidContinuation,
    /// 410 to anything else: the delta has expired, and everything has to be loaded anew.
    Gone,
    /// 409 to anything else: somebody else changed the same at the same time.
    Conflict,
    /// 414: the request has to be made shorter.
    TooLong,
    /// 429, or any 5xx: later.
    Unavailable,
    /// 403: a scope or a feature that the client does not have.
    Forbidden,
    /// The request itself has to be changed.
    Invalid,
}

/// An answer of Protime other than success, from any of the documented error bodies or none
/// (`reference/responses`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub method: Method,
    /// Of which path, without query.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// Protime's code, such as `BadRequest`.
    pub code: Option<String>,
    /// Protime's message, or a description of a body that has none.
    pub message: String,
    /// Broken filter or business rules.
    pub reasons: Vec<String>,
    /// Failed model validation; the items' shape is not documented, so they are kept as JSON.
    pub validation_errors: Vec<String>,
    /// The `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// Whether the request carried a `continuationToken`.
    pub is_continuation: bool,
    /// The scopes of the token, as far as the token endpoint named them.
    pub granted: Option<Vec<String>>,
    /// That the two addresses in the settings are of different tenants, if they are.
    pub tenants: Option<String>,
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
    /// What it asks of the caller.
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

    /// The scopes of which what was asked for needs one; none if the catalogue does not know it.
    pub fn scopes(&self) -> Vec<String> {
        self.operation()
            .map_or_else(Vec::new, Operation::needed_scopes)
    }

    fn operation(&self) -> Option<&'static Operation> {
        let path = self.path.strip_prefix(API_PATH)?;
        catalogue().operation_at(self.method, path)
    }

    /// What to look at, where Protime's answer does not say it.
    fn advice(&self) -> Option<String> {
        let advice = match self.status {
            401 | 403 => self.advice_on_scopes(),
            300..=399 => "check the field `base_uri` of the secret".to_owned(),
            // The path is right, so there is no such Protime.
            404 if !self.is_continuation && self.is_collection() => {
                "Protime documents this path: check the field `base_uri` of the secret".to_owned()
            }
            _ => return None,
        };
        Some(match &self.tenants {
            Some(tenants) => format!("{advice}; {tenants}"),
            None => advice,
        })
    }

    /// Whether it was asked for a documented path that is the same for everybody.
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
                "it needs the scope {shown}; granted are {}. Protime has to grant it, and the field `scopes` of the secret to name it",
                quoted(granted, ", ")
            ),
        }
    }

    /// Reads whatever body came with the status.
    pub(crate) fn new(
        method: Method,
        url: &Url,
        status: u16,
        content_type: Option<&str>,
        location: Option<&str>,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let mut refusal = Self {
            method,
            path: shown_path(method, url),
            status,
            code: None,
            message: String::new(),
            reasons: Vec::new(),
            validation_errors: Vec::new(),
            retry_after,
            is_continuation: url
                .query_pairs()
                .any(|(name, _)| name == "continuationToken"),
            granted: None,
            tenants: None,
        };
        let said = ErrorBody::read(body);
        refusal.code = said.code;
        refusal.message = said.message.unwrap_or_default();
        refusal.reasons = said.reasons;
        refusal.validation_errors = said.validation_errors;
        if refusal.message.is_empty() {
            refusal.message = match location {
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
                    content_type.unwrap_or("nameless"),
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
