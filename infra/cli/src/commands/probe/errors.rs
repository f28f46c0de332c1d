//! Questions about refusals.

use protime::API_PATH;

use super::ask::{Answer, Ask, Content, List, Reply, Variation};
use super::known::Known;
use super::prober::narrow_scope;
use super::questions::Finding;
use super::records::one;
use super::shape::shape;

/// So many ids make the URL longer than the documented limit of 4,096 characters.
const TOO_MANY_IDS: usize = 2_000;

/// Ids that most likely no tenant has: the largest 32-bit number and the nil GUID.
const UNKNOWN_IDS: [&str; 2] = ["2147483647", "00000000-0000-0000-0000-000000000000"];

/// Requests that the documentation says are refused.
pub(super) fn refusals(known: &Known) -> Vec<Ask> {
    let with_filter = known.fields().next();
    let Some((list, field)) = with_filter else {
        return Vec::new();
    };
    let path = list.operation.path;
    let filters = [
        ("malformed filter", "probe".to_owned()),
        (
            "operator outside of the grammar",
            format!("{} ne 1", field.name),
        ),
        ("field that does not exist", "no-such-field eq 1".to_owned()),
        (
            "URL of more than 4,096 characters",
            format!("{} in ({})", field.name, vec!["1"; TOO_MANY_IDS].join(",")),
        ),
    ];
    let mut asks: Vec<Ask> = filters
        .iter()
        .map(|(what, filter)| {
            let filter = known.also(list.operation, filter);
            Ask::new(*what, list.entity.name, known.target(path, Some(&filter)))
        })
        .collect();
    asks.extend(without_required(known));
    let least = known.target(path, known.least(list.operation).as_deref());
    let separator = if least.contains('?') { '&' } else { '?' };
    let parameter = format!("{least}{separator}no-such-parameter=1");
    asks.push(Ask::new(
        "parameter that does not exist",
        list.entity.name,
        parameter,
    ));
    asks.extend(unknown_ids(known));
    let nowhere = format!("{API_PATH}/no-such-collection");
    asks.push(Ask::new("collection that does not exist", "", nowhere));
    asks
}

fn without_required(known: &Known) -> Option<Ask> {
    let (list, _) = known.fields().find(|(_, field)| field.required)?;
    let target = known.target(list.operation.path, None);
    Some(Ask::new(
        "no filter where one is required",
        list.entity.name,
        target,
    ))
}

fn unknown_ids(known: &Known) -> Vec<Ask> {
    let Some(list) = known.lists.iter().find(|list| one(list, "").is_some()) else {
        return Vec::new();
    };
    let is_guid = |list: &List| list.id().is_some_and(|id| id.len() == UNKNOWN_IDS[1].len());
    let unknown = UNKNOWN_IDS[usize::from(is_guid(list))];
    let ids = [
        ("id that does not exist", unknown),
        ("id of another type", "no-such-id"),
    ];
    let asks = ids
        .into_iter()
        .filter_map(|(what, id)| Some(Ask::new(what, list.entity.name, one(list, id)?)));
    asks.collect()
}

/// Reads a list with a token whose scope is for another list.
pub(super) fn missing_scope(known: &Known) -> Vec<Ask> {
    let Some(scope) = narrow_scope(&known.settings.scopes) else {
        return Vec::new();
    };
    let other = known
        .lists
        .iter()
        .find(|list| !list.operation.needed_scopes().contains(scope));
    let ask = other.map(|list| {
        least(
            "list, with a token of another scope",
            known,
            list,
            Variation::NarrowToken,
        )
    });
    ask.into_iter().collect()
}

pub(super) fn without_user_agent(known: &Known) -> Vec<Ask> {
    let list = known.lists.first();
    let ask = list.map(|list| least("list", known, list, Variation::WithoutUserAgent));
    ask.into_iter().collect()
}

/// Reads the smallest part of a list that its required filter allows.
pub(super) fn least(what: &str, known: &Known, list: &List, variation: Variation) -> Ask {
    let filter = known.least(list.operation);
    let target = known.target(list.operation.path, filter.as_deref());
    Ask::new(what, list.entity.name, target).varied(variation)
}

/// The status and the shape of each answer. A success shows the status only, since its shape is documented.
pub(super) fn shapes(_: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let seen = |answer: &Answer| match &answer.content {
        _ if answer.status < 300 => answer.status.to_string(),
        Content::Empty => format!("{}, no body", answer.status),
        Content::Json(body) => format!("{} {}", answer.status, shape(body)),
        Content::Other => format!("{}, a body that is not JSON", answer.status),
    };
    let findings = replies.iter().map(|reply| match &reply.outcome {
        Ok(answer) => Finding::of(reply, seen(answer)),
        Err(reason) => Finding::of(reply, reason.clone()),
    });
    findings.collect()
}
