use std::borrow::Cow;

use aws_lambda_events::sqs::{SqsMessage, SqsMessageAttribute};
use connector::aws::queue::Attribute;
use jiff::{SignedDuration, Timestamp};

use crate::config::Rules;

/// From this receive on, attempts are counted.
const COUNTED_FROM: u32 = 3;
/// SQS deletes a message after 14 days, so one this old is parked.
const OLDEST: SignedDuration = SignedDuration::from_hours(13 * 24);

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

    /// The producer's own attributes, by name, so that the same ones are passed on every time.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let mut attributes: Vec<_> = self.message.message_attributes.iter().collect();
        attributes.sort_by_key(|(name, _)| *name);
        attributes
            .into_iter()
            .filter_map(|(name, attribute)| passed_on(name, attribute))
    }

    /// What a FIFO queue keeps in order.
    pub(crate) fn group(&self) -> Option<&'a str> {
        self.message
            .attributes
            .get("MessageGroupId")
            .map(String::as_str)
    }

    /// How often it was delivered, this time included.
    pub(crate) fn receive_count(&self) -> u32 {
        let count = self.message.attributes.get("ApproximateReceiveCount");
        // Unknown is not the first time.
        count.and_then(|count| count.parse().ok()).unwrap_or(2)
    }

    /// Whether it came so often that attempts are counted, since it may be what ends them.
    pub(crate) fn is_counted(&self) -> bool {
        self.receive_count() >= COUNTED_FROM
    }

    /// How long ago it was sent.
    pub(crate) fn age(&self, now: Timestamp) -> SignedDuration {
        self.sent()
            .map_or(SignedDuration::ZERO, |sent| now.duration_since(sent))
    }

    /// When it was sent.
    pub(crate) fn sent(&self) -> Option<Timestamp> {
        let sent = self.message.attributes.get("SentTimestamp")?;
        Timestamp::from_millisecond(sent.parse().ok()?).ok()
    }

    /// Whether waiting has an end here: before SQS deletes the message, or parks it without a reason.
    pub(crate) fn is_last(&self, now: Timestamp, rules: &Rules) -> bool {
        self.age(now) > OLDEST || self.receives_left(rules) == 0
    }

    /// Receives that are left before the message is parked, a few kept for invocations that die.
    fn receives_left(&self, rules: &Rules) -> u32 {
        let kept = (rules.most_receives / 50).max(1);
        let most = rules.most_receives.saturating_sub(kept);
        most.saturating_sub(self.receive_count())
    }

    /// The wait by which the receives that are left last as long as the message can wait; none while there are plenty.
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
        // It is written as text in base64, with its quotes.
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
