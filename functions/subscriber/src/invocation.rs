use std::time::Duration;

use connector::clock::Clock;
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
    /// What tells the time.
    pub clock: Clock,
    /// When Lambda ends it, and with it the lease.
    pub ends: Timestamp,
    /// When no further page is asked for, so that the run can be handed over.
    pub fetch_until: Instant,
    /// When work has to end.
    pub deadline: Instant,
}

impl Invocation {
    /// Reads Lambda's context.
    pub fn from_context(context: &lambda_runtime::Context, clock: &Clock) -> Self {
        let left = connector::invocation::time_left(context.deadline);
        Self::new(&context.request_id, clock, left)
    }

    /// An invocation that starts now and has so much time.
    pub fn new(request_id: &str, clock: &Clock, left: Duration) -> Self {
        let reserve = (left / 10).clamp(LEAST_RESERVE, MOST_RESERVE);
        let ends = clock.now().saturating_add(left).unwrap_or(Timestamp::MAX);
        Self {
            request_id: request_id.to_owned(),
            clock: clock.clone(),
            ends,
            fetch_until: Instant::now() + left.saturating_sub(reserve),
            deadline: connector::invocation::deadline(left),
        }
    }
}
