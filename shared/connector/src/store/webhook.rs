//! A connection's webhook, as `protimectl webhooks` last saw it at Protime. The watch reports it; no function asks Protime
//! for webhooks.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::item::text;
use super::{StateError, StateTable, connection_id};

/// A webhook with fewer days left needs to be renewed.
const SOON_DAYS: i64 = 14;

/// A webhook as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenWebhook {
    /// When the webhook ends. None if Protime does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// Whether Protime has disabled it. Such a webhook cannot be revived.
    pub is_disabled: bool,
}

impl SeenWebhook {
    /// The whole days until the webhook ends; negative after its end. None if Protime does not say.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        let left = self.valid_until?.duration_since(now);
        Some(left.as_hours().div_euclid(24))
    }

    /// Whether the webhook is disabled or ends within two weeks.
    pub fn needs_renewal(&self, now: Timestamp) -> bool {
        self.is_disabled || self.days_left(now).is_some_and(|days| days < SOON_DAYS)
    }
}

impl StateTable {
    /// Stores the webhook of a connection, or that it has none. Returns false if the connection has no state yet: it never
    /// ran.
    pub async fn note_webhook(
        &self,
        incoming: &str,
        webhook: Option<&SeenWebhook>,
    ) -> Result<bool, StateError> {
        let update = self
            .update(&connection_id(incoming))
            .condition_expression("attribute_exists(id)");
        let update = match webhook {
            Some(webhook) => {
                let json = serde_json::to_string(webhook).unwrap_or_default();
                update
                    .update_expression("SET webhook = :webhook")
                    .expression_attribute_values(":webhook", text(&json))
            }
            None => update.update_expression("REMOVE webhook"),
        };
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    #[test]
    fn a_webhook_needs_renewal_when_it_is_disabled_or_ends_soon() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        for (hours, is_disabled, days, expected) in [
            (14 * 24, false, 14, false),
            (14 * 24 - 1, false, 13, true),
            (90 * 24, true, 90, true),
            (-1, false, -1, true),
        ] {
            let webhook = SeenWebhook {
                valid_until: Some(now + i64::from(hours).hours()),
                is_disabled,
            };
            assert_eq!(webhook.days_left(now), Some(days));
            assert_eq!(webhook.needs_renewal(now), expected, "{hours}");
        }
        let unknown = SeenWebhook {
            valid_until: None,
            is_disabled: false,
        };
        assert_eq!(
            (unknown.days_left(now), unknown.needs_renewal(now)),
            (None, false)
        );
    }
}
