//! Webhooks at Protime (`how-to/set-up-webhooks`). Two things are not documented and not checked: the words for the
//! status, and the name of the property with the private key.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use protime::{Client, Context, Method, PathParameters, Query, Request, Target};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Error;
use crate::stack::Stack;
use crate::wording::relative;

const ENTITY: &str = "webhooks";
/// The time limit for all requests of one [`Remote`].
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

    /// How long the webhook stays valid, negative if it has ended. `None` if `validUntil` is absent or unreadable.
    pub(super) fn left(&self, now: Timestamp) -> Option<SignedDuration> {
        let until: Timestamp = self.valid_until.as_deref()?.parse().ok()?;
        Some(until.duration_since(now))
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
    deadline: Instant,
}

impl Remote {
    pub(super) async fn of(stack: &Stack, client: &str) -> Result<Self, Error> {
        let client = stack.account.clients("protimectl").get(client).await;
        Ok(Self {
            client: client.map_err(subscriber::Error::from)?,
            deadline: Instant::now() + TIME,
        })
    }

    pub(super) async fn webhooks(&self) -> Result<Vec<Webhook>, Error> {
        let settings = self.client.settings();
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let none = PathParameters::default();
        let request = Request::read(webhooks(&none), &Context::of(&settings, today));
        let request = request.map_err(subscriber::Error::from)?;
        let mut pages = self.client.pages(&request, self.deadline);
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
        let sent = self.client.write_and_read(&request, payload, self.deadline);
        let (written, body) = sent.await.map_err(subscriber::Error::from)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let last = |location: String| location.rsplit('/').next().map(str::to_owned);
        let id = text("id").or_else(|| written.location.and_then(last));
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
        match self.client.write(&request, None, self.deadline).await {
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
