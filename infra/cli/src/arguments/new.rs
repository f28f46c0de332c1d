//! The arguments of `new`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Change;

#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(subcommand)]
    pub(crate) what: NewWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NewWhat {
    /// A client: the secret with what Protime gave you
    Client(NewClient),
    /// An incoming connection: a schedule in your template of connections
    Connection(NewConnection),
    /// An outgoing connection: a queue and a publisher of its own, for you to put into template.yaml
    Outgoing(NewOutgoing),
}

#[derive(Debug, Args)]
pub(crate) struct NewClient {
    /// The secret's name, such as protime/acme
    pub(crate) name: Option<String>,
    /// Protime's address, such as `https://acme.myprotime.eu`
    #[arg(long, value_name = "URL")]
    pub(crate) base_uri: Option<String>,
    /// The URL of the token endpoint; by default that of the tenant in the base URI
    #[arg(long, value_name = "URL")]
    pub(crate) access_token_url: Option<String>,
    /// The client id that Protime gave you
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The scopes that Protime granted, separated by spaces
    #[arg(long)]
    pub(crate) scopes: Option<String>,
    /// Read the client secret from standard input
    #[arg(long)]
    pub(crate) secret_stdin: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SyncMode {
    /// Read everything in every run
    Full,
    /// Read everything once, and after that what changed
    Delta,
}

#[derive(Debug, Args)]
pub(crate) struct NewConnection {
    /// The connection's name; by default that of the entity
    pub(crate) name: Option<String>,
    /// The client: the name of its secret
    #[arg(long)]
    pub(crate) client: Option<String>,
    /// What to read, such as absences
    #[arg(long)]
    pub(crate) entity: Option<String>,
    /// A path parameter of the entity
    #[arg(long, value_name = "NAME=VALUE", value_parser = parameter)]
    pub(crate) path: Vec<(String, String)>,
    /// Read everything or only changes; full by default
    #[arg(long)]
    pub(crate) sync: Option<SyncMode>,
    /// A filter that stays the same in every run
    #[arg(long)]
    pub(crate) filter: Option<String>,
    /// A jq program that makes the filter; the last seven days by default, where the entity needs dates
    #[arg(long, value_name = "PROGRAM", conflicts_with = "filter")]
    pub(crate) transform: Option<String>,
    /// The properties that are sent, separated by commas, such as person.id,date; by default all
    #[arg(long)]
    pub(crate) fields: Option<String>,
    /// When it runs, by default `cron(0 3 * * ? *)`
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) schedule: Option<String>,
    /// The zone of the schedule and of the transformer's dates, by default Europe/Brussels
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// The template to write it into; created if it does not exist
    #[arg(long, value_name = "FILE", default_value = "infra/connections.yaml")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct NewOutgoing {
    /// The name of its resource in the template, such as Badges
    pub(crate) name: Option<String>,
    /// The client: the name of its secret
    #[arg(long)]
    pub(crate) client: Option<String>,
    /// POST, PUT or DELETE
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// What to write, such as clockings
    #[arg(long)]
    pub(crate) entity: Option<String>,
    /// A jq program that turns a message into a publish request
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) transform: Option<String>,
    /// Keep the order of the messages in a group
    #[arg(long)]
    pub(crate) fifo: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` has no `=`; write NAME=VALUE, such as id=7"))?;
    Ok((name.to_owned(), value.to_owned()))
}
