//! Chains: the independent requests of a run, and how far each has come.
//!
//! A run can have thousands of chains. Their first URLs are stored once, in items of their own. The checkpoint holds
//! only the chains in progress, since `DynamoDB` bills the whole item for each update.

use std::collections::BTreeMap;

use protime::{CycleDetector, Shape};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::counts::Counts;
use super::{StateError, StateTable, StoredTexts};

/// Longest list of URLs that stays in the checkpoint, in bytes.
const MOST_INLINE: usize = 4_096;
/// Longest text of one item in bytes. An item holds 400 KB, including attribute names and keys.
const LONGEST_PART: usize = 300_000;

/// The chains of a run. A chain is a request and the pages that follow it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Chains {
    /// Where the first URLs are stored. None if they are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// How many chains of the plan have begun, in order.
    begun: u32,
    /// How many chains there are, including those added by a split.
    count: u32,
    /// Chains that have begun and not ended, by number.
    open: BTreeMap<u32, Chain>,
    /// Totals of the chains that have ended.
    ended: Done,
}

/// Where the first URLs of the chains are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    texts: StoredTexts,
    /// The number of the first chain in each text.
    starts: Vec<u32>,
    chains: u32,
    shape: Shape,
}

/// Totals of ended chains.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Done {
    counts: Counts,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delta_link: Option<String>,
}

/// A chain that has begun: a request, and the pages that follow it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The URL of the first page. None if the plan has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    /// The URL of the next page: a whole URL, or the part to append to the first one. None for the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The number of the next page, from 0.
    pub page: u64,
    /// Totals of what was sent.
    counts: Counts,
    /// Size of Protime's responses in bytes.
    bytes: u64,
    /// Whether the chain has restarted once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted: bool,
    /// The shape that Protime's first page must have.
    #[serde(default)]
    pub shape: Shape,
    /// Detects page links that repeat.
    #[serde(default)]
    pub trail: CycleDetector,
    /// The delta link of the last page. None before that, or without a delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delta_link: Option<String>,
}

/// A page whose messages SQS has accepted.
#[derive(Debug, Clone)]
pub struct PageSent {
    /// The URL of the next page. None after the last one.
    pub next: Option<String>,
    /// Totals of the page.
    pub counts: Counts,
    /// Size of the response in bytes, after decoding.
    pub bytes: u64,
    /// The delta link of the page. None if it has none.
    pub delta_link: Option<String>,
    /// Detects page links that repeat.
    pub trail: CycleDetector,
}

/// A chain that still has pages to fetch.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The chain's number, from 0.
    pub number: u32,
    /// The URL of its first page.
    pub first: String,
    /// The URL of its next page.
    pub next: String,
    /// The stored progress of the chain.
    pub chain: Chain,
}

impl Chain {
    /// A chain before its first page.
    pub fn beginning(first: String, shape: Shape) -> Self {
        Self {
            first: Some(first),
            shape,
            ..Self::default()
        }
    }

    /// The same chain from its first page, marked as restarted.
    #[must_use]
    pub fn begun_again(self) -> Self {
        Self {
            first: self.first,
            shape: self.shape,
            restarted: true,
            ..Self::default()
        }
    }

    fn next_url(&self, first: &str) -> String {
        match &self.next {
            None => first.to_owned(),
            Some(rest) if rest.starts_with(['&', '?']) => format!("{first}{rest}"),
            Some(url) => url.clone(),
        }
    }
}

/// The part of a link that has to be stored. Most links are the first URL with a paging token, so the token is enough.
fn shortened(next: String, first: &str) -> String {
    match next.strip_prefix(first) {
        Some(rest) if rest.starts_with(['&', '?']) => rest.to_owned(),
        _ => next,
    }
}

impl Chains {
    /// The chains of a run with a single request.
    pub fn one(first: String, shape: Shape) -> Self {
        Self {
            begun: 1,
            count: 1,
            open: BTreeMap::from([(0, Chain::beginning(first, shape))]),
            ..Self::default()
        }
    }

    /// How many chains there are, including those added by a split.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The chains that have begun and not ended, by number.
    pub fn open(&self) -> &BTreeMap<u32, Chain> {
        &self.open
    }

    /// How many chains have ended.
    pub fn finished(&self) -> u32 {
        let waiting = self.planned().saturating_sub(self.begun);
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.count.saturating_sub(waiting).saturating_sub(open)
    }

    /// Whether all pages have been sent.
    pub fn is_finished(&self) -> bool {
        self.open.is_empty() && self.begun >= self.planned()
    }

    /// Totals of all chains.
    pub fn counts(&self) -> Counts {
        let open = self.open.values().map(|chain| chain.counts);
        open.chain([self.ended.counts]).sum()
    }

    /// Size of all responses of Protime in bytes.
    pub fn bytes(&self) -> u64 {
        let open = self.open.values().map(|chain| chain.bytes);
        open.sum::<u64>() + self.ended.bytes
    }

    /// The delta link that a chain ended with. None before the last page, or without a delta.
    pub fn delta_link(&self) -> Option<&str> {
        let mut open = self.open.values().map(|chain| &chain.delta_link);
        let found = open.find_map(Option::as_deref);
        found.or(self.ended.delta_link.as_deref())
    }

    /// Marks the chains of the plan as begun, up to and including `number`.
    pub fn begin(&mut self, number: u32) {
        let shape = self.plan.as_ref().map(|plan| plan.shape);
        for new in self.begun..=number {
            let chain = Chain {
                shape: shape.unwrap_or_default(),
                ..Chain::default()
            };
            self.open.insert(new, chain);
            self.begun = new + 1;
        }
    }

    /// Moves a chain past an accepted page. `first` is the URL of the chain's first page.
    pub fn page_sent(&mut self, number: u32, first: &str, page: PageSent) {
        let Some(chain) = self.open.get_mut(&number) else {
            return;
        };
        chain.page += 1;
        chain.counts = [chain.counts, page.counts].into_iter().sum();
        chain.bytes += page.bytes;
        chain.trail = page.trail;
        chain.delta_link = page.delta_link.or(chain.delta_link.take());
        match page.next {
            Some(next) => chain.next = Some(shortened(next, first)),
            None => self.end(number),
        }
    }

    fn end(&mut self, number: u32) {
        if let Some(chain) = self.open.remove(&number) {
            self.ended.counts = [self.ended.counts, chain.counts].into_iter().sum();
            self.ended.bytes += chain.bytes;
            self.ended.delta_link = chain.delta_link.or(self.ended.delta_link.take());
        }
    }

    /// Restarts a chain from its first page.
    pub fn restart(&mut self, number: u32) {
        if let Some(chain) = self.open.get_mut(&number) {
            *chain = std::mem::take(chain).begun_again();
        }
    }

    /// Restarts a chain as two: `first` and `second` are their first URLs, `added` is the second one's number.
    pub fn split(&mut self, number: u32, first: String, added: u32, second: String) {
        self.open
            .insert(number, Chain::beginning(first, Shape::List));
        self.open
            .insert(added, Chain::beginning(second, Shape::List));
        self.count = self.count.max(added + 1);
    }

    fn planned(&self) -> u32 {
        self.plan.as_ref().map_or(0, |plan| plan.chains)
    }
}

/// The chains that are left to fetch, one by one. Their first URLs are read when needed.
#[derive(Debug)]
pub struct PendingChains<'a> {
    table: &'a StateTable,
    plan: Option<Plan>,
    open: std::collections::btree_map::IntoIter<u32, Chain>,
    next: u32,
    /// The part of the plan that was read last: its place and its lines.
    text: Option<(usize, Vec<String>)>,
}

impl<'a> PendingChains<'a> {
    /// The unfinished chains among `chains`.
    pub fn new(table: &'a StateTable, chains: &Chains) -> Self {
        Self {
            table,
            plan: chains.plan.clone(),
            open: chains.open.clone().into_iter(),
            next: chains.begun,
            text: None,
        }
    }

    /// The next chain, and whether it is new. None if no chain is left.
    pub async fn next(&mut self) -> Result<Option<(Pending, bool)>, StateError> {
        let begun = self.open.next();
        let is_new = begun.is_none();
        let (number, chain) = if let Some(begun) = begun {
            begun
        } else {
            let Some(plan) = self.plan.as_ref().filter(|plan| self.next < plan.chains) else {
                return Ok(None);
            };
            let chain = Chain {
                shape: plan.shape,
                ..Chain::default()
            };
            self.next += 1;
            (self.next - 1, chain)
        };
        let first = match &chain.first {
            Some(first) => first.clone(),
            None => self.first(number).await?,
        };
        let next = chain.next_url(&first);
        let pending = Pending {
            number,
            first,
            next,
            chain,
        };
        Ok(Some((pending, is_new)))
    }

    async fn first(&mut self, number: u32) -> Result<String, StateError> {
        let Some(plan) = &self.plan else {
            return Ok(String::new());
        };
        let place = plan.starts.partition_point(|start| *start <= number) - 1;
        if self.text.as_ref().is_none_or(|(read, _)| *read != place) {
            let text = self.table.text(&plan.texts, place).await?;
            self.text = Some((place, text.lines().map(str::to_owned).collect()));
        }
        let line = (number - plan.starts[place]) as usize;
        let lines = self.text.iter().map(|(_, lines)| lines);
        Ok(lines.flatten().nth(line).cloned().unwrap_or_default())
    }
}

impl StateTable {
    /// Plans the chains of a run that starts with these URLs. Many URLs are stored in items of their own.
    pub async fn plan(
        &self,
        incoming: &str,
        urls: Vec<String>,
        shape: Shape,
    ) -> Result<Chains, StateError> {
        let count = u32::try_from(urls.len()).unwrap_or(u32::MAX);
        let size: usize = urls.iter().map(String::len).sum();
        if size <= MOST_INLINE || count == 1 {
            let chains = urls.into_iter().map(|url| Chain::beginning(url, shape));
            return Ok(Chains {
                begun: count,
                count,
                open: (0..).zip(chains).collect(),
                ..Chains::default()
            });
        }
        let (mut texts, mut starts) = (Vec::<String>::new(), Vec::new());
        for (number, url) in (0..).zip(urls) {
            match texts.last_mut() {
                Some(text) if text.len() + url.len() < LONGEST_PART => {
                    text.push('\n');
                    text.push_str(&url);
                }
                _ => {
                    texts.push(url);
                    starts.push(number);
                }
            }
        }
        let plan = Plan {
            texts: self.store_texts(incoming, &texts).await?,
            starts,
            chains: count,
            shape,
        };
        Ok(Chains {
            plan: Some(plan),
            count,
            ..Chains::default()
        })
    }
}

/// Chains in the layout of this release.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    plan: Option<Plan>,
    begun: u32,
    count: u32,
    open: BTreeMap<u32, Chain>,
    ended: Done,
}

/// A chain in the layout of release 0.1.0, which stored all chains in a list, with whole URLs.
#[derive(Deserialize)]
struct EarlierChain {
    first: String,
    next: Option<String>,
    #[serde(flatten)]
    chain: Chain,
}

impl<'de> Deserialize<'de> for Chains {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        if json.get().starts_with('{') {
            let stored: Stored = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
            return Ok(Self {
                plan: stored.plan,
                begun: stored.begun,
                count: stored.count,
                open: stored.open,
                ended: stored.ended,
            });
        }
        let earlier: Vec<EarlierChain> =
            serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        let count = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
        let mut chains = Self {
            begun: count,
            count,
            ..Self::default()
        };
        for (number, stored) in (0..).zip(earlier) {
            let EarlierChain { first, next, chain } = stored;
            let is_ended = next.is_none();
            let next = next.filter(|next| *next != first);
            let chain = Chain {
                first: Some(first),
                next,
                ..chain
            };
            chains.open.insert(number, chain);
            if is_ended {
                chains.end(number);
            }
        }
        Ok(chains)
    }
}
