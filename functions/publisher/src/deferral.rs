//! Deferrals: why SQS has to deliver a message again, and when.

use std::time::Duration;

use connector::store::Pause;
use jiff::Timestamp;
use strum::{IntoStaticStr, VariantArray};

use crate::config::Rules;
use crate::delivery::Delivery;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(15);
/// Longest wait of a message. SQS hides a message for at most 12 hours, counted from its delivery.
const LONGEST_VISIBILITY: Duration = Duration::from_hours(11);

/// Why a message has to come again.
#[derive(Debug, Clone)]
pub(crate) struct Deferral {
    pub(crate) kind: Kind,
    pub(crate) because: String,
    /// The wait that the cause asks for. None for exponential backoff.
    after: Option<Duration>,
    /// The shortest wait, which Protime asks for.
    at_least: Duration,
}

/// A stable word for each cause, for queries and the table in infra/OPERATIONS.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[expect(
    missing_docs,
    reason = "the table in infra/OPERATIONS.md says what each means"
)]
pub enum Kind {
    InvalidOutgoing,
    Transformer,
    Credentials,
    ClientRejected,
    ProtimeUnavailable,
    Conflict,
    Settling,
    Elsewhere,
    NoTime,
    State,
    DeadLetterQueue,
    ResultsQueue,
    Paused,
}

impl Kind {
    /// The name of this kind in logs and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kind of an error of the Protime client that may pass.
    pub(crate) fn of(error: &protime::Error) -> Self {
        match error {
            protime::Error::ClientRejected { .. } => Self::ClientRejected,
            protime::Error::SettingsUnavailable(_)
            | protime::Error::WrongHost { .. }
            | protime::Error::TokenEndpoint {
                retryable: false, ..
            } => Self::Credentials,
            protime::Error::Deadline { last, .. } => Self::of(last),
            _ => Self::ProtimeUnavailable,
        }
    }

    /// Whether messages wait until somebody corrects the stack, its secret or its permissions.
    pub(crate) fn needs_operator(self) -> bool {
        match self {
            Self::InvalidOutgoing
            | Self::Transformer
            | Self::Credentials
            | Self::State
            | Self::DeadLetterQueue
            | Self::ResultsQueue => true,
            // A rejected client has its own metric and alarm.
            Self::ClientRejected
            | Self::ProtimeUnavailable
            | Self::Conflict
            | Self::Settling
            | Self::Elsewhere
            | Self::NoTime
            | Self::Paused => false,
        }
    }
}

impl Deferral {
    pub(crate) fn new(kind: Kind, because: impl Into<String>) -> Self {
        Self {
            kind,
            because: because.into(),
            after: None,
            at_least: Duration::ZERO,
        }
    }

    /// The deferral after an error of the Protime client that may pass.
    pub(crate) fn of(error: &protime::Error) -> Self {
        let because = error.status().map_or_else(
            || error.to_string(),
            |status| format!("Protime answered {status}"),
        );
        Self::new(Kind::of(error), because)
    }

    /// The deferral when too little of the invocation is left for the message.
    pub(crate) fn no_time() -> Self {
        Self::new(
            Kind::NoTime,
            "this invocation has no time left for it; the next one begins with it",
        )
        .soon()
    }

    /// The deferral when a call did not end in time.
    pub(crate) fn unanswered() -> Self {
        Self::new(
            Kind::State,
            "AWS did not answer before the invocation's deadline; a later delivery finds out how far this one came",
        )
    }

    /// The deferral while an operator has paused all publishing.
    pub(crate) fn paused(pause: &Pause, now: Timestamp) -> Self {
        let wait = pause.until.duration_since(now);
        Self::new(Kind::Paused, format!("publishing is {pause}")).after(wait.try_into().ok())
    }

    pub(crate) fn after(self, after: Option<Duration>) -> Self {
        Self { after, ..self }
    }

    /// The wait that Protime asks for raises the backoff, and never lowers it.
    pub(crate) fn with_retry_after(self, error: &protime::Error) -> Self {
        let at_least = error.retry_after().unwrap_or_default();
        Self { at_least, ..self }
    }

    /// With the shortest wait that SQS has.
    pub(crate) fn soon(self) -> Self {
        self.after(Some(Duration::ZERO))
    }

    /// Whether the message may be parked instead. It may not while another invocation may write it.
    pub(crate) fn can_expire(&self) -> bool {
        self.kind != Kind::Elsewhere
    }

    /// How long the message waits. Without a requested wait, the wait grows with each delivery. It is always long
    /// enough for the remaining receives to last. Whole seconds, rounded up, so that no message returns at once.
    pub(crate) fn delay(&self, delivery: &Delivery<'_>, now: Timestamp, rules: &Rules) -> Duration {
        let asked = self
            .after
            .unwrap_or_else(|| backoff(delivery.receive_count()))
            .max(self.at_least);
        let sparing = delivery.sparing_wait(now, rules).try_into();
        let sparing = sparing.unwrap_or_default();
        let delay = asked.max(sparing).min(LONGEST_VISIBILITY);
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0 || delay.is_zero());
        Duration::from_secs(seconds)
    }

    pub(crate) fn log(&self, message_id: &str, delay: Duration) {
        let (kind, because) = (self.kind.name(), &self.because);
        let seconds = delay.as_secs();
        if self.kind.needs_operator() || self.kind == Kind::ClientRejected {
            tracing::error!(
                messageId = message_id,
                kind,
                delaySeconds = seconds,
                error = because,
                "deferred"
            );
        } else {
            tracing::warn!(
                messageId = message_id,
                kind,
                delaySeconds = seconds,
                because,
                "deferred"
            );
        }
    }
}

/// Exponential backoff from one second to fifteen minutes, with full jitter.
pub(crate) fn backoff(receive_count: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << receive_count.saturating_sub(1).min(16));
    doubled.min(LONGEST).mul_f64(fastrand::f64())
}
