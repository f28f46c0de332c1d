//! Sending to SQS: in batches by count and size, failed entries again, nothing lost quietly.

mod content;

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::time::Duration;

use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;
use aws_sdk_sqs::types::{BatchResultErrorEntry, QueueAttributeName};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::aws;
use content::{Content, content};

/// The most that one message, and one batch, may hold: 1 MiB, attributes included.
pub const MESSAGE_LIMIT: usize = 1_048_576;
/// The most seconds that SQS can wait before it delivers a message.
pub const LONGEST_DELIVERY_DELAY: u32 = 900;
/// The most messages that one call may carry.
const BATCH_ENTRIES: usize = 10;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// A message for a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// A stable id; on FIFO queues its hash prevents duplicates.
    pub id: String,
    /// What is kept in order on FIFO queues.
    pub group: String,
    /// The body.
    pub body: Body,
    /// Its attributes, at most ten.
    pub attributes: Vec<Attribute>,
    /// How many seconds SQS waits before it delivers the message, at most [`LONGEST_DELIVERY_DELAY`]; 0 on FIFO queues.
    pub delay_seconds: u32,
}

impl Message {
    /// What SQS counts: the body, and name, type and value of every attribute.
    pub fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(Attribute::size).sum::<usize>()
    }
}

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: Cow<'static, str>,
    /// `String`, `Number` or `Binary`, perhaps with a label: `Number.float`.
    pub data_type: Cow<'static, str>,
    /// Its value; in base64 if it is binary.
    pub value: String,
}

impl Attribute {
    /// Text.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            data_type: "String".into(),
            value: value.into(),
        }
    }

    /// What SQS counts for it, at most.
    pub fn size(&self) -> usize {
        self.name.len() + self.data_type.len() + self.value.len()
    }

    fn is_binary(&self) -> bool {
        self.data_type.starts_with("Binary")
    }
}

/// The body of a message, in pieces, so that what Protime sent is passed on without being copied.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// UTF-8, if put together.
    pieces: Vec<Bytes>,
}

impl Body {
    /// Appends text.
    pub fn push(&mut self, text: impl Into<Bytes>) {
        self.pieces.push(text.into());
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends all of another.
    pub fn append(&mut self, mut other: Self) {
        self.pieces.append(&mut other.pieces);
    }

    /// What it consists of.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self {
            pieces: vec![text.into()],
        }
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.pieces.concat()))
    }
}

/// Bodies hold personal data.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Messages that could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The call failed.
    #[error("sending to {queue} failed: {reason}")]
    Call {
        /// The queue's URL.
        queue: String,
        /// Why.
        reason: String,
    },
    /// The queue cannot be asked about.
    #[error(
        "{queue} cannot be used: {reason}; it must exist, and its ARN be among the stack's parameter ConnectionQueueArns"
    )]
    Unusable {
        /// The queue's URL.
        queue: String,
        /// Why.
        reason: String,
    },
    /// SQS took the batch, but not all of its messages.
    #[error("{queue} refused message {id}: {code}: {message}")]
    Entry {
        /// The queue's URL.
        queue: String,
        /// The message's id.
        id: String,
        /// The code of SQS.
        code: String,
        /// Its explanation.
        message: String,
    },
}

impl QueueError {
    /// Whether SQS refused the content of a message, which it will do again.
    pub fn blames_the_message(&self) -> bool {
        matches!(self, Self::Entry { .. })
    }
}

/// Messages for one call.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<Message>,
    size: usize,
    most: usize,
}

impl Batch {
    /// Adds a message, or gives it back if the call cannot carry it as well.
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

/// An SQS queue to send to.
#[derive(Debug, Clone)]
pub struct Queue {
    sqs: aws_sdk_sqs::Client,
    url: String,
    largest_message: usize,
}

impl Queue {
    /// The queue at that URL.
    pub fn new(sqs: aws_sdk_sqs::Client, url: impl Into<String>) -> Self {
        Self {
            sqs,
            url: url.into(),
            largest_message: MESSAGE_LIMIT,
        }
    }

    /// The same queue, which is asked how large its messages can be: whoever made it may have set a limit of their own.
    pub async fn measured(self) -> Result<Self, QueueError> {
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

    /// Whether the queue is there and takes messages from us, without sending any: SQS refuses an empty batch as such only
    /// where it would take a full one.
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

    /// What one message can hold, in bytes, attributes included.
    pub fn largest_message(&self) -> usize {
        self.largest_message
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it keeps order: SQS demands that such a queue's name ends so, in lower case.
    pub fn is_fifo(&self) -> bool {
        is_fifo(&self.url)
    }

    /// An empty batch for this queue.
    pub fn batch(&self) -> Batch {
        // FIFO queues get one message a call, so that a retry cannot reorder.
        let most = if self.is_fifo() { 1 } else { BATCH_ENTRIES };
        Batch {
            messages: Vec::new(),
            size: 0,
            most,
        }
    }

    /// Sends a batch. What fails for a passing reason is sent again until the deadline.
    pub async fn send(&self, batch: impl Into<Batch>, deadline: Instant) -> Result<(), QueueError> {
        let mut pending = batch.into().messages;
        let mut delay = FIRST_DELAY;
        while !pending.is_empty() {
            let failure = match self.attempt(&pending, None).await? {
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
            tracing::warn!(reason = %failure, messages = pending.len(), "sending again after a delay");
            sleep(wait).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
        Ok(())
    }

    /// Sends a message by a single request. After an error nobody knows whether SQS has it: asked again, SQS might deliver
    /// it twice.
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
        }
    }
}

fn is_empty_batch(error: &SdkError<SendMessageBatchError>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code());
    code.is_some_and(|code| code.contains("EmptyBatchRequest"))
}

/// Whether the queue at that URL keeps order.
pub fn is_fifo(url: &str) -> bool {
    url.rsplit_once('.')
        .is_some_and(|(_, suffix)| suffix == "fifo")
}

enum Attempt {
    /// With these entries refused.
    Answered(Vec<BatchResultErrorEntry>),
    /// For a reason that may pass.
    Failed(String),
}

/// SQS takes 1 to 128 letters, digits and punctuation here.
fn group_id(group: &str) -> Cow<'_, str> {
    let is_legal =
        (1..=128).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic());
    if is_legal {
        Cow::Borrowed(group)
    } else {
        Cow::Owned(deduplication_id(group))
    }
}

/// Ids can be longer than the 128 characters that SQS allows here.
fn deduplication_id(id: &str) -> String {
    Sha256::digest(id.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
