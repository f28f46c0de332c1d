//! Lists: filtered, divided into pages and continued by tokens.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::constraint;
use crate::data::{Collection, Record};
use crate::delta;
use crate::documentation::{Entity, Kind, Operation, documentation};
use crate::filter::Filter;
use crate::matching::{Lazy, matches};
use crate::references::{self, Asked, References};
use crate::route::Call;
use crate::state::State;

/// The pages of one query, made at its first request.
pub(crate) struct Listing {
    /// The query to which continuation tokens are bound.
    query: String,
    pages: Vec<Vec<Bytes>>,
}

/// Answers a list, the start of a delta, or the continuation of either.
pub(crate) fn list(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    let starts_delta = call.query.iter().any(|(name, _)| name == "delta");
    let operation = match entity.operation(Kind::Delta) {
        Some(delta) if starts_delta => delta,
        None if starts_delta => {
            return Answer::refused(&["this collection has no delta".to_owned()]);
        }
        _ => operation,
    };
    let filter = match parse_filter(state, operation, call.get("filter")) {
        Ok(filter) => filter,
        Err(answer) => return answer,
    };
    let asked = match references::asked(call, entity, operation) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let person = (operation.kind == Kind::ListForPerson)
        .then(|| call.parameter(0))
        .flatten();
    let bound_to = format!("{}?{:?}&{asked:?}", call.path, call.get("filter"));

    if let Some(token) = call.get("continuationToken") {
        return continued(state, call, token, &bound_to);
    }
    let page_size = state.settings.page_size.max(1);
    let empty_after = state.settings.empty_pages_after.clone();
    let name = collection_name(entity, call);
    state.make_named(entity, &name);
    let collection = state.named(&name);
    let (records, changes) = (collection.records.len(), collection.changes.len());
    let key = format!("{bound_to}#{page_size}#{empty_after:?}#{records}#{changes}");
    let listing = if let Some(listing) = state.listings.get(&key) {
        listing.clone()
    } else {
        let is_of = |record: &Record, person: &str| {
            record.person.is_some_and(|id| id.to_string() == person)
        };
        let matching = collection.records.iter().filter(|record| {
            let matches = |filter| matches(filter, &mut Lazy::new(collection, record));
            person.is_none_or(|person| is_of(record, person)) && filter.as_ref().is_none_or(matches)
        });
        let matching: Vec<&Record> = matching.collect();
        let mut pages = Vec::new();
        for (number, records) in matching.chunks(page_size).enumerate() {
            let (references, asked) = (&state.references, &asked);
            pages.push(render(references, collection, entity, records, asked));
            pages.extend(empty_after.contains(&number).then(Vec::new));
        }
        let listing = Arc::new(Listing {
            query: bound_to,
            pages,
        });
        state.listings.insert(key.clone(), listing.clone());
        listing
    };
    let delta = starts_delta.then(|| delta::start(state, entity, call, asked));
    page(state, call, &listing, &key, 0, delta)
}

/// Answers a list of a collection that the catalogue lacks, with all of its records.
pub(crate) fn list_unknown(state: &State, name: &str) -> Option<Answer> {
    let collection = state.known_collection(name)?;
    let records: Vec<&Record> = collection.records.iter().collect();
    Some(Answer::raw(
        200,
        envelope(&collection.slices(&records), None),
    ))
}

/// Answers one record by its id. If the query names a reference of this collection, the path holds that reference.
pub(crate) fn get(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    let asked = match references::asked(call, entity, operation) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let expand = call
        .get("expand")
        .into_iter()
        .flat_map(|names| names.split(','));
    let known = operation.expand.as_deref().unwrap_or_default();
    if let Some(name) = expand
        .into_iter()
        .find(|name| !known.iter().any(|known| known == name))
    {
        return Answer::refused(&[format!("{name} cannot be expanded")]);
    }
    state.make(entity);
    let collection = state.made(entity);
    match find(state, entity, &asked, call.last_parameter()) {
        Err(answer) => answer,
        Ok(None) => Answer::error(404, "NotFound", "The resource does not exist."),
        Ok(Some(record)) => {
            let text = references::render(&state.references, collection, entity, record, &asked);
            Answer::raw(200, vec![text])
        }
    }
}

/// The record that a path names, by id or by external reference.
pub(crate) fn find<'a>(
    state: &'a State,
    entity: &Entity,
    asked: &[Asked],
    id: &str,
) -> Result<Option<&'a Record>, Answer> {
    // §8.3: GET …/departments/789?externalReferences=(departments,CustomReferenceName)
    let collection = state.made(entity);
    if let Some(asked) = asked.iter().find(|asked| asked.collection == entity.name) {
        return Ok(state.references.find(collection, asked, id));
    }
    if !entity.has_guids() && id.parse::<u64>().is_err() {
        let message = "Invalid external reference specification: a non-integer id without an external reference";
        return Err(Answer::error(400, "BadRequest", message));
    }
    Ok(collection.find(id))
}

/// Each category of historical fields has its own records.
fn collection_name(entity: &Entity, call: &Call) -> String {
    let last = call.path.rsplit('/').next().unwrap_or_default();
    let category = last
        .strip_suffix("-histories")
        .or(last.strip_suffix("-history"));
    match category {
        Some(category) if entity.name == "historical-fields" => format!("{category}-histories"),
        _ => entity.name.clone(),
    }
}

/// The page of a continuation token. The token is valid only for the query that made it.
fn continued(state: &mut State, call: &Call, token: &str, bound_to: &str) -> Answer {
    // §13.1: **`409` on a list = the continuation token is invalid or expired**
    let invalid = || {
        let message = "Continuation token conflict (invalid or expired paging token)";
        Answer::error(409, "Conflict", message)
    };
    let Some(value) = decode(token) else {
        return invalid();
    };
    let (Some(key), Some(number)) = (value["validation"].as_str(), value["page"].as_u64()) else {
        return invalid();
    };
    let Some(listing) = state.listings.get(key).cloned() else {
        return invalid();
    };
    if listing.query != bound_to {
        return invalid();
    }
    let delta = call
        .get("deltaToken")
        .and_then(decode)
        .and_then(|token| token["DeltaId"].as_u64());
    if let Some(id) = delta {
        let now = state.now();
        match state.deltas.get_mut(&id) {
            Some(delta) => delta.last_request = now,
            None => return delta::gone(),
        }
    }
    let key = key.to_owned();
    page(
        state,
        call,
        &listing,
        &key,
        usize::try_from(number).unwrap_or(usize::MAX),
        delta,
    )
}

/// One page with its link. Links are not percent-encoded, as in the documentation's samples.
fn page(
    state: &mut State,
    call: &Call,
    listing: &Listing,
    key: &str,
    number: usize,
    delta: Option<u64>,
) -> Answer {
    // §4: repeats the original query and adds `continuationToken`
    // §4: **An empty `value` does not mean the end**
    let empty = Vec::new();
    let slices = listing.pages.get(number).unwrap_or(&empty);
    let pages =
        listing.pages.len() + usize::from(delta.is_some() && state.settings.empty_last_delta_page);
    if number + 1 < pages {
        let token = encode(&json!({"validation": key, "page": number + 1}));
        let mut link = format!("{}?", call.path);
        for (name, value) in &call.query {
            if !matches!(name.as_str(), "continuationToken" | "deltaToken" | "delta") {
                link += &[name, "=", value, "&"].concat();
            }
        }
        link += &["continuationToken=", &token].concat();
        if let Some(id) = delta {
            link += &["&deltaToken=", &encode(&json!({"DeltaId": id}))].concat();
        }
        return Answer::raw(200, envelope(slices, Some(("nextLink", &link))));
    }
    let Some(id) = delta else {
        return Answer::raw(200, envelope(slices, None));
    };
    let Some((entity, cursor)) = state.deltas.get(&id).and_then(|delta| {
        let entity = documentation().entity(delta.entity)?;
        Some((entity, delta.start))
    }) else {
        return delta::gone();
    };
    let link = delta::link(state, entity, id, cursor);
    Answer::raw(200, envelope(slices, Some(("deltaLink", &link))))
}

pub(crate) fn envelope(slices: &[Bytes], link: Option<(&str, &str)>) -> Vec<Bytes> {
    // §1.2: List envelope
    let mut body = vec![Bytes::from_static(br#"{"value":["#)];
    body.extend_from_slice(slices);
    body.push(match link {
        Some((name, link)) => format!(r#"],"{name}":{}}}"#, Value::from(link)).into(),
        None => Bytes::from_static(b"]}"),
    });
    body
}

pub(crate) fn separated(items: Vec<Bytes>) -> Vec<Bytes> {
    let mut parts = Vec::new();
    for item in items {
        if !parts.is_empty() {
            parts.push(Bytes::from_static(b","));
        }
        parts.push(item);
    }
    parts
}

/// Base64 of JSON that contains `+`, `/` and `=`, which careless encoding damages.
pub(crate) fn encode(value: &Value) -> String {
    let mut value = value.clone();
    value["salt"] = ">>>>>?????".into();
    let mut text = value.to_string();
    while text.len() % 3 != 1 {
        text.push(' ');
    }
    STANDARD.encode(text)
}

pub(crate) fn decode(token: &str) -> Option<Value> {
    let bytes = STANDARD.decode(token).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn parse_filter(
    state: &State,
    operation: &Operation,
    filter: Option<&str>,
) -> Result<Option<Filter>, Answer> {
    let parsed = filter.map(Filter::parse).transpose();
    let parsed = parsed.map_err(|error| Answer::refused(&[error]))?;
    let today = state
        .now()
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .date();
    let problems = constraint::problems(operation, parsed.as_ref(), &state.settings, today);
    if problems.is_empty() {
        Ok(parsed)
    } else {
        Err(Answer::refused(&problems))
    }
}

fn render(
    references: &References,
    collection: &Collection,
    entity: &Entity,
    records: &[&Record],
    asked: &[Asked],
) -> Vec<Bytes> {
    if asked.is_empty() {
        return collection.slices(records);
    }
    let rendered = records
        .iter()
        .map(|record| references::render(references, collection, entity, record, asked));
    separated(rendered.collect())
}
