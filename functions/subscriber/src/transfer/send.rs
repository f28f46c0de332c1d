//! Sends messages to SQS, and moves the checkpoint behind them.

use std::collections::VecDeque;
use std::time::Duration;

use connector::aws::queue::{Batch, MESSAGE_LIMIT};
use connector::store::ConnectionState;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

use super::{FetchEvent, MESSAGES_UNDERWAY, Transfer};
use crate::Error;
use crate::report::Tally;

/// How long a message waits for others that share its call. A page of Protime takes longer to arrive.
const LINGER: Duration = Duration::from_millis(5);

/// The content of one call to SQS, and the events to apply once SQS accepts it.
struct Call<'a> {
    batch: Batch,
    /// The byte budget of its messages, released when the call has ended.
    taken: Vec<SemaphorePermit<'a>>,
    reached: Vec<FetchEvent<'a>>,
}

impl Transfer<'_> {
    /// Sends messages in batches of what arrives within [`LINGER`]. A slow source is passed on at once, and a fast one
    /// fills the batches. Calls overlap, but their events are applied in the order of the calls, so the checkpoint never
    /// passes a call that SQS has not accepted.
    pub(super) async fn send(
        &self,
        mut events: mpsc::Receiver<FetchEvent<'_>>,
        state: &mut ConnectionState,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let most = self.calls_at_once();
        let mut calls = FuturesOrdered::new();
        let mut waiting = VecDeque::new();
        let mut more = true;
        let mut stored = Instant::now();
        let mut changed = false;
        while more || !calls.is_empty() {
            let (is_idle, has_room) = (calls.is_empty(), calls.len() < most);
            let reached = tokio::select! {
                Some(reached) = calls.next() => reached?,
                found = self.wait_for_items(&mut waiting, &mut events, is_idle), if more && has_room => {
                    more = found;
                    if more {
                        calls.push_back(self.send_call(self.next_call(&mut waiting)));
                    }
                    continue;
                }
            };
            for event in reached {
                changed = true;
                apply(event, state, tally);
            }
            if changed && stored.elapsed() >= self.checkpoint_interval {
                self.table.save(self.lease, state, true).await?;
                stored = Instant::now();
                changed = false;
            }
        }
        Ok(())
    }

    /// Makes one call to SQS. Returns the events to apply once SQS has accepted it.
    async fn send_call<'a>(&self, call: Call<'a>) -> Result<Vec<FetchEvent<'a>>, Error> {
        if !call.batch.is_empty() {
            self.queue.send(call.batch, self.deadline).await?;
        }
        drop(call.taken);
        Ok(call.reached)
    }

    /// Waits for something to send, then [`LINGER`] longer. While a call is under way, it waits until the next one is
    /// full. It takes no more than a call can carry, so that large messages do not pile up. False when nothing more will
    /// come.
    async fn wait_for_items<'a>(
        &self,
        waiting: &mut VecDeque<FetchEvent<'a>>,
        events: &mut mpsc::Receiver<FetchEvent<'a>>,
        is_idle: bool,
    ) -> bool {
        if waiting.is_empty() {
            match events.recv().await {
                Some(event) => waiting.push_back(event),
                None => return false,
            }
        }
        let until = if self.queue.is_fifo() {
            // A FIFO queue takes one message per call.
            Instant::now()
        } else if is_idle {
            Instant::now() + LINGER
        } else {
            self.deadline
        };
        let mut size: usize = waiting.iter().map(FetchEvent::size).sum();
        while size < MESSAGE_LIMIT
            && waiting.len() < 2 * MESSAGES_UNDERWAY
            && let Ok(Some(event)) = timeout_at(until, events.recv()).await
        {
            size += event.size();
            waiting.push_back(event);
        }
        true
    }

    fn next_call<'a>(&self, waiting: &mut VecDeque<FetchEvent<'a>>) -> Call<'a> {
        let mut call = Call {
            batch: self.queue.batch(),
            taken: Vec::new(),
            reached: Vec::new(),
        };
        while let Some(event) = waiting.pop_front() {
            match event {
                FetchEvent::Message(message, byte_budget) => match call.batch.push(message) {
                    Ok(()) => call.taken.push(byte_budget),
                    Err(message) => {
                        waiting.push_front(FetchEvent::Message(message, byte_budget));
                        break;
                    }
                },
                other => call.reached.push(other),
            }
        }
        call
    }
}

/// Moves the checkpoint past `event`, since SQS has accepted everything before it.
fn apply(event: FetchEvent<'_>, state: &mut ConnectionState, tally: &mut Tally) {
    let Some(checkpoint) = &mut state.checkpoint else {
        return;
    };
    let chains = &mut checkpoint.chains;
    match event {
        FetchEvent::Message(..) => {}
        FetchEvent::Begin(number) => chains.begin(number),
        FetchEvent::PageEnd { chain, first, page } => {
            tally.counts = [tally.counts, page.counts].into_iter().sum();
            tally.bytes += page.bytes;
            chains.page_sent(chain, &first, page);
        }
        FetchEvent::Restart(chain) => chains.restart(chain),
        FetchEvent::Split {
            chain,
            first,
            added,
            second,
        } => chains.split(chain, first, added, second),
    }
}
