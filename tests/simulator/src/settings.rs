use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The options with which a simulator starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The number of people.
    pub people: u32,
    /// The number of days, up to today, for which people have records.
    pub days: u32,
    /// The same seed makes the same data.
    pub seed: u64,
    /// A fixed time. With `None`, the system's clock counts.
    pub now: Option<Timestamp>,
    /// The number of requests that are remembered; 0 for benchmarks.
    pub remember_requests: usize,
    /// The settings at the start, which can be changed while it runs.
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

/// Settings that can be changed while a simulator runs. Each thing that the documentation leaves open has a switch
/// here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// The number of records in a page. Protime's own number is not documented.
    pub page_size: usize,
    /// An empty page with a `nextLink` follows each of these pages, counted from 0.
    pub empty_pages_after: Vec<usize>,
    /// The shortest duration of an API request, in milliseconds.
    pub latency_ms: u64,
    /// The life of an access token, in seconds.
    pub expires_in: u64,
    /// Scopes that the token endpoint accepts but does not grant: RFC 6749 allows it to grant fewer than were asked
    /// for.
    pub withheld_scopes: Vec<String>,
    /// The status for a missing scope. The documentation says both 403 and 401.
    pub missing_scope_status: u16,
    /// Whether 401 and 403 come without a body.
    pub empty_auth_errors: bool,
    /// Whether answers are compressed for clients that accept gzip.
    pub gzip: bool,
    /// Whether the first load of a delta ends with an empty page.
    pub empty_last_delta_page: bool,
    /// Whether a used `deltaLink` is refused with 410; otherwise it is answered again. Not documented.
    pub delta_links_once: bool,
    /// Whether a second delta of a client on a collection ends the first. Not documented.
    pub one_delta_per_collection: bool,
    /// Whether fields accept operators that the documentation does not show with them.
    pub operators_not_documented: bool,
    /// Whether a collection accepts any filter if its table of filters could not be read, as for people.
    pub filters_not_documented: bool,
    /// Whether the list `org-tree` of older pages is still accepted. Not documented.
    pub org_tree: bool,
    /// The fields of the category Multiple, which accept `or`. The documentation shows it for `kind`.
    pub multiple_fields: Vec<String>,
    /// The accepted spellings of a space in a query. The documentation writes `%20`, HTML forms `+`.
    pub spaces: Spaces,
    /// Whether a clocking late in the evening moves to the next day, as a schedule may do.
    pub schedule_moves_overnight: bool,
    /// Whether answers fill in optional fields and write some values differently.
    pub fills_in: bool,
    /// Whether the tenant plans with Planning Flex or Shift. Then assignments are refused with 403.
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

/// The spellings of a space that a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spaces {
    /// Both `%20` and `+`.
    #[serde(rename = "both")]
    Both,
    /// Only `%20`; a plus sign means itself.
    #[serde(rename = "%20")]
    Percent20,
    /// Only `+`; `%20` is refused.
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
