//! Page messages: `CloudEvents` 1.0 in JSON, as consumers of the pages queue receive them.

use std::borrow::Cow;
use std::fmt::Write;

use jiff::Timestamp;
use protime::{Fields, Page};
use serde::Deserialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::cloud_event::{CloudEvent, NO_XML, quoted, xml_legal};
use crate::aws::queue::{Attribute, Body, Message};
use crate::store::{Counts, LoadKind};

const PAGE: &str = "protime.page.v1";
const RUN_COMPLETED: &str = "protime.run-completed.v1";
const RESYNC: &str = "protime.resync.v1";
/// A placeholder with the length of a hash.
const HASH_PLACE: &str = "0000000000000000";

/// The values that all messages of a run share.
#[derive(Debug, Clone)]
pub struct RunHeader {
    /// The name of the incoming connection.
    pub incoming: String,
    /// The entity of the records.
    pub entity: String,
    /// The URL of the collection or resource, without its query.
    pub source: String,
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// What the run loads; the attribute `sync`.
    pub load: LoadKind,
    /// The properties of records that are sent. None for all.
    pub fields: Option<Fields>,
    /// Largest message of the queue in bytes, including attributes.
    pub largest_message: usize,
}

/// A record that fits into no message, even alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {index} of page {page} (id {id}) is {size} bytes; with its envelope it exceeds the {limit} bytes that the queue allows, so the run stops rather than drop it"
)]
pub struct OversizedRecord {
    /// Number of the page in its chain, from 0.
    pub page: u64,
    /// Index of the record in its page, from 0.
    pub index: usize,
    /// The record's id; `unknown` if it has none.
    pub id: String,
    /// Size of the record in bytes.
    pub size: usize,
    /// Largest message of the queue in bytes.
    pub limit: usize,
}

impl RunHeader {
    /// The messages of a page, built one by one. Each takes as many records as fit; an empty page has no message.
    pub fn page_messages<'a>(
        &'a self,
        page: &'a Page,
        chain: u32,
        number: u64,
        time: Timestamp,
    ) -> Parts<'a> {
        let page = match &self.fields {
            Some(fields) => Cow::Owned(page.select(fields, self.load == LoadKind::Delta)),
            None => Cow::Borrowed(page),
        };
        // SQS accepts only the characters of XML 1.0. Valid JSON can hold just two others unescaped, and only in
        // strings. A JSON escape means the same there.
        let page = match page.escaped(&NO_XML) {
            Some(escaped) => Cow::Owned(escaped),
            None => page,
        };
        Parts {
            header: self,
            sizes: page.record_sizes().collect(),
            page,
            chain,
            number,
            time,
            next: 0,
            part: 0,
        }
    }

    /// The message that ends a run. `request` is the JSON of its parameters, if known.
    pub fn completed_message(
        &self,
        counts: Counts,
        request: Option<&str>,
        time: Timestamp,
    ) -> Message {
        let id = format!("{}/completed", self.run);
        let mut body = self.opening(RUN_COMPLETED, &id, time);
        let Counts {
            pages,
            records,
            messages,
        } = counts;
        let request = request.map_or_else(String::new, |json| {
            format!(r#","request":{}"#, xml_legal(json))
        });
        let _ = write!(
            body,
            r#","data":{{"pages":{pages},"records":{records},"messages":{messages}{request}}}}}"#
        );
        self.message(RUN_COMPLETED, id, body)
    }

    /// The message that tells consumers to forget their records, since everything is sent again.
    pub fn resync_message(&self, time: Timestamp) -> Message {
        let id = format!("{}/resync", self.run);
        let body = self.opening(RESYNC, &id, time) + r#","data":{}}"#;
        self.message(RESYNC, id, body)
    }

    /// The context attributes and our extension attributes, up to `sync`. The caller closes the object.
    fn opening(&self, kind: &str, id: &str, time: Timestamp) -> String {
        let event = CloudEvent {
            kind,
            id,
            source: &self.source,
            subject: Some(&self.incoming),
            time,
        };
        let (entity, run) = (quoted(&self.entity), quoted(&self.run));
        let sync = self.load.name();
        let opening = event.opening();
        format!(r#"{opening},"entity":{entity},"run":{run},"sync":"{sync}""#)
    }

    fn message(&self, kind: &'static str, id: String, body: impl Into<Body>) -> Message {
        let attributes = vec![
            Attribute::text("type", kind),
            Attribute::text("entity", self.entity.as_str()),
            Attribute::text("incoming", self.incoming.as_str()),
        ];
        Message {
            id,
            group: self.incoming.clone(),
            body: body.into(),
            attributes,
            delay_seconds: 0,
        }
    }
}

/// An iterator over the messages of one page.
pub struct Parts<'a> {
    header: &'a RunHeader,
    page: Cow<'a, Page>,
    /// The size of each record in bytes.
    sizes: Vec<usize>,
    chain: u32,
    number: u64,
    time: Timestamp,
    next: usize,
    part: u32,
}

impl Parts<'_> {
    /// The id of the next message, and its body up to the records.
    fn opening(&self, hash: &str) -> (String, String) {
        let Self {
            header,
            chain,
            number,
            part,
            ..
        } = self;
        let id = format!("{}/{chain}/{number}/{part}/{hash}", header.run);
        let mut opening = header.opening(PAGE, &id, self.time);
        let _ = write!(
            opening,
            r#","chain":{chain},"page":{number},"part":{part},"data":{{"value":"#
        );
        (id, opening)
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Message, OversizedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next;
        let size = self.sizes.get(first)?;
        // All hashes have the same length, so the placeholder gives the right size.
        let (id, opening) = self.opening(HASH_PLACE);
        let frame = self.header.message(PAGE, id, opening).size() + "[]}}".len();
        let available = self.header.largest_message.saturating_sub(frame);
        if *size > available {
            self.next = self.sizes.len();
            let record = self.page.records().nth(first).unwrap_or_default();
            return Some(Err(OversizedRecord {
                page: self.number,
                index: first,
                id: record_id(record),
                size: *size,
                limit: self.header.largest_message,
            }));
        }
        let mut filled = *size;
        self.next += 1;
        while let Some(size) = self.sizes.get(self.next)
            && filled + ",".len() + size <= available
        {
            filled += ",".len() + size;
            self.next += 1;
        }

        let mut value = Body::default();
        value.push("[");
        for piece in self.page.list(first..self.next) {
            value.push(piece);
        }
        value.push("]");
        let mut hash = Xxh3::new();
        for piece in value.pieces() {
            hash.update(piece);
        }
        let (id, opening) = self.opening(&format!("{:016x}", hash.digest()));
        let mut body = Body::from(opening);
        body.append(value);
        body.push("}}");
        self.part += 1;
        Some(Ok(self.header.message(PAGE, id, body)))
    }
}

/// The id of a record, or of the record inside a delta's change.
fn record_id(record: &str) -> String {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let id = |json| -> Option<Record<'_>> { serde_json::from_str(json).ok() };
    id(record)
        .and_then(|outer| {
            outer
                .id
                .map(RawValue::get)
                .or_else(|| id(outer.data?.get())?.id.map(RawValue::get))
        })
        .unwrap_or("unknown")
        .to_owned()
}
