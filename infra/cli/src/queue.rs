//! A queue of the stack: receives, sends and counts its messages.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::Error;

/// SQS returns at most ten messages for one call.
pub(crate) const BATCH: usize = 10;
/// SQS asks all of its servers only if the call may wait.
const WAIT_SECONDS: i32 = 1;
/// The prefix of the deduplication id of a message that was put behind. The rest carries the time of its first sending.
const PUT_BEHIND: &str = "put-behind";

pub(crate) type Attributes = BTreeMap<String, MessageAttributeValue>;

/// A received message, which SQS hides from others until its visibility timeout ends.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// When it was first sent to the queue.
    pub(crate) sent: Timestamp,
    /// Orders messages that were sent at the same time.
    sequence: u128,
    /// The message group, on FIFO queues.
    pub(crate) group: Option<String>,
    pub(crate) attributes: Attributes,
    pub(crate) body: String,
    receipt: String,
}

#[derive(Debug)]
pub(crate) struct Queue {
    sqs: Client,
    url: String,
}

impl Message {
    pub(crate) fn of(received: aws_sdk_sqs::types::Message) -> Self {
        let system = received.attributes.unwrap_or_default();
        let system = |name| system.get(&name).map(String::as_str);
        let group = system(MessageSystemAttributeName::MessageGroupId);
        let deduplication = system(MessageSystemAttributeName::MessageDeduplicationId);
        let (sent, sequence) = deduplication.and_then(first_sent).unwrap_or((
            system(MessageSystemAttributeName::SentTimestamp).unwrap_or_default(),
            system(MessageSystemAttributeName::SequenceNumber).unwrap_or_default(),
        ));
        let sent = sent.parse().ok();
        let sent = sent.and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok());
        let attributes = received.message_attributes.unwrap_or_default();
        Self {
            id: received.message_id.unwrap_or_default(),
            // SQS always states the time. Without one, the message counts as too new to be taken.
            sent: sent.unwrap_or(Timestamp::MAX),
            sequence: sequence.parse().unwrap_or_default(),
            group: group.map(str::to_owned),
            attributes: attributes.into_iter().collect(),
            body: received.body.unwrap_or_default(),
            receipt: received.receipt_handle.unwrap_or_default(),
        }
    }

    /// Orders the messages of a group.
    pub(crate) fn order(&self) -> (Timestamp, u128) {
        (self.sent, self.sequence)
    }

    /// The text of a message attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.string_value()
    }

    /// The whole message, for JSON output.
    pub(crate) fn json(&self) -> Value {
        let attributes = self.attributes.iter().map(|(name, value)| {
            let bytes = value.binary_value().map(AsRef::<[u8]>::as_ref);
            let value = match bytes {
                Some(bytes) => json!({"type": value.data_type(), "bytes": bytes}),
                None => json!({"type": value.data_type(), "value": value.string_value()}),
            };
            (name.clone(), value)
        });
        json!({
            "id": self.id, "sent": self.sent, "group": self.group,
            "attributes": attributes.collect::<serde_json::Map<_, _>>(), "body": self.body,
        })
    }
}

impl Queue {
    pub(crate) fn new(sqs: Client, url: &str) -> Self {
        let url = url.to_owned();
        Self { sqs, url }
    }

    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }

    pub(crate) fn is_fifo(&self) -> bool {
        connector::aws::queue::is_fifo(&self.url)
    }

    fn what(&self) -> String {
        format!("queue {}", self.name())
    }

    /// Receives at most [`BATCH`] messages, and hides them from others for this many seconds.
    pub(crate) async fn receive(&self, hidden_seconds: i32) -> Result<Vec<Message>, Error> {
        let mut call = self
            .sqs
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(BATCH).unwrap_or(1))
            .visibility_timeout(hidden_seconds)
            .wait_time_seconds(WAIT_SECONDS)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        if self.is_fifo() {
            // If an answer is lost, SQS returns the same messages to a repeated call with this id.
            call = call.receive_request_attempt_id(Timestamp::now().as_nanosecond().to_string());
        }
        let answer = call.send().await;
        let answer = answer.map_err(|error| Error::aws(self.what(), &error))?;
        let received = answer.messages.unwrap_or_default();
        Ok(received.into_iter().map(Message::of).collect())
    }

    /// Makes messages visible again. SQS refuses this if the visibility timeout has ended. That does no harm: the
    /// message is visible then.
    pub(crate) async fn give_back(&self, messages: &[Message]) -> Result<(), Error> {
        for batch in messages.chunks(BATCH) {
            let mut call = self.sqs.change_message_visibility_batch();
            for (index, message) in batch.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&message.receipt)
                    .visibility_timeout(0)
                    .build()
                    .map_err(|error| Error::Other(error.to_string()))?;
                call = call.entries(entry);
            }
            let answer = call.queue_url(&self.url).send().await;
            answer.map_err(|error| Error::aws(self.what(), &error))?;
        }
        Ok(())
    }

    pub(crate) async fn delete(&self, message: &Message) -> Result<(), Error> {
        let call = self.sqs.delete_message().queue_url(&self.url);
        let answer = call.receipt_handle(&message.receipt).send().await;
        answer.map_err(|error| {
            let what = format!("queue {}: deleting message {}", self.name(), message.id);
            Error::aws(what, &error)
        })?;
        Ok(())
    }

    /// Sends a message of another queue to this one, with these attributes.
    ///
    /// On a FIFO queue, the message keeps its group. Its deduplication id is its message id, which SQS gave to no other
    /// message. So only the same message sent twice within five minutes counts as one.
    pub(crate) async fn send(
        &self,
        message: &Message,
        attributes: Attributes,
    ) -> Result<(), Error> {
        let id = message.id.clone();
        self.send_as(message, attributes, id).await?;
        Ok(())
    }

    /// Sends a message of this FIFO queue to the end of its group. Returns the new message id.
    pub(crate) async fn put_behind(&self, message: &Message) -> Result<String, Error> {
        let (sent, sequence) = (message.sent.as_millisecond(), message.sequence);
        let id = format!("{PUT_BEHIND}:{sent}:{sequence}:{}", message.id);
        self.send_as(message, message.attributes.clone(), id).await
    }

    async fn send_as(
        &self,
        message: &Message,
        attributes: Attributes,
        deduplication_id: String,
    ) -> Result<String, Error> {
        let mut call = self.sqs.send_message().queue_url(&self.url);
        if self.is_fifo() {
            call = call
                .message_group_id(message.group.as_ref().unwrap_or(&message.id))
                .message_deduplication_id(deduplication_id);
        }
        let attributes = (!attributes.is_empty()).then(|| attributes.into_iter().collect());
        let call = call
            .message_body(&message.body)
            .set_message_attributes(attributes);
        let answer = call.send().await.map_err(|error| {
            let what = format!("queue {}: sending message {}", self.name(), message.id);
            Error::aws(what, &error)
        })?;
        Ok(answer.message_id.unwrap_or_default())
    }

    /// The approximate number of messages, visible or hidden.
    pub(crate) async fn size(&self) -> Result<usize, Error> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.sqs.get_queue_attributes().queue_url(&self.url);
        let answer = call.set_attribute_names(Some(names.to_vec())).send().await;
        let answer = answer.map_err(|error| Error::aws(self.what(), &error))?;
        let counts = answer.attributes.unwrap_or_default();
        let counts = names.iter().filter_map(|name| counts.get(name));
        Ok(counts.filter_map(|count| count.parse::<usize>().ok()).sum())
    }
}

/// Time and sequence of the first sending, from the deduplication id of a message that was put behind.
fn first_sent(deduplication_id: &str) -> Option<(&str, &str)> {
    let mark = deduplication_id.strip_prefix(PUT_BEHIND)?;
    let (sent, rest) = mark.strip_prefix(':')?.split_once(':')?;
    let (sequence, _) = rest.split_once(':')?;
    Some((sent, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_behind_keeps_its_time() {
        let received = aws_sdk_sqs::types::Message::builder();
        let received = received.attributes(MessageSystemAttributeName::SentTimestamp, "9000");
        let other = Message::of(received.clone().build());
        assert_eq!(
            other.order(),
            (Timestamp::from_millisecond(9000).unwrap(), 0)
        );
        let id = "put-behind:7000:18849496460467696128:5cd00ea1-43e9";
        let name = MessageSystemAttributeName::MessageDeduplicationId;
        let behind = Message::of(received.attributes(name, id).build());
        let first = Timestamp::from_millisecond(7000).unwrap();
        assert_eq!(behind.order(), (first, 18_849_496_460_467_696_128));
        assert_eq!(behind.sent, first);
    }
}
