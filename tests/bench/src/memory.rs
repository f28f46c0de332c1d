//! Measures which memory size is best. More memory costs more per second but brings a larger share of a processor.

use serde_json::json;
use simulator::{Options, Settings};

use crate::cost::{lambda, per_million};
use crate::data::{Data, event};
use crate::fetch::count;
use crate::function::{Function, Program, ensure_all};
use crate::report::{Table, grouped, median, seconds};
use crate::share::{Share, how, of_memory, processor_time, waits};
use crate::{Scale, progress};

const SIZES_MB: [f64; 4] = [128.0, 256.0, 512.0, 1024.0];
/// The time of the simulated Protime for a page. Protime publishes no figure.
const LATENCY_MS: u64 = 100;
const CONCURRENCY: u64 = 4;

/// Measures the subscriber with the share of a processor that each size brings.
pub(crate) async fn memory(scale: &Scale) -> anyhow::Result<Table> {
    let data = Data::new(Options {
        people: 125,
        days: 320,
        remember_requests: 0,
        settings: Settings {
            latency_ms: LATENCY_MS.min(scale.latencies[2]),
            ..Settings::default()
        },
        ..Options::default()
    })
    .await?;
    let event = event(&json!({
        "concurrency": CONCURRENCY, "window": "P10D",
        "query": {"filter": "date ge '2025-03-18' and date le '2026-01-31'"},
    }));
    let mut walls = SIZES_MB.map(|_| Vec::new());
    let mut is_limited = true;
    for number in 0..=scale.runs {
        progress(&format!("memory: run {number} of {}", scale.runs));
        for (megabytes, walls) in SIZES_MB.into_iter().zip(&mut walls) {
            let mut function = Function::start(Program::Subscriber, &data.aws).await?;
            function.first_poll().await?;
            let process = function.process();
            let share = Share::of_memory(megabytes);
            if let Some(share) = &share {
                share.limit(process)?;
            }
            let before = processor_time(process)?;
            let (took, _) = function.invoke(event.clone()).await?;
            let cpu = processor_time(process)?.saturating_sub(before);
            function.stop().await?;
            ensure_all("records", data.aws.take()?.records, data.records)?;
            is_limited &= share.is_some();
            let wall = took + waits(share.as_ref(), megabytes, cpu);
            // The simulator makes its pages in the very first run, which therefore does not count.
            if number > 0 {
                walls.push(wall.as_secs_f64());
            }
        }
    }
    let how = how(is_limited);
    let mut table = Table::new(
        "Memory",
        format!(
            "{} clockings in 32 windows, four at a time, {LATENCY_MS} ms a page, by a subscriber with the processor that Lambda gives for its memory ({how}). Cost of Lambda alone, as below.",
            grouped(count(data.records))
        ),
        &[
            "memory",
            "of a processor",
            "wall",
            "Lambda, a million records",
        ],
    );
    for (megabytes, walls) in SIZES_MB.into_iter().zip(walls) {
        let wall = median(walls);
        let cost = lambda(megabytes, wall, 1.0) * per_million(data.records);
        table.row([
            format!("{megabytes} MB"),
            format!("{:.3}", of_memory(megabytes)),
            seconds(wall),
            format!("${cost:.4}"),
        ]);
    }
    Ok(table)
}
