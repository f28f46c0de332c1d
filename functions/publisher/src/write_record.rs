//! What is remembered of a write, so that it happens once: one `DynamoDB` item per idempotency key and scope.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use connector::store::item::{number, number_of, refused_item, string_of, text};
use jiff::{SignedDuration, Timestamp};

/// A write that is done is remembered for 30 days.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// So many attempts may end without a verdict.
const MOST_CRASHES: i64 = 3;

/// The records of all writes.
#[derive(Debug, Clone)]
pub struct WriteRecords {
    dynamodb: aws_sdk_dynamodb::Client,
    table: String,
}

/// The table cannot be used, so nothing is written.
#[derive(Debug, thiserror::Error)]
#[error("state table {table}: {reason}")]
pub struct RecordError {
    table: String,
    reason: String,
}

/// What came of beginning a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// No earlier attempt can have written.
    Fresh,
    /// An earlier attempt, at this time, may have written.
    Uncertain(Timestamp),
    /// It is done already.
    Done(DoneWrite),
    /// Another invocation is at it.
    Elsewhere,
    /// The key was used with another payload.
    OtherPayload,
    /// Several attempts ended without a verdict.
    Crashed,
}

/// How a write was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoneWrite {
    /// Protime's status.
    pub status: u16,
    /// The `Location` of what was created.
    pub location: Option<String>,
}

impl WriteRecords {
    /// The records in the table of that name.
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Begins an attempt, which ends at `until` if nothing more is heard of it.
    pub async fn begin(
        &self,
        id: &str,
        payload: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Begun, RecordError> {
        let update = self
            .update(id)
            .update_expression(
                "SET payload = :payload, lease_until = :until, attempted = :now, expires = :expires, attempts = if_not_exists(attempts, :zero) + :one",
            )
            .condition_expression(
                "attribute_not_exists(done) AND (attribute_not_exists(lease_until) OR lease_until < :now) AND (attribute_not_exists(payload) OR payload = :payload)",
            )
            .expression_attribute_values(":payload", text(payload))
            .expression_attribute_values(":until", number(until.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_millisecond()))
            .expression_attribute_values(":expires", number((now + KEPT).as_second()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let old = match update.send().await {
            Ok(answer) => answer.attributes.unwrap_or_default(),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                return Ok(
                    match (string_of(&item, "payload"), number_of(&item, "done")) {
                        (Some(other), _) if other != payload => Begun::OtherPayload,
                        (_, Some(status)) => Begun::Done(DoneWrite {
                            status: u16::try_from(status).unwrap_or_default(),
                            location: string_of(&item, "location").map(str::to_owned),
                        }),
                        _ => Begun::Elsewhere,
                    },
                );
            }
        };
        let time =
            |name| number_of(&old, name).and_then(|time| Timestamp::from_millisecond(time).ok());
        if number_of(&old, "attempts").is_some_and(|attempts| attempts >= MOST_CRASHES) {
            return Ok(Begun::Crashed);
        }
        // A lease that nobody gave back belonged to an attempt that died, perhaps after it had written.
        let died = old
            .contains_key("lease_until")
            .then(|| time("attempted"))
            .flatten();
        Ok(died
            .or_else(|| time("uncertain"))
            .map_or(Begun::Fresh, Begun::Uncertain))
    }

    /// Protime has written. Nothing undoes this.
    pub async fn done(&self, id: &str, write: &DoneWrite) -> Result<(), RecordError> {
        let mut update = self
            .update(id)
            .expression_attribute_values(":done", number(i64::from(write.status)));
        let mut expression = "SET done = :done".to_owned();
        if let Some(location) = &write.location {
            expression += ", #location = :location";
            update = update
                .expression_attribute_names("#location", "location")
                .expression_attribute_values(":location", text(location));
        }
        expression += " REMOVE lease_until, attempts, uncertain";
        self.send(update.update_expression(expression)).await
    }

    /// The attempt ended with a verdict that is not the last: `uncertain` is when it may have written.
    pub async fn defer(&self, id: &str, uncertain: Option<Timestamp>) -> Result<(), RecordError> {
        let update = self.update(id);
        self.send(match uncertain {
            None => update.update_expression("REMOVE lease_until, attempts, uncertain"),
            Some(time) => update
                .update_expression("SET uncertain = :uncertain REMOVE lease_until, attempts")
                .expression_attribute_values(":uncertain", number(time.as_millisecond())),
        })
        .await
    }

    /// The message is parked: what comes under its key again, mended perhaps, is a new write.
    pub async fn forget(&self, id: &str) -> Result<(), RecordError> {
        let delete = self
            .dynamodb
            .delete_item()
            .table_name(&self.table)
            .key("id", text(id));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(RecordError {
                table: self.table.clone(),
                reason: connector::aws::describe(&error),
            }),
        }
    }

    /// Whether a record of Protime belongs to another write.
    pub async fn is_claimed_by_other(
        &self,
        record: &str,
        write: &str,
    ) -> Result<bool, RecordError> {
        let id = text(&format!("claim/{record}"));
        let get = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("id", id)
            .consistent_read(true);
        let answer = get.send().await.map_err(|error| RecordError {
            table: self.table.clone(),
            reason: connector::aws::describe(&error),
        })?;
        Ok(answer
            .item
            .as_ref()
            .and_then(|item| string_of(item, "claimed_by"))
            .is_some_and(|other| other != write))
    }

    /// Claims a record of Protime for a write. No: it is another's.
    pub async fn claim(
        &self,
        record: &str,
        write: &str,
        now: Timestamp,
    ) -> Result<bool, RecordError> {
        let update = self
            .update(&format!("claim/{record}"))
            .update_expression("SET claimed_by = :write, expires = :expires")
            .condition_expression("attribute_not_exists(claimed_by) OR claimed_by = :write")
            .expression_attribute_values(":write", text(write))
            .expression_attribute_values(":expires", number((now + KEPT).as_second()));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused_item(&error).is_some() => Ok(false),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("id", text(id))
    }

    async fn send(&self, update: UpdateItemFluentBuilder) -> Result<(), RecordError> {
        update
            .send()
            .await
            .map(|_| ())
            .map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &SdkError<UpdateItemError>) -> RecordError {
        RecordError {
            table: self.table.clone(),
            reason: connector::aws::describe(error),
        }
    }
}
