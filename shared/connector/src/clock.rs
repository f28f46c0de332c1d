//! The wall clock, which tests can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Tells the time. Clones of one clock move together.
///
/// Read this clock for every time that is stored, compared with a stored time, or measured in metrics. Read it at the
/// moment that matters.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Milliseconds ahead of the system's clock; 0 except in tests.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// The current time, as tests may have moved it.
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        Timestamp::now()
            .saturating_add(ahead)
            .unwrap_or(Timestamp::MAX)
    }

    /// Moves the clock to `now`. It goes on from there.
    pub fn set(&self, now: Timestamp) {
        let ahead = now.duration_since(Timestamp::now()).as_millis();
        self.ahead
            .store(i64::try_from(ahead).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}
