//! Results: what became of each write, as `CloudEvents` for the producer.

use serde::Serialize;
use serde_json::value::RawValue;

use connector::aws::queue::Message;

use crate::parking::Parking;
use crate::write_record::DoneWrite;

/// What a result says besides its outcome.
#[derive(Debug, Default)]
pub(crate) struct Subject {
    /// Stable over redeliveries.
    pub(crate) id: String,
    pub(crate) method: Option<&'static str>,
    pub(crate) entity: Option<String>,
    pub(crate) idempotency_key: String,
    pub(crate) correlation: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    id: String,
    source: &'a str,
    time: String,
    datacontenttype: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    idempotency_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<&'a RawValue>,
}

impl Subject {
    /// The write happened.
    pub(crate) fn published(&self, write: &DoneWrite) -> Message {
        let id = write
            .location
            .as_deref()
            .and_then(|location| location.rsplit('/').next());
        let status = (write.status > 0).then_some(write.status);
        self.message(
            "protime.published.v1",
            Data {
                id,
                status,
                ..self.data()
            },
        )
    }

    /// The message was parked.
    pub(crate) fn rejected(&self, parking: &Parking) -> Message {
        let data = Data {
            status: parking.refusal.as_ref().map(|refusal| refusal.status),
            reason: Some(parking.reason.as_str()),
            message: Some(&parking.message),
            ..self.data()
        };
        self.message("protime.rejected.v1", data)
    }

    fn data(&self) -> Data<'_> {
        Data {
            method: self.method,
            entity: self.entity.as_deref(),
            id: None,
            status: None,
            reason: None,
            message: None,
            idempotency_key: &self.idempotency_key,
            correlation: self.correlation.as_deref(),
        }
    }

    fn message(&self, kind: &'static str, data: Data<'_>) -> Message {
        let id = format!("{}/{}", self.id, kind.split('.').nth(1).unwrap_or(kind));
        let event = CloudEvent {
            specversion: "1.0",
            kind,
            id: id.clone(),
            source: "/protime-connector/publisher",
            time: format!("{:.0}", jiff::Timestamp::now()),
            datacontenttype: "application/json",
            data,
        };
        // Plain data with string keys always is JSON.
        let body = serde_json::to_string(&event).unwrap_or_default();
        Message {
            group: self.idempotency_key.clone(),
            id,
            body: body.into(),
            attributes: vec![("type", kind.to_owned())],
            delay_seconds: 0,
        }
    }
}
