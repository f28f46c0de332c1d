//! The pages of a read, from the first request to the last link.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Instant;
use url::Url;

use crate::client::Client;
use crate::error::Error;
use crate::link::{self, LinkError};
use crate::page::Page;

/// Pages that are fetched one after the other, each when asked for.
///
/// An empty page is not the end, only a missing `nextLink` is (`how-to/fetch-resources`).
pub struct Pages<'a> {
    client: &'a Client,
    next: Option<Url>,
    /// Hashes of the links followed so far: links can be long, and runs too.
    seen: HashSet<u64>,
    fetched: u64,
    deadline: Instant,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(client: &'a Client, first: Url, deadline: Instant) -> Self {
        let seen = HashSet::from([hash(&first)]);
        Self {
            client,
            next: Some(first),
            seen,
            fetched: 0,
            deadline,
        }
    }

    /// Where the next page is; none at the end.
    pub fn position(&self) -> Option<&Url> {
        self.next.as_ref()
    }

    /// Fetches the next page, or tells that there is none.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        let page = self.client.page(&url, self.deadline).await?;
        if let Some(next_link) = &page.next_link {
            let next = link::resolve(self.client.base_uri(), next_link)?;
            if !self.seen.insert(hash(&next)) {
                return Err(LinkError::Repeated { page: self.fetched }.into());
            }
            self.next = Some(next);
        }
        self.fetched += 1;
        Ok(Some(page))
    }
}

fn hash(url: &Url) -> u64 {
    let mut hasher = DefaultHasher::new();
    url.hash(&mut hasher);
    hasher.finish()
}
