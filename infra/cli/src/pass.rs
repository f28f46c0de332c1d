//! One pass through all messages of a queue. Some are taken, the others stay.
//!
//! A received message stays hidden until the pass ends, so that it does not come twice. It is then given back. If the
//! pass dies, SQS shows it again after [`HIDDEN_SECONDS`]. A message is deleted only after its taker has taken it. A
//! message that was sent after the pass began is never taken, so that the pass ends.
//!
//! # FIFO queues
//!
//! SQS returns at most ten messages for one call, and nothing of a group behind a hidden message. So a pass gives the
//! staying messages of a group back. It then receives them again together with the next ones: a window of ten on each
//! group.
//!
//! - Messages of one group are taken in their order, one after the other.
//! - What stays keeps its order. Fewer than ten messages that stay are not touched.
//! - Ten that stay fill the window and hide what is behind them. A pass that only looks ends there, and says how many
//!   messages it did not see. A pass that takes messages rotates the group. It sends each staying message to the same
//!   queue again, with body, attributes and group. Then it deletes the original. The rotation ends when the first of
//!   these comes again.
//!   The messages keep their order and their parking time, which the deduplication id carries, but get new ids.
//!   [`Tally::put_behind`] counts them.
//! - A pass that dies loses nothing. If it dies between sending and deleting, a message exists twice with one
//!   idempotency key. If it dies in a turn, the messages that it has put behind follow those that it has not reached.
//!   The same command repairs that: its turn ends at a message that is older than the one with which it began.
//!
//! Two things are not guaranteed. A message that is sent to a group during its turn can end up between those that stay.
//! If a pass dies in a turn, messages that are taken before the next pass are taken out of order.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use jiff::Timestamp;

use crate::error::Error;
use crate::queue::{BATCH, Message, Queue};

const HIDDEN_SECONDS: i32 = 120;

/// Decides which messages are taken, and takes them.
pub(crate) trait MessageHandler {
    /// Called once for each message, in order.
    fn wants(&mut self, message: &Message) -> bool;

    /// The message is deleted after this has succeeded.
    async fn take(&mut self, message: &Message) -> Result<(), Error>;
}

/// The result of a pass, in messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) taken: usize,
    pub(crate) left: usize,
    /// How many of `left` were sent to the end of their group.
    pub(crate) put_behind: usize,
    /// Whether the pass took so long that it did not see everything. What it did not see is not in `left`.
    pub(crate) is_incomplete: bool,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
        self.left += other.left;
        self.put_behind += other.put_behind;
        self.is_incomplete |= other.is_incomplete;
    }
}

/// Shows every message to `see` and takes none. Returns the approximate number of messages that it could not see.
pub(crate) async fn look(queue: &Queue, see: impl FnMut(&Message)) -> Result<usize, Error> {
    let size = if queue.is_fifo() {
        queue.size().await?
    } else {
        0
    };
    let (tally, result) = Pass::new(queue, None, Inspector(see)).go().await;
    result?;
    Ok(size.saturating_sub(tally.left))
}

/// Takes the messages that the taker wants, if they were sent before `start`.
///
/// If it fails, the tally still counts what was done before.
pub(crate) async fn take(
    queue: &Queue,
    start: Timestamp,
    taker: impl MessageHandler,
) -> (Tally, Result<(), Error>) {
    Pass::new(queue, Some(start), taker).go().await
}

struct Inspector<F>(F);

impl<F: FnMut(&Message)> MessageHandler for Inspector<F> {
    fn wants(&mut self, message: &Message) -> bool {
        (self.0)(message);
        false
    }

    async fn take(&mut self, _: &Message) -> Result<(), Error> {
        Ok(())
    }
}

/// The messages of a group, in order. A standard queue is one group.
#[derive(Default)]
struct Group {
    /// The messages that stay, hidden.
    held: VecDeque<Message>,
    /// Whether more messages may be behind the held ones.
    is_open: bool,
    turn: Option<Rotation>,
}

/// A turn: the staying messages of a group are sent to its end, one by one.
struct Rotation {
    /// The order of the first message that was put behind.
    from: (Timestamp, u128),
    /// The new ids of the messages that this turn has put behind.
    put: HashSet<String>,
}

struct Pass<'a, T> {
    queue: &'a Queue,
    /// The time when the pass began. `None` if nothing is taken.
    start: Option<Timestamp>,
    taker: T,
    seen: HashSet<String>,
    /// The new ids of all messages that were put behind.
    behind: HashSet<String>,
    groups: BTreeMap<String, Group>,
    /// Messages that were received but not yet handled.
    received: VecDeque<Message>,
    tally: Tally,
}

impl<'a, T: MessageHandler> Pass<'a, T> {
    fn new(queue: &'a Queue, start: Option<Timestamp>, taker: T) -> Self {
        Self {
            queue,
            start,
            taker,
            seen: HashSet::new(),
            behind: HashSet::new(),
            groups: BTreeMap::new(),
            received: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    async fn go(mut self) -> (Tally, Result<(), Error>) {
        let result = self.through().await;
        let mut hidden: Vec<Message> = self.received.into_iter().collect();
        for group in self.groups.into_values() {
            hidden.extend(group.held);
        }
        let given_back = self.queue.give_back(&hidden).await;
        (self.tally, result.and(given_back))
    }

    async fn through(&mut self) -> Result<(), Error> {
        let mut repeats = 0;
        loop {
            let opened = self.open().await?;
            self.received = self.queue.receive(HIDDEN_SECONDS).await?.into();
            let count = self.received.len();
            let mut asked = opened;
            asked.extend(self.received.iter().map(group_of));
            let with_new_messages = self.handle().await?;
            repeats = if with_new_messages.is_empty() {
                repeats + count
            } else {
                0
            };
            if self.queue.is_fifo() {
                for name in asked {
                    let has_news = with_new_messages.contains(&name);
                    self.settle(name, has_news, count).await?;
                }
            }
            let is_through = count == 0 && !self.groups.values().any(|group| group.is_open);
            // In a long pass, held messages become visible and are received again. In the end, nothing else comes.
            self.tally.is_incomplete = repeats > self.seen.len() + self.behind.len();
            if is_through || self.tally.is_incomplete {
                return Ok(());
            }
        }
    }

    /// Gives back the held messages of open groups. It leaves room for others in the next answer. Returns the groups.
    async fn open(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut opened = BTreeSet::new();
        let mut back = Vec::new();
        for (name, group) in &mut self.groups {
            if group.is_open && back.len() + group.held.len() < BATCH {
                back.extend(std::mem::take(&mut group.held));
                opened.insert(name.clone());
            }
        }
        self.queue.give_back(&back).await?;
        Ok(opened)
    }

    /// Takes the wanted messages among the received ones, and holds the rest. Returns the groups that had new messages.
    async fn handle(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut with_new_messages = BTreeSet::new();
        while let Some(message) = self.received.pop_front() {
            let name = group_of(&message);
            let group = self.groups.entry(name.clone()).or_default();
            let is_copy = self.behind.contains(&message.id);
            if !is_copy && self.seen.insert(message.id.clone()) {
                with_new_messages.insert(name);
                let is_old = self.start.is_some_and(|start| message.sent < start);
                if self.taker.wants(&message) && is_old {
                    let taken = match self.taker.take(&message).await {
                        Ok(()) => self.queue.delete(&message).await,
                        failed => failed,
                    };
                    if taken.is_err() {
                        self.received.push_front(message);
                        return taken.map(|()| with_new_messages);
                    }
                    self.tally.taken += 1;
                    continue;
                }
                self.tally.left += 1;
            } else {
                // The message became visible again during the pass.
                group.held.retain(|held| held.id != message.id);
            }
            group.held.push_back(message);
        }
        Ok(with_new_messages)
    }

    /// Starts or continues a turn of a group if needed. Then decides whether to ask for more of the group.
    async fn settle(&mut self, name: String, has_news: bool, count: usize) -> Result<(), Error> {
        let group = self.groups.entry(name).or_default();
        let mut is_over = false;
        if let Some(start) = self.start {
            let is_last =
                |message: &Message| message.sent >= start || self.behind.contains(&message.id);
            is_over = group.held.iter().any(is_last);
            let hides_more = has_news && !is_over && group.held.len() >= BATCH;
            if group.turn.is_some() || hides_more {
                is_over = turn(group, self.queue, &mut self.behind, &mut self.tally).await?;
            }
        }
        let has_room = group.held.len() < BATCH;
        let may_have_more = has_news || count == BATCH || group.turn.is_some() && count > 0;
        group.is_open = may_have_more && has_room && !is_over;
        Ok(())
    }
}

/// Puts held messages behind until the turn is over. Returns whether the whole group has been seen.
async fn turn(
    group: &mut Group,
    queue: &Queue,
    behind: &mut HashSet<String>,
    tally: &mut Tally,
) -> Result<bool, Error> {
    while let Some(message) = group.held.pop_front() {
        let turn = group.turn.get_or_insert_with(|| Rotation {
            from: message.order(),
            put: HashSet::new(),
        });
        let is_round = turn.put.contains(&message.id);
        // An earlier pass died in its turn, after it had put this message behind.
        let was_behind = message.order() < turn.from;
        if is_round || was_behind {
            group.turn = None;
            group.held.push_front(message);
            return Ok(is_round);
        }
        let put = match queue.put_behind(&message).await {
            Ok(id) => {
                turn.put.insert(id.clone());
                tally.put_behind += usize::from(!behind.contains(&message.id));
                behind.insert(id);
                queue.delete(&message).await
            }
            Err(error) => Err(error),
        };
        if put.is_err() {
            group.held.push_front(message);
            return put.map(|()| false);
        }
    }
    Ok(false)
}

fn group_of(message: &Message) -> String {
    message.group.clone().unwrap_or_default()
}
