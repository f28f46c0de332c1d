//! The time of the last request, which decides when the console ends.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::held;

/// When a person last made a request.
pub(super) struct Activity(Mutex<Instant>);

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(super) fn seen(&self) {
        *held(&self.0) = Instant::now();
    }

    /// Returns after a time of `idle` without a request.
    pub(super) async fn ends_after(&self, idle: Duration) {
        loop {
            let end = *held(&self.0) + idle;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
