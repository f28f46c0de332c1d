//! What outlives an invocation: one `DynamoDB` item per incoming connection, and one per delta in use.
//!
//! Only the holder of a connection's lease writes its item, and every write is conditional on that lease, so that
//! two runs of one connection can never both move its state.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::aws;
use crate::dynamodb::{number, number_of, refused_item, string_of, text};
use crate::page_message::Counts;

/// A delta lives so long after its last request, at Protime and therefore here (`reference/delta`).
pub const DELTA_LIFE: SignedDuration = SignedDuration::from_hours(72);
/// Ownership that lapsed is kept this long, for people to look at.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The state table.
#[derive(Debug, Clone)]
pub struct StateTable {
    dynamodb: Client,
    table: String,
}

/// State that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The table cannot be used.
    #[error("state table {table}: {reason}")]
    Unreachable {
        /// Its name.
        table: String,
        /// Why.
        reason: String,
    },
    /// Another run holds the lease now.
    #[error("the lease of connection `{0}` was lost to another run; that one goes on")]
    LeaseLost(String),
    /// The item is not what we write.
    #[error("state of connection `{incoming}`: {source}; delete the item to start anew")]
    Malformed {
        /// The connection.
        incoming: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// What is remembered of an incoming connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionState {
    /// A run that has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// An established delta.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<Delta>,
    /// The last run that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRun>,
}

/// How far a run has come. It never points past what SQS has accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Of the event that started the run.
    pub fingerprint: String,
    /// The run's id.
    pub run: String,
    /// When it was due.
    pub scheduled: Timestamp,
    /// `full`, `initial` or `delta`.
    pub sync: String,
    /// The URL of the collection or resource.
    pub source: String,
    /// The independent requests of the run.
    pub chains: Vec<Chain>,
}

/// One of the independent requests of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// The URL of its first page.
    pub first: String,
    /// The URL of the next page; none when all are sent.
    pub next: Option<String>,
    /// The number of the next page.
    pub page: u64,
    /// What was sent so far.
    pub counts: Counts,
    /// Bytes of Protime's responses so far.
    pub bytes: u64,
    /// Whether it had to begin again once.
    #[serde(default)]
    pub restarted: bool,
    /// The delta link of its last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta_link: Option<String>,
}

/// An established delta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Where changes are polled next.
    pub link: String,
    /// When Protime sent the link.
    pub polled: Timestamp,
    /// Of the event that started the delta.
    pub fingerprint: String,
}

/// A run that completed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// Its id.
    pub run: String,
    /// When it was due.
    pub scheduled: Timestamp,
    /// What it did.
    pub counts: Counts,
}

/// The right to run a connection, until it is released or ends by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    incoming: String,
    owner: String,
    generation: u64,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours, with the state as it is.
    Leased(Lease, Box<ConnectionState>),
    /// Another run has it until then.
    Busy(Timestamp),
    /// The run that a continuation belongs to has gone on without it.
    Stale,
}

/// What came of claiming a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaClaim {
    /// It was this connection's before.
    Kept,
    /// It was nobody's, or another connection's until now.
    TakenOver,
    /// Another connection has it.
    OwnedBy(String),
}

impl Lease {
    /// Which hand-over the next continuation has to name.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl StateTable {
    /// The table of that name.
    pub fn new(dynamodb: Client, table: impl Into<String>) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Takes the lease of a connection for `owner` until `until`, unless somebody has it.
    ///
    /// A continuation gets it only in the `generation` that it was sent in.
    pub async fn acquire(
        &self,
        incoming: &str,
        owner: &str,
        now: Timestamp,
        until: Timestamp,
        generation: Option<u64>,
    ) -> Result<Acquired, StateError> {
        let free = "(attribute_not_exists(lease_until) OR lease_until < :now)";
        let mut update = self
            .update(&connection_id(incoming))
            .update_expression("SET lease_owner = :owner, lease_until = :until, generation = if_not_exists(generation, :zero)")
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":zero", number(0))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = match generation {
            None => update.condition_expression(free),
            Some(generation) => update
                .condition_expression(format!("{free} AND generation = :generation"))
                .expression_attribute_values(
                    ":generation",
                    number(i64::try_from(generation).unwrap_or(i64::MAX)),
                ),
        };
        let (held, item) = match update.send().await {
            Ok(UpdateItemOutput { attributes, .. }) => (true, attributes.unwrap_or_default()),
            Err(error) => (
                false,
                refused_item(&error).ok_or_else(|| self.unreachable(&error))?,
            ),
        };
        let item_generation = number_of(&item, "generation")
            .and_then(|number| u64::try_from(number).ok())
            .unwrap_or(0);
        if !held {
            if generation.is_some_and(|generation| generation != item_generation) {
                return Ok(Acquired::Stale);
            }
            let until = number_of(&item, "lease_until")
                .and_then(|until| Timestamp::from_millisecond(until).ok());
            return Ok(Acquired::Busy(until.unwrap_or(now)));
        }
        let state = match item.get("state").and_then(|value| value.as_s().ok()) {
            None => ConnectionState::default(),
            Some(json) => serde_json::from_str(json).map_err(|source| StateError::Malformed {
                incoming: incoming.to_owned(),
                source,
            })?,
        };
        let lease = Lease {
            incoming: incoming.to_owned(),
            owner: owner.to_owned(),
            generation: item_generation,
        };
        Ok(Acquired::Leased(lease, Box::new(state)))
    }

    /// Stores the state; the lease stays.
    pub async fn save(&self, lease: &Lease, state: &ConnectionState) -> Result<(), StateError> {
        let update = self
            .leased(lease, state)
            .update_expression("SET #state = :state");
        self.send_leased(lease, update).await
    }

    /// Stores the state and gives the lease back.
    pub async fn release(&self, lease: &Lease, state: &ConnectionState) -> Result<(), StateError> {
        let update = self.leased(lease, state);
        let update =
            update.update_expression("SET #state = :state REMOVE lease_owner, lease_until");
        self.send_leased(lease, update).await
    }

    /// Stores the state, gives the lease back and raises the generation, which makes older continuations stale.
    /// Returns the new one.
    pub async fn hand_over(
        &self,
        lease: &Lease,
        state: &ConnectionState,
    ) -> Result<u64, StateError> {
        let generation = lease.generation + 1;
        let update = self
            .leased(lease, state)
            .update_expression(
                "SET #state = :state, generation = :generation REMOVE lease_owner, lease_until",
            )
            .expression_attribute_values(
                ":generation",
                number(i64::try_from(generation).unwrap_or(i64::MAX)),
            );
        self.send_leased(lease, update).await?;
        Ok(generation)
    }

    /// Claims the one delta that Protime keeps per client and collection.
    pub async fn claim_delta(
        &self,
        delta: &str,
        incoming: &str,
        now: Timestamp,
        takeover: bool,
    ) -> Result<DeltaClaim, StateError> {
        let mut update = self
            .update(&format!("delta/{delta}"))
            .update_expression(
                "SET #owner = :owner, lapses = if_not_exists(lapses, :lapses), expires = :expires",
            )
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(incoming))
            .expression_attribute_values(":lapses", number((now + DELTA_LIFE).as_millisecond()))
            .expression_attribute_values(":expires", number((now + DELTA_LIFE + KEPT).as_second()))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if !takeover {
            update = update
                .condition_expression(
                    "attribute_not_exists(#owner) OR #owner = :owner OR lapses < :now",
                )
                .expression_attribute_values(":now", number(now.as_millisecond()));
        }
        match update.send().await {
            Ok(answer) => Ok(match answer.attributes.as_ref().and_then(owner) {
                Some(owner) if owner == incoming => DeltaClaim::Kept,
                _ => DeltaClaim::TakenOver,
            }),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                Ok(DeltaClaim::OwnedBy(owner(&item).unwrap_or_default()))
            }
        }
    }

    /// Counts the 72 hours of a delta from `now`, after a successful poll.
    pub async fn renew_delta(
        &self,
        delta: &str,
        incoming: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let update = self
            .update(&format!("delta/{delta}"))
            .update_expression("SET lapses = :lapses, expires = :expires")
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(incoming))
            .expression_attribute_values(":lapses", number((now + DELTA_LIFE).as_millisecond()))
            .expression_attribute_values(":expires", number((now + DELTA_LIFE + KEPT).as_second()));
        match update.send().await {
            Ok(_) => Ok(()),
            // Taken over meanwhile: the next run is told so.
            Err(error) if refused_item(&error).is_some() => Ok(()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("id", text(id))
    }

    fn leased(&self, lease: &Lease, state: &ConnectionState) -> UpdateItemFluentBuilder {
        // State is plain data with string keys, which always is JSON.
        let json = serde_json::to_string(state).unwrap_or_default();
        self.update(&connection_id(&lease.incoming))
            .condition_expression("lease_owner = :owner AND generation = :held")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":owner", text(&lease.owner))
            .expression_attribute_values(
                ":held",
                number(i64::try_from(lease.generation).unwrap_or(i64::MAX)),
            )
            .expression_attribute_values(":state", text(&json))
    }

    async fn send_leased(
        &self,
        lease: &Lease,
        update: UpdateItemFluentBuilder,
    ) -> Result<(), StateError> {
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused_item(&error).is_some() => {
                Err(StateError::LeaseLost(lease.incoming.clone()))
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &SdkError<UpdateItemError>) -> StateError {
        StateError::Unreachable {
            table: self.table.clone(),
            reason: aws::describe(error),
        }
    }
}

fn owner(item: &HashMap<String, AttributeValue>) -> Option<String> {
    string_of(item, "owner").map(str::to_owned)
}

fn connection_id(incoming: &str) -> String {
    format!("connection/{incoming}")
}
