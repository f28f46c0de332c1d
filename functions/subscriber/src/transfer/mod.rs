//! Pages from Protime into the queue: chains are fetched at the same time ([`fetch`]), what Protime refuses is recovered
//! from ([`recover`]), messages are sent in batches, and the checkpoint follows what SQS has accepted ([`send`]).

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

/// Messages between those who fetch and the one who sends: enough to fill a batch.
const MESSAGES_UNDERWAY: usize = 10;
/// What all messages on their way to SQS may take: a call under way and the next.
const BYTES_UNDERWAY: usize = 2 * MESSAGE_LIMIT;

/// A run's transfer.
pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) header: &'a RunHeader,
    pub(crate) queue: &'a Queue,
    pub(crate) table: &'a StateTable,
    pub(crate) lease: &'a Lease,
    pub(crate) pagination: bool,
    pub(crate) concurrency: usize,
    /// The checkpoint is stored no more often.
    pub(crate) checkpoint_interval: Duration,
    pub(crate) clock: &'a Clock,
    /// No page is asked for after this.
    pub(crate) fetch_until: Instant,
    /// Nothing is sent after this.
    pub(crate) deadline: Instant,
    /// What the requests took.
    pub(crate) effort: Cell<Effort>,
}

/// Why no more is fetched.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// There is no more.
    AtTheEnd,
    /// There is no time for more, or not for the wait that this error needs.
    OutOfTime(Option<protime::Error>),
}

/// What the fetching side passes on, in the order of each chain.
enum FetchEvent<'a> {
    /// A chain of the plan begins, and with it those before it.
    Begin(u32),
    /// With its share of [`BYTES_UNDERWAY`].
    Message(Message, SemaphorePermit<'a>),
    /// All messages of a page were passed on before.
    PageEnd {
        chain: u32,
        /// The URL of the chain's first page.
        first: String,
        page: PageSent,
    },
    /// The chain begins again.
    Restart(u32),
    /// The chain begins again as two, of which the second is new.
    Split {
        chain: u32,
        first: String,
        added: u32,
        second: String,
    },
}

impl FetchEvent<'_> {
    /// What it takes of a call to SQS.
    fn size(&self) -> usize {
        match self {
            Self::Message(message, _) => message.size(),
            _ => 0,
        }
    }
}

/// Where the fetching side leaves what it has.
struct FetchSender<'a> {
    events: mpsc::Sender<FetchEvent<'a>>,
    byte_budget: &'a Semaphore,
}

impl<'a> FetchSender<'a> {
    /// Waits until the byte budget has room for it.
    async fn pass_on_message(&self, message: Message) -> Result<(), Error> {
        let size = u32::try_from(message.size().min(BYTES_UNDERWAY)).unwrap_or(u32::MAX);
        let byte_budget = self.byte_budget.acquire_many(size).await;
        let byte_budget = byte_budget.map_err(|_| Error::SendingStopped)?;
        self.pass_on(FetchEvent::Message(message, byte_budget))
            .await
    }

    /// Fails if the sending side has given up; its own error is the one that is reported.
    async fn pass_on(&self, event: FetchEvent<'a>) -> Result<(), Error> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Error::SendingStopped)
    }
}

impl Transfer<'_> {
    /// Transfers what the checkpoint in `state` leaves to do, and counts in `tally` what SQS has accepted.
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
        let byte_budget = Semaphore::new(BYTES_UNDERWAY);
        let (events, receiver) = mpsc::channel(MESSAGES_UNDERWAY);
        let sender = FetchSender {
            events,
            byte_budget: &byte_budget,
        };
        let fetch = async {
            let sender = sender;
            self.fetch(pending, &count, &sender).await
        };
        // If fetching fails, what was fetched before is still sent.
        let (fetched, sent) = tokio::join!(fetch, self.send(receiver, state, tally));
        sent?;
        fetched
    }
}
