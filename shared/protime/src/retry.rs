//! The wait before the next attempt.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a server can ask for. A longer one is cut to this, so that every wait ends.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

/// The wait before attempt number `attempts + 1`. It is exponential, with jitter between half and the whole, so that
/// clients that failed together do not return together. It is never shorter than the wait that the server asked for.
pub(crate) fn delay(attempts: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    let delay = doubled
        .min(LONGEST)
        .mul_f64(fastrand::f64().mul_add(0.5, 0.5));
    delay.max(retry_after.unwrap_or_default())
}

/// The instant after `delay`, which is cut to `LONGEST_ASKED`.
pub(crate) fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay.min(LONGEST_ASKED)).unwrap_or(now)
}

/// Reads a `Retry-After` header, in seconds or as an HTTP date.
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = Duration::from_secs(header.parse().unwrap_or(u64::MAX));
        return Some(seconds.min(LONGEST_ASKED));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(header)
        .ok()?;
    let wait = Duration::try_from(until.duration_since(now));
    Some(wait.unwrap_or(Duration::ZERO).min(LONGEST_ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_takes_seconds_and_http_dates() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after("60", now), Some(Duration::from_mins(1)));
        assert_eq!(
            retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now),
            Some(Duration::ZERO),
            "already over"
        );
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn delays_double_up_to_a_limit_and_follow_the_server() {
        for (attempts, milliseconds) in [
            (1, 500),
            (2, 1_000),
            (3, 2_000),
            (7, 30_000),
            (u32::MAX, 30_000),
        ] {
            let delay = delay(attempts, None);
            let longest = Duration::from_millis(milliseconds);
            assert!(
                delay >= longest / 2 && delay <= longest,
                "attempt {attempts}: {delay:?}"
            );
        }
        for (asked, wait) in [(7, 7), (u64::MAX, u64::MAX)] {
            let (asked, wait) = (Duration::from_secs(asked), Duration::from_secs(wait));
            assert_eq!(delay(1, Some(asked)), wait);
        }
        assert!(delay(3, Some(Duration::ZERO)) >= Duration::from_secs(1));
    }
}
