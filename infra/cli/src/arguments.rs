//! The commands and their arguments. Doc comments here are the texts of `--help`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

mod console;
mod new;
mod probe;
mod webhooks;

pub(crate) use console::Console;
pub(crate) use new::{New, NewClient, NewConnection, NewOutgoing, NewWhat, SyncMode};
pub(crate) use probe::Probe;
pub(crate) use webhooks::{Webhooks, WebhooksAction};

/// Checks Protime connections, shows what they read and write, reports their status, and repairs failures.
#[derive(Debug, Parser)]
#[command(name = "protimectl", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    /// Print one JSON document instead of text, also for errors
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const AFTER: &str = "\
Exit codes: 0 all right, 1 other, 2 usage, 3 unhealthy, 10 AWS, 11 connection or template, 12 secret, 13 unreachable, \
14 client rejected, 15 scope, 16 refused, 17 unavailable, 18 role, 19 delta owned by another, 130 interrupted";

/// Selects the stack and the credentials.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    /// The stack's name
    #[arg(
        long,
        global = true,
        env = "PROTIME_STACK",
        default_value = "protime-connector"
    )]
    pub(crate) stack: String,
    /// The AWS profile, as in the AWS command line
    #[arg(long, global = true)]
    pub(crate) profile: Option<String>,
    /// The AWS region
    #[arg(long, global = true)]
    pub(crate) region: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check that connections work, or look for mistakes in a template
    #[command(after_help = "Examples:
  protimectl check template.yaml       every connection of a template, without AWS
  protimectl check clockings           a deployed connection, inside of the function")]
    Check(Check),
    /// Show what a connection reads, or what a publish request writes; nothing is sent or stored
    #[command(after_help = "Examples:
  protimectl preview clockings
  protimectl preview --publish request.json")]
    Preview(Preview),
    /// Run a transformer on an input
    #[command(after_help = "Examples:
  protimectl try --incoming '.query.filter = \"date ge \\u{27}\\\\(days(-7))\\u{27}\"'
  protimectl try --outgoing -f program.jq --input message.json")]
    Try(Try),
    /// List the entities with their operations, filters and scopes
    #[command(after_help = "Examples:
  protimectl entities
  protimectl entities clockings")]
    Entities(Entities),
    /// Count records at Protime, to compare with what consumers have
    #[command(after_help = "Examples:
  protimectl count clockings --from 2026-11-01 --to 2026-11-30
  protimectl count clockings --from 2026-11-01 --to 2026-11-30 --by day")]
    Count(Count),
    /// Show the status of all connections and queues
    #[command(after_help = "Examples:
  protimectl status
  protimectl status --fail             for scripts: ends with 3 where something needs attention")]
    Status(Status),
    /// List the last runs
    #[command(after_help = "Examples:
  protimectl runs clockings
  protimectl runs clockings clockings@2026-11-23T02:00:00Z")]
    Runs(Runs),
    /// Run a connection now
    #[command(after_help = "Examples:
  protimectl run clockings
  protimectl run clockings --follow")]
    Run(Run),
    /// Read a span of dates again
    #[command(after_help = "Examples:
  protimectl backfill clockings --from 2025-01-01 --to 2025-12-31
  protimectl backfill clockings --from 2025-01-01 --to 2025-12-31 --window P14D --follow")]
    Backfill(Backfill),
    /// Stop a connection, or publishing, for a while
    #[command(after_help = "Examples:
  protimectl pause clockings --for PT4H --reason 'Protime is being upgraded'
  protimectl pause --publishing --until 2026-12-01T06:00:00Z")]
    Pause(Pause),
    /// End a pause
    #[command(after_help = "Examples:
  protimectl resume clockings
  protimectl resume --publishing")]
    Resume(Resume),
    /// List, show, send back or skip parked publish requests
    #[command(after_help = "Examples:
  protimectl parked
  protimectl parked redrive --reason refused")]
    Parked(Parked),
    /// List or start again runs that failed for good
    #[command(after_help = "Examples:
  protimectl failed
  protimectl failed retry")]
    Failed(Failed),
    /// Make a client, an incoming connection or an outgoing connection; asks for missing values
    #[command(after_help = "Examples:
  protimectl new client
  protimectl new connection absences --client protime/acme --entity absences --schedule 'rate(1 hour)'")]
    New(New),
    /// Answer questions that Protime's documentation leaves open, by reads of a real tenant; nothing is written
    #[command(after_help = "Examples:
  protimectl probe protime/acme
  protimectl probe protime/acme --yes > report.txt")]
    Probe(Probe),
    /// Show connections, runs and queues in a browser, on this machine only; changes need --allow-changes
    #[command(after_help = "Examples:
  protimectl console
  protimectl console --port 8080 --allow-changes")]
    Console(Console),
    /// Let Protime say when something changes: list, create, renew or delete webhooks, which ring the doorbell
    #[command(after_help = "Examples:
  protimectl webhooks create clockings
  protimectl webhooks renew --yes      once a day, for example: replaces what ends within 14 days")]
    Webhooks(Webhooks),
    /// Remove the stored state of a connection that no longer exists
    #[command(after_help = "Examples:
  protimectl forget clockings-old
  protimectl forget clockings-old --yes")]
    Forget(Forget),
    /// Print the completion script for a shell
    #[command(after_help = "Examples:
  protimectl completions bash > ~/.local/share/bash-completion/completions/protimectl
  protimectl completions zsh > ~/.zfunc/_protimectl")]
    Completions(Completions),
}

impl Command {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Check(_) => "check",
            Self::Preview(_) => "preview",
            Self::Try(_) => "try",
            Self::Entities(_) => "entities",
            Self::Count(_) => "count",
            Self::Status(_) => "status",
            Self::Runs(_) => "runs",
            Self::Run(_) => "run",
            Self::Backfill(_) => "backfill",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Parked(_) => "parked",
            Self::Failed(_) => "failed",
            Self::New(_) => "new",
            Self::Probe(_) => "probe",
            Self::Console(_) => "console",
            Self::Webhooks(_) => "webhooks",
            Self::Forget(_) => "forget",
            Self::Completions(_) => "completions",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Templates (.yaml), connections by name, or files with a connection's event (.json); by default all connections
    /// of the stack
    pub(crate) what: Vec<String>,
    /// Make only the checks that need no network
    #[arg(long)]
    pub(crate) offline: bool,
    /// Check from this machine, with your own rights, rather than inside the function
    #[arg(long, conflicts_with = "offline")]
    pub(crate) here: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// A connection by name, or a file with its event; - for standard input
    #[arg(required_unless_present = "publish")]
    pub(crate) connection: Option<String>,
    /// A file with a publish request; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "connection")]
    pub(crate) publish: Option<String>,
    /// A file with the outgoing connection; by default that of the stack
    #[arg(long, value_name = "FILE", requires = "publish")]
    pub(crate) outgoing: Option<PathBuf>,
    /// Show this many records
    #[arg(long, default_value_t = 3)]
    pub(crate) records: usize,
    /// Resolve dates as of this time
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<Timestamp>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("side").required(true).args(["incoming", "outgoing"]))]
pub(crate) struct Try {
    /// The program is an incoming transformer: it changes a connection's request parameters
    #[arg(long)]
    pub(crate) incoming: bool,
    /// The program is an outgoing transformer: it turns a message into a publish request
    #[arg(long)]
    pub(crate) outgoing: bool,
    /// The jq program
    #[arg(required_unless_present = "file")]
    pub(crate) program: Option<String>,
    /// A file with the program; - for standard input
    #[arg(short, long, conflicts_with = "program")]
    pub(crate) file: Option<String>,
    /// A file with the program's input as JSON; by default {"path": {}, "query": {}} or null
    #[arg(long)]
    pub(crate) input: Option<String>,
    /// The time that $now returns
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<Timestamp>,
    /// When the last completed run was due, which $last returns
    #[arg(long, value_name = "TIME")]
    pub(crate) last: Option<Timestamp>,
    /// The time zone of the dates that the program computes
    #[arg(long, default_value = "Europe/Brussels")]
    pub(crate) time_zone: String,
}

#[derive(Debug, Args)]
pub(crate) struct Entities {
    /// Show all that is known of this entity
    pub(crate) entity: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grouping {
    /// Group by the day of the records' `date`
    Day,
}

#[derive(Debug, Args)]
pub(crate) struct Count {
    /// A connection by name, or a file with its event
    pub(crate) connection: String,
    /// The first date
    #[arg(long, value_name = "DATE")]
    pub(crate) from: Date,
    /// The last date
    #[arg(long, value_name = "DATE")]
    pub(crate) to: Date,
    /// Show one count for each of these
    #[arg(long)]
    pub(crate) by: Option<Grouping>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Refresh every few seconds, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// Exit with code 3 if something needs attention
    #[arg(long)]
    pub(crate) fail: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Show the runs of this connection only
    pub(crate) connection: Option<String>,
    /// Show all that is known of this run
    pub(crate) run: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A connection by name, or a file with its event
    pub(crate) connection: String,
    /// Wait until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Backfill {
    /// A connection by name, or a file with its event
    pub(crate) connection: String,
    /// The first date
    #[arg(long, value_name = "DATE")]
    pub(crate) from: Date,
    /// The last date
    #[arg(long, value_name = "DATE")]
    pub(crate) to: Date,
    /// The longest span of dates in one request, such as P1M
    #[arg(long)]
    pub(crate) window: Option<String>,
    /// Read this many windows at the same time, up to 32; by default as many as the connection does
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) concurrency: Option<u8>,
    /// Wait until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

/// The options of every command that changes something.
#[derive(Debug, Clone, Args)]
pub(crate) struct Change {
    /// Do not ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("end").required(true).args(["long", "until"]))]
pub(crate) struct Pause {
    /// A connection by name
    #[arg(required_unless_present = "publishing")]
    pub(crate) connection: Option<String>,
    /// All publishing
    #[arg(long, conflicts_with = "connection")]
    pub(crate) publishing: bool,
    /// Pause for this long, such as PT4H or "4 hours"
    #[arg(long = "for", value_name = "DURATION")]
    pub(crate) long: Option<SignedDuration>,
    /// Pause until this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// The reason, for whoever finds it paused
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Pause even if a delta would expire meanwhile, so that everything must be loaded again
    #[arg(long)]
    pub(crate) let_delta_expire: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// A connection by name
    #[arg(required_unless_present = "publishing")]
    pub(crate) connection: Option<String>,
    /// All publishing
    #[arg(long, conflicts_with = "connection")]
    pub(crate) publishing: bool,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Parked {
    #[command(subcommand)]
    pub(crate) action: Option<ParkedAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ParkedAction {
    /// List the parked requests, by reason and code
    List(ParkedFilter),
    /// Show one parked request, with its body
    Show {
        /// The message's id
        id: String,
    },
    /// Send parked requests back to the publish queue
    Redrive {
        #[command(flatten)]
        chosen: ParkedFilter,
        #[command(flatten)]
        change: Change,
    },
    /// Write parked requests to a file and delete them
    Skip {
        #[command(flatten)]
        chosen: ParkedFilter,
        /// The file that they are written to, one per line; it must not exist
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        change: Change,
    },
}

/// Selects parked messages. A message must match every option that is given.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ParkedFilter {
    /// Why they were parked, such as refused or unknown-outcome
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Protime's code, such as `BadRequest`
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// The entity that they write to
    #[arg(long)]
    pub(crate) entity: Option<String>,
    /// Parked at this time or later
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Only the message with this id, which the console asks for.
    #[arg(skip)]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Failed {
    #[command(subcommand)]
    pub(crate) action: Option<FailedAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FailedAction {
    /// List the failed runs
    List,
    /// Start the failed runs again
    Retry {
        #[command(flatten)]
        change: Change,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// The connection's name
    pub(crate) connection: String,
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell to complete for
    pub(crate) shell: Shell,
}
