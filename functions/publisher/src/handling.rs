//! From a delivery to its verdict.

use std::sync::Arc;
use std::time::Duration;

use connector::aws::credentials::CredentialsError;
use connector::transformer::RunError;
use jiff::SignedDuration;

use crate::attempt::Attempt;
use crate::dead_letter::{DeadLetter, Reason};
use crate::ending::{Handling, Verdict};
use crate::idempotency_store::LONGEST_ID;
use crate::message_record::MessageRecord;
use crate::outgoing::OutgoingConnection;
use crate::payload::PayloadHash;
use crate::publish_request::{InvalidRequest, PublishRequest};
use crate::results::Subject;
use crate::write_record::{Claimant, MOST_CRASHES};
use crate::{Deferral, Kind, deferral};

/// From this receive on, attempts are counted, since one that comes so often may be what ends them.
const COUNTED_FROM: u32 = 3;
/// While Protime is out, a message waits no longer than the circuit breaker does for its first deliveries; after that
/// longer and longer, so that an outage of days does not use up the queue's `maxReceiveCount`.
const PAUSED_DELIVERIES: u32 = 20;

impl Handling<'_> {
    /// Handles the delivery. An error tells why it has to come again.
    pub(crate) async fn handle(&self) -> Result<(), Deferral> {
        let mut subject = Subject {
            id: self.delivery.idempotency_key(),
            idempotency_key: self.delivery.idempotency_key(),
            ..Subject::default()
        };
        if !self.invocation.has_time() {
            return self.end(subject, Deferral::no_time().into()).await;
        }
        let is_counted = self.delivery.receive_count() >= COUNTED_FROM;
        let known = match self.known(is_counted).await {
            Ok(known) => known,
            Err(deferral) => return self.end(subject, deferral.into()).await,
        };
        if let Some(ended) = known.ended {
            return self.resume(ended).await;
        }
        if known.attempts > MOST_CRASHES {
            return self.end(subject, DeadLetter::crashed().into()).await;
        }
        let verdict = self.verdict(&mut subject).await;
        let ended = self.end(subject, verdict).await;
        if is_counted && ended.is_err() {
            let store = &self.publisher.store;
            let uncounted = store.uncount_attempts(self.delivery.id, &self.token).await;
            if let Err(error) = uncounted {
                tracing::warn!(messageId = self.delivery.id, %error, "the attempt counts as one that died");
            }
        }
        ended
    }

    /// What is remembered of the message, of which the first delivery is new.
    async fn known(&self, is_counted: bool) -> Result<MessageRecord, Deferral> {
        let store = &self.publisher.store;
        let id = self.delivery.id;
        let known = if is_counted {
            let now = self.invocation.clock.now();
            store.count_attempt(id, &self.token, now).await
        } else if self.delivery.receive_count() > 1 {
            store.message(id).await
        } else {
            return Ok(MessageRecord::default());
        };
        known.map_err(|error| Deferral::new(Kind::State, error.to_string()))
    }

    /// Finds out how the message ends.
    async fn verdict(&self, subject: &mut Subject) -> Verdict {
        let outgoing = match &self.publisher.outgoing {
            Ok(outgoing) => outgoing,
            Err(error) => return Deferral::new(Kind::InvalidOutgoing, error.to_string()).into(),
        };
        let request = match request(self.delivery.body, outgoing).await {
            Ok(Some(request)) => request,
            Ok(None) => return Verdict::Acknowledged,
            Err(InvalidRequest::Transform(error @ RunError::Unavailable(_))) => {
                return Deferral::new(Kind::Transformer, error.to_string()).into();
            }
            Err(error) => return invalid(&error),
        };
        if let Some(key) = &request.idempotency_key {
            subject.idempotency_key.clone_from(key);
        }
        let id = request.record_id(&subject.idempotency_key);
        subject.id.clone_from(&id);
        subject.method = Some(request.method.as_str().to_owned());
        subject.entity = Some(request.entity.clone());
        subject.correlation.clone_from(&request.correlation);
        if id.len() > LONGEST_ID {
            let longest = LONGEST_ID - (id.len() - subject.idempotency_key.len());
            // So long a key is of no use to anybody.
            self.delivery.id.clone_into(&mut subject.idempotency_key);
            self.delivery.id.clone_into(&mut subject.id);
            let message = format!("field `idempotencyKey`: longer than {longest} bytes");
            return DeadLetter::new(Reason::Invalid, message).into();
        }
        match self.client_problem(&request, outgoing) {
            Some(verdict) => verdict,
            None => self.attempt(&request, outgoing, &id).await,
        }
    }

    /// Whether the client that a message chose cannot be one.
    fn client_problem(
        &self,
        request: &PublishRequest,
        outgoing: &OutgoingConnection,
    ) -> Option<Verdict> {
        let prefix = &self.publisher.rules.secret_prefix;
        if request.client.starts_with(prefix) {
            return None;
        }
        let message = format!(
            "field `client`: `{}` does not begin with `{prefix}`, as all secrets do that the publisher may read",
            request.client
        );
        Some(if outgoing.client.is_some() {
            Deferral::new(Kind::Credentials, message).into()
        } else {
            DeadLetter::new(Reason::Invalid, message).into()
        })
    }

    async fn attempt(
        &self,
        request: &PublishRequest,
        outgoing: &OutgoingConnection,
        id: &str,
    ) -> Verdict {
        let client = match self.publisher.clients.get(&request.client).await {
            Ok(client) => client,
            Err(error) => return without_client(outgoing, &error),
        };
        let settings = client.settings().await;
        let resolved = match request.resolve(&settings.scopes) {
            Ok(resolved) => resolved,
            Err(error) => return invalid(&error),
        };
        for warning in &resolved.warnings {
            tracing::warn!(messageId = self.delivery.id, "{warning}");
        }
        let now = self.invocation.clock.now();
        let _permit = match self.publisher.breaker.permit(&request.client, now) {
            Ok(permit) => permit,
            Err(pause) => return self.paused(pause).into(),
        };
        let payload = PayloadHash::of(request.payload.as_ref());
        let attempt = Attempt {
            publisher: self.publisher,
            client: &client,
            settings: &settings,
            request,
            resolved: &resolved,
            id,
            claimant: Claimant {
                message_id: self.delivery.id,
                token: &self.token,
                payload: &payload,
            },
            invocation: self.invocation,
        };
        let verdict = attempt.make().await;
        // Without state nothing more is written; what was written is settled by a look-up.
        verdict.unwrap_or_else(|error| Deferral::new(Kind::State, error.to_string()).into())
    }

    /// Protime is left alone for a while.
    fn paused(&self, pause: SignedDuration) -> Deferral {
        let receives = self.delivery.receive_count();
        let longer = deferral::backoff(receives.saturating_sub(PAUSED_DELIVERIES));
        let pause = Duration::try_from(pause).unwrap_or_default().max(longer);
        let because = "Protime is out, or asked to be left alone; it is asked again shortly";
        Deferral::new(Kind::ProtimeUnavailable, because).after(Some(pause))
    }
}

/// A transformer runs on a thread of its own, so that a slow one holds up nothing but its message.
async fn request(
    body: &str,
    outgoing: &Arc<OutgoingConnection>,
) -> Result<Option<PublishRequest>, InvalidRequest> {
    if outgoing.transform.is_none() {
        return PublishRequest::from_body(body, outgoing);
    }
    let (body, outgoing) = (body.to_owned(), outgoing.clone());
    let run = tokio::task::spawn_blocking(move || PublishRequest::from_body(&body, &outgoing));
    run.await.unwrap_or_else(|error| {
        Err(InvalidRequest::Transform(RunError::Unavailable(
            error.to_string(),
        )))
    })
}

fn invalid(error: &InvalidRequest) -> Verdict {
    DeadLetter::new(Reason::Invalid, error.to_string()).into()
}

/// A client that the message names may be a mistake of the producer; one that the function is deployed with is the
/// operator's to mend, and the messages wait for it.
fn without_client(outgoing: &OutgoingConnection, error: &CredentialsError) -> Verdict {
    let message = error.to_string();
    let is_mistake = matches!(
        error,
        CredentialsError::NotFound { .. } | CredentialsError::InvalidName { .. }
    );
    if is_mistake && outgoing.client.is_none() {
        DeadLetter::new(Reason::Invalid, message).into()
    } else {
        Deferral::new(Kind::Credentials, message).into()
    }
}
