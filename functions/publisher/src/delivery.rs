use std::borrow::Cow;

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use connector::aws::queue::Attribute;
use jiff::{SignedDuration, Timestamp};

use crate::config::Rules;

/// Attempts are counted from this receive on.
const COUNTED_FROM: u32 = 3;
/// A message of this age is parked, since SQS deletes it after 14 days.
const OLDEST: SignedDuration = SignedDuration::from_hours(13 * 24);

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

    /// The message attribute `idempotencyKey`, or the message's id without one.
    pub(crate) fn idempotency_key(&self) -> String {
        let attribute = self.message.message_attributes.get("idempotencyKey");
        let key = attribute
            .and_then(|attribute| attribute.string_value.clone())
            .filter(|key| !key.is_empty());
        key.unwrap_or_else(|| self.id.to_owned())
    }

    /// The producer's own attributes, sorted by name: each delivery then passes on the same ones.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let mut attributes: Vec<_> = self.message.message_attributes.iter().collect();
        attributes.sort_by_key(|(name, _)| *name);
        attributes
            .into_iter()
            .filter_map(|(name, attribute)| passed_on(name, attribute))
    }

    /// The message group, which a FIFO queue keeps in order. Standard queues may have one for fairness.
    pub(crate) fn group(&self) -> Option<&'a str> {
        self.message
            .attributes
            .get("MessageGroupId")
            .map(String::as_str)
    }

    /// How often SQS has delivered the message, including this time.
    pub(crate) fn receive_count(&self) -> u32 {
        let count = self.message.attributes.get("ApproximateReceiveCount");
        // A missing count is not taken for the first delivery.
        count.and_then(|count| count.parse().ok()).unwrap_or(2)
    }

    /// Whether attempts at the message are counted. After several deliveries, the message may be what kills the
    /// function.
    pub(crate) fn is_counted(&self) -> bool {
        self.receive_count() >= COUNTED_FROM
    }

    /// The time since the message was sent; zero if that is unknown.
    pub(crate) fn age(&self, now: Timestamp) -> SignedDuration {
        self.sent()
            .map_or(SignedDuration::ZERO, |sent| now.duration_since(sent))
    }

    /// When the message was sent. None if SQS does not say.
    pub(crate) fn sent(&self) -> Option<Timestamp> {
        let sent = self.message.attributes.get("SentTimestamp")?;
        Timestamp::from_millisecond(sent.parse().ok()?).ok()
    }

    /// Whether the message must not wait any longer. Otherwise SQS deletes it, or parks it without a reason.
    pub(crate) fn is_last(&self, now: Timestamp, rules: &Rules) -> bool {
        self.age(now) > OLDEST || self.receives_left(rules) == 0
    }

    /// Receives left before SQS parks the message. A few are reserved for invocations that die.
    fn receives_left(&self, rules: &Rules) -> u32 {
        let kept = (rules.most_receives / 50).max(1);
        let most = rules.most_receives.saturating_sub(kept);
        most.saturating_sub(self.receive_count())
    }

    /// The wait that makes the remaining receives last until the message is too old. Zero while plenty are left.
    pub(crate) fn sparing_wait(&self, now: Timestamp, rules: &Rules) -> SignedDuration {
        let left = self.receives_left(rules);
        if left > rules.most_receives / 10 * 9 {
            return SignedDuration::ZERO;
        }
        let time = (OLDEST - self.age(now)).max(SignedDuration::ZERO);
        time / i32::try_from(left.max(1)).unwrap_or(i32::MAX)
    }
}

fn passed_on(name: &str, attribute: &SqsMessageAttribute) -> Option<Attribute> {
    let binary = || {
        let binary = attribute.binary_value.as_ref()?;
        // The event has it as base64 text; serialising adds quotes.
        let quoted = serde_json::to_string(binary).ok()?;
        Some(quoted.trim_matches('"').to_owned())
    };
    let value = attribute.string_value.clone().or_else(binary)?;
    Some(Attribute {
        name: Cow::Owned(name.to_owned()),
        data_type: Cow::Owned(attribute.data_type.clone()?),
        value,
    })
}
