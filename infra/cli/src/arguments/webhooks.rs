use clap::{Args, Subcommand};

use super::Change;

/// The default of `--within`: webhooks that end within this many days are replaced.
const DAYS: u16 = 14;

#[derive(Debug, Args)]
pub(crate) struct Webhooks {
    #[command(subcommand)]
    pub(crate) action: WebhooksAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksAction {
    /// List what webhooks Protime has, and how long they are valid
    List {
        /// Clients by the names of their secrets; those of all connections that can be rung if none
        clients: Vec<String>,
    },
    /// Let Protime ring a connection; the first time, print what the template needs
    Create {
        /// A connection by name, or a file with its event
        connection: String,
        #[command(flatten)]
        change: Change,
    },
    /// Replace webhooks that end soon, have ended, or are disabled
    Renew {
        /// A connection by name; all that can be rung if none
        connection: Option<String>,
        /// Those that end within so many days
        #[arg(long, value_name = "DAYS", default_value_t = DAYS)]
        within: u16,
        #[command(flatten)]
        change: Change,
    },
    /// Let Protime ring a connection no more
    Delete {
        /// A connection by name
        connection: String,
        #[command(flatten)]
        change: Change,
    },
}
