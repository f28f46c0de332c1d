//! The one place where a message ends: remembered, parked, told, in this order. Whatever breaks in between, a later delivery
//! goes on with what is left, and nothing is sent to Protime again.

use std::cell::Cell;

use connector::aws::queue::Message;

use crate::dead_letter::{DeadLetter, Reason};
use crate::delivery::Delivery;
use crate::invocation::Invocation;
use crate::message_record::{Ended, Forgotten, Stage};
use crate::report::{Ended as Counted, Tally};
use crate::results::Subject;
use crate::write_record::DoneWrite;
use crate::{Deferral, Kind, Publisher};

/// How a message ended.
#[derive(Debug)]
pub(crate) enum Verdict {
    Written(DoneWrite),
    /// An earlier attempt whose answer was lost has written, as a look-up or a repetition shows.
    Settled(DoneWrite),
    /// It was written before; SQS or its producer has sent it again.
    WrittenBefore(DoneWrite),
    /// The transformer wants nothing written.
    Acknowledged,
    /// To be parked; then what is remembered of the write is forgotten, if it is this message's.
    Parked {
        letter: Box<DeadLetter>,
        forgotten: Option<Forgotten>,
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
            forgotten: None,
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
    /// Whether the attempt is counted.
    pub(crate) is_counted: Cell<bool>,
}

impl Handling<'_> {
    /// Ends the message, or tells why it has to come again.
    pub(crate) async fn end(&self, subject: Subject, verdict: Verdict) -> Result<(), Deferral> {
        let (write, what) = match verdict {
            Verdict::Acknowledged => {
                let because = "the transformer wants nothing written";
                tracing::info!(messageId = self.delivery.id, because, "acknowledged");
                return Ok(());
            }
            Verdict::Deferred(deferral) if !self.is_last() => return Err(deferral),
            Verdict::Deferred(deferral) => {
                let message = format!(
                    "deferred until SQS would have parked or deleted it, lastly because: {}",
                    deferral.because
                );
                // What is uncertain stays remembered, and is looked up when the message is sent back.
                let letter = DeadLetter::new(Reason::Expired, message);
                return self.decide(subject, letter, None).await;
            }
            Verdict::Parked { letter, forgotten } => {
                return self.decide(subject, *letter, forgotten).await;
            }
            Verdict::Written(write) => {
                self.tally.ended(Counted::Written, self.age());
                (write, "written")
            }
            Verdict::Settled(write) => {
                self.tally.ended(Counted::Settled, self.age());
                (write, "written")
            }
            Verdict::WrittenBefore(write) => {
                (write, "written before; this delivery writes nothing")
            }
        };
        tracing::info!(
            messageId = self.delivery.id,
            method = subject.method,
            entity = subject.entity,
            status = write.status,
            location = write.location,
            "{what}"
        );
        let now = self.invocation.clock.now();
        self.tell(|| subject.published(&write, now)).await
    }

    /// Remembers the verdict, and does what is left to do.
    async fn decide(
        &self,
        subject: Subject,
        letter: DeadLetter,
        forgotten: Option<Forgotten>,
    ) -> Result<(), Deferral> {
        let ended = Ended {
            token: self.token.clone(),
            letter,
            subject: subject.kept(),
            forgotten,
            stage: Stage::Decided,
        };
        self.keep(&ended, &self.token).await?;
        self.finish(ended, Some(subject)).await
    }

    /// Goes on where an earlier delivery has stopped.
    pub(crate) async fn resume(&self, mut ended: Ended) -> Result<(), Deferral> {
        if ended.stage == Stage::Finished {
            return Ok(());
        }
        let before = std::mem::replace(&mut ended.token, self.token.clone());
        self.keep(&ended, &before).await?;
        self.finish(ended, None).await
    }

    async fn finish(&self, mut ended: Ended, whole: Option<Subject>) -> Result<(), Deferral> {
        if ended.stage == Stage::Decided {
            self.park(&ended).await?;
            ended.stage = Stage::Parked;
            if self.publisher.results.is_some() {
                self.keep(&ended, &self.token).await?;
            }
        }
        let subject = whole.as_ref().unwrap_or(&ended.subject);
        let now = self.invocation.clock.now();
        self.tell(|| subject.rejected(&ended.letter, now)).await?;
        ended.stage = Stage::Finished;
        // If that fails, a delivery that SQS repeats tells its result again, with the same id.
        self.keep(&ended, &self.token).await
    }

    async fn park(&self, ended: &Ended) -> Result<(), Deferral> {
        if let Some(Forgotten { id, owner }) = &ended.forgotten {
            let forgotten = self.publisher.store.forget(id, owner.as_deref()).await;
            forgotten.map_err(|error| Deferral::new(Kind::State, error.to_string()))?;
        }
        let letter = &ended.letter;
        let parked = letter.to_message(self.delivery, &ended.subject.idempotency_key);
        let sent = self
            .publisher
            .dead_letters
            .send(parked, self.invocation.deadline);
        sent.await.map_err(|error| {
            Deferral::new(Kind::DeadLetterQueue, format!("parking failed: {error}"))
        })?;
        let reason = letter.reason.as_str();
        // The explanation may quote the message, so it is on the parked message and not in the log.
        tracing::warn!(
            messageId = self.delivery.id,
            reason,
            status = letter.answer.as_ref().map(|answer| answer.status),
            code = letter
                .answer
                .as_ref()
                .and_then(|answer| answer.code.as_deref()),
            "parked"
        );
        self.tally.ended(Counted::Parked(reason), self.age());
        Ok(())
    }

    async fn keep(&self, ended: &Ended, seen: &str) -> Result<(), Deferral> {
        let now = self.invocation.clock.now();
        let store = &self.publisher.store;
        match store.keep_ended(self.delivery.id, ended, seen, now).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let because = "another invocation ends this message";
                Err(Deferral::new(Kind::Elsewhere, because))
            }
            Err(error) => Err(Deferral::new(Kind::State, error.to_string())),
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

    fn is_last(&self) -> bool {
        let now = self.invocation.clock.now();
        self.delivery.is_last(now, &self.publisher.rules)
    }

    fn age(&self) -> jiff::SignedDuration {
        self.delivery.age(self.invocation.clock.now())
    }
}
