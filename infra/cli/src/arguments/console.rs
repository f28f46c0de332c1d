//! The arguments of `console`.

use clap::Args;
use jiff::SignedDuration;

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The port on 127.0.0.1; by default any free one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// Let the pages run connections, and send back or skip parked requests; each change needs a confirmation
    #[arg(long)]
    pub(crate) allow_changes: bool,
    /// End after this long without a request; for tests
    #[arg(long, hide = true, default_value = "PT30M")]
    pub(crate) idle: SignedDuration,
}
