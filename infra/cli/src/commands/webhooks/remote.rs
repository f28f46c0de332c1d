//! Webhooks at Protime (`how-to/set-up-webhooks`). Two things are not documented and not checked: the words for the
//! status, and the name of the property with the private key.

use std::sync::Arc;
use std::time::Duration;

use connector::store::SeenWebhook;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use protime::{Client, Context, Method, PathParameters, Query, Request, Target};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::stack::Stack;
use crate::wording::relative;

const ENTITY: &str = "webhooks";
/// The time limit of each request.
const TIME: Duration = Duration::from_mins(2);
const NOT_FOUND: u16 = 404;

/// A webhook as Protime lists it. Only the id is required.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook {
    pub(super) id: String,
    /// A time with an offset, as Protime writes it. It may be unreadable.
    pub(super) valid_until: Option<String>,
    pub(super) status: Option<String>,
    /// The URL contains the token, so it is never printed.
    pub(super) destination_url: Option<String>,
    pub(super) collection_name: Option<String>,
}

impl Webhook {
    /// Whether the webhook is disabled, deleted or expired. It cannot be revived. Any other status, or none, counts as
    /// enabled.
    pub(super) fn is_disabled(&self) -> bool {
        self.status.as_deref() == Some("Disabled")
    }

    /// What the watch is to know of it.
    pub(super) fn seen(&self) -> SeenWebhook {
        let until = self.valid_until.as_deref();
        SeenWebhook {
            valid_until: until.and_then(|text| text.parse().ok()),
            is_disabled: self.is_disabled(),
        }
    }

    /// How long the webhook stays valid, negative if it has ended. `None` if `validUntil` is absent or unreadable.
    pub(super) fn left(&self, now: Timestamp) -> Option<SignedDuration> {
        Some(self.seen().valid_until?.duration_since(now))
    }

    /// The end of a sentence about the webhook, such as `, until 2027-02-24T10:00:00+01:00 (in 90 days)`.
    pub(super) fn until(&self) -> Option<String> {
        let text = self.valid_until.as_deref()?;
        let until = text.parse::<Timestamp>().ok();
        let in_words = until.map(|until| format!(" ({})", relative(until, Timestamp::now())));
        Some(format!(", until {text}{}", in_words.unwrap_or_default()))
    }
}

/// The webhooks of one client.
pub(super) struct Remote {
    client: Arc<Client>,
}

impl Remote {
    pub(super) async fn of(stack: &Stack, client: &str) -> Result<Self, Error> {
        let client = stack.account.clients("protimectl").get(client).await;
        Ok(Self {
            client: client.map_err(subscriber::Error::from)?,
        })
    }

    pub(super) async fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        let settings = self.client.settings();
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let none = PathParameters::default();
        let request = Request::read(webhooks(&none), &Context::of(&settings, today));
        let request = request.map_err(subscriber::Error::from)?;
        let mut pages = self.client.pages(&request, deadline());
        let mut found = Vec::new();
        while let Some(page) = pages.next().await.map_err(subscriber::Error::from)? {
            for record in page.records() {
                found.push(serde_json::from_str(record).map_err(|_| unreadable())?);
            }
        }
        Ok(found)
    }

    /// Creates a webhook. Returns it with Protime's whole answer. The request is never retried, since Protime could
    /// create a second webhook.
    pub(super) async fn create(
        &self,
        url: &str,
        collection: &str,
    ) -> Result<(Webhook, Value), Error> {
        let payload = json!({"destinationUrl": url, "collectionName": collection}).to_string();
        let request = self.write(Method::Post, &PathParameters::default())?;
        let payload = Some(payload.into());
        let sent = self.client.write_and_read(&request, payload, deadline());
        let (written, body) = sent.await.map_err(subscriber::Error::from)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let last = |location: String| location.rsplit('/').next().map(str::to_owned);
        let id = text("id").or_else(|| written.location.and_then(last));
        if !has_key(&answer) {
            return Err(Error::Other(format!(
                "Protime created webhook {} and answered without its private key; give the same command again, which replaces it",
                id.as_deref().unwrap_or("?")
            )));
        }
        let webhook = Webhook {
            id: id.ok_or_else(unreadable)?,
            valid_until: text("validUntil"),
            status: text("status"),
            destination_url: Some(url.to_owned()),
            collection_name: Some(collection.to_owned()),
        };
        Ok((webhook, answer))
    }

    /// Deletes a webhook. It is no error if Protime no longer has it.
    pub(super) async fn delete(&self, id: &str) -> Result<(), Error> {
        let path = serde_json::from_value(json!({"id": id})).map_err(|_| unreadable())?;
        let request = self.write(Method::Delete, &path)?;
        match self.client.write(&request, None, deadline()).await {
            Ok(_) => Ok(()),
            Err(error) => match error.refusal() {
                Some(refusal) if refusal.status == NOT_FOUND => Ok(()),
                _ => Err(Error::Run(subscriber::Error::from(error))),
            },
        }
    }

    fn write(&self, method: Method, path: &PathParameters) -> Result<Request, Error> {
        let scopes = &self.client.settings().scopes;
        let request = Request::write(method, webhooks(path), scopes);
        Ok(request.map_err(subscriber::Error::from)?)
    }
}

/// Whether the answer has a text besides what is documented. The name of the private key is not.
fn has_key(answer: &Value) -> bool {
    const DOCUMENTED: [&str; 5] = [
        "id",
        "destinationUrl",
        "collectionName",
        "status",
        "validUntil",
    ];
    answer.as_object().is_some_and(|answer| {
        let mut others = answer
            .iter()
            .filter(|(name, _)| !DOCUMENTED.contains(&name.as_str()));
        others.any(|(_, value)| value.is_string())
    })
}

/// A question to the operator, and other connections, may come before a request.
fn deadline() -> Instant {
    Instant::now() + TIME
}

fn webhooks(path: &PathParameters) -> Target<'_> {
    Target {
        entity: ENTITY,
        path,
        query: Query::default(),
    }
}

/// The error for an unusable answer. It does not quote the answer, which can contain a key.
fn unreadable() -> Error {
    Error::Other("Protime's answer about a webhook has no `id`, or is not a webhook".to_owned())
}
