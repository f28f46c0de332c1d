use std::fmt;

use connector::connection::{ConnectionError, ParametersError};
use connector::credentials::CredentialsError;
use connector::page_message::OversizedRecord;
use connector::queue::QueueError;
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
            Self::Queue(_) => "Queue",
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
