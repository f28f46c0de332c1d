//! A client for the Protime API (time registration and workforce software of Belgian and Dutch employers).
//!
//! It holds the documented entities ([`catalogue`]) and the filter language ([`filter`]). It checks a request before it
//! is sent ([`Request`]), authenticates, and returns pages ([`Page`]). A page keeps its records as the bytes that
//! Protime sent. Facts are cited by their path below `https://documentation.myprotime.eu/protimeapi/`, such as
//! `reference/filtering`.
//!
//! ```no_run
//! # async fn read() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use protime::{Client, Context, Request, Settings, Target, http_client};
//!
//! let settings = Settings::from_json(&std::fs::read("secret.json")?)?;
//! let path = serde_json::from_str("{}")?;
//! let query = serde_json::from_str(r#"{"filter": "date ge '2026-01-01' and date le '2026-01-31'"}"#)?;
//! let target = Target { entity: "clockings", path: &path, query };
//! let request = Request::read(target, &Context::of(&settings, "2026-02-01".parse()?))?;
//!
//! let client = Client::new(http_client()?, settings.clone(), Box::new(settings));
//! let mut pages = client.pages(&request, tokio::time::Instant::now() + Duration::from_secs(60));
//! while let Some(page) = pages.next().await? {
//!     for record in page.records() {
//!         println!("{record}");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod catalogue;
mod client;
mod error;
mod error_body;
mod fields;
pub mod filter;
mod http_pool;
mod link;
mod nearest;
mod page;
mod pages;
mod query;
mod references;
mod refusal;
mod request;
mod retry;
mod settings;
mod split;
mod token;
mod transport;

pub use catalogue::Method;
pub use client::{
    Client, Exchange, Observer, RawAnswer, RawRead, SettingsSource, WallClock, Written,
};
pub use error::Error;
pub use fields::{ALWAYS_KEPT, Fields, FieldsError, Selector};
pub use http_pool::{ClientError, HttpPool, http_client, http_client_trusting};
pub use link::LinkError;
pub use nearest::nearest;
pub use page::{Page, Shape};
pub use pages::{CycleDetector, Effort, Pages};
pub use query::{PathParameters, Query};
pub use refusal::{Refusal, RefusalKind};
pub use request::{Context, Request, RequestError, Target};
pub use reqwest::header::{HeaderMap, HeaderValue};
pub use settings::{Settings, SettingsError};
pub use split::{SplitError, halves_of_url};

/// The prefix of every path of the API (`reference/general-specs`).
pub const API_PATH: &str = "/connector/protimeapi/api/v1";
