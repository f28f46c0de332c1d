//! How long to wait before trying again.

use std::time::Duration;

use jiff::Timestamp;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The wait before attempt number `attempts + 1`: what the server asked for, else exponential with jitter
/// between half and the whole, so that clients that failed together do not return together.
pub(crate) fn delay(attempts: u32, retry_after: Option<Duration>) -> Duration {
    if let Some(asked) = retry_after {
        return asked;
    }
    let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    doubled
        .min(LONGEST)
        .mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

/// A `Retry-After` header, in seconds or as an HTTP date.
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(header)
        .ok()?;
    Some(
        until
            .duration_since(now)
            .try_into()
            .unwrap_or(Duration::ZERO),
    )
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
        assert_eq!(
            delay(1, Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
    }
}
