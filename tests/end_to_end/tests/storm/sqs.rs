//! A fake of SQS: it keeps the messages, and the test delivers them by SQS's rules.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) attributes: Value,
    pub(crate) sent: Instant,
    pub(crate) visible: Instant,
    pub(crate) received: u32,
}

/// A FIFO queue takes a message with the same deduplication id only once in this time.
const DEDUPLICATION: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(crate) struct Sqs {
    pub(crate) queues: BTreeMap<String, Vec<Message>>,
    /// The time at which a FIFO queue last took each deduplication id.
    deduplication: BTreeMap<String, Instant>,
    sent: u32,
}

impl Sqs {
    pub(crate) fn answer(
        &mut self,
        operation: &str,
        request: &Value,
        is_partial: bool,
    ) -> (u16, Value) {
        let url = request["QueueUrl"].as_str().unwrap_or_default();
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        match operation {
            "SendMessageBatch" => {
                let entries = request["Entries"].as_array().expect("entries");
                let (mut successful, mut failed) = (Vec::new(), Vec::new());
                for (number, entry) in entries.iter().enumerate() {
                    // Every second entry is refused, as SQS may do.
                    if is_partial && number % 2 == 1 {
                        failed.push(json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"}));
                    } else {
                        if self.is_new(&name, entry) {
                            self.send(&name, entry);
                        }
                        successful.push(json!({"Id": entry["Id"], "MessageId": self.sent.to_string(), "MD5OfMessageBody": "x"}));
                    }
                }
                (200, json!({"Successful": successful, "Failed": failed}))
            }
            "ChangeMessageVisibility" => {
                let seconds = request["VisibilityTimeout"].as_u64().unwrap_or_default();
                let receipt = request["ReceiptHandle"].as_str().unwrap_or_default();
                let messages = self.queues.entry(name).or_default();
                for message in messages.iter_mut().filter(|message| message.id == receipt) {
                    message.visible = Instant::now() + Duration::from_secs(seconds);
                }
                (200, json!({}))
            }
            "GetQueueAttributes" => (
                200,
                json!({"Attributes": {"MaximumMessageSize": "1048576"}}),
            ),
            other => panic!("SQS does not know {other}"),
        }
    }

    /// Whether a message is new to a queue: always on a standard queue, by its deduplication id on a FIFO queue.
    fn is_new(&mut self, name: &str, entry: &Value) -> bool {
        if Path::new(name).extension().is_none() {
            return true;
        }
        assert!(entry["MessageGroupId"].is_string(), "a FIFO queue groups");
        let id = entry["MessageDeduplicationId"].as_str().expect("an id");
        let now = Instant::now();
        let known = self.deduplication.get(id);
        let is_new = known.is_none_or(|taken| now.duration_since(*taken) >= DEDUPLICATION);
        if is_new {
            self.deduplication.insert(id.to_owned(), now);
        }
        is_new
    }

    fn send(&mut self, name: &str, entry: &Value) {
        self.sent += 1;
        let delay = entry["DelaySeconds"].as_u64().unwrap_or_default();
        let message = Message {
            id: format!("message-{}", self.sent),
            body: entry["MessageBody"].as_str().unwrap_or_default().to_owned(),
            attributes: entry["MessageAttributes"].clone(),
            sent: Instant::now(),
            visible: Instant::now() + Duration::from_secs(delay),
            received: 0,
        };
        self.queues
            .entry(name.to_owned())
            .or_default()
            .push(message);
    }

    pub(crate) fn put(&mut self, name: &str, body: &str) {
        self.send(name, &json!({"MessageBody": body}));
    }

    /// Receives a visible message, and hides it for the time `hidden`.
    pub(crate) fn receive(&mut self, name: &str, hidden: Duration) -> Option<Message> {
        let now = Instant::now();
        let messages = self.queues.get_mut(name)?;
        let message = messages.iter_mut().find(|message| message.visible <= now)?;
        message.visible = now + hidden;
        message.received += 1;
        Some(message.clone())
    }

    pub(crate) fn delete(&mut self, name: &str, id: &str) -> Option<Message> {
        let messages = self.queues.get_mut(name)?;
        let place = messages.iter().position(|message| message.id == id)?;
        Some(messages.remove(place))
    }

    pub(crate) fn messages(&self, name: &str) -> &[Message] {
        self.queues.get(name).map_or(&[], Vec::as_slice)
    }
}
