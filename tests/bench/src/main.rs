//! Benchmarks. `make bench` deploys the stack on local AWS and runs them.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "figures are printed, and a benchmark that fails says why"
)]

use std::time::{Duration, Instant};

use end_to_end::inside::Inside;
use jiff::Timestamp;
use serde_json::json;
use simulator::Options;
use subscriber::CHECKPOINT_INTERVAL;

const RUNS: usize = 5;

/// How much faster twelve windows are read at the same time: 50 ms a page, the ideal is the concurrency itself.
async fn windows() {
    let now = Some("2026-01-31T12:00:00Z".parse().expect("a time"));
    let options = Options {
        people: 5,
        days: 400,
        now,
        ..Options::default()
    };
    let mut inside = Inside::new(options).await;
    inside.subscriber.checkpoint_interval = CHECKPOINT_INTERVAL;
    inside.tenant.protime.configure(|settings| {
        settings.latency_ms = 50;
        settings.page_size = 25;
    });
    println!("12 windows of a month, 50 ms a page, median of {RUNS} runs");
    let mut alone = Duration::ZERO;
    for concurrency in [1, 4, 12] {
        let connection = json!({
            "incoming": format!("windows-{concurrency}"), "entity": "clockings", "window": "P1M", "concurrency": concurrency,
            "query": {"filter": "date ge '2025-01-01' and date le '2025-12-31'"},
        });
        let mut times = Vec::new();
        // The first run makes the pages.
        for _ in 0..=RUNS {
            let started = Instant::now();
            let outcome = inside
                .run_at(&connection, Timestamp::now(), Duration::from_mins(5))
                .await
                .expect("a run");
            assert_eq!(outcome["records"], 365 * 5 * 2, "every record is there");
            times.push(started.elapsed());
            inside.tenant.stack.purge(&inside.tenant.pages).await;
        }
        times.remove(0);
        times.sort();
        let median = times[RUNS / 2];
        if concurrency == 1 {
            alone = median;
        }
        println!(
            "  concurrency {concurrency:>2}: {:>6.0} ms, {:.1} times as fast as 1",
            median.as_secs_f64() * 1e3,
            alone.as_secs_f64() / median.as_secs_f64()
        );
    }
}

#[tokio::main]
async fn main() {
    windows().await;
}
