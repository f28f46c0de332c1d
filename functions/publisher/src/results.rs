//! Results: `CloudEvents` that tell the producer what happened to each write.

use connector::aws::queue::{Attribute, MESSAGE_LIMIT, Message};
use connector::contract::cloud_event::{CloudEvent, xml_legal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dead_letter::DeadLetter;
use crate::write_record::CompletedWrite;

/// Longest correlation in the record of a parked message, in bytes.
const LONGEST_KEPT: usize = 100_000;

/// The parts of a result that do not depend on the outcome.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ResultContext {
    /// Stays the same when SQS delivers the message again.
    pub(crate) id: String,
    pub(crate) method: Option<String>,
    pub(crate) entity: Option<String>,
    pub(crate) idempotency_key: String,
    pub(crate) correlation: Option<Box<RawValue>>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Whether an earlier delivery or message has written it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    idempotency_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<&'a RawValue>,
}

impl ResultContext {
    /// A copy without a correlation that is too long for a record.
    pub(crate) fn kept(&self) -> Self {
        let correlation = self.correlation.clone();
        Self {
            correlation: correlation.filter(|json| json.get().len() <= LONGEST_KEPT),
            ..self.clone()
        }
    }

    /// The result of a write that happened.
    pub(crate) fn published(
        &self,
        write: &CompletedWrite,
        repeated: bool,
        now: Timestamp,
    ) -> Message {
        let id = write
            .location
            .as_deref()
            .and_then(|location| location.rsplit('/').next());
        let status = (write.status > 0).then_some(write.status);
        let data = Data {
            id,
            status,
            repeated,
            ..self.data()
        };
        let id = format!("{}/published", self.id);
        self.message("protime.published.v1", &id, &data, now)
    }

    /// The result of a message that was parked. Several messages of one key can be parked, each for its own reason, so
    /// the result's id names the message.
    pub(crate) fn rejected(
        &self,
        letter: &DeadLetter,
        message_id: &str,
        now: Timestamp,
    ) -> Message {
        let data = Data {
            status: letter.answer.as_ref().map(|answer| answer.status),
            reason: Some(letter.reason.as_str()),
            message: Some(&letter.message),
            ..self.data()
        };
        let id = format!("{}/{message_id}/rejected", self.id);
        self.message("protime.rejected.v1", &id, &data, now)
    }

    fn data(&self) -> Data<'_> {
        Data {
            method: self.method.as_deref(),
            entity: self.entity.as_deref(),
            id: None,
            status: None,
            repeated: false,
            reason: None,
            message: None,
            idempotency_key: &self.idempotency_key,
            correlation: self.correlation.as_deref(),
        }
    }

    /// Builds the result, and drops what is too long for SQS. The producer's correlation goes first. The explanation
    /// follows, since the dead letter has it as well.
    fn message(&self, kind: &'static str, id: &str, data: &Data<'_>, now: Timestamp) -> Message {
        let attributes = vec![Attribute::text("type", kind)];
        let room = MESSAGE_LIMIT - attributes.iter().map(Attribute::size).sum::<usize>();
        let opening = CloudEvent {
            kind,
            id,
            source: "/protime-connector/publisher",
            subject: None,
            time: now,
        }
        .opening();
        let event = |data: &Data<'_>| {
            // Plain data with string keys always serialises to JSON.
            let data = serde_json::to_string(data).unwrap_or_default();
            format!(r#"{opening},"data":{}}}"#, xml_legal(&data))
        };
        let mut body = event(data);
        if body.len() > room {
            tracing::warn!("the correlation is too long for the result; it is left out there");
            let without = Data {
                correlation: None,
                ..data.clone()
            };
            body = event(&without);
            if body.len() > room {
                body = event(&Data {
                    message: None,
                    ..without
                });
            }
        }
        Message {
            group: self.idempotency_key.clone(),
            id: id.to_owned(),
            body: body.into(),
            attributes,
            delay_seconds: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_result_fits_and_is_legal_whatever_the_producer_wrote() {
        let correlation = |json: String| Some(RawValue::from_string(json).unwrap());
        let mut context = ResultContext {
            id: "write/1".to_owned(),
            idempotency_key: "k\u{FFFF}".to_owned(),
            correlation: correlation(json!("x".repeat(2 << 20)).to_string()),
            ..ResultContext::default()
        };
        let message = context.published(&CompletedWrite::default(), false, Timestamp::UNIX_EPOCH);
        assert!(message.size() <= MESSAGE_LIMIT);
        let body = message.body.to_string();
        assert!(!body.contains('\u{FFFF}'));
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["data"]["idempotencyKey"], "k\u{FFFF}");
        assert_eq!(event["data"]["correlation"], Value::Null);
        context.correlation = correlation("[1.10]".to_owned());
        let message = context.published(&CompletedWrite::default(), false, Timestamp::UNIX_EPOCH);
        assert!(message.body.to_string().contains(r#""correlation":[1.10]"#));
    }
}
