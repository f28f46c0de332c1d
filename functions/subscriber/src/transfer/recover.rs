//! Recovery from refusals of a valid request: the chain restarts once, or splits in two.

use std::cell::Cell;

use connector::store::{Chain, LoadKind, Pending};
use protime::{RefusalKind, Shape};

use super::FetchEvent;
use crate::Error;

/// How a chain continues after a refusal.
#[derive(Debug, PartialEq)]
pub(super) enum Recovery {
    /// As two chains with half of the list each, since the continuation URL became too long.
    Split([String; 2]),
    /// From its first page, since Protime refused the paging token.
    Restart,
}

impl Recovery {
    /// None if the error is final.
    pub(super) fn of(error: &Error, pending: &Pending, load: LoadKind) -> Option<Self> {
        match error.refusal_kind()? {
            // Two requests would start two deltas.
            RefusalKind::TooLong if pending.next != pending.first && load == LoadKind::Full => {
                protime::halves_of_url(&pending.first).map(Self::Split)
            }
            RefusalKind::InvalidContinuation if !pending.chain.restarted => Some(Self::Restart),
            _ => None,
        }
    }

    /// The event for the sending side, and the chains to fetch.
    pub(super) fn begin_again(
        self,
        pending: Pending,
        error: &Error,
        count: &Cell<u32>,
    ) -> (FetchEvent<'static>, Vec<Pending>) {
        let chain = pending.number;
        match self {
            Self::Split([first, second]) => {
                tracing::warn!(chain, %error, "the continuation is too long; the list is halved and begun again");
                let added = count.replace(count.get() + 1);
                let event = FetchEvent::Split {
                    chain,
                    first: first.clone(),
                    added,
                    second: second.clone(),
                };
                (
                    event,
                    vec![beginning(chain, first), beginning(added, second)],
                )
            }
            Self::Restart => {
                tracing::warn!(chain, %error, "the paging token is refused; the chain begins again");
                let pending = Pending {
                    next: pending.first.clone(),
                    chain: pending.chain.begun_again(),
                    ..pending
                };
                (FetchEvent::Restart(chain), vec![pending])
            }
        }
    }
}

fn beginning(number: u32, first: String) -> Pending {
    Pending {
        number,
        next: first.clone(),
        chain: Chain::beginning(first.clone(), Shape::List),
        first,
    }
}
