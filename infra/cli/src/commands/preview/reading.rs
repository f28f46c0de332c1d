//! The requests that a connection would make now, and the first page of the first request.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use connector::aws::queue::MESSAGE_LIMIT;
use connector::contract::connection::IncomingConnection;
use connector::contract::page_message::RunHeader;
use connector::store::{ConnectionState, LoadKind};
use jiff::Timestamp;
use protime::{Client, Page, Request};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::error::Error;
use crate::source::Source;
use crate::stack::{Account, Stack};

/// The time that Protime has for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection and the requests that it would make.
pub(crate) struct Reading {
    connection: IncomingConnection,
    client: Arc<Client>,
    requests: Vec<Request>,
    pub(crate) warnings: Vec<String>,
}

/// The first page, as the preview shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FirstPage {
    #[serde(skip)]
    pub(crate) method: &'static str,
    #[serde(skip)]
    pub(crate) url: String,
    /// The number of requests of the whole read.
    #[serde(skip)]
    pub(crate) requests: usize,
    pub(crate) records: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: usize,
    /// The first records, in the form that consumers get.
    pub(crate) first: Vec<Value>,
    /// The properties that `fields` leaves out.
    pub(crate) left_out: Vec<String>,
    #[serde(skip)]
    pub(crate) has_more: bool,
}

impl Reading {
    /// Prepares a deployed connection, with its stored state.
    pub(crate) async fn deployed(stack: &Stack, name: &str, now: Timestamp) -> Result<Self, Error> {
        let source = stack.connection(name).await?;
        let known = stack
            .state()?
            .connection(name)
            .await
            .map_err(subscriber::Error::from)?;
        let state = known.map(|known| known.state).unwrap_or_default();
        Self::new(&stack.account, &source, state, now).await
    }

    pub(crate) async fn new(
        account: &Account,
        source: &Source,
        state: ConnectionState,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let connection = source.connection(now)?;
        let clients = account.clients("protimectl");
        let client = clients
            .get(&connection.secret_name)
            .await
            .map_err(subscriber::Error::from)?;
        let requests = subscriber::reads(&connection, &state, &client.settings())?;
        let mut warnings = Vec::new();
        if let Some(first) = requests.first() {
            warnings = connection.warnings();
            warnings.extend(first.warnings.clone());
        }
        Ok(Self {
            connection,
            client,
            requests,
            warnings,
        })
    }

    /// Reads the first page and keeps at most `most` records. `None` if no record can match.
    pub(crate) async fn first_page(
        &self,
        most: usize,
        now: Timestamp,
    ) -> Result<Option<FirstPage>, Error> {
        let Some(first) = self.requests.first() else {
            return Ok(None);
        };
        let url = first.url(&self.client.settings().base_uri);
        let mut pages = self.client.pages(first, Instant::now() + ANSWER_TIMEOUT);
        let page = pages.next().await.map_err(subscriber::Error::from)?;
        let mut seen = FirstPage {
            method: first.method.as_str(),
            url: url.to_string(),
            requests: self.requests.len(),
            records: 0,
            messages: 0,
            bytes: 0,
            first: Vec::new(),
            left_out: Vec::new(),
            has_more: pages.position().is_some(),
        };
        let mut source = url;
        source.set_query(None);
        if let Some(page) = &page {
            seen.fill(&self.header(source.into()), page, most, now)?;
        }
        Ok(Some(seen))
    }

    fn header(&self, source: String) -> RunHeader {
        RunHeader {
            incoming: self.connection.name.clone(),
            entity: self.connection.entity.clone(),
            source,
            run: "preview".to_owned(),
            load: LoadKind::Full,
            fields: self.connection.fields.clone(),
            largest_message: MESSAGE_LIMIT,
        }
    }
}

impl FirstPage {
    fn fill(
        &mut self,
        header: &RunHeader,
        page: &Page,
        most: usize,
        now: Timestamp,
    ) -> Result<(), Error> {
        for message in header.page_messages(page, 0, 0, now) {
            let message = message.map_err(subscriber::Error::from)?;
            self.messages += 1;
            self.bytes += message.size();
        }
        // The form that consumers get.
        let sent = match &header.fields {
            Some(fields) => Cow::Owned(page.select(fields, false)),
            None => Cow::Borrowed(page),
        };
        self.records = page.records().len() as u64;
        self.first = parsed(&sent).take(most).collect();
        if header.fields.is_some() {
            let (all, sent) = (all_paths(page), all_paths(&sent));
            self.left_out = all.difference(&sent).cloned().collect();
        }
        Ok(())
    }
}

fn parsed(page: &Page) -> impl Iterator<Item = Value> {
    page.records()
        .map(|record| serde_json::from_str(record).unwrap_or_default())
}

fn all_paths(page: &Page) -> BTreeSet<String> {
    parsed(page).flat_map(|record| paths(&record)).collect()
}

/// The paths of a value's properties, as `fields` names them.
fn paths(value: &Value) -> Vec<String> {
    let below = |name: &str, inner: &Value| -> Vec<String> {
        let inner = paths(inner);
        if inner.is_empty() {
            return vec![name.to_owned()];
        }
        let joined = inner.into_iter().map(|path| match path.strip_prefix("[]") {
            Some(item) => format!("{name}[]{item}"),
            None => format!("{name}.{path}"),
        });
        joined.collect()
    };
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| below(name, inner))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| below("[]", item)).collect(),
        _ => Vec::new(),
    }
}
