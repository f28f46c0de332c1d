//! Pages from Protime into the queue: chains are fetched at the same time, their messages sent in batches, and the
//! checkpoint follows what SQS has accepted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use connector::clock::Clock;
use connector::page_message::{Counts, RunHeader};
use connector::queue::{MESSAGE_LIMIT, Message, Queue};
use connector::store::{Chain, ConnectionState, Lease, StateTable};
use futures_util::{StreamExt, TryStreamExt, stream};
use protime::filter::Filter;
use protime::{Client, Page};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::Error;
use crate::report::Tally;

/// Messages between those who fetch and the one who sends: enough to fill a batch.
const MESSAGES_UNDERWAY: usize = 10;
/// What all messages on their way to SQS may take: a call under way and the next.
const BYTES_UNDERWAY: usize = 2 * MESSAGE_LIMIT;
/// How long a message waits for others that share its call. A page of Protime takes longer to come.
const LINGER: Duration = Duration::from_millis(5);

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
}

/// What the fetching side passes on, in the order of each chain.
enum Item<'a> {
    /// With its share of [`BYTES_UNDERWAY`].
    Message(Message, SemaphorePermit<'a>),
    /// All messages of a page were passed on before.
    PageEnd {
        chain: usize,
        next: Option<String>,
        counts: Counts,
        bytes: u64,
        delta_link: Option<String>,
    },
    /// The chain begins again, from this URL.
    Restart { chain: usize, first: String },
    /// A further chain, numbered after all others.
    NewChain { chain: usize, first: String },
}

impl Item<'_> {
    /// What it takes of a call to SQS.
    fn size(&self) -> usize {
        match self {
            Self::Message(message, _) => message.size(),
            _ => 0,
        }
    }
}

/// Where the fetching side leaves what it has.
struct Outlet<'a> {
    items: mpsc::Sender<Item<'a>>,
    room: &'a Semaphore,
}

impl<'a> Outlet<'a> {
    /// Waits until there is room for it.
    async fn pass_on_message(&self, message: Message) -> Result<(), Error> {
        let size = u32::try_from(message.size().min(BYTES_UNDERWAY)).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(size).await;
        let room = room.map_err(|_| Error::SendingStopped)?;
        self.pass_on(Item::Message(message, room)).await
    }

    /// Fails if the sending side has given up; its own error is the one that is reported.
    async fn pass_on(&self, item: Item<'a>) -> Result<(), Error> {
        let sent = self.items.send(item).await;
        sent.map_err(|_| Error::SendingStopped)
    }
}

/// Why no more is fetched.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// There is no more.
    AtTheEnd,
    /// There is no time for more, or not for the wait that this error needs.
    OutOfTime(Option<protime::Error>),
}

impl Transfer<'_> {
    /// Transfers what the checkpoint in `state` leaves to do, and counts in `tally` what SQS has accepted.
    pub(crate) async fn run(
        &self,
        state: &mut ConnectionState,
        tally: &mut Tally,
    ) -> Result<Stopped, Error> {
        let chains: Vec<Chain> = state
            .checkpoint
            .iter()
            .flat_map(|checkpoint| checkpoint.chains.clone())
            .collect();
        let count = AtomicU32::new(u32::try_from(chains.len()).unwrap_or(u32::MAX));
        let room = Semaphore::new(BYTES_UNDERWAY);
        let (items, receiver) = mpsc::channel(MESSAGES_UNDERWAY);
        let outlet = Outlet { items, room: &room };
        let fetch = async {
            let outlet = outlet;
            stream::iter(chains.into_iter().enumerate())
                .filter(|(_, chain)| std::future::ready(chain.next.is_some()))
                .map(|(number, chain)| self.fetch(number, chain, &count, &outlet))
                .buffer_unordered(self.concurrency)
                .try_fold(Stopped::AtTheEnd, |all, chain| {
                    std::future::ready(Ok(match (all, chain) {
                        (all, Stopped::AtTheEnd) | (all @ Stopped::OutOfTime(Some(_)), _) => all,
                        (_, chain) => chain,
                    }))
                })
                .await
        };
        // If fetching fails, what was fetched before is still sent.
        let (fetched, sent) = tokio::join!(fetch, self.send(receiver, state, tally));
        sent?;
        fetched
    }

    /// Fetches a chain, and what it had to be split into.
    async fn fetch(
        &self,
        number: usize,
        chain: Chain,
        count: &AtomicU32,
        outlet: &Outlet<'_>,
    ) -> Result<Stopped, Error> {
        let mut waiting = VecDeque::from([(number, chain)]);
        while let Some((number, mut chain)) = waiting.pop_front() {
            let error = match self.fetch_chain(number, &mut chain, outlet).await {
                Ok(Stopped::AtTheEnd) => continue,
                Ok(out_of_time) => return Ok(out_of_time),
                Err(error) => error,
            };
            let continued = chain.next.as_ref() != Some(&chain.first);
            match error.protime_status() {
                // The continuation is too long: half of the list makes it shorter.
                Some(414) if continued => {
                    let Some([first, second]) = halves(&chain.first) else {
                        return Err(error);
                    };
                    tracing::warn!(
                        chain = number,
                        "the continuation is too long; the list is halved and begun again"
                    );
                    let new = count.fetch_add(1, Ordering::Relaxed) as usize;
                    outlet
                        .pass_on(Item::NewChain {
                            chain: new,
                            first: second.clone(),
                        })
                        .await?;
                    outlet
                        .pass_on(Item::Restart {
                            chain: number,
                            first: first.clone(),
                        })
                        .await?;
                    waiting.push_back((
                        number,
                        Chain {
                            restarted: chain.restarted,
                            ..beginning(first)
                        },
                    ));
                    waiting.push_back((new, beginning(second)));
                }
                // The continuation has expired.
                Some(400 | 404 | 410) if continued && !chain.restarted => {
                    tracing::warn!(chain = number, %error, "the continuation is refused; the chain begins again");
                    let first = chain.first;
                    outlet
                        .pass_on(Item::Restart {
                            chain: number,
                            first: first.clone(),
                        })
                        .await?;
                    waiting.push_back((
                        number,
                        Chain {
                            restarted: true,
                            ..beginning(first)
                        },
                    ));
                }
                _ => return Err(error),
            }
        }
        Ok(Stopped::AtTheEnd)
    }

    async fn fetch_chain(
        &self,
        number: usize,
        chain: &mut Chain,
        outlet: &Outlet<'_>,
    ) -> Result<Stopped, Error> {
        let Some(next) = &chain.next else {
            return Ok(Stopped::AtTheEnd);
        };
        let mut pages = self.client.pages_from(next, self.fetch_until)?;
        let chain_number = u32::try_from(number).unwrap_or(u32::MAX);
        loop {
            if Instant::now() >= self.fetch_until {
                return Ok(Stopped::OutOfTime(None));
            }
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(Stopped::AtTheEnd),
                Err(error @ protime::Error::Deadline { .. }) => {
                    return Ok(Stopped::OutOfTime(Some(error)));
                }
                Err(error) => return Err(error.into()),
            };
            let messages = self
                .pass_on_messages(&page, chain_number, chain.page, outlet)
                .await?;
            let next = pages
                .position()
                .filter(|_| self.pagination)
                .map(Url::to_string);
            chain.next.clone_from(&next);
            chain.page += 1;
            let counts = Counts {
                pages: 1,
                records: page.records().len() as u64,
                messages,
            };
            tracing::debug!(
                chain = number,
                page = chain.page - 1,
                records = counts.records,
                "page read"
            );
            let bytes = page.bytes() as u64;
            let delta_link = page.delta_link.clone();
            let ends = next.is_none();
            outlet
                .pass_on(Item::PageEnd {
                    chain: number,
                    next,
                    counts,
                    bytes,
                    delta_link,
                })
                .await?;
            if ends {
                return Ok(Stopped::AtTheEnd);
            }
        }
    }

    async fn pass_on_messages(
        &self,
        page: &Page,
        chain: u32,
        number: u64,
        outlet: &Outlet<'_>,
    ) -> Result<u64, Error> {
        let mut count = 0;
        for message in self
            .header
            .page_messages(page, chain, number, self.clock.now())
        {
            outlet.pass_on_message(message?).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Sends messages in batches of what comes within a moment, so that a slow source is passed on at once and a
    /// fast one fills the batches.
    async fn send(
        &self,
        mut items: mpsc::Receiver<Item<'_>>,
        state: &mut ConnectionState,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let mut waiting: VecDeque<Item<'_>> = VecDeque::new();
        let mut stored = Instant::now();
        let mut changed = false;
        // A FIFO queue takes one message a call.
        let linger = if self.queue.is_fifo() {
            Duration::ZERO
        } else {
            LINGER
        };
        loop {
            if waiting.is_empty() {
                match items.recv().await {
                    Some(item) => waiting.push_back(item),
                    None => break,
                }
            }
            // No more than a call can carry, so that large messages do not pile up.
            let mut size: usize = waiting.iter().map(Item::size).sum();
            let until = Instant::now() + linger;
            while size < MESSAGE_LIMIT
                && waiting.len() < 2 * MESSAGES_UNDERWAY
                && let Ok(Some(item)) = timeout_at(until, items.recv()).await
            {
                size += item.size();
                waiting.push_back(item);
            }
            let mut batch = self.queue.batch();
            let mut reached = Vec::new();
            let mut taken = Vec::new();
            while let Some(item) = waiting.pop_front() {
                match item {
                    Item::Message(message, room) => match batch.push(message) {
                        Ok(()) => taken.push(room),
                        Err(message) => {
                            waiting.push_front(Item::Message(message, room));
                            break;
                        }
                    },
                    other => reached.push(other),
                }
            }
            if !batch.is_empty() {
                self.queue.send(batch, self.deadline).await?;
            }
            drop(taken);
            for item in reached {
                if let Item::PageEnd { counts, bytes, .. } = &item {
                    tally.counts = [tally.counts, *counts].into_iter().sum();
                    tally.bytes += bytes;
                }
                changed = true;
                apply(item, state);
            }
            if changed && stored.elapsed() >= self.checkpoint_interval {
                self.table.save(self.lease, state).await?;
                stored = Instant::now();
                changed = false;
            }
        }
        Ok(())
    }
}

/// Moves the checkpoint to where everything before `item` is accepted.
fn apply(item: Item<'_>, state: &mut ConnectionState) {
    let Some(checkpoint) = &mut state.checkpoint else {
        return;
    };
    let chains = &mut checkpoint.chains;
    match item {
        Item::Message(..) => {}
        Item::PageEnd {
            chain,
            next,
            counts,
            bytes,
            delta_link,
        } => {
            if let Some(chain) = chains.get_mut(chain) {
                chain.next = next;
                chain.page += 1;
                chain.counts = [chain.counts, counts].into_iter().sum();
                chain.bytes += bytes;
                chain.delta_link = delta_link.or(chain.delta_link.take());
            }
        }
        Item::Restart { chain, first } => {
            if let Some(chain) = chains.get_mut(chain) {
                *chain = Chain {
                    restarted: true,
                    ..beginning(first)
                };
            }
        }
        Item::NewChain { chain, first } => {
            // Chains that split at the same time may come in any order.
            while chains.len() <= chain {
                chains.push(Chain::default());
            }
            chains[chain] = beginning(first);
        }
    }
}

/// A chain of which nothing is sent yet.
pub(crate) fn beginning(first: String) -> Chain {
    Chain {
        next: Some(first.clone()),
        first,
        ..Chain::default()
    }
}

/// The URL in two, each with half of the longest list in its filter.
fn halves(url: &str) -> Option<[String; 2]> {
    let url = Url::parse(url).ok()?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let filter: Filter = pairs
        .iter()
        .find(|(name, _)| name == "filter")?
        .1
        .parse()
        .ok()?;
    let halves = protime::halves(&filter)?;
    Some(halves.map(|half| {
        let mut url = url.clone();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(pairs.iter().map(|(name, value)| match name.as_str() {
                "filter" => (name.clone(), half.to_string()),
                _ => (name.clone(), value.clone()),
            }));
        url.into()
    }))
}
