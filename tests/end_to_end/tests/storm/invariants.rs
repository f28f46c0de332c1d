//! The invariants: what must hold when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use connector::store::{ConnectionState, History, LoadKind};
use serde_json::Value;

use crate::rings::RINGS;
use crate::wire::Services;
use crate::world::{DAYS, PEOPLE, World, connections};
use crate::{publishing, requests};

/// The query for the records that are compared with the consumers' view.
const DATED: &str = "?filter=date%20ge%20%272026-11-01%27";

/// The first invariant that is violated at the end of a storm.
pub(crate) async fn violated(world: &World) -> Option<String> {
    let pages = world.pages();
    let of = |name: &str| -> Vec<&Value> {
        pages
            .iter()
            .filter(|event| event["subject"] == name)
            .collect()
    };
    let seen = [&world.services.violation, &world.violation];
    seen.into_iter()
        .find_map(|violation| violation.borrow().clone())
        .or_else(|| same_ids(&pages))
        .or_else(|| runs(&of("full"), (PEOPLE * DAYS * 2) as usize))
        .or_else(|| in_order(&of("full")))
        .or_else(|| runs(&of("people"), PEOPLE as usize))
        .or_else(|| runs(&of("totals"), (PEOPLE * DAYS) as usize))
        .or_else(|| unlisted(&[of("people"), of("delta")].concat()))
        .or_else(|| violated_at_rest(world))
        .or_else(|| requests::violated(world))
        .or(against_protime(world, &of("delta")).await)
}

/// The first violation of what must hold after a while of fair weather, without another scheduled run.
pub(crate) fn violated_at_rest(world: &World) -> Option<String> {
    every_run(world, &world.pages()).or_else(|| at_rest(world))
}

/// A change that was rung is read without another scheduled run, if a schedule has run the connection before.
pub(crate) async fn unread(world: &World) -> Option<String> {
    let history = {
        let dynamodb = world.services.dynamodb.borrow();
        let item = dynamodb.items.get("history/delta");
        let text = item.and_then(|item| item["history"]["S"].as_str());
        text.and_then(|text| serde_json::from_str::<History>(text).ok())
    };
    history.and_then(|history| history.event)?;
    let pages = world.pages();
    let events: Vec<&Value> = pages
        .iter()
        .filter(|event| event["subject"] == "delta")
        .collect();
    let clockings = read_records(world, "clockings", &format!("clockings{DATED}")).await;
    delta(&clockings, &events).map(|problem| format!("although it was rung: {problem}"))
}

impl Services {
    /// Checks a request to SQS: a resync, which makes consumers drop their records, is sent only after the new load has
    /// begun.
    pub(crate) fn look(&self, request: &Value) {
        for entry in request["Entries"].as_array().into_iter().flatten() {
            let body = entry["MessageBody"].as_str().unwrap_or_default();
            let event: Value = serde_json::from_str(body).unwrap_or_default();
            if event["type"] != "protime.resync.v1" {
                continue;
            }
            let dynamodb = self.dynamodb.borrow();
            let item = dynamodb.items.get("connection/delta");
            let state = item.and_then(|item| item["state"]["S"].as_str());
            let state = state.and_then(|state| serde_json::from_str::<ConnectionState>(state).ok());
            let checkpoint = state.and_then(|state| state.checkpoint);
            let has_begun = checkpoint.is_some_and(|checkpoint| {
                checkpoint.load == LoadKind::Initial && event["run"] == checkpoint.run.as_str()
            });
            if !has_begun {
                let violation = format!("{} was sent before the load began", event["id"]);
                self.violation.borrow_mut().get_or_insert(violation);
            }
        }
    }
}

/// On a FIFO queue, the pages of a chain come in order. A page that was seen before does not count.
fn in_order(events: &[&Value]) -> Option<String> {
    let mut newest: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    events
        .iter()
        .filter(|event| event["type"] == "protime.page.v1")
        .filter(|event| seen.insert(event["id"].to_string()))
        .find_map(|event| {
            let chain = format!("{}/{}", event["run"], event["chain"]);
            let number = |name: &str| event[name].as_u64().expect("a number");
            let place = (number("page"), number("part"));
            let before = newest.insert(chain, place);
            let is_late = before.is_some_and(|before| before > place);
            is_late.then(|| format!("{} comes after {before:?}", event["id"]))
        })
}

/// Compares Protime's records with the consumers' view and with the producers' writes.
async fn against_protime(world: &World, events: &[&Value]) -> Option<String> {
    let definitions = "activity-structure-versions/v/levels/1/activity-definitions";
    let mut written = BTreeMap::new();
    for (entity, target) in [
        ("clockings", format!("clockings{DATED}")),
        ("assignments", format!("assignments{DATED}")),
        ("activity-definitions", definitions.to_owned()),
    ] {
        written.insert(entity, read_records(world, entity, &target).await);
    }
    delta(&written["clockings"], events).or_else(|| publishing::violated(world, &written))
}

/// Messages with the same id have the same data. If the records do not change, as those of `people`, a page has one id.
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

/// No property is sent that the connection's `fields` do not name.
fn unlisted(events: &[&Value]) -> Option<String> {
    let allowed = [
        "id",
        "changeVersion",
        "status",
        "person",
        "kind",
        "lastName",
    ];
    let pages = events
        .iter()
        .filter(|event| event["type"] == "protime.page.v1");
    let mut records = pages.flat_map(|page| page["data"]["value"].as_array().expect("records"));
    records.find_map(|record| {
        let of_change = record["data"]
            .as_object()
            .filter(|_| record["changeType"].is_string());
        let mut members = of_change.or(record.as_object()).expect("an object").iter();
        let is_listed = |name: &str, value: &Value| {
            allowed.contains(&name)
                && (name != "person"
                    || value
                        .as_object()
                        .is_some_and(|person| person.keys().eq(["id"])))
        };
        let other = members.find(|(name, value)| !is_listed(name, value));
        other.map(|(name, _)| format!("`{name}` was sent, which no field names: {record}"))
    })
}

/// A completed run has one completion, whose count is right, and every record has arrived.
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

/// Every scheduled run has completed, or its event is in the failure queue.
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
        // A lost poll of a delta does no harm: a later poll reads the same changes.
        let is_lost = *name != "delta" && !completed.contains(run.as_str()) && !told;
        is_lost.then(|| format!("{run} neither completed nor failed"))
    })
}

/// No run is in progress or due, and no continuation or ring waits.
fn at_rest(world: &World) -> Option<String> {
    let sqs = world.services.sqs.borrow();
    let waiting = sqs.messages("continuations").len();
    if waiting > 0 {
        return Some(format!("{waiting} continuations are left"));
    }
    let rings = sqs.messages(RINGS).len();
    if rings > 0 {
        return Some(format!("{rings} rings are left"));
    }
    let dynamodb = world.services.dynamodb.borrow();
    let now = world.weather.now();
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

/// A consumer that keeps the newest version of each record, and drops all records at a resync, has Protime's records.
fn delta(clockings: &[Value], events: &[&Value]) -> Option<String> {
    let mut view: BTreeMap<u64, String> = BTreeMap::new();
    let mut resyncs = BTreeSet::new();
    for event in events {
        if event["type"] == "protime.resync.v1" && resyncs.insert(event["id"].to_string()) {
            view.clear();
        }
        if event["type"] != "protime.page.v1" {
            continue;
        }
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

/// Protime's records, read directly from the simulator without the weather.
async fn read_records(world: &World, entity: &str, target: &str) -> Vec<Value> {
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
    let url = format!("{}/connector/protimeapi/api/v1/{target}", field("base_uri"));
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
