//! Reads that Protime would refuse as one request.

use std::collections::BTreeSet;

use end_to_end::in_process_subscriber::InProcessSubscriber;
use serde_json::{Value, json};
use simulator::Options;

fn options(people: u32, days: u32) -> Options {
    Options {
        people,
        days,
        now: Some("2026-01-31T12:00:00Z".parse().unwrap()),
        ..Options::default()
    }
}

fn record_ids(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .flat_map(|event| event["data"]["value"].as_array().into_iter().flatten())
        .map(|record| record["id"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn three_years_arrive_complete_in_windows_of_one() {
    // §3.2: span at most **1 year**
    let local = InProcessSubscriber::new(options(1, 1127)).await;
    let event = json!({"entity": "clockings", "query": {"filter": "date ge '2023-01-01' and date le '2025-12-31'"}});
    let outcome = local.run(&event).await.unwrap();
    assert_eq!(outcome["records"], 1096 * 2);
    let events = local.tenant.events().await;
    let ids = record_ids(&events);
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "each once"
    );
    let chains: BTreeSet<u64> = events
        .iter()
        .filter_map(|event| event["chain"].as_u64())
        .collect();
    assert_eq!(chains, BTreeSet::from([0, 1, 2]));
    let firsts: Vec<String> = local
        .tenant
        .targets()
        .into_iter()
        .filter(|target| !target.contains("continuationToken"))
        .collect();
    assert_eq!(firsts.len(), 3);
    assert!(
        firsts.iter().any(|target| target
            .ends_with("?filter=date+ge+%272024-01-01%27+and+date+le+%272024-12-31%27")),
        "{firsts:?}"
    );
}

#[tokio::test]
async fn smaller_windows_can_be_asked_for() {
    let local = InProcessSubscriber::new(options(1, 400)).await;
    let event = json!({"entity": "clockings", "window": "P1M", "concurrency": 2, "query": {"filter": "date ge '2025-01-31' and date le '2025-06-15'"}});
    let outcome = local.run(&event).await.unwrap();
    assert_eq!(outcome["records"], 136 * 2);
    assert_eq!(outcome["pages"], 5);
}

#[tokio::test]
async fn three_thousand_people_arrive_complete_and_no_url_is_too_long() {
    let local = InProcessSubscriber::new(options(3000, 2)).await;
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 150);
    let people: Vec<String> = (1..=3000).map(|id| id.to_string()).collect();
    let filter = format!("date ge '2026-01-30' and person in ({})", people.join(","));
    let outcome = local
        .run(&json!({"entity": "clockings", "query": {"filter": filter}}))
        .await
        .unwrap();
    assert_eq!(outcome["records"], 3000 * 2 * 2);
    let ids = record_ids(&local.tenant.events().await);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 12_000);
    let longest = local
        .tenant
        .targets()
        .iter()
        .map(String::len)
        .max()
        .unwrap();
    assert!(longest < 4_096, "{longest}");
    assert!(
        local
            .tenant
            .protime
            .requests()
            .iter()
            .all(|request| request.status == 200)
    );
}

#[tokio::test]
async fn a_continuation_that_is_too_long_halves_its_list() {
    let local = InProcessSubscriber::new(options(20, 10)).await;
    local
        .tenant
        .protime
        .configure(|settings| settings.page_size = 100);
    let fault = simulator::Fault::status("continuationToken", 414, 1);
    local.tenant.protime.add_fault(fault);
    let event = json!({"entity": "clockings", "query": {"filter": "date ge '2026-01-01' and person in (1,2,3,4,5,6,7,8,9,10)"}});
    let outcome = local.run(&event).await.unwrap();
    assert_eq!(outcome["records"], 10 * 10 * 2);
    let ids: BTreeSet<u64> = record_ids(&local.tenant.events().await)
        .into_iter()
        .collect();
    assert_eq!(ids.len(), 200);
}
