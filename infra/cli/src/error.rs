//! The errors of commands, with their exit codes.

use connector::aws::credentials::CredentialsError;
use subscriber::Fault;

/// The exit codes of protimectl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Ok = 0,
    Other = 1,
    Usage = 2,
    Unhealthy = 3,
    Aws = 10,
    Connection = 11,
    Secret = 12,
    Unreachable = 13,
    ClientRejected = 14,
    Scope = 15,
    Refused = 16,
    Unavailable = 17,
    Role = 18,
    DeltaOwned = 19,
    Interrupted = 130,
}

impl From<Fault> for Code {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Connection => Self::Connection,
            Fault::Secret => Self::Secret,
            Fault::Unreachable => Self::Unreachable,
            Fault::ClientRejected => Self::ClientRejected,
            Fault::Scope => Self::Scope,
            Fault::Refused => Self::Refused,
            Fault::Unavailable => Self::Unavailable,
            Fault::Role => Self::Role,
            Fault::DeltaOwned => Self::DeltaOwned,
        }
    }
}

/// The reason why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments contradict each other or are incomplete.
    #[error("{0}")]
    Usage(String),
    /// An AWS service refused a request or cannot be reached.
    #[error("{what}: {reason}")]
    Aws { what: String, reason: String },
    /// A connection, a publish request or a template is wrong.
    #[error("{0}")]
    Connection(String),
    /// An error of the subscriber's own library.
    #[error(transparent)]
    Run(subscriber::Error),
    #[error(
        "interrupted; the change may be made in part. Look at the state before you repeat the command"
    )]
    Interrupted,
    #[error("{0}")]
    Other(String),
}

impl From<subscriber::Error> for Error {
    fn from(error: subscriber::Error) -> Self {
        match error {
            // The function's text names its role and the role's parameters; here the operator's rights count.
            subscriber::Error::Credentials(CredentialsError::Forbidden { name, reason }) => {
                Self::Aws {
                    what: format!("secret `{name}`: you may not read it"),
                    reason,
                }
            }
            error => Self::Run(error),
        }
    }
}

impl Error {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Usage(_) => Code::Usage,
            Self::Aws { .. } => Code::Aws,
            Self::Connection(_) => Code::Connection,
            // The operator's rights were missing, not those of the function's role.
            Self::Run(error) if error.fault() == Fault::Role => Code::Aws,
            Self::Run(error) => error.fault().into(),
            Self::Interrupted => Code::Interrupted,
            Self::Other(_) => Code::Other,
        }
    }

    /// An error of the AWS SDK. `what` names the action that failed.
    pub(crate) fn aws<E>(what: impl Into<String>, error: &aws_sdk_sqs::error::SdkError<E>) -> Self
    where
        E: aws_sdk_sqs::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        Self::Aws {
            what: what.into(),
            reason: connector::aws::describe(error),
        }
    }
}
