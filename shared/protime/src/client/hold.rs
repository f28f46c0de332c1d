//! Waits that Protime asks of the whole client, not of one request.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::Client;
use crate::error::Error;
use crate::refusal::Refusal;
use crate::retry;

/// Protime asked one request to wait; all reads of the client wait with it.
#[derive(Clone)]
pub(super) struct Hold {
    /// By the wall clock: a frozen Lambda environment stops the monotonic one.
    until: Timestamp,
    refusal: Refusal,
}

impl Client {
    /// Protime's rate limit applies to the whole client, not to one of its requests.
    pub(super) fn hold_others_back(&self, error: &Error, delay: Duration) {
        let Some(refusal) = error.refusal() else {
            return;
        };
        let asked = refusal.status == 429 || refusal.retry_after.is_some();
        if asked && let Ok(until) = (self.clock)().saturating_add(delay) {
            let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
            if hold.as_ref().is_none_or(|hold| hold.until < until) {
                *hold = Some(Hold {
                    until,
                    refusal: refusal.clone(),
                });
            }
        }
    }

    /// How long the latest `Retry-After` still lasts, whichever request got it. `None` if none lasts.
    pub fn retry_after(&self) -> Option<Duration> {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = |hold: &&Hold| hold.refusal.retry_after.is_some();
        let until = hold.as_ref().filter(asked)?.until;
        let left = Duration::try_from(until.duration_since((self.clock)())).ok()?;
        Some(left).filter(|left| !left.is_zero())
    }

    pub(super) async fn wait_for_others(
        &self,
        attempts: u32,
        deadline: Instant,
    ) -> Result<Duration, Error> {
        let hold = self
            .hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(Hold { until, refusal }) = hold else {
            return Ok(Duration::ZERO);
        };
        let left = Duration::try_from(until.duration_since((self.clock)())).unwrap_or_default();
        if left.is_zero() {
            return Ok(Duration::ZERO);
        }
        let until = retry::after(left);
        if until >= deadline {
            let refusal = Refusal {
                retry_after: Some(left),
                ..refusal
            };
            return Err(Error::Deadline {
                attempts,
                last: Box::new(Error::Refused(Box::new(refusal))),
            });
        }
        sleep_until(until).await;
        Ok(left)
    }
}
