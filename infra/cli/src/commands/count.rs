//! `count`: counts records at Protime, to compare with what consumers have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use connector::store::ConnectionState;
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::arguments::{Count, Grouping, StackArguments};
use crate::commands::backfill::between;
use crate::error::Error;
use crate::output::{Report, table};
use crate::source::{self, Source};
use crate::stack::{Account, Stack};

/// The time that all requests together may take.
const TIME: Duration = Duration::from_hours(1);

#[derive(Deserialize)]
struct Dated {
    date: Option<String>,
}

pub(crate) async fn count(arguments: &Count, stack: &StackArguments) -> Result<Report, Error> {
    let name = &arguments.connection;
    let (account, source) = if source::is_file(name) {
        (Account::open(stack).await?, Source::read(name)?)
    } else {
        let stack = Stack::open(stack).await?;
        let source = stack.connection(name).await?;
        (stack.account, source)
    };
    let event = between(&source, arguments.from, arguments.to)?;
    let source = Source { event, ..source };
    let connection = source.connection(Timestamp::now())?;
    let clients = account.clients("protimectl");
    let client = clients
        .get(&connection.secret_name)
        .await
        .map_err(subscriber::Error::from)?;
    let requests = subscriber::reads(&connection, &ConnectionState::default(), &client.settings())?;
    let bar = ProgressBar::new(requests.len() as u64);
    let deadline = Instant::now() + TIME;
    let (mut total, mut days) = (0_u64, BTreeMap::<String, u64>::new());
    for request in &requests {
        let mut pages = client.pages(request, deadline);
        while let Some(page) = pages.next().await.map_err(subscriber::Error::from)? {
            total += page.records().len() as u64;
            if arguments.by == Some(Grouping::Day) {
                for record in page.records() {
                    let date = serde_json::from_str::<Dated>(record).ok();
                    let date = date.and_then(|record| record.date);
                    *days
                        .entry(date.unwrap_or_else(|| "no date".to_owned()))
                        .or_default() += 1;
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (from, to) = (arguments.from.to_string(), arguments.to.to_string());
    let json = json!({"incoming": source.incoming, "from": from, "to": to, "records": total, "days": days});
    let mut text = String::new();
    if arguments.by.is_some() {
        let rows = days
            .iter()
            .map(|(day, count)| [day.clone(), count.to_string()]);
        text = table(["date", "records"], rows);
        text.push('\n');
    }
    let _ = writeln!(text, "{total} records from {from} to {to}");
    Ok(Report::new(json, text))
}
