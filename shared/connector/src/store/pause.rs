//! Pauses, which an operator sets and ends; and the deletion of a connection's state.

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use jiff::Timestamp;

use super::item::{Item, number, string_of, text, time, time_of};
use super::{KIND, StateError, StateTable, VERSION, connection_id, history_id};

/// The key of the item that pauses all publishing.
pub const PUBLISHING: &str = "publishing";

/// A pause of a connection, or of all publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When the pause ends by itself.
    pub until: Timestamp,
    /// The operator's reason; empty if none was given.
    pub reason: String,
}

impl Pause {
    /// The pause stored in an item. None if it is over.
    pub fn of(item: &Item, now: Timestamp) -> Option<Self> {
        let until = time_of(item, "paused_until").filter(|until| *until > now)?;
        let reason = string_of(item, "paused_because").unwrap_or_default();
        Some(Self {
            until,
            reason: reason.to_owned(),
        })
    }
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { until, reason } = self;
        write!(f, "paused until {until:.0}")?;
        if reason.is_empty() {
            return Ok(());
        }
        write!(f, " ({reason})")
    }
}

impl StateTable {
    /// Pauses a connection, or ends its pause. A run that has started goes on to its end.
    pub async fn pause(&self, incoming: &str, pause: Option<&Pause>) -> Result<(), StateError> {
        let update = self.update(&connection_id(incoming));
        // A connection that never ran has to be listed as paused as well.
        let with_kind = |update: UpdateItemFluentBuilder| {
            update
                .expression_attribute_names("#kind", "kind")
                .expression_attribute_values(":kind", text(KIND))
                .expression_attribute_values(":version", number(VERSION))
        };
        match pause {
            Some(pause) => {
                let set = "SET paused_until = :until, paused_because = :because, #kind = :kind, version = :version";
                self.set_pause(with_kind(update).update_expression(set), pause)
                    .await
            }
            None => self.end_pause(update).await,
        }
    }

    /// Pauses all publishing, or ends the pause.
    pub async fn pause_publishing(&self, pause: Option<&Pause>) -> Result<(), StateError> {
        let update = self.update(PUBLISHING);
        match pause {
            Some(pause) => {
                let set = "SET paused_until = :until, paused_because = :because";
                self.set_pause(update.update_expression(set), pause).await
            }
            None => self.end_pause(update).await,
        }
    }

    /// The current pause of all publishing. None if there is none.
    pub async fn publishing_pause(&self, now: Timestamp) -> Result<Option<Pause>, StateError> {
        let item = self.read(PUBLISHING, None).await?;
        Ok(Pause::of(&item, now))
    }

    /// Deletes a connection's state and history. The ownership of its delta ends by itself.
    pub async fn forget(&self, incoming: &str) -> Result<(), StateError> {
        // The connection's own item goes last. If the caller dies in between, a retry finds the connection by it.
        for id in [history_id(incoming), connection_id(incoming)] {
            let delete = self.dynamodb.delete_item().table_name(&self.table);
            let deleted = delete.key("id", text(&id)).send().await;
            deleted.map_err(|error| self.unreachable(&error))?;
        }
        Ok(())
    }

    async fn set_pause(
        &self,
        update: UpdateItemFluentBuilder,
        pause: &Pause,
    ) -> Result<(), StateError> {
        let update = update
            .expression_attribute_values(":until", time(pause.until))
            .expression_attribute_values(":because", text(&pause.reason));
        let set = update.send().await;
        set.map_err(|error| self.unreachable(&error)).map(|_| ())
    }

    async fn end_pause(&self, update: UpdateItemFluentBuilder) -> Result<(), StateError> {
        let update = update.update_expression("REMOVE paused_until, paused_because");
        let ended = update.send().await;
        ended.map_err(|error| self.unreachable(&error)).map(|_| ())
    }
}
