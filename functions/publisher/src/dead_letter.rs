//! Dead letters: a message that can never succeed goes to the dead-letter queue with its reason.

use connector::aws::queue::{Attribute, MESSAGE_LIMIT, Message};
use protime::Refusal;
use serde::{Deserialize, Serialize};

use crate::delivery::Delivery;

/// Limits of message and details, in bytes. Longer ones help nobody, and would not fit into the record that keeps them.
const LONGEST_MESSAGE: usize = 8 * 1024;
const LONGEST_DETAILS: usize = 64 * 1024;
/// The most attributes that SQS accepts on a message.
const MOST_ATTRIBUTES: usize = 10;

/// Why a message is parked, that is, moved to the dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The body is not a publish request that can be sent.
    Invalid,
    /// Protime refused the write.
    Refused,
    /// It is unknown whether Protime has written, and a second write could be a duplicate.
    UnknownOutcome,
    /// Several attempts ended without a verdict.
    Crashed,
    /// The message was deferred until SQS would have parked or deleted it.
    Expired,
}

impl Reason {
    /// The value of the message attribute `reason`.
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

/// The reason that a parked message carries in its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why the message is parked, as one word.
    pub reason: Reason,
    /// Explains the reason and what to do; at most 8 KiB.
    pub message: String,
    /// Protime's response. None if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// Protime's response to the refused write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// Protime's own error code. None if the response has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Reasons and validation errors, as JSON. Empty if there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    reasons: &'a [String],
    validation_errors: &'a [String],
}

impl DeadLetter {
    /// A dead letter without a response of Protime.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: shortened(message.into(), LONGEST_MESSAGE),
            answer: None,
        }
    }

    /// The dead letter of a message whose attempts died.
    pub(crate) fn crashed() -> Self {
        Self::new(
            Reason::Crashed,
            "several attempts ended without a verdict; it is not known whether Protime wrote this. Read the log, look it up in Protime, then send it again or drop it",
        )
    }

    /// A dead letter with Protime's response.
    pub fn answered(reason: Reason, message: impl Into<String>, refusal: &Refusal) -> Self {
        let code = refusal.code.clone();
        Self {
            answer: Some(Answer {
                status: refusal.status,
                code: code.map(|code| shortened(code, LONGEST_MESSAGE)),
                details: details(refusal, LONGEST_DETAILS),
            }),
            ..Self::new(reason, message)
        }
    }

    /// Builds the message for the dead-letter queue. The body is unchanged, and our attributes are cut to fit beside
    /// it. The producer's attributes follow as far as there is room.
    pub(crate) fn to_message(&self, delivery: &Delivery<'_>, idempotency_key: &str) -> Message {
        let mut attributes = Attributes {
            left: MESSAGE_LIMIT.saturating_sub(delivery.body.len()),
            list: Vec::new(),
        };
        attributes.add("reason", self.reason.as_str());
        attributes.add("idempotencyKey", idempotency_key);
        if let Some(answer) = &self.answer {
            attributes.add("status", &answer.status.to_string());
            attributes.add("code", answer.code.as_deref().unwrap_or_default());
        }
        attributes.add_shortened("message", &self.message);
        if let Some(answer) = &self.answer {
            attributes.add("details", &answer.details);
        }
        for attribute in delivery.attributes() {
            attributes.pass_on(attribute);
        }
        Message {
            id: delivery.id.to_owned(),
            group: delivery.group().unwrap_or(delivery.id).to_owned(),
            body: delivery.body.to_owned().into(),
            attributes: attributes.list,
            delay_seconds: 0,
        }
    }
}

struct Attributes {
    left: usize,
    list: Vec<Attribute>,
}

impl Attributes {
    /// Replaces characters that XML 1.0 lacks, and skips empty values: SQS accepts neither.
    fn add(&mut self, name: &'static str, value: &str) {
        let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
        let attribute = Attribute::text(name, value.replace(|c| !legal(c), "\u{FFFD}"));
        if !value.is_empty() && attribute.size() <= self.left {
            self.left -= attribute.size();
            self.list.push(attribute);
        }
    }

    fn add_shortened(&mut self, name: &'static str, text: &str) {
        let room = self.left.saturating_sub(Attribute::text(name, "").size());
        // The replacement character has three bytes, and the shortest illegal character has one.
        let illegal = text.chars().filter(|c| *c < ' ').count();
        let room = room.saturating_sub(2 * illegal);
        self.add(name, &shortened(text.to_owned(), room));
    }

    fn pass_on(&mut self, attribute: Attribute) {
        let is_known = self.list.iter().any(|known| known.name == attribute.name);
        if !is_known && self.list.len() < MOST_ATTRIBUTES && attribute.size() <= self.left {
            self.left -= attribute.size();
            self.list.push(attribute);
        }
    }
}

fn shortened(mut text: String, longest: usize) -> String {
    text.truncate(text.floor_char_boundary(longest));
    text
}

/// Reasons first, then validation errors, as many as fit into `room` bytes.
fn details(refusal: &Refusal, room: usize) -> String {
    let mut left = room;
    let mut fitting = |items: &[String]| {
        let fits = |item: &&String| {
            // Two quotes, a comma, and the escapes of its characters.
            let size = 3 + item.chars().map(json_length).sum::<usize>();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        };
        items.iter().take_while(fits).count()
    };
    let reasons = &refusal.reasons[..fitting(&refusal.reasons)];
    let validation_errors = &refusal.validation_errors[..fitting(&refusal.validation_errors)];
    if reasons.is_empty() && validation_errors.is_empty() {
        return String::new();
    }
    // Plain data with string keys always serialises to JSON.
    serde_json::to_string(&Details {
        reasons,
        validation_errors,
    })
    .unwrap_or_default()
}

fn json_length(c: char) -> usize {
    match c {
        '"' | '\\' => 2,
        c if c < ' ' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use protime::Method;
    use serde_json::Value;

    use super::*;

    #[test]
    fn details_are_cut_to_what_fits_in_no_time() {
        let errors = vec!["\u{1} \"wrong\"".repeat(10); 200_000];
        let refusal = Refusal {
            method: Method::Post,
            path: String::new(),
            status: 400,
            code: None,
            message: String::new(),
            reasons: vec!["why".to_owned()],
            validation_errors: errors,
            retry_after: None,
            is_continuation: false,
            granted: None,
            tenant_mismatch: None,
        };
        let json = details(&refusal, LONGEST_DETAILS);
        assert!(json.len() <= LONGEST_DETAILS + 50 && json.len() > LONGEST_DETAILS / 2);
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["reasons"][0], "why");
    }
}
