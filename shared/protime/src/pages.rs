//! The pages of a read, from the first request to the last link.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::client::Client;
use crate::error::Error;
use crate::link::{self, LinkError};
use crate::page::{Page, Shape};

/// The pages of one read. Each is fetched when it is asked for.
///
/// An empty page is not the end, only a missing `nextLink` is (`how-to/fetch-resources`).
pub struct Pages<'a> {
    client: &'a Client,
    next: Option<Url>,
    shape: Shape,
    /// Hashes of the links that were followed: the links can be long, and so can the run.
    seen: HashSet<u64>,
    trail: CycleDetector,
    effort: Effort,
    deadline: Instant,
}

/// The requests and waits that a read took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Requests to the API, including failed ones.
    pub requests: u64,
    /// How many of the requests repeated a failed one.
    pub retries: u64,
    /// The time spent waiting before retries, and because Protime asked other requests of the client to wait.
    pub waited: Duration,
}

impl std::iter::Sum for Effort {
    fn sum<I: Iterator<Item = Self>>(efforts: I) -> Self {
        efforts.fold(Self::default(), |sum, effort| Self {
            requests: sum.requests + effort.requests,
            retries: sum.retries + effort.retries,
            waited: sum.waited.saturating_add(effort.waited),
        })
    }
}

/// The state that finds a repeated link even when each process reads few pages of a run. It holds the hash of one link,
/// which is replaced at each power of two of pages (Brent's cycle detection).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleDetector {
    /// Pages read so far, by all processes.
    page: u64,
    mark: u64,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(
        client: &'a Client,
        first: Url,
        shape: Shape,
        trail: CycleDetector,
        deadline: Instant,
    ) -> Self {
        let seen = HashSet::from([hash(&first)]);
        Self {
            client,
            next: Some(first),
            shape,
            seen,
            trail,
            effort: Effort::default(),
            deadline,
        }
    }

    /// The link of the next page. `None` after the last page.
    pub fn position(&self) -> Option<&Url> {
        self.next.as_ref()
    }

    /// The state that another process needs to continue the read.
    pub fn trail(&self) -> CycleDetector {
        self.trail
    }

    /// The effort since the last call of this method.
    pub fn take_effort(&mut self) -> Effort {
        std::mem::take(&mut self.effort)
    }

    /// Fetches the next page. Returns `None` after the last page.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        let page = self
            .client
            .page(&url, self.shape, self.deadline, &mut self.effort)
            .await?;
        let base_uri = self.client.base_uri();
        if let Some(delta_link) = &page.delta_link {
            link::resolve(base_uri, delta_link, Some(&url))?;
        }
        if let Some(next_link) = &page.next_link {
            let next = link::resolve(base_uri, next_link, Some(&url))?;
            self.trail.follow(&next, !self.seen.insert(hash(&next)))?;
            self.next = Some(next);
        }
        self.shape = Shape::List;
        Ok(Some(page))
    }
}

impl CycleDetector {
    fn follow(&mut self, next: &Url, is_seen: bool) -> Result<(), LinkError> {
        let hash = hash(next);
        if is_seen || (self.page > 0 && self.mark == hash) {
            return Err(LinkError::Repeated { page: self.page });
        }
        self.page += 1;
        if self.page.is_power_of_two() {
            self.mark = hash;
        }
        Ok(())
    }
}

fn hash(url: &Url) -> u64 {
    xxh3_64(url.as_str().as_bytes())
}
