//! Failures between us and Protime, grouped by what a caller can do about them.

use std::time::Duration;

use crate::link::LinkError;
use crate::refusal::{Refusal, RefusalKind};

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Protime answered with a status other than success.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// Protime could not be reached, or the connection broke.
    #[error("no answer from Protime to {request}: {reason}")]
    Transport {
        /// Method and path, without the query.
        request: String,
        /// The cause, in words for a log.
        reason: String,
        /// Whether the request may have reached Protime, so that a write may have happened.
        sent: bool,
    },
    /// Protime answered with success, but the body is not the JSON that we expect.
    #[error("Protime answered {request} with status {status} and {problem}")]
    Content {
        /// Method and path, without the query.
        request: String,
        /// The success status that came with it.
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
        /// Method and path, without the query.
        request: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The token endpoint refused the client, even with settings that were read again.
    #[error(
        "the token endpoint rejected the client of {settings} with `{code}`: check {}",
        rejected_fields(code)
    )]
    ClientRejected {
        /// The place of the settings, for the reader of a log.
        settings: String,
        /// The OAuth 2.0 error code, such as `invalid_client` or `invalid_scope`.
        code: String,
    },
    /// A host in the settings does not exist, or its certificate is not accepted.
    #[error("{settings}, field `{field}`: {problem}")]
    WrongHost {
        /// The place of the settings, for the reader of a log.
        settings: String,
        /// The field of the settings that holds the host.
        field: &'static str,
        /// What is wrong with the host.
        problem: String,
    },
    /// The token endpoint is unavailable or answers something that is not OAuth 2.0.
    #[error("no token from the token endpoint of {settings}: {reason}")]
    TokenEndpoint {
        /// The place of the settings, for the reader of a log.
        settings: String,
        /// What the endpoint answered, or why no answer came.
        reason: String,
        /// The status of its answer, if there was one.
        status: Option<u16>,
        /// Whether trying later may help.
        retryable: bool,
        /// The wait that the endpoint asked for with `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No token could be had, and reading the settings again failed too.
    #[error("there is no token, and reading the settings again failed: {0}")]
    SettingsUnavailable(String),
    /// The settings that were read again have another `base_uri`.
    #[error(
        "there is no token, and the settings now have another base_uri; the next run will use it"
    )]
    BaseUriChanged,
    /// A link in an answer must not be followed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The caller's deadline leaves no time for a further attempt.
    #[error("gave up after {attempts} attempts, as the next would end after the deadline: {last}")]
    Deadline {
        /// How many attempts were made.
        attempts: u32,
        /// The failure of the last attempt.
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

    /// How long Protime or its token endpoint asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::TokenEndpoint { retry_after, .. } => *retry_after,
            Self::Deadline { last, .. } => last.retry_after(),
            _ => None,
        }
    }

    /// The status, if Protime refused the request.
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// What a refusal asks of the caller. `None` if Protime did not refuse the request.
    pub fn refusal_kind(&self) -> Option<RefusalKind> {
        self.refusal().map(Refusal::kind)
    }

    /// The refusal, if Protime sent one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Deadline { last, .. } => last.refusal(),
            _ => None,
        }
    }
}

/// The settings to check, by the error codes of RFC 6749, section 5.2.
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
