//! Parking: what can never succeed goes to the dead-letter queue, with the reason beside it.

use connector::aws::queue::{MESSAGE_LIMIT, Message, attribute_size};
use protime::Refusal;
use serde::Serialize;

/// More than this of a message or of details helps nobody.
const LONGEST_MESSAGE: usize = 8 * 1024;
const LONGEST_DETAILS: usize = 64 * 1024;

/// Why a message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is not a publish request that can be sent.
    Invalid,
    /// Protime refused it.
    Refused,
    /// Whether Protime wrote it is unknown, and writing again could write twice.
    UnknownOutcome,
    /// Attempts at it ended without a verdict again and again.
    Crashed,
    /// It was deferred until SQS would have deleted it.
    Expired,
}

impl Reason {
    /// The value of the attribute `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Crashed => "crashed",
            Self::Expired => "expired",
        }
    }
}

/// What a parked message says about itself.
#[derive(Debug)]
pub struct Parking {
    /// Why.
    pub reason: Reason,
    /// An explanation.
    pub message: String,
    /// Protime's answer, if there was one.
    pub refusal: Option<Refusal>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    reasons: &'a [String],
    validation_errors: &'a [String],
}

impl Parking {
    /// Parked without having been refused by Protime.
    pub fn new(reason: Reason, message: &str) -> Self {
        Self {
            reason,
            message: message.to_owned(),
            refusal: None,
        }
    }

    /// The message for the dead-letter queue: the body untouched, the attributes cut to what fits beside it.
    pub fn to_message(&self, message_id: &str, body: &str, idempotency_key: &str) -> Message {
        let Self {
            reason,
            message,
            refusal,
        } = self;
        let mut attributes = Attributes {
            left: MESSAGE_LIMIT.saturating_sub(body.len()),
            list: Vec::new(),
        };
        attributes.add("reason", reason.as_str().to_owned());
        attributes.add("idempotencyKey", idempotency_key.to_owned());
        if let Some(refusal) = refusal {
            attributes.add("status", refusal.status.to_string());
            attributes.add("code", refusal.code.clone().unwrap_or_default());
        }
        attributes.add(
            "message",
            attributes.shortened("message", message, LONGEST_MESSAGE),
        );
        if let Some(refusal) = refusal {
            attributes.add("details", attributes.details(refusal));
        }
        Message {
            id: message_id.to_owned(),
            group: message_id.to_owned(),
            body: body.to_owned().into(),
            attributes: attributes.list,
            delay_seconds: 0,
        }
    }
}

struct Attributes {
    left: usize,
    list: Vec<(&'static str, String)>,
}

impl Attributes {
    /// SQS takes neither empty values nor characters that XML 1.0 lacks.
    fn add(&mut self, name: &'static str, value: String) {
        let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
        let value: String = if value.chars().all(legal) {
            value
        } else {
            value.replace(|c| !legal(c), "\u{FFFD}")
        };
        let size = attribute_size(name, &value);
        if !value.is_empty() && size <= self.left {
            self.left -= size;
            self.list.push((name, value));
        }
    }

    fn room(&self, name: &str, longest: usize) -> usize {
        self.left
            .saturating_sub(attribute_size(name, ""))
            .min(longest)
    }

    fn shortened(&self, name: &str, text: &str, longest: usize) -> String {
        let mut end = text.len().min(self.room(name, longest));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }

    /// As many reasons and validation errors as there is room for.
    fn details(&self, refusal: &Refusal) -> String {
        let (mut reasons, mut validation_errors) = (
            refusal.reasons.as_slice(),
            refusal.validation_errors.as_slice(),
        );
        let room = self.room("details", LONGEST_DETAILS);
        while !(reasons.is_empty() && validation_errors.is_empty()) {
            let details = Details {
                reasons,
                validation_errors,
            };
            match serde_json::to_string(&details) {
                Ok(json) if json.len() <= room => return json,
                _ if validation_errors.is_empty() => reasons = &reasons[..reasons.len() - 1],
                _ => validation_errors = &validation_errors[..validation_errors.len() - 1],
            }
        }
        String::new()
    }
}
