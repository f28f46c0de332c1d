//! Who has the one delta that Protime keeps per client and collection.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};

use super::item::{Item, number, refused_item, string_of, text, time, time_of};
use super::{DELTA_LIFE, StateError, StateTable};

/// Ownership that lapsed is kept this long, for people to look at.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

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

impl StateTable {
    /// Claims the one delta that Protime keeps per client and collection. Whoever gains it has it for 72 hours at least.
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
        // What was there before is known from here: asked again after a lost answer, the claim below meets itself.
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
            // It had lapsed, and nobody else has claimed it.
            Ok(_) if owner(&before).as_deref() == Some(incoming) => Ok(DeltaClaim::Kept),
            Ok(_) => Ok(DeltaClaim::TakenOver),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                Ok(DeltaClaim::OwnedBy(owner(&item).unwrap_or_default()))
            }
        }
    }

    /// The other connection that has a delta now, if one has; nothing is claimed.
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
            .expression_attribute_values(":expires", number((now + DELTA_LIFE + KEPT).as_second()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
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
            .expression_attribute_values(":lapses", time(now + DELTA_LIFE))
            .expression_attribute_values(":expires", number((now + DELTA_LIFE + KEPT).as_second()));
        match update.send().await {
            Ok(_) => Ok(()),
            // Taken over meanwhile: the next run is told so.
            Err(error) if refused_item(&error).is_some() => Ok(()),
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

fn owner(item: &Item) -> Option<String> {
    string_of(item, "owner").map(str::to_owned)
}
