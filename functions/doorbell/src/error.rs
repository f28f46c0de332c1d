use std::fmt;

use connector::aws::queue::QueueError;
use lambda_runtime::Diagnostic;
use strum::{IntoStaticStr, VariantArray};

/// The reason why an invocation put no ring into the queue and failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQS did not take the ring.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The event has not the form of a function URL's request. The parser's message is left out, since it quotes the
    /// event.
    #[error("the event is not a request to the function's URL; the doorbell takes no other")]
    NotARequest,
}

/// A stable word for each kind of error, for alarms and queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Kind {
    /// SQS did not take the ring.
    Queue,
    /// The event is not a request to the function's URL.
    UnknownEvent,
}

impl Kind {
    /// The word in logs and alarms, such as `Queue`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Error {
    /// The kind of this error.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Queue(_) => Kind::Queue,
            Self::NotARequest => Kind::UnknownEvent,
        }
    }
}

/// An error that is logged already, as Lambda reports it: the stable word and the whole message.
pub struct Diagnosis(Error);

impl Diagnosis {
    /// Logs an error, once.
    pub fn logged(error: Error) -> Self {
        tracing::error!(kind = error.kind().name(), %error, "the delivery is not answered");
        Self(error)
    }
}

impl fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the delivery is not answered ({}): {}",
            self.0.kind().name(),
            self.0
        )
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
