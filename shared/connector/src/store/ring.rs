//! Rings: something has changed at Protime, so a connection is to run now.
//!
//! A ring is stored as a due run. The attempt that releases the lease starts this run. If none does, the watch starts it.
//! Until the run starts, it serves every further ring.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use super::due::{DueOutcome, MOST_DUE, due_as, due_of};
use super::item::{Item, count_of, number, refused_item, text, time, time_of};
use super::{ConnectionState, Due, StateError, StateTable, connection_id};

/// A due run counts as left behind after this time.
const STRANDED_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// How often the item is read and updated, if other writers change it in between.
const ATTEMPTS: u32 = 5;

/// The result of storing a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingOutcome {
    /// The run is due, and nobody holds the lease. The caller sends a continuation: of this run, or of an unfinished
    /// run, which goes first.
    Free {
        /// The run that the continuation must name.
        run: String,
        /// The generation that the continuation must name.
        generation: u64,
    },
    /// The run is due. It starts after another run, which is in progress or waits for its continuation.
    Busy,
    /// Nothing is stored: the run of another ring is due and has not begun. It reads the change of this ring too.
    AlreadyDue,
    /// Nothing is stored: the connection is paused until this time.
    Paused(Timestamp),
    /// Not stored: too many runs are due already.
    TooMany,
    /// Nothing is stored: the state table does not know the connection, which never ran or was forgotten.
    Unknown,
}

impl StateTable {
    /// Stores the run of a ring as due, unless the run of another ring is due already.
    pub async fn ring(
        &self,
        incoming: &str,
        due: &Due,
        now: Timestamp,
    ) -> Result<RingOutcome, StateError> {
        let id = connection_id(incoming);
        for _ in 0..ATTEMPTS {
            let item = self.read(&id, None).await?;
            let Some(AttributeValue::M(known)) = item.get("due") else {
                return Ok(RingOutcome::Unknown);
            };
            if let Some(until) = time_of(&item, "paused_until").filter(|until| *until > now) {
                return Ok(RingOutcome::Paused(until));
            }
            if let Some(known) = due_of(&item).into_iter().find(|known| known.is_ring) {
                // The ring was delivered again, or DynamoDB's answer to an earlier update was lost.
                let is_own = known.run == due.run;
                return if is_own || is_stranded(&item, &known, now) {
                    ring_outcome(&item, incoming, &known, now)
                } else {
                    Ok(RingOutcome::AlreadyDue)
                };
            }
            let count = i64::try_from(known.len()).unwrap_or(i64::MAX);
            if count >= MOST_DUE {
                return Ok(RingOutcome::TooMany);
            }
            if let Some(item) = self.add_ring(&id, due, count).await? {
                return ring_outcome(&item, incoming, due, now);
            }
        }
        Err(StateError::Unreachable {
            table: self.table.clone(),
            reason: format!("item `{id}` changes too often for a ring to be stored"),
        })
    }

    /// Replaces a ring's due run by this run when no more runs can be due. So rings keep no other run out. The new run
    /// starts after the ring, and reads the same change.
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
            .expression_attribute_values(":json", text(&due.to_json()))
            .expression_attribute_values(":now", time(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(DueOutcome::Due),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                // The SDK repeats an update whose answer was lost, so the run may be stored already.
                let is_done = due_as(&item, &due.run).is_some();
                Ok(if is_done {
                    DueOutcome::Due
                } else {
                    DueOutcome::TooMany
                })
            }
        }
    }

    /// Stores the run of a ring if exactly `count` runs are due. Returns the updated item, or `None` if the due runs
    /// have changed in between.
    async fn add_ring(&self, id: &str, due: &Due, count: i64) -> Result<Option<Item>, StateError> {
        let update = self
            .update(id)
            .update_expression("SET due.#run = :json")
            .condition_expression("size(due) = :count AND attribute_not_exists(due.#run)")
            .expression_attribute_names("#run", &due.run)
            .expression_attribute_values(":json", text(&due.to_json()))
            .expression_attribute_values(":count", number(count))
            .return_values(ReturnValue::AllNew);
        match update.send().await {
            Ok(stored) => Ok(Some(stored.attributes.unwrap_or_default())),
            Err(error) if refused_item(&error).is_some() => Ok(None),
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

/// Whether nothing will start a due run: its continuation was lost or has failed. The watch waits longer before each
/// further attempt. For another ring, [`STRANDED_AFTER`] is always enough.
fn is_stranded(item: &Item, due: &Due, now: Timestamp) -> bool {
    let since = ["idle_since", "lease_until", "not_before"].map(|name| time_of(item, name));
    let since = since
        .into_iter()
        .flatten()
        .fold(due.scheduled, Timestamp::max);
    now.duration_since(since) >= STRANDED_AFTER
}

/// Decides from the item, in which the run is due, what starts the run. A holder of the lease releases it later and
/// then looks for due runs.
fn ring_outcome(
    item: &Item,
    incoming: &str,
    due: &Due,
    now: Timestamp,
) -> Result<RingOutcome, StateError> {
    if time_of(item, "lease_until").is_some_and(|until| until >= now) {
        return Ok(RingOutcome::Busy);
    }
    let state = ConnectionState::of(item, incoming)?;
    let run = match state.checkpoint {
        Some(checkpoint) if checkpoint.handed_over => return Ok(RingOutcome::Busy),
        Some(checkpoint) => checkpoint.run,
        None => due.run.clone(),
    };
    Ok(RingOutcome::Free {
        run,
        generation: count_of(item, "generation"),
    })
}
