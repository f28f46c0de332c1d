use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// The part of an invocation that is kept for handing over: a tenth, within these limits.
const LEAST_RESERVE: Duration = Duration::from_secs(10);
const MOST_RESERVE: Duration = Duration::from_mins(1);

/// What Lambda says about one invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The request id.
    pub request_id: String,
    /// When it started.
    pub now: Timestamp,
    /// When Lambda ends it, and with it the lease.
    pub ends: Timestamp,
    /// When no further page is asked for, so that the run can be handed over.
    pub fetch_until: Instant,
    /// When work has to end.
    pub deadline: Instant,
}

impl Invocation {
    /// Reads Lambda's context.
    pub fn from_context(context: &lambda_runtime::Context) -> Self {
        let left = connector::invocation::time_left(context.deadline);
        Self::new(&context.request_id, Timestamp::now(), left)
    }

    /// An invocation that starts `now` and has so much time.
    pub fn new(request_id: &str, now: Timestamp, left: Duration) -> Self {
        let reserve = (left / 10).clamp(LEAST_RESERVE, MOST_RESERVE);
        let ends = now.saturating_add(left).unwrap_or(Timestamp::MAX);
        Self {
            request_id: request_id.to_owned(),
            now,
            ends,
            fetch_until: Instant::now() + left.saturating_sub(reserve),
            deadline: connector::invocation::deadline(left),
        }
    }
}
