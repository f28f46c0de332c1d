//! Sends messages to SQS in batches, limited by count and size. Failed entries are sent again, and no loss goes
//! unreported.

mod content;
mod message;

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;
use aws_sdk_sqs::types::{BatchResultErrorEntry, QueueAttributeName};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use crate::aws;
use content::{Content, content};

pub use message::{Attribute, Body, Message};

/// Largest message and largest batch in bytes: 1 MiB, including attributes.
pub const MESSAGE_LIMIT: usize = 1_048_576;
/// Longest time that SQS can delay a delivery, in seconds.
pub const LONGEST_DELIVERY_DELAY: u32 = 900;
/// Most messages in one call.
const BATCH_ENTRIES: usize = 10;
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// A call may take so much longer than the deadline: a continuation or a parked message is worth it.
const GRACE: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Why messages could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The call to SQS failed as a whole.
    #[error("sending to {queue} failed: {reason}")]
    Call {
        /// The URL of the queue.
        queue: String,
        /// AWS's error code and message, or the chain of causes.
        reason: String,
    },
    /// SQS refuses to tell the queue's attributes.
    #[error(
        "{queue} cannot be used: {reason}; the queue must exist, and its ARN must be in the stack's parameter ConnectionQueueArns"
    )]
    Unusable {
        /// The URL of the queue.
        queue: String,
        /// AWS's error code and message.
        reason: String,
    },
    /// SQS accepted the batch, but refused this message.
    #[error("{queue} refused message {id}: {code}: {message}")]
    Entry {
        /// The URL of the queue.
        queue: String,
        /// The id of the message.
        id: String,
        /// The error code of SQS.
        code: String,
        /// The explanation of SQS; empty if it gave none.
        message: String,
        /// Whether SQS blames the message, rather than itself.
        sender_fault: bool,
    },
}

impl QueueError {
    /// Whether SQS refused the content of a message, and would refuse it again.
    pub fn blames_the_message(&self) -> bool {
        matches!(
            self,
            Self::Entry {
                sender_fault: true,
                ..
            }
        )
    }
}

/// Messages for one call to SQS.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<Message>,
    size: usize,
    most: usize,
}

impl Batch {
    /// Adds a message, or returns it if the call has no room for it. A first message always fits.
    pub fn push(&mut self, message: Message) -> Result<(), Message> {
        let size = self.size + message.size();
        if !self.messages.is_empty() && (self.messages.len() == self.most || size > MESSAGE_LIMIT) {
            return Err(message);
        }
        self.size = size;
        self.messages.push(message);
        Ok(())
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl From<Message> for Batch {
    fn from(message: Message) -> Self {
        Self {
            size: message.size(),
            messages: vec![message],
            most: 1,
        }
    }
}

/// An SQS queue that messages are sent to.
#[derive(Debug, Clone)]
pub struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: String,
    largest_message: usize,
}

impl Queue {
    /// The queue at that URL. Its message limit is that of SQS until [`Queue::with_own_size_limit`] asks for its own.
    pub fn new(sqs: aws_sdk_sqs::Client, url: impl Into<String>) -> Self {
        Self {
            sqs,
            url: url.into(),
            largest_message: MESSAGE_LIMIT,
        }
    }

    /// Asks SQS for the queue's own size limit, which its owner may have set lower.
    pub async fn with_own_size_limit(self) -> Result<Self, QueueError> {
        let name = QueueAttributeName::MaximumMessageSize;
        let ask = self
            .sqs
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(name.clone());
        let answer = ask.send().await.map_err(|error| {
            let (queue, reason) = (self.url.clone(), aws::describe(&error));
            if aws::is_transient(&error) {
                QueueError::Call { queue, reason }
            } else {
                QueueError::Unusable { queue, reason }
            }
        })?;
        let attributes = answer.attributes.unwrap_or_default();
        let limit = attributes.get(&name).and_then(|limit| limit.parse().ok());
        let largest_message = limit.unwrap_or(MESSAGE_LIMIT).min(MESSAGE_LIMIT);
        Ok(Self {
            largest_message,
            ..self
        })
    }

    /// Whether the queue exists and accepts messages from us; nothing is sent. SQS rejects an empty batch as empty only
    /// where it would accept a full one.
    pub async fn check(&self) -> Result<(), QueueError> {
        let call = self.sqs.send_message_batch().queue_url(&self.url);
        match call.set_entries(Some(Vec::new())).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_empty_batch(&error) => Ok(()),
            Err(error) => Err(QueueError::Call {
                queue: self.url.clone(),
                reason: aws::describe(&error),
            }),
        }
    }

    /// Largest message in bytes, including attributes.
    pub fn largest_message(&self) -> usize {
        self.largest_message
    }

    /// The URL of the queue.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the queue keeps order. SQS demands that the name of such a queue ends in `.fifo`, in lower case.
    pub fn is_fifo(&self) -> bool {
        is_fifo(&self.url)
    }

    /// An empty batch with this queue's limit of messages.
    pub fn batch(&self) -> Batch {
        // A FIFO queue gets one message per call, so that a retry cannot reorder.
        let most = if self.is_fifo() { 1 } else { BATCH_ENTRIES };
        Batch {
            messages: Vec::new(),
            size: 0,
            most,
        }
    }

    /// Sends a batch. Messages that fail temporarily are sent again until the deadline.
    pub async fn send(&self, batch: impl Into<Batch>, deadline: Instant) -> Result<(), QueueError> {
        let mut pending = batch.into().messages;
        let mut delay = FIRST_DELAY;
        while !pending.is_empty() {
            // SQS may have the messages all the same; they go out again with the same ids.
            let late = |why: &str| Ok(Attempt::Failed(why.to_owned()));
            let attempt = if Instant::now() < deadline + GRACE {
                let attempt = timeout_at(deadline + GRACE, self.attempt(&pending, None)).await;
                attempt.unwrap_or_else(|_| late("no answer before the deadline"))
            } else {
                late("the time was up before it was sent")
            };
            let failure = match attempt? {
                Attempt::Failed(reason) => QueueError::Call {
                    queue: self.url.clone(),
                    reason,
                },
                Attempt::Answered(failed) => {
                    let Some(first) = failed.first() else {
                        return Ok(());
                    };
                    let failure = self.entry_error(&pending, first);
                    if let Some(refused) = failed.iter().find(|entry| entry.sender_fault()) {
                        return Err(self.entry_error(&pending, refused));
                    }
                    let mut index = 0_usize;
                    pending.retain(|_| {
                        let id = index.to_string();
                        index += 1;
                        failed.iter().any(|entry| entry.id() == id)
                    });
                    failure
                }
            };
            let wait = delay.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
            if Instant::now() + wait >= deadline {
                return Err(failure);
            }
            tracing::warn!(reason = %failure, messages = pending.len(), "SQS did not take all messages; the rest is sent again after a delay");
            sleep(wait).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
        Ok(())
    }

    /// Sends a message with a single request. After an error it is unknown whether SQS has it: a retry could deliver it
    /// twice.
    pub async fn send_once(&self, message: Message) -> Result<(), QueueError> {
        let batch = [message];
        match self.attempt(&batch, Some(RetryConfig::disabled())).await? {
            Attempt::Failed(reason) => Err(QueueError::Call {
                queue: self.url.clone(),
                reason,
            }),
            Attempt::Answered(failed) => match failed.first() {
                Some(entry) => Err(self.entry_error(&batch, entry)),
                None => Ok(()),
            },
        }
    }

    async fn attempt(
        &self,
        batch: &[Message],
        retries: Option<RetryConfig>,
    ) -> Result<Attempt, QueueError> {
        let failed = |reason: String| QueueError::Call {
            queue: self.url.clone(),
            reason,
        };
        let call = self.sqs.send_message_batch().queue_url(&self.url);
        let call = call.set_entries(Some(Vec::new()));
        let body = content(&self.url, self.is_fifo(), batch);
        let mut call = call.customize().interceptor(Content(body));
        if let Some(retries) = retries {
            call = call.config_override(Config::builder().retry_config(retries));
        }
        match call.send().await {
            Ok(answer) => Ok(Attempt::Answered(answer.failed)),
            Err(error) => {
                let reason = aws::describe(&error);
                if aws::is_transient(&error) {
                    Ok(Attempt::Failed(reason))
                } else {
                    Err(failed(reason))
                }
            }
        }
    }

    fn entry_error(&self, batch: &[Message], entry: &BatchResultErrorEntry) -> QueueError {
        let message = entry
            .id()
            .parse::<usize>()
            .ok()
            .and_then(|index| batch.get(index));
        QueueError::Entry {
            queue: self.url.clone(),
            id: message.map_or_else(|| entry.id().to_owned(), |message| message.id.clone()),
            code: entry.code().to_owned(),
            message: entry.message().unwrap_or_default().to_owned(),
            sender_fault: entry.sender_fault(),
        }
    }
}

fn is_empty_batch(error: &SdkError<SendMessageBatchError>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code());
    code.is_some_and(|code| code.contains("EmptyBatchRequest"))
}

/// Whether the queue at that URL is a FIFO queue.
pub fn is_fifo(url: &str) -> bool {
    url.rsplit_once('.')
        .is_some_and(|(_, suffix)| suffix == "fifo")
}

enum Attempt {
    /// SQS answered, and refused these entries.
    Answered(Vec<BatchResultErrorEntry>),
    /// The call failed for a temporary reason.
    Failed(String),
}

/// A valid message group id: 1 to 128 letters, digits and punctuation marks. Any other group is hashed.
fn group_id(group: &str) -> Cow<'_, str> {
    let is_legal =
        (1..=128).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic());
    if is_legal {
        Cow::Borrowed(group)
    } else {
        Cow::Owned(deduplication_id(group))
    }
}

/// A hash of the id, which can be longer than the 128 characters that SQS allows.
fn deduplication_id(id: &str) -> String {
    Sha256::digest(id.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
