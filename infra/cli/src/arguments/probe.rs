//! The arguments of `probe`.

use clap::{Args, value_parser};

use super::Change;

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// The client: the name of its secret
    pub(crate) client: String,
    /// Send this many requests a second, one at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) per_second: u32,
    #[command(flatten)]
    pub(crate) change: Change,
}
