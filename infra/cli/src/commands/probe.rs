//! `probe`: finds out by reads what Protime's documentation leaves open. It never writes, and never starts or polls a
//! delta.
//!
//! Records stay in memory and only while it runs. The report has statuses, counts, names and types.

mod ask;
mod errors;
mod filters;
mod known;
mod prober;
mod properties;
mod questions;
mod records;
mod report;
mod service;
mod shape;

use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::arguments::{Probe, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::stack::Account;

use ask::Ask;
use known::Known;
use prober::{MOST_REPEATS, Prober};
use questions::{Answered, QUESTIONS};

pub(crate) async fn probe(arguments: &Probe, stack: &StackArguments) -> Result<Report, Error> {
    let account = Account::open(stack).await?;
    let clients = account.clients("protimectl");
    let client = clients
        .get(&arguments.client)
        .await
        .map_err(subscriber::Error::from)?;
    let settings = client.settings();
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let hoped = Known::hoped(&settings, today);
    let most: usize = QUESTIONS
        .iter()
        .map(|question| (question.asks)(&hoped).len())
        .sum::<usize>()
        + MOST_REPEATS;
    let what = format!(
        "send at most {most} reads to {}, {} a second, with tokens of {}",
        settings.base_uri, arguments.per_second, settings.access_token_url
    );
    if !confirm(&arguments.change, &what)? {
        return Ok(if arguments.change.dry_run {
            report::planned(&hoped)
        } else {
            Report::undone()
        });
    }
    let mut prober = Prober::new(&settings, &arguments.client, arguments.per_second)?;
    let mut known = Known::new(&settings, today);
    known.token = prober.token_facts().await?;
    let bar = ProgressBar::new(most as u64);
    let mut answers = Vec::new();
    for question in QUESTIONS {
        let asks: Vec<Ask> = (question.asks)(&known);
        let mut replies = Vec::new();
        for ask in &asks {
            replies.push(prober.ask(ask).await);
            bar.inc(1);
        }
        let requests = prober.traffic.sent - known.traffic.sent;
        known.traffic.clone_from(&prober.traffic);
        answers.push(Answered {
            question,
            requests,
            findings: (question.read)(&mut known, &replies),
        });
    }
    bar.finish_and_clear();
    Ok(report::answered(&answers, &known, today))
}
