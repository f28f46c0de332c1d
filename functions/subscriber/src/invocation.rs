use std::time::Duration;

use connector::clock::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// Time kept for the hand-over: a tenth of the invocation, within these limits.
const LEAST_RESERVE: Duration = Duration::from_secs(10);
const MOST_RESERVE: Duration = Duration::from_mins(1);

/// Lambda's facts about one invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda's request id. Lambda's own retries share it.
    pub request_id: String,
    /// The wall clock, which tests can move.
    pub clock: Clock,
    /// When Lambda ends the invocation. The lease ends with it.
    pub ends: Timestamp,
    /// No page is requested after this, so that time remains for the hand-over.
    pub fetch_until: Instant,
    /// All work ends by this, so that the outcome can still be reported.
    pub deadline: Instant,
}

impl Invocation {
    /// Derives the limits from the deadline in Lambda's context.
    pub fn from_context(context: &lambda_runtime::Context, clock: &Clock) -> Self {
        let left = connector::invocation::time_left(context.deadline);
        Self::new(&context.request_id, clock, left)
    }

    /// An invocation that starts now and has `left` until Lambda ends it.
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
