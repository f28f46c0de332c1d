//! Page messages: `CloudEvents` 1.0 in JSON, as consumers of the pages queue get them.

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
/// Holds the place of a hash.
const HASH_PLACE: &str = "0000000000000000";

/// What all messages of a run have in common.
#[derive(Debug, Clone)]
pub struct RunHeader {
    /// The name of the incoming connection.
    pub incoming: String,
    /// The entity that is read.
    pub entity: String,
    /// The URL of the collection or resource, without query.
    pub source: String,
    /// The run's id.
    pub run: String,
    /// What it loads.
    pub load: LoadKind,
    /// The properties of records that are sent; none for all.
    pub fields: Option<Fields>,
    /// What one message can hold, in bytes.
    pub largest_message: usize,
}

/// A record that does not fit into a message, even alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {index} of page {page} (id {id}) is {size} bytes; with its envelope it exceeds the {limit} bytes that the queue allows, so the run stops rather than drop it"
)]
pub struct OversizedRecord {
    /// Which page, from 0.
    pub page: u64,
    /// Which record of the page, from 0.
    pub index: usize,
    /// The record's id, if it has one.
    pub id: String,
    /// Its size in bytes.
    pub size: usize,
    /// What one message can hold, in bytes.
    pub limit: usize,
}

impl RunHeader {
    /// The messages of a page, made one by one: the parts that its records fill, none for an empty page.
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
        // SQS takes the characters of XML 1.0 only. Of those outside it, valid JSON can hold just two unescaped,
        // and in strings only, where a JSON escape means the same.
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

    /// The message that ends a run; `request` is the JSON of its parameters, as far as they are known.
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

    /// The message that tells consumers to forget what they have: everything follows anew.
    pub fn resync_message(&self, time: Timestamp) -> Message {
        let id = format!("{}/resync", self.run);
        let body = self.opening(RESYNC, &id, time) + r#","data":{}}"#;
        self.message(RESYNC, id, body)
    }

    /// The attributes of `CloudEvents` and our own, up to and including `sync`; the object is left open.
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

/// The messages of one page.
pub struct Parts<'a> {
    header: &'a RunHeader,
    page: Cow<'a, Page>,
    /// Of its records.
    sizes: Vec<usize>,
    chain: u32,
    number: u64,
    time: Timestamp,
    next: usize,
    part: u32,
}

impl Parts<'_> {
    /// A message's id, and its body up to the records.
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
        // All hashes are of one length.
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

/// The id of a record, or of the record inside a change of a delta.
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
