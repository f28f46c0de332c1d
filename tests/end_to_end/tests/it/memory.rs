//! How much memory the deployed subscriber takes.

use std::fs;

use end_to_end::{Tenant, variable};
use serde_json::json;
use simulator::Options;

const LIMIT_KIB: u64 = 64 * 1024;

/// The highest resident memory of the subscriber's processes, in KiB, where the system tells.
fn peak_kib() -> Option<u64> {
    let name = format!(
        "AWS_LAMBDA_FUNCTION_NAME={}",
        variable("SUBSCRIBER_FUNCTION_NAME")
    );
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let of_subscriber = processes.filter(|process| {
        fs::read(process.path().join("environ")).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == name.as_bytes())
        })
    });
    let peaks = of_subscriber.filter_map(|process| {
        let status = fs::read_to_string(process.path().join("status")).ok()?;
        status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
    });
    peaks.max()
}

#[tokio::test]
async fn a_hundred_thousand_records_take_less_than_64_mib() {
    let now = Some("2026-10-01T12:00:00Z".parse().unwrap());
    let tenant = Tenant::with(
        Options {
            people: 200,
            days: 250,
            now,
            ..Options::default()
        },
        &json!({}),
    )
    .await;
    let outcome = tenant
        .completed(json!({"entity": "clockings", "query": {"filter": "date ge '2026-01-01'"}}))
        .await;
    assert_eq!(
        (&outcome["records"], &outcome["pages"]),
        (&json!(100_000), &json!(200))
    );
    let Some(peak) = peak_kib() else {
        panic!("the subscriber's process is not to be found below /proc")
    };
    println!("peak memory of the subscriber: {peak} KiB for 100,000 records");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}
