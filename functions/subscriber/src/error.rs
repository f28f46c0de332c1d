use std::fmt;
use std::time::Duration;

use connector::connection::{ConnectionError, ParametersError};
use connector::credentials::CredentialsError;
use connector::page_message::OversizedRecord;
use connector::queue::QueueError;
use connector::store::StateError;
use lambda_runtime::Diagnostic;
use protime::RequestError;
use strum::{IntoStaticStr, VariantArray};

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
        "the event is neither an incoming connection, nor continuations, nor {{\"watch\": true}}"
    )]
    UnknownEvent,
    #[error(
        "ten runs of connection `{0}` are due already while another is under way; this one is not remembered. Let it run less often, or narrow what it reads"
    )]
    TooManyDue(String),
    #[error(
        "run `{run}` was completed by another connection of the name `{incoming}`, which asks for something else; give one of them another name"
    )]
    RunOfAnother { incoming: String, run: String },
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

/// A stable word for each kind of error, for alarms, queries and README's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[expect(missing_docs, reason = "README's table says what each means")]
pub enum Kind {
    InvalidConnection,
    InvalidParameters,
    InvalidRequest,
    InvalidContinuation,
    UnknownEvent,
    Credentials,
    ClientRejected,
    ProtimeRefused,
    ProtimeLink,
    ProtimeUnavailable,
    OversizedRecord,
    Queue,
    State,
    TooManyDue,
    RunOfAnother,
    NoDeltaLink,
    DeltaConflict,
    NoProgress,
}

impl Kind {
    /// The word.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Error {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connection(_) => Kind::InvalidConnection,
            Self::Credentials(_) => Kind::Credentials,
            Self::Parameters(_) => Kind::InvalidParameters,
            Self::Request(_) => Kind::InvalidRequest,
            Self::Protime(protime::Error::Refused(_)) => Kind::ProtimeRefused,
            Self::Protime(protime::Error::Link(_)) => Kind::ProtimeLink,
            Self::Protime(protime::Error::ClientRejected { .. }) => Kind::ClientRejected,
            Self::Protime(_) => Kind::ProtimeUnavailable,
            Self::OversizedRecord(_) => Kind::OversizedRecord,
            Self::Queue(_) | Self::SendingStopped => Kind::Queue,
            Self::State(_) => Kind::State,
            Self::Continuation(_) => Kind::InvalidContinuation,
            Self::UnknownEvent => Kind::UnknownEvent,
            Self::TooManyDue(_) => Kind::TooManyDue,
            Self::RunOfAnother { .. } => Kind::RunOfAnother,
            Self::NoDeltaLink => Kind::NoDeltaLink,
            Self::EditedDelta(_) | Self::DeltaOwned { .. } => Kind::DeltaConflict,
            Self::NoProgress => Kind::NoProgress,
        }
    }

    /// The status of Protime's refusal.
    pub fn protime_status(&self) -> Option<u16> {
        match self {
            Self::Protime(error) => error.status(),
            _ => None,
        }
    }

    /// How long Protime asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Protime(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether client id, client secret or scopes have to be corrected.
    pub fn is_client_rejected(&self) -> bool {
        self.kind() == Kind::ClientRejected
    }

    /// Whether the run cannot be finished by trying again, so that its checkpoint is of no use.
    pub fn ends_run(&self) -> bool {
        match self {
            Self::OversizedRecord(_)
            | Self::NoDeltaLink
            | Self::Connection(_)
            | Self::Parameters(_)
            | Self::Request(_)
            | Self::RunOfAnother { .. }
            | Self::Protime(protime::Error::Link(_)) => true,
            _ => self.protime_status().is_some_and(|status| {
                (300..500).contains(&status) && !matches!(status, 401 | 409 | 429)
            }),
        }
    }
}

/// An error as Lambda reports it: the stable word and the whole message. It is logged already.
pub struct Diagnosis(pub Error);

impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run failed ({}): {}", self.0.kind().name(), self.0)
    }
}

impl From<Diagnosis> for Diagnostic {
    fn from(Diagnosis(error): Diagnosis) -> Self {
        Self {
            error_type: error.kind().name().to_owned(),
            error_message: error.to_string(),
        }
    }
}
