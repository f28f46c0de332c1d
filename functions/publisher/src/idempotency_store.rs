//! The idempotency store remembers writes and messages in `DynamoDB`.
//!
//! Each attempt has a token of its own, and owns the write's record while it runs. A conditional update succeeds only
//! for the owner. By its token an attempt also recognises its own update, when the SDK retries after a lost response.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use connector::store::item::{Item, number, refused_item, string_of, text};
use connector::store::{PUBLISHING, Pause};
use jiff::{SignedDuration, Timestamp};

use crate::message_record::{Ended, GivenUp, MessageRecord};
use crate::write_record::{
    BeginOutcome, Claimant, CompletedWrite, ParkedWrite, Waiting, WriteRecord,
};

/// How long a finished write is remembered.
const RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often an attempt tries to take a record that others change at the same time.
const ATTEMPTS: u32 = 3;
/// The longest key of a `DynamoDB` item, in bytes.
pub(crate) const LONGEST_ID: usize = 2_048;

/// Remembers all writes and messages in one table.
#[derive(Debug, Clone)]
pub struct IdempotencyStore {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
}

/// The table cannot be used. Nothing is written without it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `DynamoDB` did not do what it was asked to.
    #[error("state table {table}: {reason}")]
    Call {
        /// The name of the table.
        table: String,
        /// What the AWS SDK says.
        reason: String,
    },
    /// The invocation has no time left to wait for an answer.
    #[error("state table: no answer before the invocation's deadline")]
    Deadline,
}

impl IdempotencyStore {
    /// The store in the table of that name.
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Begins an attempt. Its lease ends at `until` if the attempt dies.
    pub(crate) async fn begin(
        &self,
        id: &str,
        claimant: &Claimant<'_>,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<BeginOutcome, StoreError> {
        let mut known = WriteRecord::default();
        for _ in 0..ATTEMPTS {
            let waiting = match known.begin(claimant, now) {
                BeginOutcome::Attempt(waiting) => waiting,
                other => return Ok(other),
            };
            if known.owner.as_deref() == Some(claimant.token) {
                return Ok(BeginOutcome::Attempt(waiting));
            }
            let record = known.begun(claimant, waiting.clone(), until);
            let mut update = self.put(id, &record, now);
            update = match (&known.owner, known.exists) {
                // The owner that was read may have ended the write since.
                (Some(owner), _) => update
                    .condition_expression("#owner = :seen AND attribute_not_exists(#done)")
                    .expression_attribute_values(":seen", text(owner)),
                // Earlier releases stored no owner.
                (None, true) => update.condition_expression(
                    "attribute_not_exists(#owner) AND attribute_not_exists(#done)",
                ),
                (None, false) => update.condition_expression("attribute_not_exists(id)"),
            };
            match update.send().await {
                Ok(_) => return Ok(BeginOutcome::Attempt(waiting)),
                Err(error) => {
                    let item = refused_item(&error).ok_or_else(|| self.unusable(&error))?;
                    known = WriteRecord::of(&item);
                    self.find_crash(&mut known, claimant).await?;
                }
            }
        }
        // Other attempts changed the record every time.
        Ok(BeginOutcome::Elsewhere(now))
    }

    /// The record of a write; an empty one if there is none.
    pub(crate) async fn write_record(&self, id: &str) -> Result<WriteRecord, StoreError> {
        Ok(WriteRecord::of(&self.read(id).await?))
    }

    /// Marks the record as parked if the message of its last attempt was parked as `crashed`. Such a message can be parked
    /// before its record is known, so that its parking marked no record.
    async fn find_crash(
        &self,
        known: &mut WriteRecord,
        claimant: &Claimant<'_>,
    ) -> Result<(), StoreError> {
        let Some(other) = known.message_left_by(claimant) else {
            return Ok(());
        };
        let ended = self.message_record(other).await?.ended;
        known.parked = ended.and_then(|ended| ended.crashed());
        Ok(())
    }

    /// Stores that Protime has written. Nothing undoes this.
    pub(crate) async fn done(
        &self,
        id: &str,
        claimant: &Claimant<'_>,
        write: &CompletedWrite,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = WriteRecord {
            exists: true,
            owner: Some(claimant.token.to_owned()),
            done: Some(write.clone()),
            payload: Some(claimant.payload.canonical.clone()),
            message: Some(claimant.message_id.to_owned()),
            ..WriteRecord::default()
        };
        self.store_if_owned(id, claimant, &record, now).await
    }

    /// Ends an attempt without a final verdict. If certainly nothing was written, the record is deleted.
    pub(crate) async fn release(
        &self,
        id: &str,
        claimant: &Claimant<'_>,
        waiting: Waiting,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if waiting.is_nothing() {
            return self.forget(id, claimant.token).await;
        }
        let payload = &claimant.payload.canonical;
        let record = WriteRecord {
            exists: true,
            owner: Some(claimant.token.to_owned()),
            payload: waiting.uncertain.is_some().then(|| payload.clone()),
            message: Some(claimant.message_id.to_owned()),
            waiting,
            ..WriteRecord::default()
        };
        self.store_if_owned(id, claimant, &record, now).await
    }

    async fn store_if_owned(
        &self,
        id: &str,
        claimant: &Claimant<'_>,
        record: &WriteRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let update = self
            .put(id, record, now)
            .condition_expression("#owner = :owner AND attribute_exists(lease_until)");
        let Err(error) = update.send().await else {
            return Ok(());
        };
        let item = refused_item(&error).ok_or_else(|| self.unusable(&error))?;
        if string_of(&item, "owner") != Some(claimant.token) {
            tracing::warn!(
                "another attempt owns the record of the write; this attempt stores nothing in it"
            );
        }
        Ok(())
    }

    /// Deletes the record of a write that was certainly not made.
    async fn forget(&self, id: &str, owner: &str) -> Result<(), StoreError> {
        let delete = self
            .dynamodb
            .delete_item()
            .table_name(&self.table)
            .key("id", text(id))
            .condition_expression("#owner = :owner AND attribute_not_exists(#done)")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#done", "done")
            .expression_attribute_values(":owner", text(owner));
        match delete.send().await {
            Ok(_) => Ok(()),
            // The record is deleted already, or another attempt owns it.
            Err(error)
                if matches!(
                    error.as_service_error(),
                    Some(DeleteItemError::ConditionalCheckFailedException(_))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Gives up a write, if the owner in `given_up` still owns its record. The next message with the same key is a new
    /// write.
    pub(crate) async fn give_up(
        &self,
        message_id: &str,
        given_up: &GivenUp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let record = WriteRecord {
            exists: true,
            owner: given_up.owner.clone(),
            message: Some(message_id.to_owned()),
            parked: Some(ParkedWrite {
                at: now,
                is_refused: given_up.is_refused,
            }),
            ..WriteRecord::default()
        };
        let update = self.put(&given_up.id, &record, now);
        let update = match &given_up.owner {
            Some(_) => {
                update.condition_expression("#owner = :owner AND attribute_not_exists(#done)")
            }
            None => update.condition_expression(
                "attribute_not_exists(#owner) AND attribute_not_exists(#done)",
            ),
        };
        match update.send().await {
            Ok(_) => Ok(()),
            // Another attempt owns the record.
            Err(error) if refused_item(&error).is_some() => Ok(()),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Whether another write has claimed a record in Protime.
    pub(crate) async fn is_claimed_by_other(
        &self,
        record: &str,
        write: &str,
    ) -> Result<bool, StoreError> {
        let item = self.read(&claim_id(record)).await?;
        Ok(string_of(&item, "claimed_by").is_some_and(|other| other != write))
    }

    /// Claims a record in Protime for a write. False if another write has claimed it.
    pub(crate) async fn claim(
        &self,
        record: &str,
        write: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = self
            .update(&claim_id(record))
            .update_expression("SET claimed_by = :write, expires = :expires")
            .condition_expression("attribute_not_exists(claimed_by) OR claimed_by = :write")
            .expression_attribute_values(":write", text(write))
            .expression_attribute_values(":expires", expires(now));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused_item(&error).is_some() => Ok(false),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// The record of a message; an empty one if there is none.
    pub(crate) async fn message_record(
        &self,
        message_id: &str,
    ) -> Result<MessageRecord, StoreError> {
        let item = self.read(&message_record_id(message_id)).await?;
        Ok(MessageRecord::of(&item))
    }

    /// Counts an attempt at a message, before its content is processed.
    pub(crate) async fn count_attempt(
        &self,
        message_id: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<MessageRecord, StoreError> {
        let update = self
            .update(&message_record_id(message_id))
            .update_expression("SET attempts = if_not_exists(attempts, :zero) + :one, counted_by = :token, expires = :expires")
            .condition_expression("attribute_not_exists(counted_by) OR counted_by <> :token")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":token", text(token))
            .expression_attribute_values(":expires", expires(now))
            .return_values(ReturnValue::AllNew);
        let item = match update.send().await {
            Ok(answer) => answer.attributes.unwrap_or_default(),
            // The update was applied before; its response was lost.
            Err(error) => refused_item(&error).ok_or_else(|| self.unusable(&error))?,
        };
        Ok(MessageRecord::of(&item))
    }

    /// Resets the count of attempts, since this one ended normally.
    pub(crate) async fn uncount_attempts(
        &self,
        message_id: &str,
        token: &str,
    ) -> Result<(), StoreError> {
        let update = self
            .update(&message_record_id(message_id))
            .update_expression("REMOVE attempts")
            .condition_expression("counted_by = :token")
            .expression_attribute_values(":token", text(token));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused_item(&error).is_some() => Ok(()),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// Stores how a message ended, and what is left to do. `seen` is the token of the end that was read before. False
    /// if another attempt has stored an end meanwhile.
    pub(crate) async fn keep_ended(
        &self,
        message_id: &str,
        ended: &Ended,
        seen: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = self
            .update(&message_record_id(message_id))
            .update_expression(
                "SET ended = :ended, ended_by = :token, expires = :expires REMOVE attempts",
            )
            .condition_expression("attribute_not_exists(ended_by) OR ended_by IN (:seen, :token)")
            .expression_attribute_values(":ended", text(&ended.to_json()))
            .expression_attribute_values(":seen", text(seen))
            .expression_attribute_values(":token", text(&ended.token))
            .expression_attribute_values(":expires", expires(now));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused_item(&error).is_some() => Ok(false),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    /// The current pause of all publishing. None if there is none.
    pub(crate) async fn pause(&self, now: Timestamp) -> Result<Option<Pause>, StoreError> {
        let item = self.read(PUBLISHING).await?;
        Ok(Pause::of(&item, now))
    }

    async fn read(&self, id: &str) -> Result<Item, StoreError> {
        let get = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("id", text(id))
            .consistent_read(true);
        let answer = get.send().await.map_err(|error| self.unusable(&error))?;
        Ok(answer.item.unwrap_or_default())
    }

    /// An update that makes the item equal to the record.
    fn put(&self, id: &str, record: &WriteRecord, now: Timestamp) -> UpdateItemFluentBuilder {
        let (mut present, lacking) = record.attributes();
        present.push(("expires", expires(now)));
        let list = |items: Vec<String>| items.join(", ");
        let set = present.iter().map(|(name, _)| format!("#{name} = :{name}"));
        let remove = lacking.iter().map(|name| format!("#{name}"));
        let expression = format!(
            "SET {} REMOVE {}",
            list(set.collect()),
            list(remove.collect())
        );
        let names: HashMap<String, String> = present
            .iter()
            .map(|(name, _)| *name)
            .chain(lacking)
            .map(|name| (format!("#{name}"), name.to_owned()))
            .collect();
        let values: HashMap<String, AttributeValue> = present
            .into_iter()
            .map(|(name, value)| (format!(":{name}"), value))
            .collect();
        self.update(id)
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
    }

    fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("id", text(id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    fn unusable<E>(&self, error: &aws_sdk_dynamodb::error::SdkError<E>) -> StoreError
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        StoreError::Call {
            table: self.table.clone(),
            reason: connector::aws::describe(error),
        }
    }
}

fn claim_id(record: &str) -> String {
    format!("claim/{record}")
}

fn message_record_id(message_id: &str) -> String {
    format!("message/{message_id}")
}

fn expires(now: Timestamp) -> AttributeValue {
    let until = now.saturating_add(RETENTION).unwrap_or(Timestamp::MAX);
    number(until.as_second())
}
