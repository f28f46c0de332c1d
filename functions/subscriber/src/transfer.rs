//! Moves pages from Protime into the queue. Chains are fetched concurrently ([`fetch`]) and recover from refusals
//! ([`recover`]). Messages are sent in batches, and the checkpoint follows what SQS has accepted ([`send`]).

mod fetch;
mod recover;
mod send;

use std::cell::Cell;
use std::time::Duration;

use connector::aws::queue::{MESSAGE_LIMIT, Message, Queue};
use connector::clock::Clock;
use connector::contract::page_message::RunHeader;
use connector::store::{ConnectionState, Lease, PageSent, PendingChains, StateTable};
use protime::{Client, Effort};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::Error;
use crate::report::Tally;

/// Chains for which one call to SQS at a time is fast enough. Each further call takes up to 2.5 MiB of memory: its
/// pages, and its content.
const CHAINS_PER_CALL: usize = 8;
/// Messages buffered between the fetching and the sending side: enough to fill a batch.
const MESSAGES_UNDERWAY: usize = 10;

pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) header: &'a RunHeader,
    pub(crate) queue: &'a Queue,
    pub(crate) table: &'a StateTable,
    pub(crate) lease: &'a Lease,
    pub(crate) pagination: bool,
    pub(crate) concurrency: usize,
    /// The shortest time between two writes of the checkpoint.
    pub(crate) checkpoint_interval: Duration,
    pub(crate) clock: &'a Clock,
    /// No page is requested after this.
    pub(crate) fetch_until: Instant,
    /// Nothing is sent after this.
    pub(crate) deadline: Instant,
    /// Requests, retries and waits of this invocation.
    pub(crate) effort: Cell<Effort>,
}

/// Why the fetching side requests no more pages.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// There are no more pages.
    AtTheEnd,
    /// There was no time for another page, or for the wait that this error demands.
    OutOfTime(Option<protime::Error>),
}

impl Stopped {
    /// The wait that Protime asked for in `Retry-After`. None when it asked for none.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::OutOfTime(Some(error)) => error.retry_after(),
            _ => None,
        }
    }
}

/// Events from the fetching to the sending side, in order within each chain.
enum FetchEvent<'a> {
    /// A planned chain begins, and with it all chains before it.
    Begin(u32),
    /// A message, with its share of the byte budget.
    Message(Message, SemaphorePermit<'a>),
    /// All messages of this page have been passed on.
    PageEnd {
        chain: u32,
        /// The URL of the chain's first page.
        first: String,
        page: PageSent,
    },
    /// The chain restarts from its first page.
    Restart(u32),
    /// The chain restarts as two; the second one is new.
    Split {
        chain: u32,
        first: String,
        added: u32,
        second: String,
    },
}

impl FetchEvent<'_> {
    /// Bytes of the call to SQS that this event fills.
    fn size(&self) -> usize {
        match self {
            Self::Message(message, _) => message.size(),
            _ => 0,
        }
    }
}

/// The fetching side's end of the channel.
struct FetchSender<'a> {
    events: mpsc::Sender<FetchEvent<'a>>,
    byte_budget: &'a Semaphore,
}

impl<'a> FetchSender<'a> {
    /// Waits until the byte budget has room for the message.
    async fn pass_on_message(&self, message: Message) -> Result<(), Error> {
        let size = u32::try_from(message.size().min(MESSAGE_LIMIT)).unwrap_or(u32::MAX);
        let byte_budget = self.byte_budget.acquire_many(size).await;
        let byte_budget = byte_budget.map_err(|_| Error::SendingStopped)?;
        self.pass_on(FetchEvent::Message(message, byte_budget))
            .await
    }

    /// Fails if the sending side has stopped. The sending side's own error is reported.
    async fn pass_on(&self, event: FetchEvent<'a>) -> Result<(), Error> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Error::SendingStopped)
    }
}

impl Transfer<'_> {
    /// Transfers the rest of the checkpoint in `state`, and counts in `tally` what SQS has accepted.
    pub(crate) async fn run(
        &self,
        state: &mut ConnectionState,
        tally: &mut Tally,
    ) -> Result<Stopped, Error> {
        let Some(checkpoint) = &state.checkpoint else {
            return Ok(Stopped::AtTheEnd);
        };
        let pending = PendingChains::new(self.table, &checkpoint.chains);
        let count = Cell::new(checkpoint.chains.count());
        // The calls in progress, and the next one.
        let byte_budget = Semaphore::new((self.calls_at_once() + 1) * MESSAGE_LIMIT);
        let (events, receiver) = mpsc::channel(MESSAGES_UNDERWAY);
        let sender = FetchSender {
            events,
            byte_budget: &byte_budget,
        };
        let fetch = async {
            let sender = sender;
            tokio::select! {
                fetched = self.fetch(pending, &count, &sender) => fetched,
                // What would be fetched now could not be sent.
                () = sender.events.closed() => Err(Error::SendingStopped),
            }
        };
        // If fetching fails, the pages fetched before are still sent.
        let (fetched, sent) = tokio::join!(fetch, self.send(receiver, state, tally));
        sent?;
        fetched
    }

    /// The most calls to SQS at the same time. A FIFO queue must get its messages in order.
    fn calls_at_once(&self) -> usize {
        if self.queue.is_fifo() {
            1
        } else {
            self.concurrency.div_ceil(CHAINS_PER_CALL).max(1)
        }
    }
}
