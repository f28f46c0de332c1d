//! A circuit breaker. While Protime is down, throttles or rejects a client, only an occasional trial call is made.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// This many failures in a row open the circuit.
const FAILURES: u32 = 3;
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// Every call of a rejected client requests a token, and Protime limits token requests.
const REJECTED_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// How long other calls wait for the result of the trial call.
const TRIAL: SignedDuration = SignedDuration::from_secs(15);

/// Why the circuit opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No response, or one that says that Protime is down.
    Outage,
    /// 429, or a response with `Retry-After`, with the wait that Protime asked for.
    Throttled(Option<Duration>),
    /// Protime rejects the client id, the client secret or the scopes. Or the settings name a wrong host, or cannot be
    /// read again.
    ClientRejected,
}

/// Counts failures in one execution environment, separately for each client: one tenant's outage does not affect
/// another.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<HashMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Timestamp>,
    /// Until when other calls wait for the trial call.
    trial_until: Option<Timestamp>,
}

/// The right to call Protime. Dropping an unused trial permit lets another call try.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    /// The client whose trial call this is. None for an ordinary call.
    trial_of: Option<String>,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(client) = &self.trial_of
            && let Some(state) = self.breaker.lock().get_mut(client)
        {
            state.trial_until = None;
        }
    }
}

impl CircuitBreaker {
    /// Permits a call to Protime, or returns how long to wait. After the wait, one trial call is permitted.
    pub fn permit(&self, client: &str, now: Timestamp) -> Result<Permit<'_>, SignedDuration> {
        let mut states = self.lock();
        let mut permit = Permit {
            breaker: self,
            trial_of: None,
        };
        let Some(state) = states.get_mut(client) else {
            return Ok(permit);
        };
        let Some(until) = state.open_until.max(state.trial_until) else {
            return Ok(permit);
        };
        if now < until {
            return Err(until.duration_since(now));
        }
        if state.open_until.is_some() {
            state.trial_until = Some(after(now, TRIAL));
            permit.trial_of = Some(client.to_owned());
        }
        Ok(permit)
    }

    /// Resets a client's failures after a response without trouble. While the circuit is open, such a response changes
    /// nothing: its call was sent before the trouble.
    pub fn answered(&self, client: &str, now: Timestamp) {
        let mut states = self.lock();
        let is_open = |state: &State| state.open_until.is_some_and(|until| until > now);
        if !states.get(client).is_some_and(is_open) {
            states.remove(client);
        }
    }

    /// Records that a call met trouble.
    pub fn failed(&self, client: &str, trouble: Trouble, now: Timestamp) {
        let mut states = self.lock();
        let state = states.entry(client.to_owned()).or_default();
        // While the circuit is open, failing calls were sent before and met the same trouble: they do not count again.
        if state.open_until.is_none_or(|until| until <= now) {
            state.failures = state.failures.saturating_add(1);
        }
        let grown = match state.failures.checked_sub(FAILURES) {
            Some(doublings) => (FIRST_PAUSE * 2_i32.pow(doublings.min(8))).min(LONGEST_PAUSE),
            None => SignedDuration::ZERO,
        };
        let pause = match trouble {
            Trouble::Outage => grown,
            Trouble::Throttled(asked) => {
                let asked = asked.map_or(SignedDuration::ZERO, |asked| {
                    asked.try_into().unwrap_or(SignedDuration::MAX)
                });
                grown.max(asked).max(FIRST_PAUSE)
            }
            Trouble::ClientRejected => REJECTED_PAUSE,
        };
        if pause.is_positive() {
            state.open_until = state.open_until.max(Some(after(now, pause)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn pause(breaker: &CircuitBreaker, client: &str, now: Timestamp) -> Option<SignedDuration> {
        breaker.permit(client, now).err()
    }

    #[test]
    fn it_opens_after_three_failures_and_lets_one_call_try() {
        let breaker = CircuitBreaker::default();
        for _ in 0..3 {
            assert_eq!(pause(&breaker, "a", NOW), None);
            breaker.failed("a", Trouble::Outage, NOW);
        }
        assert_eq!(pause(&breaker, "a", NOW), Some(FIRST_PAUSE));
        let later = NOW + FIRST_PAUSE;
        let permit = breaker.permit("a", later).unwrap();
        assert_eq!(pause(&breaker, "a", later), Some(TRIAL), "the others wait");
        drop(permit);
        let permit = breaker.permit("a", later).expect("it was not used");
        breaker.failed("a", Trouble::Outage, later);
        drop(permit);
        assert_eq!(pause(&breaker, "a", later), Some(FIRST_PAUSE * 2));
        assert_eq!(pause(&breaker, "b", later), None, "another tenant");
        breaker.answered("a", later);
        assert!(pause(&breaker, "a", later).is_some(), "sent before");
        let later = later + FIRST_PAUSE * 2;
        breaker.answered("a", later);
        assert_eq!(pause(&breaker, "a", later), None);
    }

    #[test]
    fn it_opens_at_once_for_as_long_as_protime_asks() {
        let breaker = CircuitBreaker::default();
        let asked = Duration::from_secs(90);
        breaker.failed("a", Trouble::Throttled(Some(asked)), NOW);
        breaker.failed("a", Trouble::Throttled(Some(Duration::ZERO)), NOW);
        assert_eq!(
            pause(&breaker, "a", NOW),
            Some(SignedDuration::from_secs(90))
        );
        breaker.failed("b", Trouble::ClientRejected, NOW);
        assert_eq!(pause(&breaker, "b", NOW), Some(REJECTED_PAUSE));
        breaker.failed("c", Trouble::Throttled(Some(Duration::MAX)), NOW);
        assert!(pause(&breaker, "c", NOW).is_some(), "no overflow");
        breaker.failed("d", Trouble::Throttled(Some(Duration::ZERO)), NOW);
        assert_eq!(pause(&breaker, "d", NOW), Some(FIRST_PAUSE));
    }
}
