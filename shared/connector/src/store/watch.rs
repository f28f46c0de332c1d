//! The watch's view of all connections, and how it resumes a stranded run.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

use super::due::due_of;
use super::item::{Item, count_of, number, refused_item, string_of, text, time, time_of};
use super::{
    ConnectionState, History, INDEX, KIND, SeenWebhook, StateError, StateTable, connection_id,
    history_id,
};

/// After this many rescues without progress, a run is left alone.
pub const MOST_RESCUES: u64 = 8;
/// A run counts as stranded after this much idle time. The time doubles with each rescue, up to a day.
const FIRST_IDLE: SignedDuration = SignedDuration::from_mins(10);
const LONGEST_IDLE: SignedDuration = SignedDuration::from_hours(24);
/// Wait before asking again for keys that `DynamoDB` left out. It doubles each time that no item comes.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// One call reads 100 items, and a connection has two.
pub const CONNECTIONS_PER_CALL: usize = 50;

/// A connection, as the watch sees it.
#[derive(Debug)]
pub struct Watched {
    /// The name of the incoming connection.
    pub incoming: String,
    /// The state that its runs left.
    pub state: ConnectionState,
    /// The last runs of the connection.
    pub history: History,
    /// The id of the first due run. None if no run is due.
    pub due: Option<String>,
    /// When the connection first ran. None if it never did.
    pub first_seen: Option<Timestamp>,
    /// The end of the operator's pause; may be in the past.
    pub paused_until: Option<Timestamp>,
    /// The operator's reason for the pause.
    pub paused_because: Option<String>,
    /// How often the watch resumed the unfinished run without progress.
    pub rescues: u64,
    generation: u64,
    lease_until: Option<Timestamp>,
    idle_since: Option<Timestamp>,
    /// Until when Protime asked not to be called.
    pub not_before: Option<Timestamp>,
    /// The time of the ring, if the first due run is a ring's. None once a run has begun.
    rung: Option<Timestamp>,
    /// The webhook that rings the connection, as `protimectl webhooks` last saw it.
    pub webhook: Option<SeenWebhook>,
}

impl Watched {
    /// The id of the run that has begun and not ended, or else of the first due run.
    pub fn unfinished(&self) -> Option<&str> {
        let begun = self.state.checkpoint.as_ref();
        begun
            .map(|checkpoint| checkpoint.run.as_str())
            .or(self.due.as_deref())
    }

    /// Whether an operator has paused the connection.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// Whether an attempt holds the lease.
    pub fn is_running(&self, now: Timestamp) -> bool {
        self.lease_until.is_some_and(|until| until >= now)
    }

    /// Whether the watch leaves the unfinished run alone, after too many rescues without progress.
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        self.rescues >= MOST_RESCUES
            && self.unfinished().is_some()
            && !self.is_running(now)
            && self.idle(now) >= FIRST_IDLE
    }

    /// Whether the unfinished run is idle, and nothing but the watch would resume it.
    pub fn is_stranded(&self, now: Timestamp) -> bool {
        let doublings = u32::try_from(self.rescues).unwrap_or(u32::MAX).min(10);
        let rest = (FIRST_IDLE * 2_i32.pow(doublings)).min(LONGEST_IDLE);
        self.unfinished().is_some()
            && self.can_go_on()
            && self.rescues < MOST_RESCUES
            && !self.is_running(now)
            && !self.is_paused(now)
            && self.idle(now) >= rest
    }

    /// How long the connection has been idle. The wait that Protime asked for does not count.
    fn idle(&self, now: Timestamp) -> SignedDuration {
        // The lease of an attempt that died stays until it expires.
        let since = self.idle_since.max(self.lease_until).max(self.not_before);
        let since = since.max(self.rung);
        let since = since.or(self.first_seen).unwrap_or(now);
        now.duration_since(since)
    }

    /// Whether the run can be resumed. Earlier releases kept its event only in the continuation: such a run waits for
    /// its schedule.
    fn can_go_on(&self) -> bool {
        let begun = self.state.checkpoint.as_ref();
        begun.is_none_or(|checkpoint| checkpoint.event.is_some())
    }

    fn of(id: &str, item: &Item, history: &Item) -> Result<Self, StateError> {
        let incoming = name_of(id).to_owned();
        let state = ConnectionState::of(item, &incoming)?;
        let due = due_of(item).into_iter().next();
        let ring = due
            .as_ref()
            .filter(|due| due.is_ring && state.checkpoint.is_none());
        Ok(Self {
            rung: ring.map(|due| due.scheduled),
            state,
            history: History::of(history, &incoming)?,
            due: due.map(|due| due.run),
            first_seen: time_of(item, "first_seen"),
            paused_until: time_of(item, "paused_until"),
            paused_because: string_of(item, "paused_because").map(str::to_owned),
            rescues: count_of(item, "rescues"),
            generation: count_of(item, "generation"),
            lease_until: time_of(item, "lease_until"),
            idle_since: time_of(item, "idle_since"),
            not_before: time_of(item, "not_before"),
            webhook: string_of(item, "webhook").and_then(|json| serde_json::from_str(json).ok()),
            incoming,
        })
    }
}

/// The connection's name in an item's key.
fn name_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, name)| name)
}

impl StateTable {
    /// The names of all connections, sorted.
    pub async fn connection_names(&self) -> Result<Vec<String>, StateError> {
        let mut names = Vec::new();
        let mut start = None;
        loop {
            let query = self
                .dynamodb
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("#kind = :kind")
                .expression_attribute_names("#kind", "kind")
                .expression_attribute_values(":kind", text(KIND))
                .set_exclusive_start_key(start);
            let answer = query
                .send()
                .await
                .map_err(|error| self.unreachable(&error))?;
            let found = answer.items.unwrap_or_default();
            let ids = found.iter().filter_map(|item| string_of(item, "id"));
            names.extend(ids.map(|id| name_of(id).to_owned()));
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(names);
            }
        }
    }

    /// The connections with these names, at most [`CONNECTIONS_PER_CALL`]. One that cannot be read is an error in the list.
    /// One that was deleted is not in it.
    pub async fn connections_named(
        &self,
        names: &[String],
    ) -> Result<Vec<Result<Watched, StateError>>, StateError> {
        let mut items = self.items(names).await?;
        let found = names.iter().filter_map(|name| {
            let id = connection_id(name);
            let item = items.remove(&id)?;
            let history = items.remove(&history_id(name)).unwrap_or_default();
            Some(Watched::of(&id, &item, &history))
        });
        Ok(found.collect())
    }

    /// All connections, sorted by name. One that cannot be read is an error in the list.
    pub async fn connections(&self) -> Result<Vec<Result<Watched, StateError>>, StateError> {
        let mut connections = Vec::new();
        for names in self.connection_names().await?.chunks(CONNECTIONS_PER_CALL) {
            connections.extend(self.connections_named(names).await?);
        }
        Ok(connections)
    }

    /// One connection. None if it never ran.
    pub async fn connection(&self, incoming: &str) -> Result<Option<Watched>, StateError> {
        let found = self.connections_named(&[incoming.to_owned()]).await?;
        found.into_iter().next().transpose()
    }

    /// The items of these connections and of their histories, by key.
    async fn items(&self, names: &[String]) -> Result<HashMap<String, Item>, StateError> {
        let mut keys = KeysAndAttributes::builder().consistent_read(true);
        for name in names {
            for id in [connection_id(name), history_id(name)] {
                keys = keys.keys(HashMap::from([("id".to_owned(), text(&id))]));
            }
        }
        let mut wanted = keys.build().ok();
        let mut found = HashMap::new();
        let mut wait = FIRST_WAIT;
        while let Some(keys) = wanted.take() {
            let get = self
                .dynamodb
                .batch_get_item()
                .request_items(&self.table, keys);
            let answer = get.send().await.map_err(|error| self.unreachable(&error))?;
            let items = answer.responses.unwrap_or_default();
            let before = found.len();
            for item in items.into_values().flatten() {
                if let Some(id) = string_of(&item, "id").map(str::to_owned) {
                    found.insert(id, item);
                }
            }
            wanted = answer
                .unprocessed_keys
                .unwrap_or_default()
                .into_values()
                .next();
            if wanted.is_none() {
                break;
            }
            if found.len() > before {
                wait = FIRST_WAIT;
            } else if wait > LONGEST_WAIT {
                return Err(StateError::Unreachable {
                    table: self.table.clone(),
                    reason: "BatchGetItem gave back all keys again and again: throttled".to_owned(),
                });
            }
            // `BatchGetItem` lists the keys that it left out. AWS recommends a wait before asking for them again.
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(found)
    }

    /// Claims the rescue of a stranded run. Returns the new generation, which the continuation has to name. None if
    /// somebody else has done so, or the run has gone on.
    pub async fn rescue(
        &self,
        watched: &Watched,
        watch: &str,
        now: Timestamp,
    ) -> Result<Option<u64>, StateError> {
        let number_of = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
        let next = watched.generation + 1;
        let update = self
            .update(&connection_id(&watched.incoming))
            .update_expression("SET generation = :next, rescues = :rescues, idle_since = :now, rescued_by = :watch")
            .condition_expression("generation = :held AND (attribute_not_exists(lease_until) OR lease_until < :now)")
            .expression_attribute_values(":held", number_of(watched.generation))
            .expression_attribute_values(":next", number_of(next))
            .expression_attribute_values(":rescues", number_of(watched.rescues + 1))
            .expression_attribute_values(":watch", text(watch))
            .expression_attribute_values(":now", time(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await {
            Ok(_) => Ok(Some(next)),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                // The SDK retried after a lost response: the update was applied already.
                let is_ours = string_of(&item, "rescued_by") == Some(watch)
                    && count_of(&item, "generation") == next;
                Ok(is_ours.then_some(next))
            }
        }
    }
}
