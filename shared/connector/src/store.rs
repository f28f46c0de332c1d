//! The state that outlives an invocation, in one `DynamoDB` table.
//!
//! | item | content |
//! |---|---|
//! | `connection/<incoming>` | lease, generation, checkpoint, delta, runs that are due, rescues, pause |
//! | `history/<incoming>` | the last runs, and what decides whether a connection is overdue |
//! | `text/<incoming>/<hash>/<number>` | long events, and the first URLs of runs with many chains |
//! | `delta/<key>` | the connection that owns the delta that Protime keeps per client and collection |
//! | `publishing` | until when all publishing is paused |
//! | `write/<scope>/<key>`, `claim/<record>`, `message/<id>` | written by the publisher only |
//!
//! Only the holder of a connection's lease writes its checkpoint. Each attempt at a run has a token of its own, and its
//! updates are conditional on that token. The token also shows that an update was applied already, when the SDK retries
//! after a lost response. The generation rises whenever a checkpoint is created, handed over or ended. Continuations of
//! an earlier generation are then stale.
//!
//! The sparse index `connections` (attribute `kind`) lists only connections, and none of the publisher's items.

mod chains;
mod connection;
mod counts;
mod delta;
mod due;
mod history;
pub mod item;
mod lease;
mod pause;
mod ring;
mod text;
mod watch;
mod webhook;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use jiff::SignedDuration;

use crate::aws;
use item::{Item, text};

pub use chains::{Chain, Chains, PageSent, Pending, PendingChains};
pub use connection::{Checkpoint, ConnectionState, Delta, LastRun, LoadKind};
pub use counts::Counts;
pub use delta::DeltaClaim;
pub use due::{Due, DueOutcome};
pub use history::{Failure, History, RunRecord, RunStatus};
pub use lease::{Acquired, Attempt, Ending, Lease, Leased};
pub use pause::{PUBLISHING, Pause};
pub use ring::RingOutcome;
pub use text::{StoredText, StoredTexts};
pub use watch::{CONNECTIONS_PER_CALL, MOST_RESCUES, Watched};
pub use webhook::SeenWebhook;

/// A delta ends this long after its last request, at Protime (`reference/delta`) and therefore here.
pub const DELTA_LIFE: SignedDuration = SignedDuration::from_hours(72);
/// The layout of items in this release. Earlier releases stored no version.
const VERSION: i64 = 2;
/// The name of the index of all connections, and the value of its key `kind`.
const INDEX: &str = "connections";
const KIND: &str = "connection";

/// The state table in `DynamoDB`.
#[derive(Debug, Clone)]
pub struct StateTable {
    dynamodb: Client,
    table: String,
}

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A call to the table failed.
    #[error("state table {table}: {reason}")]
    Unreachable {
        /// The table's name, as the function's settings have it.
        table: String,
        /// AWS's error code and message, or the chain of causes.
        reason: String,
    },
    /// Another attempt holds the lease now. Holds the connection's name.
    #[error(
        "the lease of connection `{0}` has ended, and another invocation holds it; that invocation or the watch continues the run"
    )]
    LeaseLost(String),
    /// A checkpoint refers to a text that no longer exists. Holds the key of its item.
    #[error(
        "state table, item `{0}`: does not exist, and an unfinished run needs it; delete the connection's item to start again"
    )]
    TextGone(String),
    /// Another attempt, which has lost the lease since, has written the history. Holds the connection's name.
    #[error(
        "the history of connection `{0}` was written by two attempts at once; it is read again"
    )]
    HistoryChanged(String),
    /// The item's content is not what the functions write.
    #[error(
        "state table, item `{id}`: not what the functions store; delete the item to start anew"
    )]
    Malformed {
        /// The key of the item.
        id: String,
        /// What the parser found wrong.
        source: serde_json::Error,
    },
}

impl StateTable {
    /// The state table of that name.
    pub fn new(dynamodb: Client, table: impl Into<String>) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    fn update(&self, id: &str) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&self.table)
            .key("id", text(id))
    }

    /// Reads an item consistently: all of it, or only the listed attributes.
    async fn read(&self, id: &str, attributes: Option<&str>) -> Result<Item, StateError> {
        let get = self
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .key("id", text(id))
            .set_projection_expression(attributes.map(str::to_owned))
            .consistent_read(true);
        let answer = get.send().await.map_err(|error| self.unreachable(&error))?;
        Ok(answer.item.unwrap_or_default())
    }

    fn unreachable<E>(&self, error: &SdkError<E>) -> StateError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        StateError::Unreachable {
            table: self.table.clone(),
            reason: aws::describe(error),
        }
    }
}

fn connection_id(incoming: &str) -> String {
    format!("connection/{incoming}")
}

fn history_id(incoming: &str) -> String {
    format!("history/{incoming}")
}
