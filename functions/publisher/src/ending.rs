//! The one place where a message ends: remembered, parked, told, in this order. Whatever breaks in between, a later delivery
//! goes on with what is left, and nothing is sent to Protime again.

use std::cell::{Cell, OnceCell};

use connector::aws::queue::Message;
use connector::store::Pause;

use crate::dead_letter::{DeadLetter, Reason};
use crate::delivery::Delivery;
use crate::invocation::Invocation;
use crate::message_record::{Ended, GivenUp, Outcome, Stage};
use crate::report::{Counted, Tally};
use crate::results::ResultContext;
use crate::write_record::CompletedWrite;
use crate::{Deferral, Kind, Publisher};

/// How a message ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    Written(CompletedWrite),
    /// An earlier attempt whose answer was lost has written, as a look-up or a repetition shows.
    Settled(CompletedWrite),
    /// It was written before; SQS or its producer has sent it again.
    WrittenBefore(CompletedWrite),
    /// The transformer wants nothing written.
    Acknowledged,
    /// To be parked; what is remembered of the write is given up, if it is this message's.
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

/// Parked without an attempt: if there is a record under its key, it stays.
impl From<DeadLetter> for Verdict {
    fn from(letter: DeadLetter) -> Self {
        Self::Parked {
            letter: Box::new(letter),
            given_up: None,
        }
    }
}

/// A delivery, and what it is handled with.
pub(crate) struct Handling<'a> {
    pub(crate) publisher: &'a Publisher,
    pub(crate) delivery: &'a Delivery<'a>,
    pub(crate) invocation: &'a Invocation,
    /// A name that no other attempt has.
    pub(crate) token: String,
    pub(crate) tally: &'a Tally,
    /// That of all publishing.
    pub(crate) pause: Option<&'a Pause>,
    /// Whether the attempt is counted.
    pub(crate) is_counted: Cell<bool>,
    /// The token of an end that the message had before it was sent back under the same id.
    pub(crate) ended_before: OnceCell<String>,
}

impl Handling<'_> {
    /// Ends the message, or tells why it has to come again.
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
                // What is uncertain stays remembered, and is looked up when the message is sent back.
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
        // Only the result is left to do, whatever becomes of Protime or the transformer meanwhile. That is remembered where
        // the result cannot be sent, and before it is sent where attempts died: the next one would count as one more.
        let keep = || async {
            let ended = self.ended(context, Outcome::Written(write.clone()), Stage::Done);
            self.keep(&ended, self.seen()).await
        };
        let is_kept = self.is_counted.get();
        if is_kept {
            keep().await?;
        }
        let told = self.tell(|| context.published(write, repeated, now)).await;
        if told.is_err() && !is_kept {
            keep().await?;
        }
        told
    }

    /// Remembers the verdict, and does what is left to do.
    async fn decide(&self, context: ResultContext, outcome: Outcome) -> Result<(), Deferral> {
        let ended = self.ended(&context, outcome, Stage::Decided);
        match self.keep(&ended, self.seen()).await {
            // SQS would lose what is parked neither now nor remembered.
            Err(deferral) if deferral.kind == Kind::State && self.is_last() => {
                tracing::error!(
                    messageId = self.delivery.id,
                    error = deferral.because,
                    "parked without being remembered"
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
            at: self.invocation.clock.now(),
        }
    }

    /// Goes on where an earlier delivery has stopped.
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
            Outcome::Parked { letter, .. } => context.rejected(letter, now),
        };
        self.tell(result).await?;
        ended.stage = Stage::Told;
        self.keep_if_possible(&ended).await;
        Ok(())
    }

    /// Gives the write up and parks the message.
    async fn park(&self, ended: &Ended) -> Result<(), Deferral> {
        let Outcome::Parked { letter, given_up } = &ended.outcome else {
            return Ok(());
        };
        if let Some(given_up) = given_up {
            let (store, now) = (&self.publisher.store, self.invocation.clock.now());
            let done = store.give_up(self.delivery.id, given_up, now).await;
            done.map_err(|error| Deferral::new(Kind::State, error.to_string()))?;
        }
        let parked = letter.to_message(self.delivery, &ended.context.idempotency_key);
        let deadline = self.invocation.deadline;
        let sent = self.publisher.dead_letters.send(parked, deadline).await;
        sent.map_err(|error| {
            Deferral::new(Kind::DeadLetterQueue, format!("parking failed: {error}"))
        })?;
        let (reason, answer) = (letter.reason.as_str(), letter.answer.as_ref());
        // The explanation may quote the message, so it is on the parked message and not in the log.
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
                // With the end, the count of attempts is gone.
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

    /// Where that fails, a delivery that SQS repeats does again what was done: it parks or tells with the same ids.
    async fn keep_if_possible(&self, ended: &Ended) {
        if let Err(deferral) = self.keep(ended, &self.token).await {
            let (id, because) = (self.delivery.id, deferral.because);
            tracing::warn!(messageId = id, because, "not remembered");
        }
    }

    /// Sends a result to whoever wants it.
    async fn tell(&self, result: impl FnOnce() -> Message) -> Result<(), Deferral> {
        let Some(results) = &self.publisher.results else {
            return Ok(());
        };
        let Err(error) = results.send(result(), self.invocation.deadline).await else {
            return Ok(());
        };
        if self.is_last() || error.blames_the_message() {
            tracing::error!(messageId = self.delivery.id, %error, "the result is dropped");
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
