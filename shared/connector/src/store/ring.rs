//! Rings: something has changed at Protime, so that a connection is to be run now.
//!
//! A ring is a run that is due, as one is that met another run: whoever has the lease begins it when it has ended, and the
//! watch begins it where it was left behind. One that has not begun answers every ring that comes until then.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use super::connection::due_of;
use super::item::{Item, count_of, number, refused_item, text, time, time_of};
use super::lease::{DueOutcome, MOST_DUE, is_due};
use super::{ConnectionState, Due, StateError, StateTable, connection_id};

/// A run that is due is left behind after so long.
const LEFT_BEHIND: SignedDuration = SignedDuration::from_mins(10);
/// The item is read again so often after it has changed meanwhile.
const ATTEMPTS: u32 = 5;

/// What came of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rung {
    /// The run is due, and nobody has the lease. A continuation of this run lets it begin: its own, or the one of an
    /// unfinished run, which goes first.
    Free {
        /// The run that the continuation has to name.
        run: String,
        /// And the generation.
        generation: u64,
    },
    /// The run is due, and begins when the run ends that is under way or waits for its continuation.
    Busy,
    /// A run that another ring asked for is due and has not begun; it reads what this one tells of.
    Answered,
    /// The connection is paused until then, and nothing is remembered.
    Paused(Timestamp),
    /// So many runs are due already that this one is not remembered.
    TooMany,
    /// The connection has never run.
    Unknown,
}

impl StateTable {
    /// Remembers the run of a ring as due.
    pub async fn ring(
        &self,
        incoming: &str,
        due: &Due,
        now: Timestamp,
    ) -> Result<Rung, StateError> {
        let id = connection_id(incoming);
        for _ in 0..ATTEMPTS {
            let item = self.read(&id, None).await?;
            let Some(AttributeValue::M(known)) = item.get("due") else {
                return Ok(Rung::Unknown);
            };
            if let Some(until) = time_of(&item, "paused_until").filter(|until| *until > now) {
                return Ok(Rung::Paused(until));
            }
            if let Some(known) = due_of(&item).into_iter().find(|known| known.is_ring) {
                // It was delivered again, or the answer to an attempt was lost.
                let is_own = known.run == due.run;
                return if is_own || is_left_behind(&item, &known, now) {
                    rung(&item, incoming, &known, now)
                } else {
                    Ok(Rung::Answered)
                };
            }
            let count = i64::try_from(known.len()).unwrap_or(i64::MAX);
            if count >= MOST_DUE {
                return Ok(Rung::TooMany);
            }
            if let Some(item) = self.add_ring(&id, due, count).await? {
                return rung(&item, incoming, due, now);
            }
        }
        Err(StateError::Unreachable {
            table: self.table.clone(),
            reason: format!("item `{id}` changes too often for a ring to be stored"),
        })
    }

    /// Remembers a run in the place of a ring, where no more can be due: a ring keeps no other run out. The run begins later
    /// than the ring came, and so reads what it tells of.
    pub(super) async fn replace_ring(
        &self,
        incoming: &str,
        item: &Item,
        due: &Due,
        now: Timestamp,
    ) -> Result<DueOutcome, StateError> {
        let Some(ring) = due_of(item).into_iter().find(|known| known.is_ring) else {
            return Ok(DueOutcome::TooMany);
        };
        let update = self
            .update(&connection_id(incoming))
            .update_expression("SET due.#run = :json REMOVE due.#ring")
            .condition_expression("lease_until >= :now AND attribute_exists(due.#ring)")
            .expression_attribute_names("#run", &due.run)
            .expression_attribute_names("#ring", &ring.run)
            .expression_attribute_values(":json", text(&json_of(due)))
            .expression_attribute_values(":now", time(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(DueOutcome::Due),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                // The SDK asked again after an answer that was lost.
                let is_done = is_due(&item, &due.run);
                Ok(if is_done {
                    DueOutcome::Due
                } else {
                    DueOutcome::TooMany
                })
            }
        }
    }

    /// Stores a ring where so many runs are due, and returns the item; none if it has changed meanwhile.
    async fn add_ring(&self, id: &str, due: &Due, count: i64) -> Result<Option<Item>, StateError> {
        let update = self
            .update(id)
            .update_expression("SET due.#run = :json")
            .condition_expression("size(due) = :count AND attribute_not_exists(due.#run)")
            .expression_attribute_names("#run", &due.run)
            .expression_attribute_values(":json", text(&json_of(due)))
            .expression_attribute_values(":count", number(count))
            .return_values(ReturnValue::AllNew);
        match update.send().await {
            Ok(stored) => Ok(Some(stored.attributes.unwrap_or_default())),
            Err(error) if refused_item(&error).is_some() => Ok(None),
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

fn json_of(due: &Due) -> String {
    // Plain data with string keys always is JSON.
    serde_json::to_string(due).unwrap_or_default()
}

/// Whether a run that is due waits for nobody: its continuation is lost, or has failed. The watch lets more and more time
/// pass then; another ring does not.
fn is_left_behind(item: &Item, due: &Due, now: Timestamp) -> bool {
    let since = ["idle_since", "lease_until", "not_before"].map(|name| time_of(item, name));
    let since = since
        .into_iter()
        .flatten()
        .fold(due.scheduled, Timestamp::max);
    now.duration_since(since) >= LEFT_BEHIND
}

/// Who begins the run, by the item in which it is due: whoever has the lease gives it back after that, and then looks for
/// what is due.
fn rung(item: &Item, incoming: &str, due: &Due, now: Timestamp) -> Result<Rung, StateError> {
    if time_of(item, "lease_until").is_some_and(|until| until >= now) {
        return Ok(Rung::Busy);
    }
    let state = ConnectionState::of(item, incoming)?;
    let run = match state.checkpoint {
        Some(checkpoint) if checkpoint.handed_over => return Ok(Rung::Busy),
        Some(checkpoint) => checkpoint.run,
        None => due.run.clone(),
    };
    Ok(Rung::Free {
        run,
        generation: count_of(item, "generation"),
    })
}
