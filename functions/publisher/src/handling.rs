//! From a delivery to its verdict.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use connector::aws::credentials::CredentialsError;
use connector::transformer::RunError;
use jiff::SignedDuration;
use protime::RequestError;

use crate::attempt::Attempt;
use crate::dead_letter::{DeadLetter, Reason};
use crate::ending::{Handling, Verdict};
use crate::idempotency_store::{LONGEST_ID, StoreError};
use crate::message_record::MessageRecord;
use crate::payload::PayloadHash;
use crate::results::ResultContext;
use crate::write_record::{Claimant, MOST_CRASHES};
use crate::{Deferral, Kind, deferral};
use connector::contract::outgoing::OutgoingConnection;
use connector::contract::publish_request::{InvalidRequest, Labels, PublishRequest};

/// Longest entity name in results and dead letters, in characters.
const LONGEST_ENTITY: usize = 200;
/// For this many deliveries a message waits as long as the circuit breaker says. Later it waits longer and longer, so
/// that an outage of days does not use up the queue's `maxReceiveCount`.
const PAUSED_DELIVERIES: u32 = 20;

impl Handling<'_> {
    /// Handles the delivery. An error says why it has to come again.
    pub(crate) async fn handle(&self) -> Result<(), Deferral> {
        let key = self.delivery.idempotency_key();
        // A longer key would not fit into the table's key.
        let key = Some(key).filter(|key| key.len() <= LONGEST_ID);
        let key = key.unwrap_or_else(|| self.delivery.id.to_owned());
        let mut context = ResultContext {
            id: key.clone(),
            idempotency_key: key,
            ..ResultContext::default()
        };
        if let Ok(outgoing) = &self.publisher.outgoing
            && outgoing.transform.is_none()
        {
            // The message may be parked without being processed.
            label(self.delivery.body, outgoing, &mut context);
        }
        if !self.invocation.has_time() {
            return self.end(context, Deferral::no_time().into()).await;
        }
        match self.pause {
            Ok(None) => {}
            Ok(Some(pause)) => {
                let deferral = Deferral::paused(pause, self.invocation.clock.now());
                return self.end(context, deferral.into()).await;
            }
            // An operator may have paused publishing.
            Err(error) => return self.end(context, without_state(error)).await,
        }
        match self.message_record().await {
            Ok(MessageRecord {
                ended: Some(ended), ..
            }) => {
                // A message that was sent after the end is a new one, even under the same id.
                if self.delivery.sent().is_none_or(|sent| sent < ended.at) {
                    return self.resume(ended).await;
                }
                let _ = self.ended_before.set(ended.token);
            }
            Ok(_) => {}
            Err(error) => return self.end(context, without_state(&error)).await,
        }
        let found = self.find_verdict(&mut context).await;
        let verdict = found.unwrap_or_else(|verdict| verdict);
        let ended = self.end(context, verdict).await;
        // This message ended normally. If a message beside it kills the function, this one is not to blame.
        if self.is_counted.get() {
            let store = &self.publisher.store;
            let uncount = || store.uncount_attempts(self.delivery.id, &self.token);
            let uncounted = self.invocation.retry(uncount).await;
            if let Err(error) = uncounted {
                tracing::warn!(
                    messageId = self.delivery.id,
                    %error,
                    "the count of attempts is not reset; this attempt counts as one that died"
                );
            }
        }
        ended
    }

    /// The record of the message. A first delivery has none.
    async fn message_record(&self) -> Result<MessageRecord, StoreError> {
        if self.delivery.receive_count() > 1 {
            self.publisher.store.message_record(self.delivery.id).await
        } else {
            Ok(MessageRecord::default())
        }
    }

    /// Counts an attempt at a message that was delivered often, before its content is processed. True when too many
    /// earlier attempts died.
    async fn has_crashed(&self) -> Result<bool, Verdict> {
        if !self.delivery.is_counted() {
            return Ok(false);
        }
        let (store, now) = (&self.publisher.store, self.invocation.clock.now());
        let counted = store
            .count_attempt(self.delivery.id, &self.token, now)
            .await;
        match counted {
            Ok(known) if known.attempts > MOST_CRASHES => Ok(true),
            Ok(_) => {
                self.is_counted.set(true);
                Ok(false)
            }
            Err(error) => Err(without_state(&error)),
        }
    }

    /// Finds the verdict on the message. An error is a verdict that was found early.
    async fn find_verdict(&self, context: &mut ResultContext) -> Result<Verdict, Verdict> {
        let outgoing = self
            .publisher
            .outgoing
            .as_ref()
            .map_err(|error| Deferral::new(Kind::InvalidOutgoing, error.to_string()))?;
        let is_transformed = outgoing.transform.is_some();
        if is_transformed && self.has_crashed().await? {
            return Ok(DeadLetter::crashed().into());
        }
        let Some(json) = request_json(self.delivery.body, outgoing).await? else {
            return Ok(Verdict::Acknowledged);
        };
        if is_transformed {
            label(&json, outgoing, context);
        }
        let request = PublishRequest::from_json(&json, outgoing)?;
        let id = self.identify(&request, context)?;
        if !self.invocation.has_time() {
            return Err(Deferral::no_time().into());
        }
        let found = self.publisher.clients.get(&request.client).await;
        let client = found.map_err(|error| without_client(outgoing, &error))?;
        let settings = client.settings();
        let resolved = request
            .resolve(&settings.scopes)
            .map_err(|error| not_sendable(&request, outgoing, error))?;
        for warning in &resolved.warnings {
            tracing::warn!(messageId = self.delivery.id, "{warning}");
        }
        let now = self.invocation.clock.now();
        let permit = self.publisher.breaker.permit(&request.client, now);
        let _permit = permit.map_err(|pause| self.paused(pause))?;
        let has_crashed = !is_transformed && self.has_crashed().await?;
        let payload = PayloadHash::of(request.payload.as_ref());
        let attempt = Attempt {
            publisher: self.publisher,
            client: &client,
            settings: &settings,
            request: &request,
            resolved: &resolved,
            id: &id,
            claimant: Claimant {
                message_id: self.delivery.id,
                sent: self.delivery.sent().unwrap_or(now),
                token: &self.token,
                payload: &payload,
            },
            invocation: self.invocation,
        };
        let made = if has_crashed {
            attempt.give_up().await
        } else {
            attempt.run().await
        };
        // Without the store nothing is written. A later look-up settles what was written before.
        made.map_err(|error| without_state(&error))
    }

    /// The id of the write's record. Results and dead letters name it from here on.
    fn identify(
        &self,
        request: &PublishRequest,
        context: &mut ResultContext,
    ) -> Result<String, Verdict> {
        let key = request.idempotency_key.clone();
        let key = key.unwrap_or_else(|| self.delivery.idempotency_key());
        let id = request.record_id(&key);
        if id.len() > LONGEST_ID {
            let longest = LONGEST_ID - (id.len() - key.len());
            let message = format!("field `idempotencyKey`: longer than {longest} bytes");
            return Err(DeadLetter::new(Reason::Invalid, message).into());
        }
        context.idempotency_key = key;
        context.id.clone_from(&id);
        Ok(id)
    }

    /// The deferral while the circuit is open.
    fn paused(&self, pause: SignedDuration) -> Deferral {
        let receives = self.delivery.receive_count();
        let longer = deferral::backoff(receives.saturating_sub(PAUSED_DELIVERIES));
        let pause = Duration::try_from(pause).unwrap_or_default().max(longer);
        let because =
            "Protime is unavailable, or asked the client to wait; a later delivery tries again";
        Deferral::new(Kind::ProtimeUnavailable, because).after(Some(pause))
    }
}

/// The JSON of the request. A transformer runs on a blocking thread, so that a slow one delays only its own message.
async fn request_json<'a>(
    body: &'a str,
    outgoing: &Arc<OutgoingConnection>,
) -> Result<Option<Cow<'a, str>>, InvalidRequest> {
    if outgoing.transform.is_none() {
        return Ok(Some(body.into()));
    }
    let (body, outgoing) = (body.to_owned(), outgoing.clone());
    let run = tokio::task::spawn_blocking(move || {
        let json = PublishRequest::json_of(&body, &outgoing)?;
        Ok(json.map(|json| Cow::Owned(json.into_owned())))
    });
    run.await.unwrap_or_else(|error| {
        Err(InvalidRequest::Transform(RunError::Unavailable(
            error.to_string(),
        )))
    })
}

/// Notes what the request says of itself, for the result and the dead letter. An invalid request may say it all the same.
fn label(json: &str, outgoing: &OutgoingConnection, context: &mut ResultContext) {
    let labels = Labels::of(json);
    // A name that is no entity may be of any length.
    let short = |name: String| name.chars().take(LONGEST_ENTITY).collect();
    context.method = labels.method.or(outgoing.method.clone()).map(short);
    context.entity = labels.entity.or(outgoing.entity.clone()).map(short);
    context.correlation = labels.correlation;
    if let Some(key) = labels.idempotency_key.filter(|key| key.len() <= LONGEST_ID) {
        context.idempotency_key = key;
    }
}

impl From<InvalidRequest> for Verdict {
    fn from(error: InvalidRequest) -> Self {
        let message = error.to_string();
        match error {
            InvalidRequest::Transform(RunError::Unavailable(_)) => {
                Deferral::new(Kind::Transformer, message).into()
            }
            InvalidRequest::Outgoing(_) => Deferral::new(Kind::InvalidOutgoing, message).into(),
            _ => DeadLetter::new(Reason::Invalid, message).into(),
        }
    }
}

/// The verdict on a request that cannot be sent. If the outgoing connection chose the entity, a missing scope is the
/// operator's to add, so the message waits.
fn not_sendable(
    request: &PublishRequest,
    outgoing: &OutgoingConnection,
    error: InvalidRequest,
) -> Verdict {
    let is_own = outgoing.entity.as_ref() == Some(&request.entity);
    let is_chosen = is_own || outgoing.transform.is_some();
    match error {
        InvalidRequest::Request(RequestError::Scope { .. }) if is_chosen => {
            Deferral::new(Kind::Credentials, error.to_string()).into()
        }
        error => error.into(),
    }
}

fn without_state(error: &StoreError) -> Verdict {
    Deferral::new(Kind::State, error.to_string()).into()
}

/// The verdict without a client. If the message names the client, it may be the producer's mistake. If the outgoing
/// connection names it, the operator has to act, and messages wait.
fn without_client(outgoing: &OutgoingConnection, error: &CredentialsError) -> Verdict {
    let message = error.to_string();
    match error {
        CredentialsError::NotFound { .. }
        | CredentialsError::InvalidName { .. }
        | CredentialsError::OutsidePrefix { .. }
            if outgoing.client.is_none() =>
        {
            DeadLetter::new(Reason::Invalid, format!("field `client`: {message}")).into()
        }
        _ => Deferral::new(Kind::Credentials, message).into(),
    }
}
