//! What has to hold when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use connector::store::ConnectionState;
use serde_json::Value;

use crate::publishing;
use crate::world::{DAYS, PEOPLE, World, connections};

/// The first invariant that is violated.
pub(crate) async fn violated(world: &World) -> Option<String> {
    let pages = world.pages();
    let of = |name: &str| -> Vec<&Value> {
        pages
            .iter()
            .filter(|event| event["subject"] == name)
            .collect()
    };
    same_ids(&pages)
        .or_else(|| runs(&of("full"), (PEOPLE * DAYS * 2) as usize))
        .or_else(|| runs(&of("people"), PEOPLE as usize))
        .or_else(|| every_run(world, &pages))
        .or_else(|| at_rest(world))
        .or(against_protime(world, &of("delta")).await)
}

/// What Protime has, compared with what consumers have and producers wanted.
async fn against_protime(world: &World, events: &[&Value]) -> Option<String> {
    let clockings = truth(world, "clockings").await;
    let assignments = truth(world, "assignments").await;
    delta(&clockings, events).or_else(|| publishing::violated(world, &clockings, &assignments))
}

/// The same id is the same message; of pages whose data does not change, no page has two.
fn same_ids(pages: &[Value]) -> Option<String> {
    let mut by_id: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut of_page: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for event in pages {
        let id = event["id"].as_str().expect("an id");
        let known = by_id.entry(id).or_insert(event);
        if known["data"] != event["data"] {
            return Some(format!(
                "{id} came with different data: {} and {}",
                known["data"], event["data"]
            ));
        }
        if event["type"] == "protime.page.v1" && event["subject"] == "people" {
            let place = format!(
                "{}/{}/{}/{}",
                event["run"], event["chain"], event["page"], event["part"]
            );
            of_page.entry(place).or_default().insert(id);
        }
    }
    let twice = of_page.into_iter().find(|(_, ids)| ids.len() > 1);
    twice.map(|(place, ids)| format!("{place} has the ids {ids:?}"))
}

/// One completion for each run, which says what arrived; every record is there.
fn runs(events: &[&Value], records: usize) -> Option<String> {
    let mut by_run: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for event in events {
        let (run, id) = (
            event["run"].as_str().expect("a run"),
            event["id"].as_str().expect("an id"),
        );
        by_run.entry(run).or_default().insert(id, event);
    }
    for (run, events) in by_run {
        let completions: Vec<&&Value> = events
            .values()
            .filter(|event| event["type"] == "protime.run-completed.v1")
            .collect();
        if completions.len() > 1 {
            return Some(format!("{run} completed with several ids: {completions:?}"));
        }
        let Some(completed) = completions.first() else {
            continue;
        };
        let pages = events
            .values()
            .filter(|event| event["type"] == "protime.page.v1");
        let ids: BTreeSet<String> = pages
            .flat_map(|page| page["data"]["value"].as_array().expect("records"))
            .map(|record| record["id"].to_string())
            .collect();
        if ids.len() != records {
            return Some(format!(
                "{run} completed with {} of {records} records",
                ids.len()
            ));
        }
        if completed["data"]["records"] != records {
            return Some(format!(
                "{run} says {} records of {records}",
                completed["data"]["records"]
            ));
        }
    }
    None
}

/// Every run that was due has completed, or somebody was told that it failed.
fn every_run(world: &World, pages: &[Value]) -> Option<String> {
    let completed: BTreeSet<&str> = pages
        .iter()
        .filter(|event| event["type"] == "protime.run-completed.v1")
        .filter_map(|event| event["run"].as_str())
        .collect();
    let failed = world.failed.borrow();
    world.fired.borrow().iter().find_map(|(name, due)| {
        let run = format!("{name}@{due}");
        let told = failed
            .iter()
            .any(|event| event["incoming"] == *name && event["scheduled"] == due.to_string());
        // A poll of a delta reads what the polls before it would have read.
        let is_lost = *name != "delta" && !completed.contains(run.as_str()) && !told;
        is_lost.then(|| format!("{run} neither completed nor failed"))
    })
}

/// Nothing is under way, waits, or is owed.
fn at_rest(world: &World) -> Option<String> {
    let sqs = world.services.sqs.borrow();
    let waiting = sqs.messages("continuations").len();
    if waiting > 0 {
        return Some(format!("{waiting} continuations are left"));
    }
    let dynamodb = world.services.dynamodb.borrow();
    let now = world.sky.now();
    connections().iter().find_map(|connection| {
        let item = dynamodb
            .items
            .get(&format!("connection/{}", connection.name))?;
        let text = |name: &str| item.get(name).and_then(|value| value["S"].as_str());
        let state: ConnectionState = text("state")
            .map(|state| serde_json::from_str(state).expect("a state"))
            .unwrap_or_default();
        if let Some(checkpoint) = state.checkpoint {
            return Some(format!(
                "{} is left with a checkpoint: {checkpoint:?}",
                connection.name
            ));
        }
        let number = |name: &str| {
            item.get(name)
                .and_then(|value| value["N"].as_str()?.parse::<i64>().ok())
        };
        if number("lease_until").is_some_and(|until| until > now.as_millisecond()) {
            return Some(format!("{} is left with a lease", connection.name));
        }
        let due = item
            .get("due")
            .and_then(|due| due["M"].as_object())
            .map_or(0, serde_json::Map::len);
        (due > 0).then(|| format!("{} is left with {due} runs due", connection.name))
    })
}

/// Who keeps the newest of each record has what Protime has.
fn delta(clockings: &[Value], events: &[&Value]) -> Option<String> {
    let mut view: BTreeMap<u64, String> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["type"] == "protime.page.v1")
    {
        for item in event["data"]["value"].as_array().expect("items") {
            let record = if item["changeType"].is_null() {
                item
            } else {
                &item["data"]
            };
            let version = record["changeVersion"]
                .as_str()
                .expect("a version")
                .to_owned();
            let known = view
                .entry(record["id"].as_u64().expect("an id"))
                .or_default();
            if *known < version {
                *known = version;
            }
        }
    }
    clockings.iter().find_map(|clocking| {
        let id = clocking["id"].as_u64().expect("an id");
        let version = clocking["changeVersion"].as_str().expect("a version");
        let known = view.get(&id).map(String::as_str);
        let missing = format!("of clocking {id}, Protime has {version}, the consumer {known:?}");
        (known != Some(version)).then_some(missing)
    })
}

/// The records that Protime has, asked past the weather.
async fn truth(world: &World, entity: &str) -> Vec<Value> {
    world
        .protime
        .configure(|settings| settings.page_size = 10_000);
    let secret: Value = serde_json::from_str(&world.protime.secret_json()).expect("JSON");
    let field = |name: &str| secret[name].as_str().expect("a field").to_owned();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=connector-protimeapi-{entity}.read",
        field("client_id"),
        field("client_secret")
    );
    let http = crate::wire::client();
    let ask = http.post(field("access_token_url")).body(form);
    let ask = ask.header("content-type", "application/x-www-form-urlencoded");
    let token = json(ask).await;
    let filter = "filter=date%20ge%20%272026-11-01%27";
    let url = format!(
        "{}/connector/protimeapi/api/v1/{entity}?{filter}",
        field("base_uri")
    );
    let list = http.get(url).header("user-agent", "Storm/1 (Test)");
    let list = list.bearer_auth(token["access_token"].as_str().expect("a token"));
    json(list).await["value"]
        .as_array()
        .expect("records")
        .clone()
}

async fn json(request: reqwest::RequestBuilder) -> Value {
    let answer = request.send().await.expect("an answer");
    serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
}
