//! What can go wrong, by exit code.

use connector::aws::credentials::CredentialsError;
use subscriber::Fault;

/// How the command line ends.
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

/// A command that could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A service of AWS refused, or cannot be reached.
    #[error("{what}: {reason}")]
    Aws { what: String, reason: String },
    /// A connection, a request or a template is wrong.
    #[error("{0}")]
    Connection(String),
    /// What the functions say of the same.
    #[error(transparent)]
    Run(subscriber::Error),
    #[error("interrupted; what was begun may be done in part")]
    Interrupted,
    #[error("{0}")]
    Other(String),
}

impl From<subscriber::Error> for Error {
    fn from(error: subscriber::Error) -> Self {
        match error {
            // The functions' own words name their role and its parameters.
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
            // It was done by the operator's own rights, not by those of the function's role.
            Self::Run(error) if error.fault() == Fault::Role => Code::Aws,
            Self::Run(error) => error.fault().into(),
            Self::Interrupted => Code::Interrupted,
            Self::Other(_) => Code::Other,
        }
    }

    /// An error of the AWS SDK, while `what` was done.
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
