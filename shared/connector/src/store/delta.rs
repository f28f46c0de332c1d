//! The owner of each delta: Protime keeps one per client and collection.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};

use super::item::{Item, number, refused_item, string_of, text, time, time_of};
use super::{DELTA_LIFE, StateError, StateTable};

/// How long ended ownership is kept for people to look at.
const RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The result of claiming a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaClaim {
    /// This connection owned it already.
    Kept,
    /// Nobody owned it, or another connection did until now.
    TakenOver,
    /// Another connection owns it. Holds that connection's name.
    OwnedBy(String),
}

impl StateTable {
    /// Claims the one delta that Protime keeps per client and collection. A new owner keeps it for at least 72 hours.
    pub async fn claim_delta(
        &self,
        delta: &str,
        incoming: &str,
        now: Timestamp,
        takeover: bool,
    ) -> Result<DeltaClaim, StateError> {
        let (mine, lapsed) = ("#owner = :owner", "lapses < :now");
        let kept = self
            .own(delta, incoming, now)
            .condition_expression(format!("{mine} AND NOT {lapsed}"))
            .update_expression("SET expires = :expires")
            .expression_attribute_values(":now", time(now));
        // This is the owner from before the claim. If the claim below is retried after a lost response, it would find
        // itself.
        let before = match kept.send().await {
            Ok(_) => return Ok(DeltaClaim::Kept),
            Err(error) => refused_item(&error).ok_or_else(|| self.unreachable(&error))?,
        };
        let mut gained = self
            .own(delta, incoming, now)
            .update_expression("SET #owner = :owner, lapses = :lapses, expires = :expires")
            .expression_attribute_values(":lapses", time(now + DELTA_LIFE));
        if !takeover {
            gained = gained
                .condition_expression(format!(
                    "attribute_not_exists(#owner) OR {mine} OR {lapsed}"
                ))
                .expression_attribute_values(":now", time(now));
        }
        match gained.send().await {
            // The ownership had ended, and nobody else has claimed the delta.
            Ok(_) if owner(&before).as_deref() == Some(incoming) => Ok(DeltaClaim::Kept),
            Ok(_) => Ok(DeltaClaim::TakenOver),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                Ok(DeltaClaim::OwnedBy(owner(&item).unwrap_or_default()))
            }
        }
    }

    /// The other connection that owns the delta now. None if there is none. Nothing is claimed.
    pub async fn other_owner(
        &self,
        delta: &str,
        incoming: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StateError> {
        let item = self.read(&format!("delta/{delta}"), None).await?;
        let lives = time_of(&item, "lapses").is_some_and(|lapses| lapses >= now);
        Ok(owner(&item).filter(|owner| lives && owner != incoming))
    }

    fn own(&self, delta: &str, incoming: &str, now: Timestamp) -> UpdateItemFluentBuilder {
        self.update(&format!("delta/{delta}"))
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", text(incoming))
            .expression_attribute_values(
                ":expires",
                number((now + DELTA_LIFE + RETENTION).as_second()),
            )
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Restarts a delta's 72 hours at `now`, after a successful poll.
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
            .expression_attribute_values(":lapses", time(now + DELTA_LIFE))
            .expression_attribute_values(
                ":expires",
                number((now + DELTA_LIFE + RETENTION).as_second()),
            );
        match update.send().await {
            Ok(_) => Ok(()),
            // Another connection took the delta over; the next run finds that out.
            Err(error) if refused_item(&error).is_some() => Ok(()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

fn owner(item: &Item) -> Option<String> {
    string_of(item, "owner").map(str::to_owned)
}
