use connector::connection::IncomingConnection;
use connector::page_message::{Counts, RunHeader};
use connector::queue::{Message, Queue};
use jiff::Timestamp;
use protime::{Pages, Request};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{Error, Invocation, Subscriber};

/// Messages between the one who fetches and the one who sends: enough to fill a batch.
const MESSAGES_UNDERWAY: usize = 10;

/// What the invocation returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The connection's name.
    pub incoming: String,
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub status: Status,
    /// What the whole run has done.
    #[serde(flatten)]
    pub counts: Counts,
    /// Decoded bytes of Protime's responses.
    pub bytes: u64,
}

/// How an invocation that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The last page is in the queue.
    Completed,
}

impl Subscriber {
    /// Runs the incoming connection in `event`.
    pub async fn run(&self, event: &str, invocation: &Invocation) -> Result<Outcome, Error> {
        let outcome = self.read(event, invocation).await?;
        let Counts {
            pages,
            records,
            messages,
        } = outcome.counts;
        let Outcome {
            incoming,
            run,
            bytes,
            ..
        } = &outcome;
        tracing::info!(
            incoming,
            run,
            pages,
            records,
            messages,
            bytes,
            "run completed"
        );
        Ok(outcome)
    }

    async fn read(&self, event: &str, invocation: &Invocation) -> Result<Outcome, Error> {
        let connection =
            IncomingConnection::from_event(event, &invocation.request_id, invocation.now)?;
        tracing::info!(
            incoming = connection.incoming,
            run = connection.run,
            entity = connection.entity,
            "run started"
        );
        let client = self.clients.get(&connection.client).await?;
        let settings = client.settings().await;
        let (path, query) = connection.parameters(None)?;
        let today = connection
            .scheduled
            .to_zoned_datetime(connection.time_zone.clone())
            .date();
        let request = Request::read(&connection.entity, &path, query, &settings.scopes, today)?;
        for warning in &request.warnings {
            tracing::warn!(incoming = connection.incoming, "{warning}");
        }

        let mut source = request.url(&settings.base_uri);
        source.set_query(None);
        let header = RunHeader {
            incoming: connection.incoming.clone(),
            entity: connection.entity.clone(),
            source: source.into(),
            run: connection.run.clone(),
            sync: "full",
        };
        let queue = Queue::new(
            self.sqs.clone(),
            connection.queue.as_deref().unwrap_or(&self.pages_queue),
        );
        let pages = client.pages(&request, invocation.deadline);

        // Two sides of a channel: while one page is sent, the next is fetched. If fetching fails, what was
        // fetched before is still sent.
        let (sender, receiver) = mpsc::channel(MESSAGES_UNDERWAY);
        let (fetched, sent) = tokio::join!(
            fetch(pages, connection.pagination, &header, sender),
            queue.send_all(receiver, invocation.deadline)
        );
        sent?;
        if let Err(Error::Protime(protime::Error::BaseUriChanged)) = &fetched {
            self.clients.forget(&connection.client).await;
        }
        let (counts, bytes) = fetched?;
        queue
            .send(
                vec![header.completed_message(counts, Timestamp::now())],
                invocation.deadline,
            )
            .await?;
        Ok(Outcome {
            incoming: connection.incoming,
            run: connection.run,
            status: Status::Completed,
            counts,
            bytes,
        })
    }
}

/// Fetches all pages and puts their messages into the channel.
async fn fetch(
    mut pages: Pages<'_>,
    pagination: bool,
    header: &RunHeader,
    messages: mpsc::Sender<Message>,
) -> Result<(Counts, u64), Error> {
    let mut counts = Counts::default();
    let mut bytes = 0;
    while let Some(page) = pages.next().await? {
        for message in header.page_messages(&page, 0, counts.pages, Timestamp::now()) {
            if messages.send(message?).await.is_err() {
                // The sending side has given up; its error is the one that counts.
                return Ok((counts, bytes));
            }
            counts.messages += 1;
        }
        counts.pages += 1;
        counts.records += page.records().len() as u64;
        bytes += page.bytes() as u64;
        tracing::debug!(
            page = counts.pages - 1,
            records = page.records().len(),
            "page read"
        );
        if !pagination {
            break;
        }
    }
    Ok((counts, bytes))
}
