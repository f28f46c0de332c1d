//! The invariants of the requests that Protime gets.

use std::collections::BTreeMap;

use http::{Method, StatusCode};

use crate::protime::Asked;
use crate::publishing::was_parked;
use crate::weather::Event;
use crate::world::World;

pub(crate) fn violated(world: &World) -> Option<String> {
    let asked = world.services.protime.asked.borrow();
    let connections = ["full", "delta", "people"];
    connections
        .into_iter()
        .find_map(|connection| side_by_side(world, &asked, connection))
        .or_else(|| blind_repetition(world, &asked))
}

/// The connection that sent a read. `None` for writes, and for the look-ups of the publisher.
fn connection_of(asked: &Asked) -> Option<&'static str> {
    let target = asked.target.as_str();
    let is_read = asked.method == Method::GET;
    match target {
        _ if !is_read || is_look_up(asked) => None,
        _ if target.contains("/people") => Some("people"),
        _ if target.contains("date+le") || target.contains("date%20le") => Some("full"),
        _ => Some("delta"),
    }
}

/// Only the publisher's look-ups filter by persons.
fn is_look_up(asked: &Asked) -> bool {
    asked.method == Method::GET && asked.target.contains("person+in")
}

/// Two invocations never read a connection at the same time. There are exceptions: one of them lost its lease while it
/// stood still, or their clocks disagree. If Lambda delivers an event twice, the second delivery may take back the
/// lease.
fn side_by_side(world: &World, asked: &[Asked], connection: &str) -> Option<String> {
    let events = &world.sky.events;
    if events
        .iter()
        .any(|event| matches!(event, Event::Jump { .. }))
    {
        return None;
    }
    let still = world.stood_still.borrow();
    let stood_still = |number: u32| still.contains(&number);
    let reads = asked
        .iter()
        .filter(|asked| connection_of(asked) == Some(connection));
    let mut invocations: Vec<u32> = reads.map(|asked| asked.invocation).collect();
    invocations.dedup();
    let mut last = BTreeMap::new();
    invocations.iter().enumerate().find_map(|(place, number)| {
        let before = last.insert(*number, place)?;
        let between = &invocations[before + 1..place];
        let request_ids = world.request_ids.borrow();
        let is_excused =
            |other: &u32| stood_still(*other) || request_ids.get(other) == request_ids.get(number);
        let is_violated = !stood_still(*number) && !between.iter().any(is_excused);
        is_violated
            .then(|| format!("while invocation {number} read `{connection}`, so did {between:?}"))
    })
}

/// A creation is not repeated before a look-up was answered that came late enough to see the first one.
fn blind_repetition(world: &World, asked: &[Asked]) -> Option<String> {
    let mut creations: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (place, request) in asked.iter().enumerate() {
        if request.method == Method::POST {
            creations.entry(&request.body).or_default().push(place);
        }
    }
    creations.values().find_map(|places| {
        places.windows(2).find_map(|pair| {
            let (first, second) = (&asked[pair[0]], &asked[pair[1]]);
            let is_another = was_parked(world, &second.body, second.came);
            if is_another || first.status.is_some_and(is_not_written) {
                return None;
            }
            let since = first.done.unwrap_or(first.came);
            let has_looked = asked[..pair[1]].iter().any(|look| {
                let was_answered = look.status == Some(StatusCode::OK);
                is_look_up(look) && was_answered && look.done.is_some() && look.came >= since
            });
            let after = second.came - first.came;
            let body = String::from_utf8_lossy(&first.body);
            (!has_looked)
                .then(|| format!("{body} was asked for again after {after:?}, without a look"))
        })
    })
}

/// Whether Protime says with this status that it has not written.
fn is_not_written(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE
        || status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT
}
