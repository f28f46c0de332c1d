//! A circuit breaker: while Protime is out, it is asked now and then only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// So many outage answers in a row open it.
const FAILURES: u32 = 3;
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);

/// Counts outage answers of one environment, for each client: one tenant's outage is not another's.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<HashMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Timestamp>,
}

impl Breaker {
    /// How long to leave Protime alone, if at all. When the time is over, one call is let through to try.
    pub fn pause(&self, client: &str, now: Timestamp) -> Option<SignedDuration> {
        let mut states = self.lock();
        let state = states.get_mut(client)?;
        let until = state.open_until?;
        if now < until {
            return Some(until.duration_since(now));
        }
        // Others wait for the one that tries.
        state.open_until = Some(now.saturating_add(FIRST_PAUSE).unwrap_or(Timestamp::MAX));
        None
    }

    /// Protime answered, whatever it said.
    pub fn answered(&self, client: &str) {
        self.lock().remove(client);
    }

    /// Protime is out.
    pub fn outage(&self, client: &str, now: Timestamp) {
        let mut states = self.lock();
        let state = states.entry(client.to_owned()).or_default();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            let doublings = (state.failures - FAILURES).min(8);
            let pause = (FIRST_PAUSE * 2_i32.pow(doublings)).min(LONGEST_PAUSE);
            state.open_until = Some(now.saturating_add(pause).unwrap_or(Timestamp::MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_three_failures_and_lets_one_call_try() {
        let breaker = Breaker::default();
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(breaker.pause("a", now), None);
            breaker.outage("a", now);
        }
        assert_eq!(breaker.pause("a", now), Some(FIRST_PAUSE));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.pause("a", later), None, "one tries");
        assert!(breaker.pause("a", later).is_some(), "the others wait");
        breaker.outage("a", later);
        assert_eq!(breaker.pause("a", later), Some(FIRST_PAUSE * 2));
        assert_eq!(breaker.pause("b", later), None, "another tenant");
        breaker.answered("a");
        assert_eq!(breaker.pause("a", later), None);
    }
}
