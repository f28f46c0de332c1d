use std::time::Duration;

use connector::clock::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// Kept for remembering, parking and telling what came of a write.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// A message is not begun with less time for its transformer, its token and its write.
const ENOUGH: Duration = Duration::from_secs(15);
/// The waits after calls of the store that fail, besides the SDK's own, in seconds.
const RETRIES: [u64; 4] = [1, 2, 4, 8];
/// A look-up gets this long, so that an outage does not hold up the batch.
const LOOK_UP: Duration = Duration::from_secs(15);

/// What Lambda says about one invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The request id.
    pub request_id: String,
    /// What tells the time.
    pub clock: Clock,
    /// When Lambda ends it, and with it every attempt at a write.
    pub ends: Timestamp,
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
        Self {
            request_id: request_id.to_owned(),
            clock: clock.clone(),
            ends: clock.now().saturating_add(left).unwrap_or(Timestamp::MAX),
            deadline: connector::invocation::deadline(left),
        }
    }

    /// Whether a message can be begun: what is not begun is deferred, and loses nothing.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() + ENOUGH <= self.write_until()
    }

    /// When Protime has to have answered a write.
    pub(crate) fn write_until(&self) -> Instant {
        self.deadline
            .checked_sub(AFTERWARDS)
            .unwrap_or(self.deadline)
    }

    /// When a look-up that begins now has to have ended.
    pub(crate) fn look_up_until(&self) -> Instant {
        self.write_until().min(Instant::now() + LOOK_UP)
    }

    /// Makes a call of the store, and makes it again for a while: what Protime answered is not to be lost over it.
    pub(crate) async fn retry<T, E: std::fmt::Display>(
        &self,
        call: impl AsyncFn() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut delays = RETRIES.into_iter().map(Duration::from_secs);
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match delays.next() {
                Some(delay) if Instant::now() + delay < self.deadline => {
                    tracing::warn!(%error, "asking again after a delay");
                    tokio::time::sleep(delay).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// A name for an attempt that no other has.
    pub(crate) fn token(&self) -> String {
        format!("{}/{:016x}", self.request_id, fastrand::u64(..))
    }
}
