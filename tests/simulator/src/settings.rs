use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a simulator is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How many people there are.
    pub people: u32,
    /// For how many days, up to today, they have records.
    pub days: u32,
    /// What the values depend on.
    pub seed: u64,
    /// The time at the start, for a fixed one; else the clock's.
    pub now: Option<Timestamp>,
    /// How many requests are remembered; 0 for benchmarks.
    pub remember_requests: usize,
    /// What can be changed while it runs.
    pub settings: Settings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            people: 20,
            days: 30,
            seed: 1,
            now: None,
            remember_requests: 10_000,
            settings: Settings::default(),
        }
    }
}

/// What can be changed while a simulator runs. What the documentation leaves open is a switch here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// Records in a page; Protime's own number is not documented.
    pub page_size: usize,
    /// After which pages (from 0) an empty page with a `nextLink` comes.
    pub empty_pages_after: Vec<usize>,
    /// How long every API request takes at least.
    pub latency_ms: u64,
    /// The life of an access token, in seconds.
    pub expires_in: u64,
    /// Scopes that the token endpoint takes, but does not grant: it grants a part of what was asked for, as RFC 6749 allows.
    pub withheld_scopes: Vec<String>,
    /// The status for a missing scope: the documentation says both 403 and 401.
    pub missing_scope_status: u16,
    /// Whether 401 and 403 come without a body.
    pub empty_auth_errors: bool,
    /// Whether answers are compressed for clients that accept gzip.
    pub gzip: bool,
    /// Whether the last page of a delta's first load is an empty one.
    pub empty_last_delta_page: bool,
    /// Whether a used `deltaLink` is refused with 410 rather than answered again: not documented.
    pub delta_links_once: bool,
    /// Whether a second delta of a client on a collection ends the first: not documented.
    pub one_delta_per_collection: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_size: 500,
            empty_pages_after: Vec::new(),
            latency_ms: 0,
            expires_in: 1800,
            withheld_scopes: Vec::new(),
            missing_scope_status: 403,
            empty_auth_errors: false,
            gzip: false,
            empty_last_delta_page: false,
            delta_links_once: false,
            one_delta_per_collection: true,
        }
    }
}
