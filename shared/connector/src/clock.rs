//! The wall clock, which tests can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// What tells the time. Clones of one clock move together.
///
/// Everything that is stored, compared with stored times, or measured in metrics reads this clock at the moment when it
/// matters.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// How far it is ahead of the system's clock, in milliseconds; 0 but in tests.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        Timestamp::now()
            .saturating_add(ahead)
            .unwrap_or(Timestamp::MAX)
    }

    /// Sets the clock, from where it goes on by itself.
    pub fn set(&self, now: Timestamp) {
        let ahead = now.duration_since(Timestamp::now()).as_millis();
        self.ahead
            .store(i64::try_from(ahead).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}
