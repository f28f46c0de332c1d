use std::fmt;
use std::time::Duration;

use connector::aws::credentials::CredentialsError;
use connector::aws::queue::QueueError;
use connector::contract::connection::ConnectionError;
use connector::contract::page_message::OversizedRecord;
use connector::contract::parameters::ParametersError;
use connector::store::StateError;
use connector::transformer::RunError;
use lambda_runtime::Diagnostic;
use protime::{RefusalKind, RequestError};
use strum::{IntoStaticStr, VariantArray};

/// Why a run failed. What happens to the run then:
///
/// | failure | at once | then |
/// |---|---|---|
/// | no connection, a response that breaks off, 429, 5xx | read again until the time is up, no sooner than `Retry-After` says; other chains of the client wait as well | handed over if a page came, else the invocation fails and the checkpoint stays |
/// | an empty or cut-off body; 409 without a paging token | read five times | fails; the checkpoint stays |
/// | a body that is not a list; a 2xx other than 200; a response larger than the memory limit | | fails; the checkpoint stays |
/// | 401 | once more with a new token, unless Protime refused a new one a moment ago | fails; the checkpoint stays |
/// | a host that does not exist or shows a wrong certificate; a token endpoint that is not one | | fails; the checkpoint stays |
/// | client id, secret or scopes rejected | once more with the current secret | fails; the checkpoint stays |
/// | 400, 404, 409 or 410 to a paging token | the chain restarts, once | the run ends |
/// | 414 to a paging token | the list is halved, and both halves start; not in a delta | the run ends |
/// | 410 to a delta link, or 72 hours without a poll | the same run loads everything again | |
/// | 400 or 404 to a delta link, or a link to another place | | the run ends, the link stays; `takeover` restarts the delta |
/// | any other 3xx or 4xx; a link to another place, or one that repeats; a record that no message can hold; a wrong connection or transformer | | the run ends |
/// | SQS refuses a message | sent again until the time is up | fails; the checkpoint stays |
/// | the state table is unavailable | the SDK retries | fails; the lease expires |
/// | another attempt holds the lease | | `skipped`; nothing more is sent |
///
/// A run that *fails* is tried again by Lambda, its continuation, the watch or its schedule, whichever comes first. A
/// run that *ends* loses its checkpoint: the next run starts from the beginning.
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
    #[error(
        "{source}. The delta of connection `{incoming}` returns this change at every poll, and blocks the later ones. Let the filter leave the record out, and set \"takeover\" to true or another text to load everything again"
    )]
    OversizedChange {
        incoming: String,
        source: OversizedRecord,
    },
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a message of the continuation queue is not one that the subscriber sends; delete it")]
    Continuation(#[source] serde_json::Error),
    #[error(
        "a message of the rings queue is not one that the doorbell sends, such as {{\"ring\": \"clockings\"}}; delete it"
    )]
    Ring(#[source] serde_json::Error),
    #[error(
        "the event is neither an incoming connection, nor continuations, nor rings, nor {{\"watch\": true}}, nor {{\"check\": <incoming connection>}}"
    )]
    UnknownEvent,
    #[error("the event is not JSON ({0}); an incoming connection is one JSON object")]
    NotJson(String),
    #[error(
        "connection `{0}` has ten due runs already while another is under way, so this one is dropped. Run it less often, or read less"
    )]
    TooManyDue(String),
    #[error("other runs of connection `{0}` held the lease at each attempt; start this run again")]
    Contended(String),
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
        "sync: Protime refuses the delta link of connection `{incoming}`: {source}. Each run tries the link again, for at most 72 hours. To load everything now, set \"takeover\" to true or another text"
    )]
    DeltaRefused {
        incoming: String,
        source: protime::Error,
    },
    #[error(
        "sync: connection `{owner}` owns the delta of `{entity}`. Protime documents one active delta per collection, presumably for each client. Use that connection, another client, or \"takeover\": true to end its delta"
    )]
    DeltaOwned { entity: String, owner: String },
    #[error(
        "no page was transferred before the time was up; raise SubscriberTimeout, or narrow the request"
    )]
    NoProgress,
    #[error("the sending side has stopped")]
    SendingStopped,
}

/// A stable word for each kind of error, for alarms, queries and the table in infra/OPERATIONS.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[expect(
    missing_docs,
    reason = "the table in infra/OPERATIONS.md says what each means"
)]
pub enum Kind {
    InvalidConnection,
    InvalidParameters,
    InvalidRequest,
    InvalidContinuation,
    InvalidRing,
    UnknownEvent,
    Credentials,
    ClientRejected,
    ProtimeRefused,
    ProtimeContent,
    ProtimeTooLarge,
    ProtimeLink,
    ProtimeUnavailable,
    OversizedRecord,
    Queue,
    State,
    TooManyDue,
    RunOfAnother,
    NoDeltaLink,
    DeltaConflict,
    DeltaRefused,
    NoProgress,
    /// Not an error. The history has this kind for an unfinished run that a run of the edited connection replaced.
    Dropped,
}

impl Kind {
    /// The name of this kind in logs, metrics and the history.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Error {
    /// The kind of this error, for alarms and queries.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connection(_) => Kind::InvalidConnection,
            Self::Credentials(_)
            | Self::Protime(
                protime::Error::TokenEndpoint {
                    retryable: false, ..
                }
                | protime::Error::WrongHost { .. }
                | protime::Error::SettingsUnavailable(_),
            ) => Kind::Credentials,
            Self::Parameters(_) => Kind::InvalidParameters,
            Self::Request(_) => Kind::InvalidRequest,
            Self::Protime(protime::Error::Refused(_)) => Kind::ProtimeRefused,
            Self::Protime(protime::Error::Link(_)) => Kind::ProtimeLink,
            Self::Protime(protime::Error::ClientRejected { .. }) => Kind::ClientRejected,
            Self::Protime(protime::Error::Content { .. }) => Kind::ProtimeContent,
            Self::Protime(protime::Error::TooLarge { .. }) => Kind::ProtimeTooLarge,
            Self::Protime(_) => Kind::ProtimeUnavailable,
            Self::OversizedRecord(_) | Self::OversizedChange { .. } => Kind::OversizedRecord,
            Self::Queue(_) | Self::SendingStopped => Kind::Queue,
            Self::State(_) | Self::Contended(_) => Kind::State,
            Self::Continuation(_) => Kind::InvalidContinuation,
            Self::Ring(_) => Kind::InvalidRing,
            Self::UnknownEvent | Self::NotJson(_) => Kind::UnknownEvent,
            Self::TooManyDue(_) => Kind::TooManyDue,
            Self::RunOfAnother { .. } => Kind::RunOfAnother,
            Self::NoDeltaLink => Kind::NoDeltaLink,
            Self::EditedDelta(_) | Self::DeltaOwned { .. } => Kind::DeltaConflict,
            Self::DeltaRefused { .. } => Kind::DeltaRefused,
            Self::NoProgress => Kind::NoProgress,
        }
    }

    /// The kind of Protime's refusal. None when Protime did not refuse a request.
    pub fn refusal_kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Protime(error) | Self::DeltaRefused { source: error, .. } => error.refusal_kind(),
            _ => None,
        }
    }

    /// The wait that Protime asked for in `Retry-After`. None when it asked for none.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Protime(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether somebody has to correct the client id, the client secret or the scopes.
    pub fn is_client_rejected(&self) -> bool {
        self.kind() == Kind::ClientRejected
    }

    /// Whether a retry fails again until somebody changes something.
    pub fn needs_operator(&self) -> bool {
        self.ends_run() || self.kind() == Kind::DeltaConflict
    }

    /// Whether no retry can finish the run, so that its checkpoint is useless.
    pub fn ends_run(&self) -> bool {
        match self {
            Self::Parameters(ParametersError::Run(RunError::Unavailable(_))) => false,
            Self::OversizedRecord(_)
            | Self::OversizedChange { .. }
            | Self::NoDeltaLink
            | Self::Connection(_)
            | Self::Parameters(_)
            | Self::Request(_)
            | Self::RunOfAnother { .. }
            | Self::DeltaRefused { .. }
            | Self::Protime(protime::Error::Link(_)) => true,
            _ => matches!(
                self.refusal_kind(),
                Some(
                    RefusalKind::InvalidContinuation
                        | RefusalKind::Gone
                        | RefusalKind::TooLong
                        | RefusalKind::Forbidden
                        | RefusalKind::Invalid
                )
            ),
        }
    }
}

/// An error as Lambda reports it: its kind and the whole message. The function has already logged it.
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
