//! What the functions derive from Lambda's context.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept back at the end of an invocation, to report what happened.
const RESERVE: Duration = Duration::from_secs(5);

/// What an invocation gets whose deadline is over before it begins: local stand-ins for Lambda send such.
const WITHOUT_DEADLINE: Duration = Duration::from_mins(1);

/// When work has to end, so that the outcome can still be reported. `ends` is Lambda's own deadline, in
/// milliseconds since 1970.
pub fn deadline(ends: u64) -> Instant {
    let ends = SystemTime::UNIX_EPOCH + Duration::from_millis(ends);
    let left = ends
        .duration_since(SystemTime::now())
        .unwrap_or(WITHOUT_DEADLINE);
    Instant::now() + left.saturating_sub(RESERVE)
}
