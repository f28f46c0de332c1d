//! What outlives an invocation, in one `DynamoDB` table.
//!
//! | item | what |
//! |---|---|
//! | `connection/<incoming>` | lease, generation, checkpoint, delta, runs that are due, rescues, pause |
//! | `history/<incoming>` | the last runs, and what tells whether a connection is overdue |
//! | `text/<incoming>/<hash>/<number>` | long events, and the first URLs of runs with many chains |
//! | `delta/<key>` | which connection has the delta that Protime keeps per client and collection |
//! | `publishing` | until when all publishing is paused |
//! | `write/<scope>/<key>`, `claim/<record>` | the publisher's |
//!
//! Only the holder of a connection's lease writes its checkpoint. Every attempt at a run has a token of its own; each
//! write is conditional on that token, and finds out by it whether it was applied already, since the SDK asks again when
//! an answer is lost. The generation rises whenever a checkpoint is created, handed over or ended, which makes every
//! continuation message of before stale.
//!
//! The sparse index `connections` (attribute `kind`) lists the connections, and nothing of the publisher's.

mod chains;
mod connection;
mod delta;
mod history;
pub mod item;
mod lease;
mod pause;
mod ring;
mod text;
mod watch;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use jiff::SignedDuration;

use crate::aws;
use item::{Item, text};

pub use chains::{Chain, Chains, PageSent, Pending, PendingChains};
pub use connection::{Checkpoint, ConnectionState, Delta, Due, LastRun, LoadKind};
pub use delta::DeltaClaim;
pub use history::{Failure, History, RunRecord, RunStatus};
pub use lease::{Acquired, Attempt, Ending, Lease, Leased, Remembered};
pub use pause::{PUBLISHING, Pause};
pub use ring::Rung;
pub use text::{KeptText, KeptTexts};
pub use watch::{MOST_RESCUES, Watched};

/// A delta lives so long after its last request, at Protime and therefore here (`reference/delta`).
pub const DELTA_LIFE: SignedDuration = SignedDuration::from_hours(72);
/// The layout of items as this release writes them; earlier releases wrote none.
const VERSION: i64 = 2;
/// The index of all connections, and the value of its key `kind`.
const INDEX: &str = "connections";
const KIND: &str = "connection";

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
    /// Another attempt holds the lease now.
    #[error(
        "the lease of connection `{0}` has ended, and another invocation has taken it; that one goes on, or else the watch does"
    )]
    LeaseLost(String),
    /// A text that a checkpoint refers to is gone.
    #[error(
        "state table, item `{0}`: gone, and with it what an unfinished run was about; delete the connection's item to start anew"
    )]
    TextGone(String),
    /// Another attempt, which has lost the lease since, has written the history.
    #[error(
        "the history of connection `{0}` was written by two attempts at once; it is read again"
    )]
    HistoryChanged(String),
    /// The item is not what we write.
    #[error(
        "state table, item `{id}`: not what the functions store; delete the item to start anew"
    )]
    Malformed {
        /// The item's key.
        id: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl StateTable {
    /// The table of that name.
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

    /// An item as it is now, or those of its attributes.
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
