//! The invariants of the requests that Protime gets.

use std::collections::BTreeMap;

use http::{Method, StatusCode};

use crate::protime::ReceivedRequest;
use crate::publishing::was_parked;
use crate::weather::Event;
use crate::world::World;

pub(crate) fn violated(world: &World) -> Option<String> {
    let received = world.services.protime.received.borrow();
    let connections = ["full", "delta", "people", "totals"];
    connections
        .into_iter()
        .find_map(|connection| side_by_side(world, &received, connection))
        .or_else(|| blind_repetition(world, &received))
}

/// The connection that sent a read. `None` for writes, and for the look-ups of the publisher.
fn connection_of(received: &ReceivedRequest) -> Option<&'static str> {
    let target = received.target.as_str();
    let is_read = received.method == Method::GET;
    match target {
        _ if !is_read || is_look_up(received) => None,
        _ if target.contains("/people") => Some("people"),
        _ if target.contains("/calculated-totals") => Some("totals"),
        _ if target.contains("date+le") || target.contains("date%20le") => Some("full"),
        _ => Some("delta"),
    }
}

/// Only the publisher's look-ups filter by persons.
fn is_look_up(received: &ReceivedRequest) -> bool {
    received.method == Method::GET && received.target.contains("person+in")
}

/// Two invocations never read a connection at the same time. There are exceptions: one of them lost its lease while it
/// stood still, or their clocks disagree. If Lambda delivers an event twice, the second delivery may take back the
/// lease.
fn side_by_side(world: &World, received: &[ReceivedRequest], connection: &str) -> Option<String> {
    let events = &world.weather.events;
    if events
        .iter()
        .any(|event| matches!(event, Event::ClockSkew { .. }))
    {
        return None;
    }
    let still = world.frozen.borrow();
    let frozen = |number: u32| still.contains(&number);
    let reads = received
        .iter()
        .filter(|received| connection_of(received) == Some(connection));
    let mut invocations: Vec<u32> = reads.map(|received| received.invocation).collect();
    invocations.dedup();
    let mut last = BTreeMap::new();
    invocations.iter().enumerate().find_map(|(place, number)| {
        let before = last.insert(*number, place)?;
        let between = &invocations[before + 1..place];
        let request_ids = world.request_ids.borrow();
        let is_excused =
            |other: &u32| frozen(*other) || request_ids.get(other) == request_ids.get(number);
        let is_violated = !frozen(*number) && !between.iter().any(is_excused);
        is_violated
            .then(|| format!("while invocation {number} read `{connection}`, so did {between:?}"))
    })
}

/// Before a creation is sent again, a look-up that could see the first one must be answered.
fn blind_repetition(world: &World, received: &[ReceivedRequest]) -> Option<String> {
    let mut creations: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (place, request) in received.iter().enumerate() {
        if request.method == Method::POST {
            creations.entry(&request.body).or_default().push(place);
        }
    }
    creations.values().find_map(|places| {
        places.windows(2).find_map(|pair| {
            let (first, second) = (&received[pair[0]], &received[pair[1]]);
            let is_another = was_parked(world, &second.body, second.arrived);
            if is_another || first.status.is_some_and(is_not_written) {
                return None;
            }
            let since = first.done.unwrap_or(first.arrived);
            let has_looked = received[..pair[1]].iter().any(|look| {
                let was_answered = look.status == Some(StatusCode::OK);
                is_look_up(look) && was_answered && look.done.is_some() && look.arrived >= since
            });
            let after = second.arrived - first.arrived;
            let body = String::from_utf8_lossy(&first.body);
            (!has_looked)
                .then(|| format!("{body} was sent again after {after:?}, without a look-up"))
        })
    })
}

/// Whether Protime says with this status that it has not written.
fn is_not_written(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE
        || status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT
}
