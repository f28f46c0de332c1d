//! The decisions, as pure functions of what is known. They can be read and tested without AWS.
//!
//! A few verdicts are decided elsewhere. [`handling`](crate::handling) decides `invalid`, missing credentials and a
//! pause. `may_go_on` in [`attempt`](crate::attempt) decides `crashed`, another payload, and a parked message with the
//! same key. `end` in [`ending`](crate::ending) turns the last deferral into `expired`. The table in
//! [`after_lost_response`](connector::after_lost_response) says what follows a lost response: repeat, look up or park.
//!
//! What an attempt does:
//!
//! | what is known | what the attempt does |
//! |---|---|
//! | nothing, or that nothing was written | sends |
//! | a response was lost, and the operation can be repeated | sends again once the first write would be visible |
//! | a response was lost, and the record can be looked up | looks it up, and sends only if it is not there |
//! | a response was lost, and neither is possible | parks: `unknown-outcome` |
//!
//! What follows the response:
//!
//! | Protime's response | meaning | what follows |
//! |---|---|---|
//! | 2xx without a body, or with JSON | written | remembered for 30 days |
//! | another 2xx, 408, any 5xx except 503, no response to a sent request | perhaps written | the table above, from then on |
//! | 425, 429, 503, no connection, no token | not written | deferred |
//! | 409 to an update | a conflict | deferred, five times; then treated as refused |
//! | 404 to a deletion that may have happened | written | remembered for 30 days |
//! | any other | refused | parked: `refused`; `unknown-outcome` if an earlier attempt may have written |

use connector::after_lost_response::{AfterLostResponse, LookUp};
use jiff::{SignedDuration, Timestamp};
use protime::catalogue::Method;
use protime::{Error, RefusalKind};

use crate::circuit_breaker::Trouble;
use crate::dead_letter::{DeadLetter, Reason};
use crate::look_up::Found;
use crate::write_record::Waiting;

/// A 409 to an update is a conflict that may pass. After this many it counts as a refusal.
const MOST_CONFLICTS: u32 = 5;

/// The next step of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Send,
    /// An earlier attempt's write may still appear.
    Wait(SignedDuration),
    LookUp {
        rule: &'a LookUp,
        since: Timestamp,
    },
    Park(Unknown),
}

/// Why it remains unknown whether Protime has written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("this operation can neither be repeated nor looked up")]
    NoLookUp,
    #[error("it cannot be looked up: {0}")]
    CannotLookUp(String),
    #[error("a record of the same person and moment is there, which differs or cannot be compared")]
    Similar,
    #[error("several records equal it")]
    Several,
    #[error("its repetition was refused")]
    RepetitionRefused,
    #[error("an earlier attempt had another payload, made by another transformer")]
    ChangedPayload,
    #[error("another message under the same key was parked for this reason")]
    ParkedTwin,
}

impl Unknown {
    pub(crate) fn explanation(&self) -> String {
        format!(
            "an answer was lost, and it is not known whether Protime has written this: {self}. Look it up in Protime, then send it again or drop it"
        )
    }
}

/// What a failed write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Protime has not written; a later attempt may succeed.
    Unavailable,
    /// Protime may have written.
    Uncertain,
    /// Protime has not written: somebody else changed the same record at the same time.
    Conflict,
    /// Protime has not written, and no later attempt will succeed.
    Refused,
}

/// What follows a failed write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    Defer(Waiting),
    /// An earlier attempt deleted the record.
    AlreadyDeleted,
    /// Look up whether the record is still there, which tells whether the deletion happened.
    CheckDeletion,
    Park(DeadLetter),
}

/// What follows a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterLookUp<'a> {
    /// The record with this id belongs to the write.
    Settle(&'a str),
    Send,
    /// A slow write may still appear.
    Wait(SignedDuration),
    Park(Unknown),
}

/// The next step of a write that has begun.
pub(crate) fn step(
    uncertain: Option<Timestamp>,
    after_lost_response: &AfterLostResponse,
    now: Timestamp,
    settle_after: SignedDuration,
) -> Step<'_> {
    let Some(since) = uncertain else {
        return Step::Send;
    };
    match after_lost_response {
        AfterLostResponse::Repeat => match remaining_wait(since, now, settle_after) {
            Some(wait) => Step::Wait(wait),
            None => Step::Send,
        },
        AfterLostResponse::LookUp(rule) => Step::LookUp { rule, since },
        AfterLostResponse::Park => Step::Park(Unknown::NoLookUp),
    }
}

/// How much longer a write may take to appear after its response was lost. None if it would have appeared.
fn remaining_wait(
    since: Timestamp,
    now: Timestamp,
    settle_after: SignedDuration,
) -> Option<SignedDuration> {
    let wait = settle_after - now.duration_since(since);
    // A clock that was set back does not make the wait longer.
    (wait > SignedDuration::ZERO).then(|| wait.min(settle_after))
}

/// Classifies the error of a write.
pub(crate) fn classify(error: &Error, method: Method) -> Failure {
    match error {
        Error::Refused(refusal) => match refusal.status {
            408 | 500..=502 | 504.. => Failure::Uncertain,
            425 | 429 | 503 => Failure::Unavailable,
            409 if method == Method::Put => Failure::Conflict,
            _ => Failure::Refused,
        },
        Error::Transport { sent: true, .. } | Error::Content { .. } | Error::TooLarge { .. } => {
            Failure::Uncertain
        }
        Error::Deadline { last, .. } => classify(last, method),
        Error::Transport { sent: false, .. }
        | Error::ClientRejected { .. }
        | Error::WrongHost { .. }
        | Error::TokenEndpoint { .. }
        | Error::SettingsUnavailable(_)
        | Error::BaseUriChanged
        | Error::Link(_) => Failure::Unavailable,
    }
}

/// The trouble that an error means for the circuit breaker. None unless Protime is down, throttles or rejects the
/// client.
pub(crate) fn trouble(error: &Error) -> Option<Trouble> {
    match error {
        Error::Refused(refusal) => match (refusal.status, refusal.retry_after) {
            (429, asked) => Some(Trouble::Throttled(asked)),
            (500.., Some(asked)) => Some(Trouble::Throttled(Some(asked))),
            (500.., None) => Some(Trouble::Outage),
            _ => None,
        },
        Error::ClientRejected { .. } | Error::WrongHost { .. } | Error::SettingsUnavailable(_) => {
            Some(Trouble::ClientRejected)
        }
        Error::TokenEndpoint {
            retry_after: Some(asked),
            ..
        } => Some(Trouble::Throttled(Some(*asked))),
        Error::Transport { .. } | Error::TokenEndpoint { .. } | Error::Content { .. } => {
            Some(Trouble::Outage)
        }
        Error::Deadline { last, .. } => trouble(last),
        Error::TooLarge { .. } | Error::BaseUriChanged | Error::Link(_) => None,
    }
}

/// Decides what follows a failed write. `before` is what was known when the write was sent.
pub(crate) fn after_failure(
    error: &Error,
    method: Method,
    before: &Waiting,
    now: Timestamp,
) -> AfterFailure {
    match classify(error, method) {
        Failure::Unavailable => AfterFailure::Defer(before.clone()),
        Failure::Uncertain => AfterFailure::Defer(Waiting {
            // This response was lost now; an earlier attempt's was lost before.
            uncertain: Some(now),
            look_up: None,
            ..before.clone()
        }),
        Failure::Conflict if before.conflicts < MOST_CONFLICTS => AfterFailure::Defer(Waiting {
            conflicts: before.conflicts + 1,
            ..before.clone()
        }),
        Failure::Conflict | Failure::Refused => refused(error, method, before),
    }
}

/// Decides about a refused write. If an earlier attempt may have written, the refusal says nothing about that attempt.
fn refused(error: &Error, method: Method, before: &Waiting) -> AfterFailure {
    match (method, error.status(), before.uncertain) {
        (Method::Delete, Some(404), Some(_)) => AfterFailure::AlreadyDeleted,
        // Assignments answer 400 for an unknown id (`reference/collections/assignments/delete`).
        (Method::Delete, Some(400), Some(_)) => AfterFailure::CheckDeletion,
        (_, _, Some(_)) => AfterFailure::Park(repetition_refused(error)),
        (_, _, None) => AfterFailure::Park(letter(Reason::Refused, None, error)),
    }
}

/// The dead letter of a write that may have happened, and whose repetition was refused.
pub(crate) fn repetition_refused(error: &Error) -> DeadLetter {
    let unknown = Unknown::RepetitionRefused.explanation();
    letter(Reason::UnknownOutcome, Some(&unknown), error)
}

/// A dead letter that quotes Protime.
fn letter(reason: Reason, explanation: Option<&str>, error: &Error) -> DeadLetter {
    let said = match error.refusal() {
        // The whole refusal names the scope that the request needs.
        Some(refusal) if matches!(refusal.status, 401 | 403) => refusal.to_string(),
        Some(refusal) => refusal.message.clone(),
        None => error.to_string(),
    };
    let message = explanation.map_or_else(
        || said.clone(),
        |explanation| format!("{explanation}. Protime answered: {said}"),
    );
    match error.refusal() {
        Some(refusal) => DeadLetter::answered(reason, message, refusal),
        None => DeadLetter::new(reason, message),
    }
}

/// Decides after a complete look-up. It began at `began`; the response was lost at `since`.
pub(crate) fn after_look_up<'a>(
    found: &Found,
    unclaimed: &'a [String],
    since: Timestamp,
    began: Timestamp,
    settle_after: SignedDuration,
) -> AfterLookUp<'a> {
    match unclaimed {
        [id] => AfterLookUp::Settle(id),
        [] if found.has_similar => AfterLookUp::Park(Unknown::Similar),
        [] => match remaining_wait(since, began, settle_after) {
            Some(wait) => AfterLookUp::Wait(wait),
            None => AfterLookUp::Send,
        },
        _ => AfterLookUp::Park(Unknown::Several),
    }
}

/// Whether our own time limit ended the look-up, which says nothing about Protime.
pub(crate) fn is_own_limit(error: &Error) -> bool {
    match error {
        Error::Deadline { last, .. } => is_own_limit(last),
        Error::Transport { sent, .. } => *sent,
        _ => false,
    }
}

/// Whether a later look-up may succeed.
pub(crate) fn look_up_may_pass(error: &Error) -> bool {
    match error.refusal() {
        // Protime documents a conflict as temporary (`reference/responses`).
        Some(refusal) => {
            matches!(refusal.status, 408 | 425)
                || matches!(
                    refusal.kind(),
                    RefusalKind::Unavailable | RefusalKind::Conflict
                )
        }
        None => !matches!(error, Error::TooLarge { .. } | Error::Link(_)),
    }
}

#[cfg(test)]
mod tests;
