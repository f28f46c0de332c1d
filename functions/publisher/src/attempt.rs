//! One attempt at a write. It begins in the idempotency store. Then it looks up what an earlier attempt may have
//! written, or sends once. [`crate::decision`] decides which.

use connector::after_lost_response::{AfterLostResponse, LookUp};
use jiff::Timestamp;
use protime::{Client, Error, Method, Request, Settings};

use crate::dead_letter::{DeadLetter, Reason};
use crate::decision::{self, AfterFailure, AfterLookUp, Step, Unknown};
use crate::idempotency_store::StoreError;
use crate::invocation::Invocation;
use crate::look_up::{self, LookUpError, LookUpOutcome, Search};
use crate::message_record::GivenUp;
use crate::write_record::{BeginOutcome, Claimant, CompletedWrite, Waiting};
use crate::{Deferral, Kind, Publisher, Verdict};
use connector::contract::publish_request::PublishRequest;

pub(crate) struct Attempt<'a> {
    pub(crate) publisher: &'a Publisher,
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
    pub(crate) request: &'a PublishRequest,
    pub(crate) resolved: &'a Request,
    /// The id of the write's record: the scope, and the idempotency key within.
    pub(crate) id: &'a str,
    pub(crate) claimant: Claimant<'a>,
    pub(crate) invocation: &'a Invocation,
}

impl Attempt<'_> {
    /// Runs the attempt. Its outcome is stored before it is returned.
    pub(crate) async fn run(&self) -> Result<Verdict, StoreError> {
        let store = &self.publisher.store;
        let begun = store
            .begin(self.id, &self.claimant, self.now(), self.invocation.ends)
            .await?;
        let waiting = match self.may_go_on(begun) {
            Ok(waiting) => waiting,
            Err(verdict) => return Ok(verdict),
        };
        let after_lost_response = AfterLostResponse::of(self.resolved.operation);
        let settle_after = self.publisher.rules.settle_after;
        let uncertain = waiting.uncertain;
        match decision::step(uncertain, after_lost_response, self.now(), settle_after) {
            Step::Send => self.send(waiting).await,
            Step::Wait(wait) => self.settle_later(waiting, wait).await,
            Step::LookUp { rule, since } => self.look_up(waiting, since, rule).await,
            Step::Park(why) => Ok(self.park(unknown(&why))),
        }
    }

    /// Ends the write without another attempt, since earlier ones died. A write that certainly happened is reported as
    /// written.
    pub(crate) async fn give_up(&self) -> Result<Verdict, StoreError> {
        let known = self.publisher.store.write_record(self.id).await?;
        let begun = known.begin(&self.claimant, self.now());
        Ok(match self.may_go_on(begun) {
            Ok(_) => self.park_record_of(known.owner, DeadLetter::crashed()),
            Err(verdict) => verdict,
        })
    }

    /// What earlier attempts left, if this one may go on. Otherwise the verdict on the message.
    fn may_go_on(&self, begun: BeginOutcome) -> Result<Waiting, Verdict> {
        Err(match begun {
            BeginOutcome::Attempt(waiting) => return Ok(waiting),
            BeginOutcome::Completed(write) => Verdict::WrittenBefore(write),
            BeginOutcome::Elsewhere(until) => {
                let wait = until.duration_since(self.now()).try_into().ok();
                let because = "another invocation is at this write";
                Deferral::new(Kind::Elsewhere, because).after(wait).into()
            }
            BeginOutcome::OtherPayload => {
                let message = "the idempotency key was used with another payload; every write needs a key of its own";
                DeadLetter::new(Reason::Invalid, message).into()
            }
            BeginOutcome::ChangedPayload(owner) => {
                self.park_record_of(owner, unknown(&Unknown::ChangedPayload))
            }
            BeginOutcome::Crashed(owner) => self.park_record_of(owner, DeadLetter::crashed()),
            BeginOutcome::ParkedItself => {
                let because = "another invocation ends this message";
                Deferral::new(Kind::Elsewhere, because).into()
            }
            BeginOutcome::ParkedTwin => unknown(&Unknown::ParkedTwin).into(),
        })
    }

    /// Finds out whether an earlier attempt has written, and sends only if it has not.
    async fn look_up(
        &self,
        waiting: Waiting,
        since: Timestamp,
        rule: &LookUp,
    ) -> Result<Verdict, StoreError> {
        let search = Search {
            client: self.client,
            entity: &self.request.entity,
            rule,
            payload: self.request.payload.as_deref().unwrap_or_default(),
            settings: self.settings,
            deadline: self.invocation.look_up_until(),
        };
        let looked_up = search.run(waiting.look_up.as_ref(), self.now()).await;
        let (found, began) = match looked_up {
            Ok(LookUpOutcome::Finished { found, began }) => (found, began),
            Ok(LookUpOutcome::Unfinished(progress, error)) => {
                let waiting = Waiting {
                    look_up: Some(progress),
                    ..waiting
                };
                self.release(waiting).await?;
                if decision::is_own_limit(&error) {
                    let because = "looking the record up takes more than one attempt";
                    return Ok(Deferral::new(Kind::Settling, because).soon().into());
                }
                return Ok(self.defer_unanswered("looking the record up failed", &error));
            }
            Err(LookUpError::Protime(error)) if decision::look_up_may_pass(&error) => {
                self.release(waiting).await?;
                return Ok(self.defer_unanswered("looking the record up failed", &error));
            }
            Err(error) => {
                return Ok(self.park(unknown(&Unknown::CannotLookUp(error.to_string()))));
            }
        };
        self.answered();
        let unclaimed = self.unclaimed(&found.equal).await?;
        let settle_after = self.publisher.rules.settle_after;
        match decision::after_look_up(&found, &unclaimed, since, began, settle_after) {
            AfterLookUp::Settle(id) => self.settle(id, waiting).await,
            AfterLookUp::Send => self.send(Waiting::default()).await,
            AfterLookUp::Wait(wait) => {
                let waiting = Waiting {
                    look_up: None,
                    ..waiting
                };
                self.settle_later(waiting, wait).await
            }
            AfterLookUp::Park(why) => Ok(self.park(unknown(&why))),
        }
    }

    /// The records that no other write has claimed.
    async fn unclaimed(&self, ids: &[String]) -> Result<Vec<String>, StoreError> {
        let store = &self.publisher.store;
        let mut unclaimed = Vec::new();
        for id in ids {
            if !store
                .is_claimed_by_other(&self.claim_key(id), self.id)
                .await?
            {
                unclaimed.push(id.clone());
            }
        }
        Ok(unclaimed)
    }

    /// Ends the write as done, since an earlier attempt created this record.
    async fn settle(&self, id: &str, waiting: Waiting) -> Result<Verdict, StoreError> {
        let store = &self.publisher.store;
        if !store
            .claim(&self.claim_key(id), self.id, self.now())
            .await?
        {
            self.release(waiting).await?;
            let because = "another write has just claimed the record that was found";
            return Ok(Deferral::new(Kind::Elsewhere, because).into());
        }
        let path = &self.resolved.path;
        // Protime's answer was lost, and with it the status.
        let write = CompletedWrite {
            status: 0,
            location: Some(format!("{}{path}/{id}", protime::API_PATH)),
        };
        self.remember(&write).await;
        Ok(Verdict::Settled(write))
    }

    async fn send(&self, before: Waiting) -> Result<Verdict, StoreError> {
        if !self.invocation.has_time() {
            self.release(before).await?;
            return Ok(Deferral::no_time().into());
        }
        let payload = self.request.payload.clone();
        let deadline = self.invocation.write_until();
        match self.client.write(self.resolved, payload, deadline).await {
            Ok(written) => {
                self.answered();
                let write = CompletedWrite {
                    status: written.status,
                    location: written.location,
                };
                self.store_written(&write).await;
                Ok(Verdict::Written(write))
            }
            Err(error) => self.after_failed_send(&error, before).await,
        }
    }

    /// Decides what follows a failed write, and does it.
    async fn after_failed_send(
        &self,
        error: &Error,
        before: Waiting,
    ) -> Result<Verdict, StoreError> {
        self.tell_breaker(error);
        if matches!(error, Error::BaseUriChanged) {
            self.publisher.clients.forget(&self.request.client);
        }
        match decision::after_failure(error, self.request.method, &before, self.now()) {
            AfterFailure::Defer(waiting) => {
                let conflicts = waiting.conflicts > before.conflicts;
                self.release(waiting).await?;
                let deferral = if conflicts {
                    Deferral::new(Kind::Conflict, "Protime answered 409")
                } else {
                    Deferral::of(error)
                };
                Ok(deferral.with_retry_after(error).into())
            }
            AfterFailure::AlreadyDeleted => Ok(self.settle_deletion().await),
            AfterFailure::CheckDeletion => self.check_deletion(error, before).await,
            AfterFailure::Park(letter) => Ok(self.park(letter)),
        }
    }

    async fn check_deletion(&self, error: &Error, before: Waiting) -> Result<Verdict, StoreError> {
        let PublishRequest { entity, path, .. } = self.request;
        let deadline = self.invocation.look_up_until();
        match look_up::is_deleted(self.client, entity, path, self.settings, deadline).await {
            Ok(true) => Ok(self.settle_deletion().await),
            Ok(false) => Ok(self.park(decision::repetition_refused(error))),
            Err(unavailable) => {
                self.release(before).await?;
                Ok(self.defer_unanswered("asking whether the record is gone failed", &unavailable))
            }
        }
    }

    /// Defers the message because Protime did not answer a question about the write.
    fn defer_unanswered(&self, what: &str, error: &Error) -> Verdict {
        if !decision::is_own_limit(error) {
            self.tell_breaker(error);
        }
        // Protime's own words are left out, since they may be about the person.
        let because = format!("{what}: {}", Deferral::of(error).because);
        let deferral = Deferral::new(Kind::of(error), because);
        deferral.with_retry_after(error).into()
    }

    /// Ends the deletion as done, since an earlier attempt deleted the record. The answer to that attempt was lost, and
    /// with it the status.
    async fn settle_deletion(&self) -> Verdict {
        let write = CompletedWrite::default();
        self.store_written(&write).await;
        Verdict::Settled(write)
    }

    /// Stores a finished write. A record that can be looked up is claimed first, so that it never settles another
    /// message.
    async fn store_written(&self, write: &CompletedWrite) {
        let store = &self.publisher.store;
        let after_lost_response = AfterLostResponse::of(self.resolved.operation);
        let has_look_up = matches!(after_lost_response, AfterLostResponse::LookUp(_));
        let location = write.location.as_deref().filter(|_| {
            // A deletion or an update creates no record.
            has_look_up && self.request.method == Method::Post
        });
        if let Some(id) = location.and_then(|location| location.rsplit('/').next()) {
            let claimed = self.claim_key(id);
            let claim = || store.claim(&claimed, self.id, self.now());
            match self.invocation.retry(claim).await {
                Ok(true) => {}
                Ok(false) => tracing::error!(
                    kind = Kind::Elsewhere.name(),
                    messageId = self.claimant.message_id,
                    error = format!(
                        "another write has claimed record {id}, so its own record may be missing; look both up in Protime"
                    ),
                    "written, but another write has claimed the record"
                ),
                Err(error) => self.log_unstored(
                    &error,
                    "written, but the record is not claimed; a look-up may take it for another write's",
                ),
            }
        }
        self.remember(write).await;
    }

    async fn remember(&self, write: &CompletedWrite) {
        let store = &self.publisher.store;
        let done = || store.done(self.id, &self.claimant, write, self.now());
        if let Err(error) = self.invocation.retry(done).await {
            // SQS still deletes the message, so no redelivery writes it again.
            self.log_unstored(
                &error,
                "written, but not remembered; a later message with the same key may write it again",
            );
        }
    }

    /// Logs what could not be stored of a write that Protime has made.
    fn log_unstored(&self, error: &StoreError, what: &str) {
        let message_id = self.claimant.message_id;
        tracing::error!(kind = Kind::State.name(), messageId = message_id, %error, "{what}");
    }

    async fn settle_later(
        &self,
        waiting: Waiting,
        wait: jiff::SignedDuration,
    ) -> Result<Verdict, StoreError> {
        self.release(waiting).await?;
        let deferral = Deferral::new(Kind::Settling, "a slow write may still show");
        Ok(deferral.after(wait.try_into().ok()).into())
    }

    /// Ends the attempt without a verdict. It is retried: a lease that stays counts as a write that may have happened.
    async fn release(&self, waiting: Waiting) -> Result<(), StoreError> {
        let store = &self.publisher.store;
        let release = || store.release(self.id, &self.claimant, waiting.clone(), self.now());
        self.invocation.retry(release).await
    }

    /// Parks the message and gives the write up. The next message with the same key is a new write.
    fn park(&self, letter: DeadLetter) -> Verdict {
        self.park_record_of(Some(self.claimant.token.to_owned()), letter)
    }

    fn park_record_of(&self, owner: Option<String>, letter: DeadLetter) -> Verdict {
        let given_up = Some(GivenUp {
            id: self.id.to_owned(),
            owner,
            is_refused: letter.reason == Reason::Refused,
        });
        Verdict::Parked {
            letter: Box::new(letter),
            given_up,
        }
    }

    fn tell_breaker(&self, error: &Error) {
        let client = &self.request.client;
        match decision::trouble(error) {
            Some(trouble) => self.publisher.breaker.failed(client, trouble, self.now()),
            None if error.status().is_some() => self.answered(),
            None => {}
        }
    }

    fn answered(&self) {
        self.publisher
            .breaker
            .answered(&self.request.client, self.now());
    }

    fn claim_key(&self, id: &str) -> String {
        format!("{}{}/{id}", self.settings.base_uri, self.request.entity)
    }

    fn now(&self) -> Timestamp {
        self.invocation.clock.now()
    }
}

fn unknown(why: &Unknown) -> DeadLetter {
    DeadLetter::new(Reason::UnknownOutcome, why.explanation())
}
