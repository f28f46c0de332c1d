use std::fmt;

use connector::connection::{ConnectionError, ParametersError};
use connector::credentials::CredentialsError;
use connector::page_message::OversizedRecord;
use connector::queue::QueueError;
use connector::state::StateError;
use lambda_runtime::Diagnostic;
use protime::RequestError;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each is what it wraps")]
pub enum Error {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Protime(#[from] protime::Error),
    #[error(transparent)]
    OversizedRecord(#[from] OversizedRecord),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the continuation message is not one of ours: {0}")]
    Continuation(serde_json::Error),
    #[error(
        "sync: Protime ended a delta without a deltaLink, so changes cannot be polled; report it to Protime"
    )]
    NoDeltaLink,
    #[error(
        "sync: the request of connection `{0}` was edited while its delta lives; set \"takeover\": true to load everything anew with it, or undo the edit"
    )]
    EditedDelta(String),
    #[error(
        "sync: Protime keeps one delta per client on `{entity}`, and connection `{owner}` has it; use that one, another client, or \"takeover\": true to end it"
    )]
    DeltaOwned { entity: String, owner: String },
    #[error(
        "no page was transferred before the time was up; raise SubscriberTimeout, or narrow the request"
    )]
    NoProgress,
    #[error("the sending side has stopped")]
    SendingStopped,
}

impl Error {
    /// A stable word for alarms and queries.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connection(_) => "InvalidConnection",
            Self::Credentials(_) => "Credentials",
            Self::Parameters(_) => "InvalidParameters",
            Self::Request(_) => "InvalidRequest",
            Self::Protime(protime::Error::Refused(_)) => "ProtimeRefused",
            Self::Protime(protime::Error::Link(_)) => "ProtimeLink",
            Self::Protime(protime::Error::ClientRejected { .. }) => "ClientRejected",
            Self::Protime(_) => "ProtimeUnavailable",
            Self::OversizedRecord(_) => "OversizedRecord",
            Self::Queue(_) | Self::SendingStopped => "Queue",
            Self::State(_) => "State",
            Self::Continuation(_) => "InvalidContinuation",
            Self::NoDeltaLink => "NoDeltaLink",
            Self::EditedDelta(_) | Self::DeltaOwned { .. } => "DeltaConflict",
            Self::NoProgress => "NoProgress",
        }
    }

    /// The status of Protime's refusal.
    pub fn protime_status(&self) -> Option<u16> {
        match self {
            Self::Protime(error) => error.status(),
            _ => None,
        }
    }

    /// Whether the run cannot be finished by trying again, so that its checkpoint is of no use.
    pub fn ends_run(&self) -> bool {
        match self {
            Self::OversizedRecord(_)
            | Self::NoDeltaLink
            | Self::Protime(protime::Error::Link(_)) => true,
            _ => self.protime_status().is_some_and(|status| {
                (300..500).contains(&status) && !matches!(status, 401 | 409 | 429)
            }),
        }
    }
}

/// An error as Lambda reports it: the stable word and the whole message.
pub struct Diagnosis(pub Error);

/// What the runtime logs, once, for an invocation that failed.
impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run failed ({}): {}", self.0.kind(), self.0)
    }
}

impl From<Diagnosis> for Diagnostic {
    fn from(Diagnosis(error): Diagnosis) -> Self {
        Self {
            error_type: error.kind().to_owned(),
            error_message: error.to_string(),
        }
    }
}
