//! The independent requests of a run, and how far each has come.
//!
//! A run can have thousands of them. Their first URLs are kept in items of their own, written once; the checkpoint has
//! only those that are under way, since `DynamoDB` bills the whole item at every update.

use std::collections::BTreeMap;

use protime::{Shape, Trail};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::counts::Counts;
use super::{KeptTexts, StateError, StateTable};

/// URLs up to so many bytes together are kept in the checkpoint itself.
const MOST_INLINE: usize = 4_096;
/// Fewer bytes than an item can have (400 KB), attribute names and keys included.
const LONGEST_PART: usize = 300_000;

/// The independent requests of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Chains {
    /// Where the first URLs are kept, if they are many.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    /// So many chains of the plan were begun, in their order.
    begun: u32,
    /// So many chains there are, with those that had to be added.
    count: u32,
    /// The chains that were begun and have not ended.
    open: BTreeMap<u32, Chain>,
    /// What the others have done.
    ended: Done,
}

/// Where the first URLs of the chains are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    texts: KeptTexts,
    /// The number of the first chain in each text.
    starts: Vec<u32>,
    chains: u32,
    shape: Shape,
}

/// What chains have done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Done {
    counts: Counts,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delta_link: Option<String>,
}

/// A chain that was begun: a request, and the pages that follow it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The URL of its first page; none if it is in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    /// The URL of the next page: none for the first, what is appended to the first, or a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// The number of the next page.
    pub page: u64,
    /// What was sent so far.
    counts: Counts,
    /// Bytes of Protime's responses so far.
    bytes: u64,
    /// Whether it had to begin again once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restarted: bool,
    /// What its first page has to be.
    #[serde(default)]
    pub shape: Shape,
    /// What finds links that repeat.
    #[serde(default)]
    pub trail: Trail,
    /// The delta link of its last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delta_link: Option<String>,
}

/// A page of a chain whose messages are accepted.
#[derive(Debug, Clone)]
pub struct PageSent {
    /// The URL of the next page; none at the end.
    pub next: Option<String>,
    /// What the page was.
    pub counts: Counts,
    /// Its decoded size.
    pub bytes: u64,
    /// The delta link on it.
    pub delta_link: Option<String>,
    /// What finds links that repeat.
    pub trail: Trail,
}

/// A chain that is left to fetch.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its number.
    pub number: u32,
    /// The URL of its first page.
    pub first: String,
    /// The URL of its next page.
    pub next: String,
    /// How far it has come.
    pub chain: Chain,
}

impl Chain {
    /// A chain of which nothing is sent yet.
    pub fn beginning(first: String, shape: Shape) -> Self {
        Self {
            first: Some(first),
            shape,
            ..Self::default()
        }
    }

    /// The same chain, of which nothing is sent yet.
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

/// A link mostly is the request with a paging token, so that the token alone need be kept.
fn shortened(next: String, first: &str) -> String {
    match next.strip_prefix(first) {
        Some(rest) if rest.starts_with(['&', '?']) => rest.to_owned(),
        _ => next,
    }
}

impl Chains {
    /// One chain.
    pub fn one(first: String, shape: Shape) -> Self {
        Self {
            begun: 1,
            count: 1,
            open: BTreeMap::from([(0, Chain::beginning(first, shape))]),
            ..Self::default()
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The chains that were begun and have not ended.
    pub fn open(&self) -> &BTreeMap<u32, Chain> {
        &self.open
    }

    /// How many of them have ended.
    pub fn finished(&self) -> u32 {
        let waiting = self.planned().saturating_sub(self.begun);
        let open = u32::try_from(self.open.len()).unwrap_or(u32::MAX);
        self.count.saturating_sub(waiting).saturating_sub(open)
    }

    /// Whether all pages are sent.
    pub fn is_finished(&self) -> bool {
        self.open.is_empty() && self.begun >= self.planned()
    }

    /// What all of them have done.
    pub fn counts(&self) -> Counts {
        let open = self.open.values().map(|chain| chain.counts);
        open.chain([self.ended.counts]).sum()
    }

    /// Bytes of Protime's responses.
    pub fn bytes(&self) -> u64 {
        let open = self.open.values().map(|chain| chain.bytes);
        open.sum::<u64>() + self.ended.bytes
    }

    /// The delta link that one of them ended with.
    pub fn delta_link(&self) -> Option<&str> {
        let mut open = self.open.values().map(|chain| &chain.delta_link);
        let found = open.find_map(Option::as_deref);
        found.or(self.ended.delta_link.as_deref())
    }

    /// Chains of the plan are begun, up to and including that one.
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

    /// Moves a chain, whose first URL is given, past a page that is accepted.
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

    /// A chain begins again.
    pub fn restart(&mut self, number: u32) {
        if let Some(chain) = self.open.get_mut(&number) {
            *chain = std::mem::take(chain).begun_again();
        }
    }

    /// A chain begins again as two.
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

/// The chains that are left to fetch, one after the other; their first URLs are read as they are needed.
#[derive(Debug)]
pub struct PendingChains<'a> {
    table: &'a StateTable,
    plan: Option<Plan>,
    open: std::collections::btree_map::IntoIter<u32, Chain>,
    next: u32,
    /// The text of the plan that was read last: its place, and its lines.
    text: Option<(usize, Vec<String>)>,
}

impl<'a> PendingChains<'a> {
    /// What is left of these.
    pub fn new(table: &'a StateTable, chains: &Chains) -> Self {
        Self {
            table,
            plan: chains.plan.clone(),
            open: chains.open.clone().into_iter(),
            next: chains.begun,
            text: None,
        }
    }

    /// The next of them, and whether it was not begun before.
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
    /// The chains of a run that begins with these URLs. Many of them are kept in items of their own.
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
            texts: self.keep_texts(incoming, &texts).await?,
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

/// Chains as this release writes them.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    plan: Option<Plan>,
    begun: u32,
    count: u32,
    open: BTreeMap<u32, Chain>,
    ended: Done,
}

/// One of the chains of release 0.1.0, which kept all of them in a list, with whole URLs.
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
