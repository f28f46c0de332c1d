//! Values that both functions derive from Lambda's context.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

/// Reserved at the end of an invocation, to report its outcome.
const RESERVE: Duration = Duration::from_secs(5);
/// The time of an invocation whose deadline has passed before it begins. Local stand-ins for Lambda send such
/// deadlines.
const WITHOUT_DEADLINE: Duration = Duration::from_mins(1);

/// The event of an invocation, or why it cannot be parsed. So the function reports the error: the runtime's own message
/// would name Rust types.
#[derive(Debug)]
pub struct Event<T>(pub Result<T, String>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Event<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = T::deserialize(deserializer);
        Ok(Self(event.map_err(|error| error.to_string())))
    }
}

/// The time until `ends`, Lambda's deadline in milliseconds since 1970.
pub fn time_left(ends: u64) -> Duration {
    let ends = SystemTime::UNIX_EPOCH + Duration::from_millis(ends);
    ends.duration_since(SystemTime::now())
        .unwrap_or(WITHOUT_DEADLINE)
}

/// The time by which an invocation's work has to end if Lambda ends it after `left`. The rest is for the report.
pub fn deadline(left: Duration) -> Instant {
    Instant::now() + left.saturating_sub(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_told_and_not_an_error_of_the_runtime() {
        let read = |text: &'static str| {
            // The runtime parses it like this, without checking for the end.
            let mut json = serde_json::Deserializer::from_slice(text.as_bytes());
            Event::<Box<serde_json::value::RawValue>>::deserialize(&mut json)
                .unwrap()
                .0
        };
        assert_eq!(read("[1, 2]").unwrap().get(), "[1, 2]");
        assert_eq!(
            read("clock in").unwrap_err(),
            "expected value at line 1 column 1"
        );
    }
}
