//! One pass through all messages of a queue, of which some are taken and the others stay.
//!
//! What was received stays hidden until the pass is over, so that it does not come twice, and is then given back. If the
//! pass dies, SQS gives it back after [`HIDDEN_SECONDS`]. A message is deleted only after its taker has taken it. What was
//! sent since the pass began is never taken, so that it ends.
//!
//! # FIFO queues
//!
//! SQS shows nothing of a group behind a message that is hidden, and at most ten messages in one call. So a pass gives
//! what stays of a group back and receives it again, together with what comes next: a window of ten on each group.
//!
//! - Messages of one group are taken in their order, one after the other.
//! - What stays keeps its order, and fewer than ten that stay are not touched.
//! - Ten that stay fill the window, and hide what is behind them. A pass that only looks ends there, and says how many
//!   messages it did not see. A pass that takes turns the group round: each that stays is sent to the same queue, with
//!   body, attributes and group, and then deleted, until the first of these comes again. So they keep their order and
//!   the time when they were parked, which the deduplication id carries, but get new ids. [`Tally::put_behind`] counts
//!   them.
//! - A pass that dies loses nothing. Between sending and deleting, it leaves a message twice, with one idempotency key.
//!   In the middle of a turn, it leaves those that it has put behind after those that it has not reached. The same
//!   command, given again, puts that right: its turn ends at a message that is older than the one with which it began.
//!
//! What is not guaranteed: a message that is sent to a group while that is turned can come to lie between those that
//! stay; and what is taken between a pass that died in a turn and the next one is taken out of order.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use jiff::Timestamp;

use crate::error::Error;
use crate::queue::{BATCH, Message, Queue};

const HIDDEN_SECONDS: i32 = 120;

/// Who decides what is taken, and takes it.
pub(crate) trait Taker {
    /// Is asked once for each message, in order.
    fn wants(&mut self, message: &Message) -> bool;

    /// Once this is done, the message is deleted.
    async fn take(&mut self, message: &Message) -> Result<(), Error>;
}

/// What became of the messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) taken: usize,
    pub(crate) left: usize,
    /// How many of those that are left were sent to the end of their group.
    pub(crate) put_behind: usize,
    /// Whether the pass took so long that it did not see everything; it is not in `left`.
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

/// Shows every message, and takes none. Returns how many could not be seen, about.
pub(crate) async fn look(queue: &Queue, see: impl FnMut(&Message)) -> Result<usize, Error> {
    let size = if queue.is_fifo() {
        queue.size().await?
    } else {
        0
    };
    let (tally, result) = Pass::new(queue, None, Looker(see)).go().await;
    result?;
    Ok(size.saturating_sub(tally.left))
}

/// Takes what the taker wants of that which was sent before `start`.
///
/// What was done before a failure is told beside it.
pub(crate) async fn take(
    queue: &Queue,
    start: Timestamp,
    taker: impl Taker,
) -> (Tally, Result<(), Error>) {
    Pass::new(queue, Some(start), taker).go().await
}

struct Looker<F>(F);

impl<F: FnMut(&Message)> Taker for Looker<F> {
    fn wants(&mut self, message: &Message) -> bool {
        (self.0)(message);
        false
    }

    async fn take(&mut self, _: &Message) -> Result<(), Error> {
        Ok(())
    }
}

/// Messages in order; a standard queue is one group.
#[derive(Default)]
struct Group {
    /// What stays and is hidden.
    held: VecDeque<Message>,
    /// Whether more may be behind.
    is_open: bool,
    turn: Option<Turn>,
}

/// What stays of a group is being put behind.
struct Turn {
    /// The place of its first.
    from: (Timestamp, u128),
    /// The ids of what it has put behind.
    put: HashSet<String>,
}

struct Pass<'a, T> {
    queue: &'a Queue,
    /// None if nothing is taken.
    start: Option<Timestamp>,
    taker: T,
    seen: HashSet<String>,
    /// The ids of all that was put behind.
    behind: HashSet<String>,
    groups: BTreeMap<String, Group>,
    /// What was received and is not yet looked at.
    received: VecDeque<Message>,
    tally: Tally,
}

impl<'a, T: Taker> Pass<'a, T> {
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
        let mut known_ones = 0;
        loop {
            let opened = self.open().await?;
            self.received = self.queue.receive(HIDDEN_SECONDS).await?.into();
            let count = self.received.len();
            let mut asked = opened;
            asked.extend(self.received.iter().map(group_of));
            let with_news = self.handle().await?;
            known_ones = if with_news.is_empty() {
                known_ones + count
            } else {
                0
            };
            if self.queue.is_fifo() {
                for name in asked {
                    let has_news = with_news.contains(&name);
                    self.settle(name, has_news, count).await?;
                }
            }
            let is_through = count == 0 && !self.groups.values().any(|group| group.is_open);
            // In a long pass, what is held becomes visible and comes once more: at last nothing else comes.
            self.tally.is_incomplete = known_ones > self.seen.len() + self.behind.len();
            if is_through || self.tally.is_incomplete {
                return Ok(());
            }
        }
    }

    /// Gives back what is held of groups that may have more, but leaves room for more in one answer. Returns the groups.
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

    /// Takes what is wanted of that which was received, and holds the rest. Returns the groups with something new.
    async fn handle(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut with_news = BTreeSet::new();
        while let Some(message) = self.received.pop_front() {
            let name = group_of(&message);
            let group = self.groups.entry(name.clone()).or_default();
            let is_copy = self.behind.contains(&message.id);
            if !is_copy && self.seen.insert(message.id.clone()) {
                with_news.insert(name);
                let is_old = self.start.is_some_and(|start| message.sent < start);
                if self.taker.wants(&message) && is_old {
                    let taken = match self.taker.take(&message).await {
                        Ok(()) => self.queue.delete(&message).await,
                        failed => failed,
                    };
                    if taken.is_err() {
                        self.received.push_front(message);
                        return taken.map(|()| with_news);
                    }
                    self.tally.taken += 1;
                    continue;
                }
                self.tally.left += 1;
            } else {
                // Its time was over before the pass.
                group.held.retain(|held| held.id != message.id);
            }
            group.held.push_back(message);
        }
        Ok(with_news)
    }

    /// Turns a group round if need be, and decides whether to ask for more of it.
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

/// Puts what is held behind until the turn is over. Whether all of the group has been seen then.
async fn turn(
    group: &mut Group,
    queue: &Queue,
    behind: &mut HashSet<String>,
    tally: &mut Tally,
) -> Result<bool, Error> {
    while let Some(message) = group.held.pop_front() {
        let turn = group.turn.get_or_insert_with(|| Turn {
            from: message.order(),
            put: HashSet::new(),
        });
        let is_round = turn.put.contains(&message.id);
        // A pass that died in a turn has put this one behind.
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
