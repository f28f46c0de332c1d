//! Page messages: `CloudEvents` 1.0 in JSON, as consumers of the pages queue get them.

use std::fmt::Write;

use jiff::Timestamp;
use protime::Page;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::queue::{MESSAGE_LIMIT, Message};

const PAGE: &str = "protime.page.v1";
const RUN_COMPLETED: &str = "protime.run-completed.v1";
const RESYNC: &str = "protime.resync.v1";
/// Holds the place of the hash, which is known when the records are in place.
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
    /// `full`, `initial` or `delta`.
    pub sync: String,
}

/// What a run has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Responses of Protime, empty ones included.
    pub pages: u64,
    /// Records in them.
    pub records: u64,
    /// Distinct page messages sent.
    pub messages: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            pages: sum.pages + counts.pages,
            records: sum.records + counts.records,
            messages: sum.messages + counts.messages,
        })
    }
}

/// A record that does not fit into a message, even alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {index} of page {page} (id {id}) is {size} bytes; with its envelope it exceeds the SQS limit of {MESSAGE_LIMIT} bytes, so the run stops rather than drop it"
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
        Parts {
            header: self,
            records: page.records().collect(),
            chain,
            page: number,
            time,
            next: 0,
            part: 0,
        }
    }

    /// The message that ends a run.
    pub fn completed_message(&self, counts: Counts, time: Timestamp) -> Message {
        let id = format!("{}/completed", self.run);
        let mut body = self.opening(RUN_COMPLETED, &id, time);
        let Counts {
            pages,
            records,
            messages,
        } = counts;
        let _ = write!(
            body,
            r#","data":{{"pages":{pages},"records":{records},"messages":{messages}}}}}"#
        );
        self.message(RUN_COMPLETED, id, body)
    }

    /// The message that tells consumers to forget what they have: everything follows anew.
    pub fn resync_message(&self, time: Timestamp) -> Message {
        let id = format!("{}/resync", self.run);
        let body = self.opening(RESYNC, &id, time) + r#","data":{}}"#;
        self.message(RESYNC, id, body)
    }

    /// The attributes of `CloudEvents` and ours, up to and including `sync`; the object is left open.
    fn opening(&self, kind: &str, id: &str, time: Timestamp) -> String {
        format!(
            r#"{{"specversion":"1.0","type":"{kind}","id":{},"source":{},"subject":{},"time":"{time:.0}","datacontenttype":"application/json","entity":{},"run":{},"sync":"{}""#,
            quoted(id),
            quoted(&self.source),
            quoted(&self.incoming),
            quoted(&self.entity),
            quoted(&self.run),
            self.sync,
        )
    }

    fn message(&self, kind: &'static str, id: String, body: String) -> Message {
        let attributes = vec![
            ("type", kind.to_owned()),
            ("entity", self.entity.clone()),
            ("incoming", self.incoming.clone()),
        ];
        Message {
            id,
            group: self.incoming.clone(),
            body,
            attributes,
        }
    }
}

/// The messages of one page.
pub struct Parts<'a> {
    header: &'a RunHeader,
    records: Vec<&'a str>,
    chain: u32,
    page: u64,
    time: Timestamp,
    next: usize,
    part: u32,
}

impl Iterator for Parts<'_> {
    type Item = Result<Message, OversizedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.records.len() {
            return None;
        }
        let Self {
            header,
            chain,
            page,
            part,
            ..
        } = *self;
        let prefix = format!("{}/{chain}/{page}/{part}/", header.run);
        let id = format!("{prefix}{HASH_PLACE}");
        let mut body = header.opening(PAGE, &id, self.time);
        let _ = write!(
            body,
            r#","chain":{chain},"page":{page},"part":{part},"data":{{"value":["#
        );

        let empty = header.message(PAGE, id, body);
        let available = MESSAGE_LIMIT.saturating_sub(empty.size() + "]}}".len());
        let Message { mut body, .. } = empty;
        let value = body.len() - "[".len();
        let mut filled = 0;
        let first = self.next;
        while let Some(record) = self.records.get(self.next) {
            let separator = usize::from(self.next > first);
            let escaped = xml_legal(record);
            let record = escaped.as_deref().unwrap_or(record);
            if filled + separator + record.len() > available {
                break;
            }
            if separator == 1 {
                body.push(',');
            } else {
                // One allocation for nearly every page: the rest of it, or of what fits.
                let rest: usize = self.records[first..]
                    .iter()
                    .map(|record| record.len() + 1)
                    .sum();
                body.reserve(rest.min(available) + "]}}".len());
            }
            body.push_str(record);
            filled += separator + record.len();
            self.next += 1;
        }
        if self.next == first {
            let record = self.records[first];
            self.next = self.records.len();
            return Some(Err(OversizedRecord {
                page,
                index: first,
                id: record_id(record),
                size: record.len(),
            }));
        }
        body.push(']');
        let hash = crate::hash(&body.as_bytes()[value..]);
        body.push_str("}}");
        // The id's place in the body: the first one, as nothing but the type stands before it.
        let quoted_prefix = quoted(&prefix);
        let quoted_prefix = &quoted_prefix[..quoted_prefix.len() - 1];
        if let Some(found) = body.find(quoted_prefix) {
            let place = found + quoted_prefix.len();
            body.replace_range(place..place + HASH_PLACE.len(), &hash);
        }
        self.part += 1;
        Some(Ok(header.message(PAGE, format!("{prefix}{hash}"), body)))
    }
}

/// SQS takes the characters of XML 1.0 only. Of those outside it, valid JSON can hold just two unescaped, and
/// in strings only, where a JSON escape means the same.
fn xml_legal(text: &str) -> Option<String> {
    let suspect = text.as_bytes().contains(&0xEF) && text.contains(['\u{FFFE}', '\u{FFFF}']);
    suspect.then(|| {
        text.replace('\u{FFFE}', "\\ufffe")
            .replace('\u{FFFF}', "\\uffff")
    })
}

fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    xml_legal(&json).unwrap_or(json)
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
