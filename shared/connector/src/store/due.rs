//! Due runs: runs that wait for the end of another one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::item::{Item, count_of, number, refused_item, text, time, time_of};
use super::{StateError, StateTable, StoredText, connection_id};

/// The most runs of a connection that may be due.
pub(super) const MOST_DUE: i64 = 10;

/// A run that could not start when it was due, since another one was in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// When the run was due.
    pub scheduled: Timestamp,
    /// The event that starts the run.
    pub event: StoredText,
    /// The fingerprint of the connection. None for a ring, and in items of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Whether a ring asked for the run. Such a run is served by any run that starts later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ring: bool,
}

impl Due {
    pub(super) fn to_json(&self) -> String {
        // Plain data with string keys always serialises to JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the run can belong to a connection with this fingerprint.
    pub(super) fn is_of(&self, fingerprint: Option<&str>) -> bool {
        let pair = self.fingerprint.as_deref().zip(fingerprint);
        pair.is_none_or(|(known, other)| known == other)
    }
}

/// The result of storing a run that could not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DueOutcome {
    /// The run is stored. The attempt that releases the lease starts it.
    Due,
    /// Not stored: too many runs are due already.
    TooMany,
    /// Not stored: another connection's run of the same id is due.
    OfAnother,
    /// Not stored: the lease is free, so the run can start.
    Free,
}

impl StateTable {
    /// Stores a run as due while another one is in progress. With `only_newest`, it replaces all due runs.
    pub async fn remember_due(
        &self,
        incoming: &str,
        due: &Due,
        only_newest: bool,
        now: Timestamp,
    ) -> Result<DueOutcome, StateError> {
        let json = text(&due.to_json());
        let held = "lease_until >= :now";
        let mut update = self
            .update(&connection_id(incoming))
            .expression_attribute_values(":now", time(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = if only_newest {
            let only = HashMap::from([(due.run.clone(), json)]);
            update
                .update_expression("SET due = :only")
                .condition_expression(format!("{held} AND attribute_not_exists(due.#run)"))
                .expression_attribute_names("#run", &due.run)
                .expression_attribute_values(":only", AttributeValue::M(only))
        } else {
            // A run is due only once, however often its event arrives.
            update
                .update_expression("SET due.#run = :json")
                .condition_expression(format!(
                    "{held} AND attribute_not_exists(due.#run) AND size(due) < :most"
                ))
                .expression_attribute_names("#run", &due.run)
                .expression_attribute_values(":json", json)
                .expression_attribute_values(":most", number(MOST_DUE))
        };
        match update.send().await {
            Ok(_) => Ok(DueOutcome::Due),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                if time_of(&item, "lease_until").is_none_or(|until| until < now) {
                    Ok(DueOutcome::Free)
                } else if let Some(known) = due_as(&item, &due.run) {
                    let is_same = known.is_of(due.fingerprint.as_deref());
                    Ok(if is_same {
                        DueOutcome::Due
                    } else {
                        DueOutcome::OfAnother
                    })
                } else {
                    self.replace_ring(incoming, &item, due, now).await
                }
            }
        }
    }

    /// The next due run, with the generation that its continuation has to name. None while another run is in progress.
    pub async fn next_due(
        &self,
        incoming: &str,
        now: Timestamp,
    ) -> Result<Option<(Due, u64)>, StateError> {
        let attributes = "due, generation, lease_until";
        let item = self
            .read(&connection_id(incoming), Some(attributes))
            .await?;
        let is_busy = time_of(&item, "lease_until").is_some_and(|until| until >= now);
        let first = due_of(&item).into_iter().next().filter(|_| !is_busy);
        Ok(first.map(|due| (due, count_of(&item, "generation"))))
    }
}

/// The due runs, sorted by when they were due. Unreadable ones are left out: they would keep the connection from
/// running.
pub(super) fn due_of(item: &Item) -> Vec<Due> {
    let map = item.get("due").and_then(|due| due.as_m().ok());
    let texts = map.into_iter().flat_map(HashMap::values);
    let texts = texts.filter_map(|due| due.as_s().ok());
    let mut due: Vec<Due> = texts
        .filter_map(|json| serde_json::from_str(json).ok())
        .collect();
    due.sort_by(|one, other| (one.scheduled, &one.run).cmp(&(other.scheduled, &other.run)));
    due
}

/// The due run of that id.
pub(super) fn due_as(item: &Item, run: &str) -> Option<Due> {
    due_of(item).into_iter().find(|known| known.run == run)
}
