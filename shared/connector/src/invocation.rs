//! What the functions derive from Lambda's context.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept back at the end of an invocation, to report what happened.
const RESERVE: Duration = Duration::from_secs(5);
/// What an invocation gets whose deadline is over before it begins: local stand-ins for Lambda send such.
const WITHOUT_DEADLINE: Duration = Duration::from_mins(1);

/// How much time is left. `ends` is Lambda's deadline, in milliseconds since 1970.
pub fn time_left(ends: u64) -> Duration {
    let ends = SystemTime::UNIX_EPOCH + Duration::from_millis(ends);
    ends.duration_since(SystemTime::now())
        .unwrap_or(WITHOUT_DEADLINE)
}

/// When work has to end that has so much time, so that the outcome can still be reported.
pub fn deadline(left: Duration) -> Instant {
    Instant::now() + left.saturating_sub(RESERVE)
}
