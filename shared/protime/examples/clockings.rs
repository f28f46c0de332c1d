//! Reads a tenant's clockings of some days, and prints each as a line of JSON.
//!
//! The environment variable `PROTIME_CLIENT` holds the client, with the fields of the secret that the connector reads:
//!
//! ```sh
//! export PROTIME_CLIENT='{"base_uri": "https://acme.myprotime.eu",
//!   "access_token_url": "https://authentication.myprotime.eu/tenants/acme/connect/token",
//!   "client_id": "...", "client_secret": "...", "scopes": ["connector-protimeapi-clockings.read"]}'
//! cargo run -p protime --example clockings -- 2026-01-01 2026-01-31
//! ```
//!
//! The simulator prints such a client when it is ready:
//!
//! ```sh
//! cargo build -p simulator
//! target/debug/simulator --now 2026-02-01T12:00:00Z >client.json &
//! until [ -s client.json ]; do sleep 1; done
//! PROTIME_CLIENT=$(cat client.json) cargo run -p protime --example clockings -- 2026-01-01 2026-01-31
//! kill %1
//! ```

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use protime::{Client, Context, PathParameters, Query, Request, Settings, Target, http_client};
use tokio::time::Instant;

/// The time for all pages together. Until then, the client repeats reads that failed and may succeed later.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: clockings FROM TO, such as clockings 2026-01-01 2026-01-31".into());
    };
    let (from, to): (Date, Date) = (from.parse()?, to.parse()?);
    let secret = std::env::var("PROTIME_CLIENT")
        .map_err(|_| "environment variable PROTIME_CLIENT: needs the JSON of a client")?;
    let settings = Settings::from_json(secret.as_bytes())?;

    // A request that the documentation does not allow is refused here, before Protime is asked.
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let filter = format!(r#"{{"filter": "date ge '{from}' and date le '{to}'"}}"#);
    let query: Query = serde_json::from_str(&filter)?;
    let path: PathParameters = serde_json::from_str("{}")?;
    let target = Target {
        entity: "clockings",
        path: &path,
        query,
    };
    let request = Request::read(target, &Context::of(&settings, today))?;

    let client = Client::new(http_client()?, settings.clone(), Box::new(settings));
    let mut pages = client.pages(&request, Instant::now() + PATIENCE);
    while let Some(page) = pages.next().await? {
        for record in page.records() {
            println!("{record}");
        }
    }
    Ok(())
}
