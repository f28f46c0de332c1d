//! The simulated Protime that every program reads.

use anyhow::Context;
use serde_json::{Value, json};
use simulator::{Options, Simulator};

use crate::aws::Aws;

/// The filter selects a year, the longest range that the documentation allows for clockings.
pub(crate) const FILTER: &str = "date ge '2025-02-01' and date le '2026-01-31'";
const NOW: &str = "2026-01-31T12:00:00Z";
/// Each person has two clockings a day.
const CLOCKINGS_PER_PERSON: u64 = 2 * DAYS as u64;
const DAYS: u32 = 200;

/// A simulator, and a stub of AWS that has its secret.
pub(crate) struct Data {
    pub(crate) protime: Simulator,
    pub(crate) aws: Aws,
    pub(crate) records: u64,
}

impl Data {
    /// Data with this many clockings, which must be a multiple of 400.
    pub(crate) async fn clockings(records: u64) -> anyhow::Result<Self> {
        let people = u32::try_from(records / CLOCKINGS_PER_PERSON)?;
        Self::new(Options {
            people,
            days: DAYS,
            remember_requests: 0,
            ..Options::default()
        })
        .await
    }

    /// The time is fixed, so that the data are always the same.
    pub(crate) async fn new(options: Options) -> anyhow::Result<Self> {
        let records = u64::from(options.people) * u64::from(options.days) * 2;
        let protime = Simulator::start(Options {
            now: Some(NOW.parse()?),
            ..options
        })
        .await?;
        let aws = Aws::start(protime.secret_json()).await?;
        Ok(Self {
            protime,
            aws,
            records,
        })
    }

    pub(crate) fn secret(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.protime.secret_json())?)
    }

    /// A new access token.
    pub(crate) async fn token(&self) -> anyhow::Result<String> {
        let secret = self.secret()?;
        let text = |name: &str| secret[name].as_str().unwrap_or_default().to_owned();
        let scopes: Vec<&str> = secret["scopes"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", text("client_id")),
            ("client_secret", text("client_secret")),
            ("scope", scopes.join(" ")),
        ];
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let answer = reqwest::Client::new()
            .post(text("access_token_url"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.finish())
            .send()
            .await?
            .error_for_status()?
            .bytes()
            .await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["access_token"]
            .as_str()
            .context("no access token")?
            .to_owned())
    }
}

/// The subscriber's event, with `extra` members.
pub(crate) fn event(extra: &Value) -> String {
    let mut event = json!({
        "incoming": "bench", "client": "protime/bench", "entity": "clockings", "run": "bench",
        "query": {"filter": FILTER},
    });
    if let (Some(event), Some(extra)) = (event.as_object_mut(), extra.as_object()) {
        event.extend(extra.clone());
    }
    event.to_string()
}
