use std::time::Duration;

use connector::clock::Clock;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::idempotency_store::StoreError;

/// Time reserved after a write to store, park and report its outcome.
const REPORTING_TIME: Duration = Duration::from_secs(3);
/// Least time to begin a message: for its transformer, its token and its write.
const LEAST_TIME: Duration = Duration::from_secs(15);
/// Time of a call of the store that begins late. So much is also left before the deadline for the result of a write.
const SHORTEST_CALL: Duration = Duration::from_secs(1);
/// Waits after failed calls of the store, in seconds; the SDK's own retries are extra.
const RETRIES: [u64; 4] = [1, 2, 4, 8];
/// Time limit of one look-up, so that an outage does not delay the batch.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(15);

/// Lambda's facts about one invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Lambda's request id, which begins the token of each attempt.
    pub request_id: String,
    /// The wall clock, which tests can move.
    pub clock: Clock,
    /// When Lambda ends the invocation, and with it every attempt at a write.
    pub ends: Timestamp,
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
        Self {
            request_id: request_id.to_owned(),
            clock: clock.clone(),
            ends: clock.now().saturating_add(left).unwrap_or(Timestamp::MAX),
            deadline: connector::invocation::deadline(left),
        }
    }

    /// Whether enough time is left to begin a message. A message that is not begun is deferred and loses nothing.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() + LEAST_TIME <= self.write_until()
    }

    /// The latest time for Protime's response to a write.
    pub(crate) fn write_until(&self) -> Instant {
        self.deadline
            .checked_sub(REPORTING_TIME)
            .unwrap_or(self.deadline)
    }

    /// The latest end of a look-up that begins now.
    pub(crate) fn look_up_until(&self) -> Instant {
        self.write_until().min(Instant::now() + LOOK_UP_TIMEOUT)
    }

    /// Calls the store, and retries until the deadline: Protime's response must not be lost because of it.
    pub(crate) async fn retry<T>(
        &self,
        call: impl AsyncFn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut delays = RETRIES.into_iter().map(Duration::from_secs);
        loop {
            let until = self.deadline.checked_sub(SHORTEST_CALL);
            let until = until.unwrap_or(self.deadline);
            let until = until.max(Instant::now() + SHORTEST_CALL);
            let error = match timeout_at(until, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => return Err(StoreError::Deadline),
            };
            match delays.next() {
                Some(delay) if Instant::now() + delay < self.deadline => {
                    tracing::warn!(%error, "a call to the state table failed; it is repeated after a delay");
                    tokio::time::sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// A token for an attempt, which no other attempt has.
    pub(crate) fn token(&self) -> String {
        format!("{}/{:016x}", self.request_id, fastrand::u64(..))
    }
}
