//! A circuit breaker: while Protime is out, asks to be left alone, or rejects a client, it is asked now and then only.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// So many outage answers in a row open it.
const FAILURES: u32 = 3;
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// A rejected client asks for a token at every try, which Protime limits.
const REJECTED_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// So long the others wait for the one that tries.
const TRIAL: SignedDuration = SignedDuration::from_secs(15);

/// What makes it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer, or one that says that Protime is out.
    Outage,
    /// 429, or an answer with `Retry-After`: to be left alone for so long.
    Throttled(Option<Duration>),
    /// Client id, client secret or scopes are rejected.
    ClientRejected,
}

/// Counts the trouble of one environment, for each client: one tenant's outage is not another's.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<HashMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Timestamp>,
    /// Until when the others wait for the one that tries.
    trial_until: Option<Timestamp>,
}

/// The right to call Protime. Given back unused, it is another's.
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    /// Whose trial it is, if it is one.
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
    /// The right to call Protime, or how long to leave it alone. When the time is over, one call is let through to try.
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

    /// Protime answered a request with what it is to be answered with. That is no news where another call has met trouble
    /// since this one was sent.
    pub fn answered(&self, client: &str, now: Timestamp) {
        let mut states = self.lock();
        let is_open = |state: &State| state.open_until.is_some_and(|until| until > now);
        if !states.get(client).is_some_and(is_open) {
            states.remove(client);
        }
    }

    /// A call met trouble.
    pub fn failed(&self, client: &str, trouble: Trouble, now: Timestamp) {
        let mut states = self.lock();
        let state = states.entry(client.to_owned()).or_default();
        // Calls that were under way at the same time met the same trouble.
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
                let asked = asked.map_or(FIRST_PAUSE, |asked| {
                    asked.try_into().unwrap_or(SignedDuration::MAX)
                });
                grown.max(asked)
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
    }
}
