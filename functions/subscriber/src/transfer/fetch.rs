//! Fetches several chains concurrently, each page by page.

use std::cell::Cell;
use std::collections::VecDeque;

use connector::store::Counts;
use connector::store::{PageSent, Pending, PendingChains};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use protime::{Effort, Page, Pages, Shape};
use tokio::time::Instant;
use url::Url;

use super::recover::Recovery;
use super::{FetchEvent, FetchSender, Stopped, Transfer};
use crate::Error;

impl Transfer<'_> {
    /// Fetches all pending chains. `count` is the number of chains, including those added by a split.
    pub(super) async fn fetch(
        &self,
        mut pending: PendingChains<'_>,
        count: &Cell<u32>,
        sender: &FetchSender<'_>,
    ) -> Result<Stopped, Error> {
        let mut running = FuturesUnordered::new();
        let mut stopped = Stopped::AtTheEnd;
        loop {
            while running.len() < self.concurrency
                && matches!(stopped, Stopped::AtTheEnd)
                && let Some((chain, is_new)) = pending.next().await?
            {
                if Instant::now() >= self.fetch_until {
                    stopped = Stopped::OutOfTime(None);
                    break;
                }
                running.push(self.fetch_chain(chain, is_new, count, sender));
            }
            match running.next().await.transpose()? {
                None => return Ok(stopped),
                Some(Stopped::AtTheEnd) => {}
                // Keeps the error that explains the stop, and the longest wait.
                Some(Stopped::OutOfTime(reason)) => {
                    let other = Stopped::OutOfTime(reason);
                    let is_known = matches!(stopped, Stopped::OutOfTime(Some(_)));
                    if !is_known || other.retry_after() > stopped.retry_after() {
                        stopped = other;
                    }
                }
            }
        }
    }

    /// Fetches a chain, and the chains that it was split into.
    async fn fetch_chain(
        &self,
        chain: Pending,
        is_new: bool,
        count: &Cell<u32>,
        sender: &FetchSender<'_>,
    ) -> Result<Stopped, Error> {
        if is_new {
            sender.pass_on(FetchEvent::Begin(chain.number)).await?;
        }
        let mut waiting = VecDeque::from([chain]);
        while let Some(mut chain) = waiting.pop_front() {
            let error = match self.fetch_pages(&mut chain, sender).await {
                Ok(Stopped::AtTheEnd) => continue,
                Ok(out_of_time) => return Ok(out_of_time),
                Err(error) => error,
            };
            let Some(recovery) = Recovery::of(&error, &chain, self.header.load) else {
                return Err(error);
            };
            let (event, chains) = recovery.begin_again(chain, &error, count);
            sender.pass_on(event).await?;
            waiting.extend(chains);
        }
        Ok(Stopped::AtTheEnd)
    }

    async fn fetch_pages(
        &self,
        pending: &mut Pending,
        sender: &FetchSender<'_>,
    ) -> Result<Stopped, Error> {
        let shape = if pending.next == pending.first {
            pending.chain.shape
        } else {
            Shape::List
        };
        let trail = pending.chain.trail;
        let mut pages = self
            .client
            .pages_from(&pending.next, shape, trail, self.fetch_until)?;
        loop {
            if Instant::now() >= self.fetch_until {
                return Ok(Stopped::OutOfTime(None));
            }
            let read = pages.next().await;
            self.count_effort(&mut pages);
            let page = match read {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(Stopped::AtTheEnd),
                Err(error @ protime::Error::Deadline { .. }) => {
                    return Ok(Stopped::OutOfTime(Some(error)));
                }
                Err(error) => return Err(error.into()),
            };
            let next = pages.position().filter(|_| self.pagination);
            let next = next.map(Url::to_string);
            pending.chain.trail = pages.trail();
            let sent = self.pass_on_page(&page, pending, next, sender).await?;
            match sent {
                Some(next) => pending.next = next,
                None => return Ok(Stopped::AtTheEnd),
            }
            pending.chain.page += 1;
        }
    }

    fn count_effort(&self, pages: &mut Pages<'_>) {
        let effort = [self.effort.get(), pages.take_effort()];
        self.effort.set(effort.into_iter().sum::<Effort>());
    }

    /// Passes on the messages of a page and its end. Returns the URL of the next page.
    async fn pass_on_page(
        &self,
        page: &Page,
        pending: &Pending,
        next: Option<String>,
        sender: &FetchSender<'_>,
    ) -> Result<Option<String>, Error> {
        let (chain, number) = (pending.number, pending.chain.page);
        let mut messages = 0;
        let now = self.clock.now();
        for message in self.header.page_messages(page, chain, number, now) {
            sender.pass_on_message(message?).await?;
            messages += 1;
        }
        let counts = Counts {
            pages: 1,
            records: page.records().len() as u64,
            messages,
        };
        tracing::debug!(chain, page = number, records = counts.records, "page read");
        let end = FetchEvent::PageEnd {
            chain,
            first: pending.first.clone(),
            page: PageSent {
                next: next.clone(),
                counts,
                bytes: page.bytes() as u64,
                delta_link: page.delta_link.clone(),
                trail: pending.chain.trail,
            },
        };
        sender.pass_on(end).await?;
        Ok(next)
    }
}
