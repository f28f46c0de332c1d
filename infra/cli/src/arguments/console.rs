//! What `console` takes.

use clap::Args;
use jiff::SignedDuration;

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The port on 127.0.0.1; a free one if not given
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// Let the pages run connections, and send back or skip what was parked; each change is asked for once more
    #[arg(long)]
    pub(crate) allow_changes: bool,
    /// End after so long without a request; for tests
    #[arg(long, hide = true, default_value = "PT30M")]
    pub(crate) idle: SignedDuration,
}
