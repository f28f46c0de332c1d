//! Lists: filtered, cut into pages, continued by tokens; and deltas, which start as lists.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::ToSpan;
use protime::catalogue::{Entity, Operation, OperationKind};
use protime::filter::{Comparison, Condition, Constant, Factor, Filter, Operator, Severity, check};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::data::{Collection, Record, external_reference};
use crate::route::Call;
use crate::state::{Delta, State};

/// The pages of one query, made when it first came.
pub(crate) struct Listing {
    /// What tokens are bound to.
    query: String,
    pages: Vec<Vec<Bytes>>,
}

/// A list, the start of a delta, or the continuation of either.
pub(crate) fn list(
    state: &mut State,
    entity: &'static Entity,
    operation: &Operation,
    call: &Call,
) -> Answer {
    let starts_delta = call.query.iter().any(|(name, _)| name == "delta");
    let operation = match entity.operation(OperationKind::Delta) {
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
    let references = match references(call) {
        Ok(references) => references,
        Err(answer) => return answer,
    };
    let person = (operation.kind == OperationKind::ListForPerson)
        .then(|| call.parameter(0))
        .flatten();
    let bound_to = format!("{}?{:?}&{references:?}", call.path, call.get("filter"));

    if let Some(token) = call.get("continuationToken") {
        return continued(state, call, token, &bound_to);
    }
    let page_size = state.settings.page_size.max(1);
    let empty_after = state.settings.empty_pages_after.clone();
    let collection = state.collection(entity);
    let (records, changes) = (collection.records.len(), collection.changes.len());
    let key = format!("{bound_to}#{page_size}#{empty_after:?}#{records}#{changes}");
    let listing = if let Some(listing) = state.listings.get(&key) {
        listing.clone()
    } else {
        let collection = state.collection(entity);
        let matching: Vec<&Record> = collection
            .records
            .iter()
            .filter(|record| {
                person.is_none_or(|person| record.person.is_some_and(|id| id.to_string() == person))
            })
            .filter(|record| {
                filter
                    .as_ref()
                    .is_none_or(|filter| matches(filter, &mut Lazy::new(collection, record)))
            })
            .collect();
        let mut pages = Vec::new();
        for (number, records) in matching.chunks(page_size).enumerate() {
            pages.push(render(collection, entity, records, &references));
            if empty_after.contains(&number) {
                pages.push(Vec::new());
            }
        }
        let listing = Arc::new(Listing {
            query: bound_to,
            pages,
        });
        state.listings.insert(key.clone(), listing.clone());
        listing
    };
    let delta = starts_delta.then(|| start_delta(state, entity, call, references));
    page(state, call, &listing, &key, 0, delta)
}

/// A list of a collection that the catalogue lacks: its records, unfiltered.
pub(crate) fn list_unknown(state: &State, name: &str) -> Option<Answer> {
    let collection = state.known_collection(name)?;
    let records: Vec<&Record> = collection.records.iter().collect();
    Some(Answer::raw(
        200,
        envelope(&collection.slices(&records), None),
    ))
}

/// One record by its id, or by an external reference if the query names one of this collection.
pub(crate) fn get(state: &mut State, entity: &'static Entity, call: &Call) -> Answer {
    let references = match references(call) {
        Ok(references) => references,
        Err(answer) => return answer,
    };
    let collection = state.collection(entity);
    match find(collection, entity, &references, call.last_parameter()) {
        Err(answer) => answer,
        Ok(None) => Answer::error(404, "NotFound", "The resource does not exist."),
        Ok(Some(record)) => Answer::raw(200, render(collection, entity, &[record], &references)),
    }
}

pub(crate) fn find<'a>(
    collection: &'a Collection,
    entity: &Entity,
    references: &[(String, String)],
    id: &str,
) -> Result<Option<&'a Record>, Answer> {
    if let Some((name, reference)) = references.iter().find(|(name, _)| name == entity.name) {
        let wanted = Value::from(id);
        return Ok(collection
            .records
            .iter()
            .find(|record| external_reference(name, reference, &record.id) == wanted));
    }
    let is_guid = entity
        .properties
        .iter()
        .any(|property| property.name == "id" && property.kind.contains("GUID"));
    if !is_guid && id.parse::<u64>().is_err() {
        return Err(Answer::error(
            400,
            "BadRequest",
            "The id is not an integer.",
        ));
    }
    Ok(collection.find(id))
}

/// The answer to a poll of a delta: everything since the token's cursor, in one page.
pub(crate) fn poll(
    state: &mut State,
    entity: &'static Entity,
    client_id: &str,
    call: &Call,
) -> Answer {
    let gone = || {
        Answer::error(
            410,
            "Gone",
            "The delta token has expired; start again with a full load.",
        )
    };
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
    if foreign || now > delta.last_request + 72.hours() || (once && delta.used.contains(&token)) {
        return gone();
    }
    delta.last_request = now;
    delta.used.push(token);
    let filter = delta
        .filter
        .as_deref()
        .and_then(|filter| filter.parse::<Filter>().ok());
    let references = delta.references.clone();

    let collection = state.collection(entity);
    let since = usize::try_from(cursor)
        .unwrap_or(0)
        .min(collection.changes.len());
    let recent = &collection.changes[since..];
    let mut items = Vec::new();
    for (index, change) in recent.iter().enumerate() {
        if recent[index + 1..]
            .iter()
            .any(|later| later.id == change.id)
        {
            continue;
        }
        match collection.find(&change.id) {
            Some(record) => {
                if filter
                    .as_ref()
                    .is_some_and(|filter| !matches(filter, &mut Lazy::new(collection, record)))
                {
                    continue;
                }
                let record = render(collection, entity, &[record], &references).concat();
                items.push(
                    [
                        br#"{"changeType":"InsertOrUpdate","data":"#,
                        record.as_slice(),
                        b"}",
                    ]
                    .concat()
                    .into(),
                );
            }
            None if change.deleted => {
                let id: Value = change
                    .id
                    .parse::<u64>()
                    .map_or_else(|_| change.id.clone().into(), Value::from);
                let data = json!({"changeVersion": change.version, "id": id});
                items.push(Bytes::from(
                    json!({"changeType": "Delete", "data": data}).to_string(),
                ));
            }
            None => {}
        }
    }
    let cursor = collection.changes.len();
    let link = delta_link(state, entity, id, cursor);
    Answer::raw(200, envelope(&separated(items), Some(("deltaLink", &link))))
}

fn start_delta(
    state: &mut State,
    entity: &'static Entity,
    call: &Call,
    references: Vec<(String, String)>,
) -> u64 {
    if state.settings.one_delta_per_collection {
        state
            .deltas
            .retain(|_, delta| !(delta.entity == entity.name && delta.client_id == call.client_id));
    }
    let id = state.next_delta();
    let last_request = state.now();
    let filter = call.get("filter").map(str::to_owned);
    let delta = Delta {
        client_id: call.client_id.clone(),
        entity: entity.name,
        filter,
        references,
        last_request,
        used: Vec::new(),
    };
    state.deltas.insert(id, delta);
    id
}

fn delta_link(state: &State, entity: &Entity, id: u64, cursor: usize) -> String {
    let token = encode(
        &json!({"DeltaId": id, "StartingCursor": cursor, "TimeStamp": state.now().to_string()}),
    );
    format!(
        "{}/delta/{}?deltaToken={token}",
        protime::API_PATH,
        entity.name
    )
}

/// The page of a continuation token, which only fits the query it was made for.
fn continued(state: &mut State, call: &Call, token: &str, bound_to: &str) -> Answer {
    let invalid = || {
        Answer::refused(&[
            "the continuationToken is not valid for this query, or has expired".to_owned(),
        ])
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
            None => return Answer::error(410, "Gone", "The delta has ended."),
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

/// One page with its link. In the documentation's samples links are not percent-encoded, so these are not.
fn page(
    state: &mut State,
    call: &Call,
    listing: &Listing,
    key: &str,
    number: usize,
    delta: Option<u64>,
) -> Answer {
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
    let entity = state
        .deltas
        .get(&id)
        .and_then(|delta| State::entity(delta.entity));
    let Some(entity) = entity else {
        return Answer::error(410, "Gone", "The delta has ended.");
    };
    let cursor = state.collection(entity).changes.len();
    let link = delta_link(state, entity, id, cursor);
    Answer::raw(200, envelope(slices, Some(("deltaLink", &link))))
}

fn envelope(slices: &[Bytes], link: Option<(&str, &str)>) -> Vec<Bytes> {
    let mut body = vec![Bytes::from_static(br#"{"value":["#)];
    body.extend_from_slice(slices);
    body.push(match link {
        Some((name, link)) => format!(r#"],"{name}":{}}}"#, Value::from(link)).into(),
        None => Bytes::from_static(b"]}"),
    });
    body
}

fn separated(items: Vec<Bytes>) -> Vec<Bytes> {
    let mut parts = Vec::new();
    for item in items {
        if !parts.is_empty() {
            parts.push(Bytes::from_static(b","));
        }
        parts.push(item);
    }
    parts
}

/// Base64 of JSON, with the characters that are damaged by careless encoding: `+`, `/` and `=`.
fn encode(value: &Value) -> String {
    let mut text = format!("{}{}", value, " >>>>???? ");
    while text.len() % 3 != 1 {
        text.push(' ');
    }
    STANDARD.encode(text)
}

fn decode(token: &str) -> Option<Value> {
    let bytes = STANDARD.decode(token).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    serde_json::from_str(text.split(" >>>>").next()?).ok()
}

fn parse_filter(
    state: &State,
    operation: &Operation,
    filter: Option<&str>,
) -> Result<Option<Filter>, Answer> {
    let parsed = filter
        .map(str::parse::<Filter>)
        .transpose()
        .map_err(|error| Answer::refused(&[error.to_string()]))?;
    let today = state
        .now()
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .date();
    let errors: Vec<String> = check(parsed.as_ref(), operation, today)
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.message)
        .collect();
    if errors.is_empty() {
        Ok(parsed)
    } else {
        Err(Answer::refused(&errors))
    }
}

/// `(people,@badge-number)(terminals,@external-code)`.
pub(crate) fn references(call: &Call) -> Result<Vec<(String, String)>, Answer> {
    let Some(text) = call.get("externalReferences") else {
        return Ok(Vec::new());
    };
    let malformed = || {
        Answer::refused(&["externalReferences must be written (collection,reference)".to_owned()])
    };
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .ok_or_else(malformed)?;
    inner
        .split(")(")
        .map(|pair| {
            pair.split_once(',')
                .map(|(name, reference)| (name.trim().to_owned(), reference.trim().to_owned()))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(malformed)
}

/// Records as they are served: untouched, unless external references are to be added.
fn render(
    collection: &Collection,
    entity: &Entity,
    records: &[&Record],
    references: &[(String, String)],
) -> Vec<Bytes> {
    if references.is_empty() {
        return collection.slices(records);
    }
    let rendered = records.iter().map(|record| {
        let mut text = String::from_utf8_lossy(&collection.text(record)).into_owned();
        for (name, reference) in references {
            text = with_reference(&text, entity.name == name, name, reference);
        }
        Bytes::from(text)
    });
    separated(rendered.collect())
}

/// Adds the reference beside the ids of objects that belong to the collection, by the property's name. It is
/// put into the text, so that everything else stays as it was.
fn with_reference(text: &str, is_own: bool, collection: &str, reference: &str) -> String {
    let singular = match collection {
        "people" => "person".to_owned(),
        other => other.trim_end_matches('s').replace('-', ""),
    };
    let added = |id: &str| {
        let value = external_reference(collection, reference, id.trim_matches('"'));
        format!(r#","externalReferences":{}"#, json!({reference: value}))
    };
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(r#"":{"id":"#) {
        let name = before
            .rsplit('"')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let id = &after[..after.find(['}', ',']).unwrap_or(after.len())];
        result.push_str(before);
        result.push_str(r#"":{"id":"#);
        result.push_str(id);
        if name.ends_with(&singular) {
            result.push_str(&added(id));
        }
        rest = &after[id.len()..];
    }
    result.push_str(rest);
    if is_own
        && let Ok(value) = serde_json::from_str::<Value>(&result)
        && let Some(end) = result.rfind('}')
    {
        let id = value["id"]
            .as_str()
            .map_or_else(|| value["id"].to_string(), str::to_owned);
        result.insert_str(end, &added(&id));
    }
    result
}

/// A record whose JSON is only read when a filter needs it.
struct Lazy<'a> {
    collection: &'a Collection,
    record: &'a Record,
    value: Option<Value>,
}

impl<'a> Lazy<'a> {
    fn new(collection: &'a Collection, record: &'a Record) -> Self {
        Self {
            collection,
            record,
            value: None,
        }
    }

    /// The property that a filter field stands for.
    fn property(&mut self, field: &str) -> Value {
        let value = self
            .value
            .get_or_insert_with(|| self.collection.value(self.record));
        match field {
            "counter-definition" | "counter-definitions" => {
                value["counterDefinition"]["id"].clone()
            }
            "counter-group" => value["counterGroup"]["id"].clone(),
            "enabled" => value["isEnabled"].clone(),
            "collection-name" => value["collectionName"].clone(),
            field => value[field].clone(),
        }
    }
}

fn matches(filter: &Filter, record: &mut Lazy<'_>) -> bool {
    filter.terms.iter().any(|term| {
        term.conditions.iter().all(|condition| match condition {
            Condition::Group(filter) => matches(filter, record),
            Condition::Simple(comparison) => compare(comparison, record),
        })
    })
}

fn compare(comparison: &Comparison, record: &mut Lazy<'_>) -> bool {
    let Comparison {
        field,
        operator,
        factor,
    } = comparison;
    if field == "date" {
        let Factor::Constant(Constant::String(text)) = factor else {
            return false;
        };
        let (Some(date), Ok(bound)) = (record.record.date, text.parse()) else {
            return false;
        };
        return match operator {
            Operator::Ge => date >= bound,
            Operator::Le => date <= bound,
            Operator::Eq => date == bound,
            Operator::In => false,
        };
    }
    let value = if field == "person" {
        record.record.person.map_or(Value::Null, Value::from)
    } else {
        record.property(field)
    };
    let equals = |constant: &Constant| match constant {
        Constant::Integer(integer) => value.as_i64() == Some(*integer),
        Constant::String(text) => value.as_str() == Some(text),
        Constant::Boolean(boolean) => value.as_bool() == Some(*boolean),
    };
    match factor {
        Factor::Constant(constant) => equals(constant),
        Factor::List { name: None, items } => items.iter().any(equals),
        // Who is in a circle or group is not the documentation's to say: here, everyone with that last digit.
        Factor::List {
            name: Some(_),
            items,
        } => items.iter().any(|item| match (item, value.as_i64()) {
            (Constant::Integer(group), Some(id)) => group.rem_euclid(10) == id.rem_euclid(10),
            _ => false,
        }),
    }
}
