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
    /// Whether fields take operators that no page shows with them: not documented.
    pub operators_not_documented: bool,
    /// Whether collections whose table of filters could not be read, such as people, take any filter.
    pub filters_not_documented: bool,
    /// Whether the list `org-tree` of the older pages is still taken: not documented.
    pub org_tree: bool,
    /// The fields of the category Multiple, which take `or`; a page shows it for `kind`.
    pub multiple_fields: Vec<String>,
    /// How a space is written in a query: every page writes `%20`, HTML forms `+`.
    pub spaces: Spaces,
    /// Whether what is clocked late in the evening is put on the next day, as a schedule may do.
    pub schedule_moves_overnight: bool,
    /// Whether optional fields come back filled in, and some values written differently.
    pub fills_in: bool,
    /// Whether the tenant plans with Planning Flex or Shift, and so has no assignments: 403.
    pub planning_flex: bool,
    /// For how many days a webhook is valid; the documentation only says that it ends.
    pub webhook_days: u32,
    /// The property with a new webhook's private key: not documented.
    pub webhook_key: String,
    /// The status of a new webhook; older pages also have `Uninitialized`.
    pub webhook_status: String,
    /// Whether a second webhook for a collection is refused: not documented.
    pub one_webhook_per_collection: bool,
}

/// Which spaces are taken in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spaces {
    /// Both.
    #[serde(rename = "both")]
    Both,
    /// Only `%20`; a plus is a plus.
    #[serde(rename = "%20")]
    Percent20,
    /// Only `+`.
    #[serde(rename = "+")]
    Plus,
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
            operators_not_documented: false,
            filters_not_documented: false,
            org_tree: false,
            multiple_fields: vec!["kind".to_owned()],
            spaces: Spaces::Both,
            schedule_moves_overnight: true,
            fills_in: true,
            planning_flex: false,
            webhook_days: 90,
            webhook_key: "privateKey".to_owned(),
            webhook_status: "Enabled".to_owned(),
            one_webhook_per_collection: false,
        }
    }
}
