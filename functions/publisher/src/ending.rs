//! The only place where a message ends. Its end is stored, then parked, then reported, in this order. If a step fails,
//! a later delivery goes on from there. Nothing is sent to Protime again.

use std::cell::{Cell, OnceCell};

use connector::aws::queue::Message;
use connector::store::Pause;
use jiff::{SignedDuration, Timestamp};

use crate::dead_letter::{DeadLetter, Reason};
use crate::delivery::Delivery;
use crate::idempotency_store::StoreError;
use crate::invocation::Invocation;
use crate::message_record::{Ended, GivenUp, Outcome, Stage};
use crate::report::{Counted, Tally};
use crate::results::ResultContext;
use crate::write_record::CompletedWrite;
use crate::{Deferral, Kind, Publisher};

/// The verdict on a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    Written(CompletedWrite),
    /// A look-up or a repetition shows that an earlier attempt, whose response was lost, has written.
    Settled(CompletedWrite),
    /// The write happened before: SQS or the producer has sent the message again.
    WrittenBefore(CompletedWrite),
    /// The transformer wants nothing written.
    Acknowledged,
    /// To be moved to the dead-letter queue. `given_up` is the write's record, if this message owns it.
    Parked {
        letter: Box<DeadLetter>,
        given_up: Option<GivenUp>,
    },
    Deferred(Deferral),
}

impl From<Deferral> for Verdict {
    fn from(deferral: Deferral) -> Self {
        Self::Deferred(deferral)
    }
}

/// Parks without an attempt. A record under the same key stays as it is.
impl From<DeadLetter> for Verdict {
    fn from(letter: DeadLetter) -> Self {
        Self::Parked {
            letter: Box::new(letter),
            given_up: None,
        }
    }
}

/// A delivery, with what its handling needs.
pub(crate) struct Handling<'a> {
    pub(crate) publisher: &'a Publisher,
    pub(crate) delivery: &'a Delivery<'a>,
    pub(crate) invocation: &'a Invocation,
    /// Identifies this attempt, and no other.
    pub(crate) token: String,
    pub(crate) tally: &'a Tally,
    /// The pause of all publishing.
    pub(crate) pause: &'a Result<Option<Pause>, StoreError>,
    /// Whether the store has counted this attempt.
    pub(crate) is_counted: Cell<bool>,
    /// The token of an earlier end, from before the message was sent back under the same id.
    pub(crate) ended_before: OnceCell<String>,
}

impl Handling<'_> {
    /// Ends the message. An error says why it has to come again.
    pub(crate) async fn end(
        &self,
        context: ResultContext,
        verdict: Verdict,
    ) -> Result<(), Deferral> {
        match verdict {
            Verdict::Acknowledged => {
                let because = "the transformer wants nothing written";
                tracing::info!(messageId = self.delivery.id, because, "acknowledged");
                Ok(())
            }
            Verdict::Deferred(deferral) if !(self.is_last() && deferral.can_expire()) => {
                Err(deferral)
            }
            Verdict::Deferred(deferral) => {
                let message = format!(
                    "deferred until SQS would have parked or deleted it, lastly because: {}",
                    deferral.because
                );
                // An uncertain write stays in the store. It is looked up when the message is sent back.
                let outcome = Outcome::Parked {
                    letter: Box::new(DeadLetter::new(Reason::Expired, message)),
                    given_up: None,
                };
                self.decide(context, outcome).await
            }
            Verdict::Parked { letter, given_up } => {
                let outcome = Outcome::Parked { letter, given_up };
                self.decide(context, outcome).await
            }
            Verdict::Written(write) => {
                self.tally.ended(Counted::Written, self.age());
                self.end_written(&context, &write, false).await
            }
            Verdict::Settled(write) => {
                self.tally.ended(Counted::Settled, self.age());
                self.end_written(&context, &write, false).await
            }
            Verdict::WrittenBefore(write) => self.end_written(&context, &write, true).await,
        }
    }

    /// Tells the producer of a write; it is `repeated` if an earlier delivery or message made it.
    async fn end_written(
        &self,
        context: &ResultContext,
        write: &CompletedWrite,
        repeated: bool,
    ) -> Result<(), Deferral> {
        tracing::info!(
            messageId = self.delivery.id,
            method = context.method,
            entity = context.entity,
            status = write.status,
            location = write.location,
            "{}",
            if repeated {
                "written before; this delivery writes nothing"
            } else {
                "written"
            }
        );
        let now = self.invocation.clock.now();
        // Only the result is left to send, which needs neither Protime nor the transformer. If sending fails, the end
        // is stored, so that a redelivery only sends the result. While attempts are counted, the end is stored first:
        // a crash while sending would count as an attempt.
        let keep = || async {
            let ended = self.ended(context, Outcome::Written(write.clone()), Stage::Done);
            self.keep(&ended, self.seen()).await
        };
        let is_kept = self.is_counted.get()
            && match keep().await {
                Ok(()) => true,
                // Nothing stores the write, so a redelivery could write it again.
                Err(Deferral {
                    kind: Kind::State,
                    because,
                    ..
                }) => {
                    tracing::warn!(
                        messageId = self.delivery.id,
                        because,
                        "the end of the message is not stored; its result is sent all the same"
                    );
                    false
                }
                Err(deferral) => return Err(deferral),
            };
        let told = self
            .send_result(|| context.published(write, repeated, now))
            .await;
        if told.is_err() && !is_kept {
            keep().await?;
        }
        told
    }

    /// Stores the verdict, then carries it out.
    async fn decide(&self, context: ResultContext, outcome: Outcome) -> Result<(), Deferral> {
        let mut ended = self.ended(&context, outcome, Stage::Decided);
        match self.keep(&ended, self.seen()).await {
            // The message is at its last delivery: if it is not parked now, SQS loses it. Its write is not given up, which
            // would need the table as well. If the message is sent back, the write is looked up.
            Err(deferral) if deferral.kind == Kind::State && self.is_last() => {
                if let Outcome::Parked { given_up, .. } = &mut ended.outcome {
                    *given_up = None;
                }
                tracing::error!(
                    kind = deferral.kind.name(),
                    messageId = self.delivery.id,
                    error = deferral.because,
                    "the end of the message is not stored; it is parked all the same, since this is its last delivery"
                );
            }
            kept => kept?,
        }
        self.finish(ended, Some(context)).await
    }

    fn ended(&self, context: &ResultContext, outcome: Outcome, stage: Stage) -> Ended {
        Ended {
            token: self.token.clone(),
            context: context.kept(),
            outcome,
            stage,
            at: self.after_sending(),
        }
    }

    /// Now, but later than the message was sent. SQS's clock can be ahead of ours, and a message that was sent after its
    /// own end would count as a new one.
    fn after_sending(&self) -> Timestamp {
        let now = self.invocation.clock.now();
        let sent = self.delivery.sent();
        sent.map_or(now, |sent| now.max(sent + SignedDuration::from_millis(1)))
    }

    /// Continues where an earlier delivery stopped.
    pub(crate) async fn resume(&self, mut ended: Ended) -> Result<(), Deferral> {
        if ended.stage == Stage::Told {
            return Ok(());
        }
        let before = std::mem::replace(&mut ended.token, self.token.clone());
        self.keep(&ended, &before).await?;
        self.finish(ended, None).await
    }

    async fn finish(&self, mut ended: Ended, whole: Option<ResultContext>) -> Result<(), Deferral> {
        if ended.stage == Stage::Decided {
            self.park(&ended).await?;
            ended.stage = Stage::Done;
            if self.publisher.results.is_some() {
                self.keep_if_possible(&ended).await;
            }
        }
        let context = whole.as_ref().unwrap_or(&ended.context);
        let now = self.invocation.clock.now();
        let result = || match &ended.outcome {
            Outcome::Written(write) => context.published(write, false, now),
            Outcome::Parked { letter, .. } => context.rejected(letter, self.delivery.id, now),
        };
        self.send_result(result).await?;
        ended.stage = Stage::Told;
        self.keep_if_possible(&ended).await;
        Ok(())
    }

    /// Gives the write up, then moves the message to the dead-letter queue.
    async fn park(&self, ended: &Ended) -> Result<(), Deferral> {
        let Outcome::Parked { letter, given_up } = &ended.outcome else {
            return Ok(());
        };
        if let Some(given_up) = given_up {
            let store = &self.publisher.store;
            let give_up = || store.give_up(self.delivery.id, given_up, self.after_sending());
            let done = self.invocation.retry(give_up).await;
            done.map_err(|error| Deferral::new(Kind::State, error.to_string()))?;
        }
        let parked = letter.to_message(self.delivery, &ended.context.idempotency_key);
        let deadline = self.invocation.deadline;
        let sent = self.publisher.dead_letters.send(parked, deadline).await;
        sent.map_err(|error| {
            Deferral::new(Kind::DeadLetterQueue, format!("parking failed: {error}"))
        })?;
        let (reason, answer) = (letter.reason.as_str(), letter.answer.as_ref());
        // The explanation may quote the message, so the dead letter has it and the log does not.
        tracing::warn!(
            messageId = self.delivery.id,
            reason,
            status = answer.map(|answer| answer.status),
            code = answer.and_then(|answer| answer.code.as_deref()),
            "parked"
        );
        self.tally.ended(Counted::Parked(reason), self.age());
        Ok(())
    }

    async fn keep(&self, ended: &Ended, seen: &str) -> Result<(), Deferral> {
        let (store, clock) = (&self.publisher.store, &self.invocation.clock);
        let id = self.delivery.id;
        let keep = || store.keep_ended(id, ended, seen, clock.now());
        match self.invocation.retry(keep).await {
            Ok(true) => {
                // Storing the end has removed the count of attempts.
                self.is_counted.set(false);
                Ok(())
            }
            Ok(false) => {
                let because = "another invocation ends this message";
                Err(Deferral::new(Kind::Elsewhere, because))
            }
            Err(error) => Err(Deferral::new(Kind::State, error.to_string())),
        }
    }

    /// Stores the end if possible.
    async fn keep_if_possible(&self, ended: &Ended) {
        if let Err(deferral) = self.keep(ended, &self.token).await {
            let (id, because) = (self.delivery.id, deferral.because);
            tracing::warn!(
                messageId = id,
                because,
                "the step is not stored; a redelivery repeats it, with the same message ids"
            );
        }
    }

    /// Sends a result, if the function has a results queue.
    async fn send_result(&self, result: impl FnOnce() -> Message) -> Result<(), Deferral> {
        let Some(results) = &self.publisher.results else {
            return Ok(());
        };
        let Err(error) = results.send(result(), self.invocation.deadline).await else {
            return Ok(());
        };
        if self.is_last() || error.blames_the_message() {
            let kind = Kind::ResultsQueue.name();
            tracing::error!(
                kind,
                messageId = self.delivery.id,
                %error,
                "the result is dropped: SQS refuses it, or this is the message's last delivery"
            );
            return Ok(());
        }
        let because = format!("sending the result failed: {error}");
        Err(Deferral::new(Kind::ResultsQueue, because))
    }

    fn seen(&self) -> &str {
        self.ended_before.get().unwrap_or(&self.token)
    }

    fn is_last(&self) -> bool {
        let now = self.invocation.clock.now();
        self.delivery.is_last(now, &self.publisher.rules)
    }

    fn age(&self) -> jiff::SignedDuration {
        self.delivery.age(self.invocation.clock.now())
    }
}
