//! One attempt at a write: begun in the records, settled by a look-up where an earlier one may have written, sent once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use protime::catalogue::AfterUncertain;
use protime::{Client, Error, Method, Refusal, Request, Settings};
use tokio::time::Instant;

use crate::look_up::{self, LookUpError};
use crate::parking::{Parking, Reason};
use crate::publish_request::PublishRequest;
use crate::write_record::{Begun, DoneWrite, RecordError};
use crate::{Deferral, Kind, Publisher, Verdict};

/// A 409 on an update is a conflict that may pass; after so many deliveries it is a refusal.
const CONFLICT_DELIVERIES: u32 = 5;

/// A write under its idempotency key.
pub(crate) struct Attempt<'a> {
    pub(crate) publisher: &'a Publisher,
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a PublishRequest,
    pub(crate) resolved: &'a Request,
    /// The record's id.
    pub(crate) id: &'a str,
    pub(crate) now: Timestamp,
    pub(crate) deadline: Instant,
    pub(crate) deliveries: u32,
}

impl Attempt<'_> {
    /// Makes the attempt, and remembers what came of it before telling.
    pub(crate) async fn make(&self) -> Result<Verdict, RecordError> {
        let records = &self.publisher.records;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let until = self.now.saturating_add(left).unwrap_or(Timestamp::MAX);
        let uncertain = match records
            .begin(self.id, &self.request.payload_hash(), self.now, until)
            .await?
        {
            Begun::Done(write) => return Ok(Verdict::WrittenBefore(write)),
            Begun::Elsewhere => {
                let because = "another invocation is at this write";
                return Ok(Verdict::deferred(Kind::Elsewhere, because));
            }
            Begun::OtherPayload => {
                let message = "the idempotency key was used with another payload; every write needs a key of its own";
                return Ok(Verdict::ParkedForeign(Parking::new(
                    Reason::Invalid,
                    message,
                )));
            }
            Begun::Crashed => {
                let message = "three attempts ended without a verdict; it is not known whether Protime wrote this";
                return Ok(Verdict::Parked(Parking::new(Reason::Crashed, message)));
            }
            Begun::Uncertain(since) => Some(since),
            Begun::Fresh => None,
        };
        let after_uncertain = self
            .resolved
            .operation
            .map(|operation| &operation.after_uncertain);
        match (uncertain, after_uncertain) {
            (None, _) | (Some(_), Some(AfterUncertain::Repeat)) => self.send(uncertain).await,
            (Some(since), Some(AfterUncertain::LookUp(rule))) => self.settle(since, rule).await,
            (Some(_), _) => Ok(park_unknown("and this operation has no look-up")),
        }
    }

    /// Finds out whether an earlier attempt has written, and writes only if it has not.
    async fn settle(
        &self,
        since: Timestamp,
        rule: &protime::catalogue::LookUp,
    ) -> Result<Verdict, RecordError> {
        let records = &self.publisher.records;
        let payload = self.request.payload.as_deref().unwrap_or_default();
        let scopes = &self.settings.scopes;
        let deadline = self.deadline.min(Instant::now() + LOOK_UP_TIME);
        let found = look_up::look_up(
            self.client,
            &self.request.entity,
            rule,
            payload,
            scopes,
            deadline,
        )
        .await;
        let found = match found {
            Ok(found) => found,
            Err(LookUpError::Protime(error)) => {
                records.defer(self.id, Some(since)).await?;
                let because = format!("looking the record up failed: {error}");
                let deferral = Deferral::new(Kind::of(&error), because);
                return Ok(self.outage_or(&error, deferral));
            }
            Err(error) => {
                return Ok(park_unknown(&format!(
                    "and it cannot be looked up: {error}"
                )));
            }
        };
        self.answered();
        let mut unclaimed = Vec::new();
        for id in found {
            if !records
                .is_claimed_by_other(&self.claimed(&id), self.id)
                .await?
            {
                unclaimed.push(id);
            }
        }
        match unclaimed.as_slice() {
            [id] if records.claim(&self.claimed(id), self.id, self.now).await? => {
                let path = &self.resolved.path;
                let location = Some(format!("{}{path}/{id}", protime::API_PATH));
                // The lost answer was that of a creation.
                let write = DoneWrite {
                    status: 201,
                    location,
                };
                self.done(&write).await?;
                Ok(Verdict::Settled(write))
            }
            [_] => {
                records.defer(self.id, Some(since)).await?;
                let because = "another write has just claimed the record that was found";
                Ok(Verdict::deferred(Kind::Elsewhere, because))
            }
            [] if self.now.duration_since(since) >= self.publisher.settle_after => {
                self.send(None).await
            }
            [] => {
                records.defer(self.id, Some(since)).await?;
                let wait = self.publisher.settle_after - self.now.duration_since(since);
                let deferral = Deferral::new(Kind::Settling, "a slow write may still show");
                Ok(Verdict::Deferred(deferral.after(wait.try_into().ok())))
            }
            _ => Ok(park_unknown("and several records equal it")),
        }
    }

    async fn send(&self, uncertain: Option<Timestamp>) -> Result<Verdict, RecordError> {
        let payload = self.request.payload.clone();
        let error = match self
            .client
            .write(self.resolved, payload, self.deadline)
            .await
        {
            Ok(written) => {
                self.answered();
                let write = DoneWrite {
                    status: written.status,
                    location: written.location,
                };
                self.done(&write).await?;
                return Ok(Verdict::Written(write));
            }
            Err(error) => error,
        };
        self.failed(error, uncertain).await
    }

    /// What an unsuccessful write means.
    async fn failed(
        &self,
        error: Error,
        uncertain: Option<Timestamp>,
    ) -> Result<Verdict, RecordError> {
        let records = &self.publisher.records;
        let status = error.status();
        if matches!(error, Error::BaseUriChanged) {
            self.publisher.clients.forget(&self.request.client).await;
        }
        let may_have_written = matches!(error, Error::Transport { sent: true, .. })
            || matches!(status, Some(500 | 502 | 504));
        if may_have_written {
            records.defer(self.id, Some(self.now)).await?;
            return Ok(self.outage_or(&error, Deferral::of(&error)));
        }
        match status {
            Some(429 | 500..) | None => {
                records.defer(self.id, uncertain).await?;
                let deferral = Deferral::of(&error).after(error.retry_after());
                Ok(self.outage_or(&error, deferral))
            }
            Some(409)
                if self.request.method == Method::Put && self.deliveries <= CONFLICT_DELIVERIES =>
            {
                records.defer(self.id, uncertain).await?;
                Ok(Verdict::deferred(Kind::Conflict, "Protime answered 409"))
            }
            Some(status) if uncertain.is_some() && self.is_gone_after_delete(status).await => {
                let write = DoneWrite {
                    status,
                    location: None,
                };
                self.done(&write).await?;
                Ok(Verdict::Settled(write))
            }
            Some(_) => {
                self.answered();
                let refusal: Option<Refusal> = error.refusal().cloned();
                let message = refusal
                    .as_ref()
                    .map_or_else(|| error.to_string(), |refusal| refusal.message.clone());
                Ok(Verdict::Parked(Parking {
                    reason: Reason::Refused,
                    message,
                    refusal,
                }))
            }
        }
    }

    /// Whether a deletion is refused because an earlier attempt has done it. Assignments answer 400 for an unknown id
    /// (`reference/collections/assignments/delete`).
    async fn is_gone_after_delete(&self, status: u16) -> bool {
        if self.request.method != Method::Delete {
            return false;
        }
        let PublishRequest { entity, path, .. } = self.request;
        let today = self.now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let scopes = &self.settings.scopes;
        status == 404
            || (status == 400
                && look_up::is_gone(self.client, entity, path, scopes, today, self.deadline).await)
    }

    /// A creation's record is claimed first, so that it never settles another message.
    async fn done(&self, write: &DoneWrite) -> Result<(), RecordError> {
        let records = &self.publisher.records;
        if self.request.method == Method::Post
            && let Some(id) = write
                .location
                .as_deref()
                .and_then(|location| location.rsplit('/').next())
        {
            records.claim(&self.claimed(id), self.id, self.now).await?;
        }
        records.done(self.id, write).await
    }

    /// Counts outages for the circuit breaker.
    fn outage_or(&self, error: &Error, deferral: Deferral) -> Verdict {
        let is_outage = match error.status() {
            Some(status) => status >= 500,
            None => error.is_retryable() || matches!(error, Error::Deadline { .. }),
        };
        if is_outage {
            self.publisher
                .breaker
                .outage(&self.request.client, self.now);
        } else if error.status().is_some() {
            self.answered();
        }
        Verdict::Deferred(deferral)
    }

    fn answered(&self) {
        self.publisher.breaker.answered(&self.request.client);
    }

    fn claimed(&self, id: &str) -> String {
        format!("{}{}/{id}", self.settings.base_uri, self.request.entity)
    }
}

fn park_unknown(why: &str) -> Verdict {
    let message =
        format!("it is not known whether Protime wrote this, {why}, so it was not sent again");
    Verdict::Parked(Parking::new(Reason::UnknownOutcome, &message))
}

/// A look-up gets this long, so that an outage does not hold up the batch.
const LOOK_UP_TIME: Duration = Duration::from_secs(10);

/// How long after an attempt a slow write would have shown.
pub const SETTLE_AFTER: SignedDuration = SignedDuration::from_secs(30);
