//! A parked message, read from its attributes and body.

use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::MessageAttributeValue;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arguments::ParkedFilter;
use crate::queue::{Attributes, Message};

const KEY: &str = "idempotencyKey";
/// The attributes that the publisher adds, besides the key. All others are the producer's own.
const ADDED: [&str; 5] = ["reason", "status", "code", "message", "details"];
const MOST_ATTRIBUTES: usize = 10;

/// A parked message without its payload.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    pub(crate) id: String,
    pub(crate) parked: Timestamp,
    /// The reason that the publisher gave. `None` if SQS moved the message by itself.
    pub(crate) reason: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) entity: String,
    pub(crate) idempotency_key: String,
    pub(super) message: Option<String>,
    #[serde(flatten)]
    pub(super) details: Details,
}

/// The parts of Protime's refusal besides its message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Details {
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    validation_errors: Vec<String>,
}

impl DeadLetter {
    pub(super) fn of(message: &Message) -> Self {
        let text = |name| message.attribute(name).map(str::to_owned);
        let body: Value = serde_json::from_str(&message.body).unwrap_or_default();
        let entity = body["entity"].as_str().map(str::to_owned);
        Self {
            id: message.id.clone(),
            parked: message.sent,
            reason: text("reason"),
            status: text("status"),
            code: text("code"),
            entity: entity
                .or_else(|| text("entity"))
                .unwrap_or_else(|| "?".to_owned()),
            idempotency_key: key(message).to_owned(),
            message: text("message"),
            details: message
                .attribute("details")
                .and_then(|details| serde_json::from_str(details).ok())
                .unwrap_or_default(),
        }
    }

    /// The reasons. Without any, Protime's message, which says little beside reasons.
    pub(crate) fn why(&self) -> String {
        let reasons = self.details.reasons.iter();
        let reasons: Vec<&str> = reasons
            .chain(&self.details.validation_errors)
            .map(String::as_str)
            .collect();
        if reasons.is_empty() {
            self.message.clone().unwrap_or_default()
        } else {
            reasons.join("; ")
        }
    }
}

impl ParkedFilter {
    pub(super) fn fits(&self, letter: &DeadLetter) -> bool {
        let is =
            |wanted: &Option<String>, is: Option<&str>| wanted.is_none() || wanted.as_deref() == is;
        is(&self.id, Some(&letter.id))
            && is(&self.reason, letter.reason.as_deref())
            && is(&self.code, letter.code.as_deref())
            && is(&self.entity, Some(&letter.entity))
            && self.since.is_none_or(|since| letter.parked >= since)
    }
}

/// The idempotency key of the write. A message that SQS moved by itself has none, so its message id is the key.
pub(super) fn key(message: &Message) -> &str {
    message.attribute(KEY).unwrap_or(&message.id)
}

/// The producer's own attributes and the key, limited to the number that SQS accepts.
pub(super) fn own_attributes(message: &Message) -> Result<Attributes, BuildError> {
    let mut own = message.attributes.clone();
    own.retain(|name, _| !ADDED.contains(&name.as_str()));
    if !own.contains_key(KEY) {
        let value = MessageAttributeValue::builder().data_type("String");
        let value = value.string_value(&message.id).build()?;
        own.insert(KEY.to_owned(), value);
    }
    while own.len() > MOST_ATTRIBUTES {
        let name = own.keys().rfind(|name| *name != KEY).cloned();
        name.and_then(|name| own.remove(&name));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[&str], body: &str) -> Message {
        let mut received = aws_sdk_sqs::types::Message::builder();
        for name in attributes {
            let value = MessageAttributeValue::builder().data_type("String");
            let value = value.string_value(format!("its {name}")).build().unwrap();
            received = received.message_attributes(*name, value);
        }
        Message::of(received.message_id("m-1").body(body).build())
    }

    #[test]
    fn what_the_publisher_added_is_left_out_but_for_the_key() {
        let added = ["reason", "status", "code", "message", "details", KEY, "own"];
        let own = own_attributes(&message(&added, "{}")).unwrap();
        assert_eq!(own.keys().collect::<Vec<_>>(), [KEY, "own"]);
        assert_eq!(own[KEY].string_value(), Some("its idempotencyKey"));
    }

    #[test]
    fn what_sqs_parked_by_itself_is_known_by_its_id() {
        let names: Vec<String> = (0..MOST_ATTRIBUTES).map(|n| format!("z{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let own = own_attributes(&message(&names, "{}")).unwrap();
        assert_eq!(own.len(), MOST_ATTRIBUTES);
        assert_eq!(own[KEY].string_value(), Some("m-1"));
    }

    #[test]
    fn the_entity_is_that_of_the_body_or_of_the_attributes() {
        let entity = |attributes: &[&str], body| DeadLetter::of(&message(attributes, body)).entity;
        let body = r#"{"entity": "people"}"#;
        assert_eq!(entity(&["entity"], body), "people");
        assert_eq!(entity(&["entity"], "no JSON"), "its entity");
        assert_eq!(entity(&[], "[]"), "?");
    }

    #[test]
    fn reasons_say_more_than_the_message() {
        let mut letter = DeadLetter::of(&message(&["message", "details"], "{}"));
        assert_eq!(letter.why(), "its message");
        letter.details =
            serde_json::from_str(r#"{"reasons": ["a"], "validationErrors": ["b"]}"#).unwrap();
        assert_eq!(letter.why(), "a; b");
    }

    #[test]
    fn a_message_fits_if_it_fits_everything() {
        let letter = DeadLetter::of(&message(&["reason", "code"], "{}"));
        let mut chosen = ParkedFilter::default();
        assert!(chosen.fits(&letter));
        chosen.reason = Some("its reason".to_owned());
        assert!(chosen.fits(&letter));
        chosen.code = Some("another".to_owned());
        assert!(!chosen.fits(&letter));
    }
}
