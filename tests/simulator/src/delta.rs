//! Deltas (`reference/delta`): they start as lists and are then polled for changes.

use bytes::Bytes;
use jiff::ToSpan;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::data::Change;
use crate::documentation::{Entity, documentation};
use crate::filter::Filter;
use crate::list::{decode, encode, envelope, separated};
use crate::matching::{Lazy, matches};
use crate::references::{self, Asked};
use crate::route::Call;
use crate::state::{Delta, State};

/// The answer to a delta that is older than 72 hours or has ended otherwise.
pub(crate) fn gone() -> Answer {
    // §13.1: "Delta token has expired (older than 72 hours)"
    Answer::error(
        documentation().expired_delta_status(),
        "Gone",
        "Delta token has expired (older than 72 hours)",
    )
}

/// Answers a poll with everything since the token's cursor, in one page.
pub(crate) fn poll(
    state: &mut State,
    entity: &'static Entity,
    client_id: &str,
    call: &Call,
) -> Answer {
    // §5.2: Any poll, even an empty one, yields a fresh `deltaLink`
    let Some((token, id, cursor)) = call
        .get("deltaToken")
        .and_then(|token| Some((token.to_owned(), decode(token)?)))
        .and_then(|(token, value)| {
            Some((
                token,
                value["DeltaId"].as_u64()?,
                value["StartingCursor"].as_u64()?,
            ))
        })
    else {
        return Answer::refused(&["the deltaToken is missing or malformed".to_owned()]);
    };
    let now = state.now();
    let once = state.settings.delta_links_once;
    let Some(delta) = state.deltas.get_mut(&id) else {
        return gone();
    };
    let foreign = delta.client_id != client_id || delta.entity != entity.name;
    if foreign
        || now > delta.last_request + documentation().delta_hours().hours()
        || (once && delta.used.contains(&token))
    {
        return gone();
    }
    delta.last_request = now;
    delta.used.push(token);
    let filter = delta
        .filter
        .as_deref()
        .and_then(|filter| Filter::parse(filter).ok());
    let asked = delta.references.clone();
    state.make(entity);
    let collection = state.made(entity);
    let since = usize::try_from(cursor)
        .unwrap_or(0)
        .min(collection.changes.len());
    let recent = &collection.changes[since..];
    // If a record changed several times, only its last change is sent.
    let last = recent.iter().enumerate().filter(|(index, change)| {
        let mut later = recent[index + 1..].iter();
        !later.any(|later| later.id == change.id)
    });
    let item = |change: &Change| match collection.find(&change.id) {
        Some(record) => {
            let matches = |filter| matches(filter, &mut Lazy::new(collection, record));
            let text = || references::render(&state.references, collection, entity, record, &asked);
            filter
                .as_ref()
                .is_none_or(matches)
                .then(|| updated(&text()))
        }
        None => change.deleted.then(|| deleted(change)),
    };
    let items = last.filter_map(|(_, change)| item(change)).collect();
    let cursor = collection.changes.len();
    let link = link(state, entity, id, cursor);
    Answer::raw(200, envelope(&separated(items), Some(("deltaLink", &link))))
}

fn updated(record: &[u8]) -> Bytes {
    // §5.1: Items are now **wrapped**
    let wrapped: [&[u8]; 3] = [br#"{"changeType":"InsertOrUpdate","data":"#, record, b"}"];
    wrapped.concat().into()
}

fn deleted(change: &Change) -> Bytes {
    // §5.2: `Delete` items carry `changeVersion` and `id` only
    let id = change.id.parse::<u64>();
    let id = id.map_or_else(|_| change.id.clone().into(), Value::from);
    let data = json!({"changeVersion": change.version, "id": id});
    json!({"changeType": "Delete", "data": data})
        .to_string()
        .into()
}

pub(crate) fn start(
    state: &mut State,
    entity: &'static Entity,
    call: &Call,
    references: Vec<Asked>,
) -> u64 {
    // §5.2: **One active delta per collection**
    if state.settings.one_delta_per_collection {
        state
            .deltas
            .retain(|_, delta| !(delta.entity == entity.name && delta.client_id == call.client_id));
    }
    let id = state.next_delta();
    let last_request = state.now();
    let start = state.collection(entity).changes.len();
    let filter = call.get("filter").map(str::to_owned);
    let delta = Delta {
        client_id: call.client_id.clone(),
        entity: &entity.name,
        filter,
        references,
        last_request,
        start,
        used: Vec::new(),
    };
    state.deltas.insert(id, delta);
    id
}

pub(crate) fn link(state: &State, entity: &Entity, id: u64, cursor: usize) -> String {
    // §5.2: `deltaToken` is Base64 JSON
    let token = encode(
        &json!({"DeltaId": id, "StartingCursor": cursor, "TimeStamp": state.now().to_string()}),
    );
    format!(
        "{}/delta/{}?deltaToken={token}",
        documentation().base_path,
        entity.name
    )
}
