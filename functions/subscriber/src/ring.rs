//! Rings: messages of the doorbell. A ring says that Protime has changed something that a connection reads.
//!
//! A ring is `{"ring": "<connection>"}`. It runs the event of the last run that the connection's schedule started. So a
//! connection is defined in one place only, and a ring never runs another version of it.
//!
//! The subscriber first stores the run as due. A continuation starts it, or the end of the run that is in progress.
//! From then on it is a run like any other, with the same repairs. So a ring is acknowledged in a moment, and uses up
//! no receives of the queue while runs last or fail.
//!
//! The run's id comes from the message, `ring-<message id>`: a message that is delivered again is the same run. All
//! rings of a connection in one batch are one run, with the id of the newest. This run also serves the older rings,
//! which were sent before it began.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use connector::contract::connection::is_name;
use connector::store::{Due, RingOutcome, RunStatus};
use serde::Deserialize;

use crate::continuation::Continuation;
use crate::report::Identity;
use crate::{Error, Invocation, Subscriber};

/// The body of a ring's message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    #[serde(rename = "ring")]
    incoming: String,
}

fn read(message: &SqsMessage) -> Result<Ring, serde_json::Error> {
    let ring: Ring = serde_json::from_str(message.body.as_deref().unwrap_or_default())?;
    if is_name(&ring.incoming) {
        Ok(ring)
    } else {
        Err(serde::de::Error::custom(
            "the value is no valid name of a connection",
        ))
    }
}

/// Whether messages come from the doorbell, not from the continuation queue: one ring among them is enough.
pub(crate) fn are_rings(messages: &[SqsMessage]) -> bool {
    messages.iter().any(|message| read(message).is_ok())
}

/// The sort key of messages: when SQS got the message, in milliseconds since 1970, and the message's id.
fn order(message: &SqsMessage) -> (u64, String) {
    let sent = message.attributes.get("SentTimestamp");
    let sent = sent.and_then(|sent| sent.parse().ok()).unwrap_or(0);
    (sent, message.message_id.clone().unwrap_or_default())
}

impl Subscriber {
    /// Runs every connection that a message names. SQS delivers again only the messages of connections that failed, so
    /// that no connection uses up the receives of another.
    pub async fn answer_rings(
        &self,
        event: &SqsEvent,
        invocation: &Invocation,
    ) -> Result<SqsBatchResponse, Error> {
        let mut rings: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        let mut response = SqsBatchResponse::default();
        for message in &event.records {
            let order = order(message);
            match read(message) {
                Ok(Ring { incoming }) => rings.entry(incoming).or_default().push(order),
                Err(error) => {
                    self.report_failure(&Identity::default(), &Error::Ring(error));
                    response.add_failure(order.1);
                }
            }
        }
        for (incoming, messages) in rings {
            let newest = messages.iter().max().map(|(_, id)| id.as_str());
            let rung = self.ring(&incoming, newest.unwrap_or_default(), invocation);
            if let Err(error) = rung.await {
                let identity = Identity {
                    incoming: Some(incoming),
                    ..Identity::default()
                };
                self.report_failure(&identity, &error);
                for (_, id) in messages {
                    let is_it = |message: &&SqsMessage| message.message_id.as_deref() == Some(&id);
                    if let Some(message) = event.records.iter().find(is_it) {
                        self.retry_ring(message).await;
                    }
                    response.add_failure(id);
                }
            }
        }
        Ok(response)
    }

    /// Runs a connection now, or when its current run ends.
    async fn ring(
        &self,
        incoming: &str,
        message: &str,
        invocation: &Invocation,
    ) -> Result<(), Error> {
        let now = invocation.clock.now();
        let run = format!("ring-{message}");
        let answered = |how: &str| tracing::info!(incoming, run, how, "a ring is answered");
        let history = self.state.history(incoming).await?;
        let Some(event) = history.event.clone() else {
            tracing::warn!(
                incoming,
                "a ring is acknowledged and runs nothing: no schedule has run this connection yet; its input needs `scheduled`"
            );
            return Ok(());
        };
        // A run that has started is no longer due. If it became due again, it would hide the next ring.
        let known = history.run(&run);
        if known.is_some_and(|known| known.status != RunStatus::Failed) {
            answered("its run has started before");
            return Ok(());
        }
        let due = Due {
            run: run.clone(),
            scheduled: now,
            event,
            fingerprint: None,
            is_ring: true,
        };
        match self.state.ring(incoming, &due, now).await? {
            RingOutcome::Free {
                run: first,
                generation,
            } => {
                let continuation = Continuation::new(incoming, &first, generation);
                self.send_continuation(&continuation, now, invocation)
                    .await?;
                answered("its run begins");
            }
            RingOutcome::Busy => answered("its run follows the one that is under way"),
            RingOutcome::AlreadyDue => {
                answered("the run of an earlier ring has not begun, and will read this change");
            }
            RingOutcome::Paused(until) => {
                answered(&format!("the connection is paused until {until:.0}"));
            }
            RingOutcome::TooMany => return Err(Error::TooManyDue(incoming.to_owned())),
            RingOutcome::Unknown => answered("the connection is forgotten"),
        }
        Ok(())
    }
}
