//! How much memory the deployed subscriber takes, read from its process where the system tells.

use std::fs;
use std::path::PathBuf;

use end_to_end::{Tenant, variable};
use serde_json::{Value, json};
use simulator::Options;

/// The subscriber's processes.
fn processes() -> Vec<PathBuf> {
    let name = format!(
        "AWS_LAMBDA_FUNCTION_NAME={}",
        variable("SUBSCRIBER_FUNCTION_NAME")
    );
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|process| process.path());
    all.filter(|process| {
        fs::read(process.join("environ")).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == name.as_bytes())
        })
    })
    .collect()
}

/// Runs a connection and returns the highest resident memory meanwhile, in KiB.
pub(crate) async fn peak_of(tenant: &Tenant, connection: Value, records: u64) -> u64 {
    // The highest value so far is forgotten.
    for process in processes() {
        let _ = fs::write(process.join("clear_refs"), "5");
    }
    let outcome = tenant.completed(connection).await;
    assert_eq!(outcome["records"], records);
    let peaks = processes().into_iter().filter_map(|process| {
        let status = fs::read_to_string(process.join("status")).ok()?;
        status.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
    });
    let peak = peaks.max().expect("the subscriber's process below /proc");
    println!("{peak} KiB at most for {records} records");
    peak
}

#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_records() {
    let now = Some("2026-10-01T12:00:00Z".parse().unwrap());
    let tenant = Tenant::with(
        Options {
            people: 2_000,
            days: 250,
            now,
            ..Options::default()
        },
        &json!({}),
    )
    .await;
    let clockings = |name: &str, filter: &str| json!({"incoming": format!("{name}-{}", tenant.client.replace('/', "-")), "entity": "clockings", "query": {"filter": filter}});
    let few = peak_of(
        &tenant,
        clockings(
            "few",
            "date ge '2026-09-29' and date le '2026-10-01' and person in circle(1,2,3,4,5,6,7,8)",
        ),
        9_600,
    )
    .await;
    tenant.stack.purge(&tenant.pages).await;
    let hundred_thousand =
        peak_of(&tenant, clockings("some", "date ge '2026-09-07'"), 100_000).await;
    tenant.stack.purge(&tenant.pages).await;
    assert!(hundred_thousand < 64 * 1024, "{hundred_thousand} KiB");
    let million = peak_of(
        &tenant,
        clockings("many", "date ge '2026-01-01'"),
        1_000_000,
    )
    .await;
    tenant.stack.purge(&tenant.pages).await;
    assert!(
        million < few + few / 10 + 4 * 1024,
        "{few} KiB for 9,600 records, {million} KiB for 1,000,000"
    );
}

#[tokio::test]
async fn a_delta_answer_of_forty_megabytes_takes_less_than_96_mib() {
    let tenant = Tenant::new().await;
    let incoming = tenant.client.replace('/', "-");
    let connection = json!({"incoming": incoming, "entity": "shift-definitions", "sync": "delta"});
    tenant.completed(connection.clone()).await;
    let change = |id: usize| {
        let data = json!({"id": id, "code": "x".repeat(400)});
        format!(r#"{{"changeType":"InsertOrUpdate","data":{data}}}"#)
    };
    let changes: Vec<String> = (0..90_000).map(change).collect();
    let body = format!(
        r#"{{"value":[{}],"deltaLink":"/connector/protimeapi/api/v1/delta/shift-definitions?deltaToken=x"}}"#,
        changes.join(",")
    );
    assert!(body.len() > 40_000_000, "{}", body.len());
    tenant.protime.add_fault(simulator::Fault::new(
        "/delta/shift-definitions",
        1,
        simulator::Action::Answer {
            status: 200,
            headers: Vec::new(),
            body,
        },
    ));
    let peak = peak_of(&tenant, connection, 90_000).await;
    tenant.stack.purge(&tenant.pages).await;
    assert!(peak < 96 * 1024, "{peak} KiB");
}
