//! The storm: both functions keep their promises whatever the services around them do.
//!
//! The functions run in this process. Fakes of Protime, SQS, `DynamoDB` and Secrets Manager answer them over HTTP. Time
//! jumps to the next thing that happens, so some four hours pass in a second. `world` and `publishing` have the rules
//! of Lambda, SQS and the schedules. `weather` has what goes wrong, and `invariants` has what must hold.
//!
//! A seed makes the weather, a list of events. When the weather ends, everything must come to rest by itself. Then the
//! invariants are checked. If a seed fails, the test prints it with its weather, as short as possible. `make storm
//! SEED=n` replays it.

#![expect(
    clippy::print_stderr,
    reason = "thousands of storms take a while, which is told"
)]

mod dynamodb;
mod expression;
mod invariants;
mod lambda;
mod protime;
mod publishing;
mod requests;
mod rings;
mod sqs;
mod weather;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use proptest::strategy::ValueTree;

use weather::Event;
use world::World;

/// Runs one storm. Returns the violation that it shows, if any.
fn storm(events: Vec<Event>) -> Option<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let local = tokio::task::LocalSet::new();
    fastrand::seed(1);
    local.block_on(&runtime, async {
        let world = World::new(events).await;
        world.pass().await;
        invariants::violated(&world).await
    })
}

/// The shortest weather that still fails, as far as proptest finds it, with its violation. If the seed does not fail
/// a second time, the weather is not shortened: simultaneous answers come in any order.
fn shortest(seed: u64, violation: &str) -> (Vec<Event>, String) {
    let mut tree = weather::of_seed(seed);
    let mut worst = (tree.current(), violation.to_owned());
    if storm(tree.current()).is_none() {
        return worst;
    }
    let mut tried = 0;
    while tried < 200 && tree.simplify() {
        loop {
            tried += 1;
            match storm(tree.current()) {
                Some(violation) => {
                    worst = (tree.current(), violation);
                    break;
                }
                None if tried >= 200 || !tree.complicate() => return worst,
                None => {}
            }
        }
    }
    worst
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs the seeds in parallel. Returns the seeds that fail, with their violations: all of them, or those up to the
/// first.
fn failures(seeds: Range<u64>, up_to_first: bool) -> BTreeMap<u64, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(BTreeMap::new()));
    let started = Instant::now();
    let first = || failed.lock().expect("no panic").keys().next().copied();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = up_to_first && first().is_some_and(|first| first < seed);
                    if seed >= seeds.end || is_over {
                        return;
                    }
                    if let Some(violation) = storm(weather::of_seed(seed).current()) {
                        failed.lock().expect("no panic").insert(seed, violation);
                    }
                    if seed % 100 == 99 {
                        let seconds = started.elapsed().as_secs();
                        eprintln!("{} of {} storms, {seconds} s", seed + 1, seeds.end);
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no panic")
}

#[test]
fn whatever_the_weather_all_comes_to_rest() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(40),
    };
    if number("SEED").is_some() {
        // For a single seed, the functions' log lines and the weather are printed.
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .init();
        eprintln!("{:#?}", weather::of_seed(seeds.start).current());
    }
    // The number of failing seeds shows how well the storm finds a fault. `COUNT` is `all`, or `first` to stop at the
    // first.
    let counts = std::env::var("COUNT");
    let failures = failures(seeds, counts.as_deref() != Ok("all"));
    let Some((&seed, violation)) = failures.first_key_value() else {
        return;
    };
    assert!(
        counts.is_err(),
        "{} seeds fail: {failures:#?}",
        failures.len()
    );
    let (weather, violation) = shortest(seed, violation);
    panic!(
        "seed {seed}: {violation}\nin this weather: {weather:#?}\nAgain: make storm SEED={seed}"
    );
}

#[test]
fn in_fair_weather_nothing_is_violated() {
    assert_eq!(storm(Vec::new()), None);
}
