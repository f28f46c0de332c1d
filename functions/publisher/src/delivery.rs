use aws_lambda_events::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};

/// A message as the event source delivers it.
pub(crate) struct Delivery<'a> {
    pub(crate) id: &'a str,
    pub(crate) receipt: &'a str,
    pub(crate) body: &'a str,
    message: &'a SqsMessage,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(message: &'a SqsMessage) -> Option<Self> {
        let id = message.message_id.as_deref().filter(|id| !id.is_empty())?;
        let receipt = message.receipt_handle.as_deref()?;
        Some(Self {
            id,
            receipt,
            body: message.body.as_deref()?,
            message,
        })
    }

    /// The message attribute of that name, else the message's id.
    pub(crate) fn idempotency_key(&self) -> String {
        let attribute = self.message.message_attributes.get("idempotencyKey");
        let key = attribute
            .and_then(|attribute| attribute.string_value.clone())
            .filter(|key| !key.is_empty());
        key.unwrap_or_else(|| self.id.to_owned())
    }

    /// What a FIFO queue keeps in order.
    pub(crate) fn group(&self) -> Option<&'a str> {
        self.message
            .attributes
            .get("MessageGroupId")
            .map(String::as_str)
    }

    pub(crate) fn receive_count(&self) -> u32 {
        let count = self.message.attributes.get("ApproximateReceiveCount");
        count.and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    /// How long ago it was sent.
    pub(crate) fn age(&self, now: Timestamp) -> SignedDuration {
        let sent = self
            .message
            .attributes
            .get("SentTimestamp")
            .and_then(|sent| sent.parse().ok());
        let sent = sent.and_then(|sent| Timestamp::from_millisecond(sent).ok());
        sent.map_or(SignedDuration::ZERO, |sent| now.duration_since(sent))
    }
}
