//! Writes the content of a `SendMessageBatch` call directly from the pieces of the messages.
//!
//! The SDK would copy every body twice and inspect it byte by byte. That would be most of the work that a page needs.
//! Endpoint, credentials, signature, retries and response remain the SDK's.

use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use bytes::Bytes;

use super::{Message, deduplication_id, group_id};

/// Replaces the content that the SDK has serialised.
#[derive(Debug)]
pub(super) struct Content(pub(super) Bytes);

impl Intercept for Content {
    fn name(&self) -> &'static str {
        "Content"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request
            .headers_mut()
            .insert("content-length", self.0.len().to_string());
        *request.body_mut() = self.0.clone().into();
        Ok(())
    }
}

/// The JSON of a call (API reference of SQS, `SendMessageBatch`). The entries' ids are their indexes.
pub(super) fn content(queue_url: &str, fifo: bool, batch: &[Message]) -> Bytes {
    let size: usize = batch.iter().map(Message::size).sum();
    // Escaped quotes make JSON bodies about a fourth longer.
    let expected = size + size / 3 + 512 * (batch.len() + 1);
    // Rounded up, so that the memory that one call frees fits the next. Pages do the same.
    let mut json = Vec::with_capacity(expected.next_multiple_of(256 * 1024));
    json.extend_from_slice(br#"{"QueueUrl":"#);
    string(&mut json, queue_url);
    json.extend_from_slice(br#","Entries":["#);
    for (index, message) in batch.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(br#"{"Id":"#);
        string(&mut json, &index.to_string());
        json.extend_from_slice(br#","MessageBody":""#);
        for piece in message.body.pieces() {
            escape(&mut json, piece);
        }
        json.extend_from_slice(br#"","MessageAttributes":{"#);
        for (index, attribute) in message.attributes.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            string(&mut json, &attribute.name);
            json.extend_from_slice(br#":{"DataType":"#);
            string(&mut json, &attribute.data_type);
            json.extend_from_slice(if attribute.is_binary() {
                br#","BinaryValue":"#
            } else {
                br#","StringValue":"#
            });
            string(&mut json, &attribute.value);
            json.push(b'}');
        }
        json.push(b'}');
        if message.delay_seconds > 0 {
            json.extend_from_slice(br#","DelaySeconds":"#);
            json.extend_from_slice(message.delay_seconds.to_string().as_bytes());
        }
        if fifo {
            json.extend_from_slice(br#","MessageGroupId":"#);
            string(&mut json, &group_id(&message.group));
            json.extend_from_slice(br#","MessageDeduplicationId":"#);
            string(&mut json, &deduplication_id(&message.id));
        }
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    json.into()
}

fn string(json: &mut Vec<u8>, text: &str) {
    json.push(b'"');
    escape(json, text.as_bytes());
    json.push(b'"');
}

const WORD: usize = size_of::<u64>();
const LOW_BITS: u64 = u64::from_le_bytes([0x01; WORD]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; WORD]);

/// Sets the high bit of the first byte in a word that JSON has to escape. It may set bits of bytes above that one.
fn marks(word: u64) -> u64 {
    let less = |word: u64, than: u8| word.wrapping_sub(LOW_BITS * u64::from(than)) & !word;
    let equal = |byte: u8| less(word ^ (LOW_BITS * u64::from(byte)), 1);
    (equal(b'"') | equal(b'\\') | less(word, b' ')) & HIGH_BITS
}

/// Appends text as it appears inside a JSON string.
fn escape(json: &mut Vec<u8>, mut text: &[u8]) {
    while let Some((word, rest)) = text.split_first_chunk::<WORD>() {
        let marks = marks(u64::from_le_bytes(*word));
        json.extend_from_slice(word);
        if marks == 0 {
            text = rest;
        } else {
            let clean = marks.trailing_zeros() as usize / 8;
            json.truncate(json.len() - WORD + clean);
            escape_byte(json, word[clean]);
            text = &text[clean + 1..];
        }
    }
    for byte in text {
        escape_byte(json, *byte);
    }
}

fn escape_byte(json: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => json.extend_from_slice(&[b'\\', byte]),
        0..b' ' => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            json.extend_from_slice(b"\\u00");
            json.push(DIGITS[usize::from(byte >> 4)]);
            json.push(DIGITS[usize::from(byte & 15)]);
        }
        _ => json.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::aws::queue::{Attribute, Body};

    proptest! {
        #[test]
        fn every_text_arrives_as_it_was(pieces in prop::collection::vec("[\\x00-\\x7fé€\u{10FFFF}\"\\\\]{0,40}", 1..4)) {
            let mut body = Body::default();
            for piece in &pieces {
                body.push(piece.clone());
            }
            let message = Message {
                id: "id".to_owned(),
                group: "group-\"one\"".to_owned(),
                body,
                attributes: vec![Attribute::text("type", "a\\b")],
                delay_seconds: 7,
            };
            let content = content("https://sqs/queue", true, &[message.clone(), message]);
            let content: Value = serde_json::from_slice(&content).unwrap();
            let entry = |id: &str| json!({
                "Id": id,
                "MessageBody": pieces.concat(),
                "MessageAttributes": {"type": {"DataType": "String", "StringValue": "a\\b"}},
                "DelaySeconds": 7,
                "MessageGroupId": "group-\"one\"",
                "MessageDeduplicationId": deduplication_id("id"),
            });
            prop_assert_eq!(
                content,
                json!({"QueueUrl": "https://sqs/queue", "Entries": [entry("0"), entry("1")]})
            );
        }
    }
}
