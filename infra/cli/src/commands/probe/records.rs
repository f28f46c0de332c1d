//! Questions about lists, their pages and their records.

use protime::API_PATH;
use protime::catalogue::{OperationKind, catalogue};

use super::ask::{Ask, List, Reply, Variation};
use super::known::Known;
use super::questions::{Finding, statuses};
use crate::wording::counted;

/// How many answers are requested again with their `ETag`.
const MOST_ETAGS: usize = 3;

/// Characters, and their encoding for a path.
const CHARACTERS: [(&str, &str); 14] = [
    ("a letter", "a"),
    ("/", "%2F"),
    ("\\", "%5C"),
    ("%", "%25"),
    ("?", "%3F"),
    ("#", "%23"),
    (":", "%3A"),
    ("&", "%26"),
    ("+", "%2B"),
    ("*", "%2A"),
    ("<", "%3C"),
    ("|", "%7C"),
    ("'", "%27"),
    ("a space", "%20"),
];

pub(super) fn lists(known: &Known) -> Vec<Ask> {
    let asks = known.readable().map(|(entity, operation)| {
        let filter = known.recent(operation);
        Ask::new(
            "list",
            entity.name,
            known.target(operation.path, filter.as_deref()),
        )
    });
    asks.collect()
}

pub(super) fn note_lists(known: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let read: Vec<List> = known
        .readable()
        .zip(replies)
        .filter_map(|((entity, operation), reply)| {
            let first = reply.success()?;
            first.records()?;
            Some(List {
                entity,
                operation,
                target: reply.target.clone(),
                first: first.clone(),
            })
        })
        .collect();
    known.lists = read;
    let others = known.out_of_scope().map(|entity| Finding {
        what: "list".to_owned(),
        entity: entity.name,
        seen: "not asked: the secret has no scope for it".to_owned(),
    });
    let others: Vec<Finding> = others.collect();
    let mut findings = statuses(known, replies);
    findings.extend(others);
    findings
}

pub(super) fn page_sizes(known: &mut Known, _: &[Reply]) -> Vec<Finding> {
    let seen = |list: &List| {
        let records = list.first.records().map_or(0, Vec::len) as u64;
        match list.first.next_link() {
            Some(_) => format!("{}, and a nextLink", counted(records, "record")),
            None => "no nextLink".to_owned(),
        }
    };
    let lists = known.lists.iter();
    lists
        .map(|list| Finding {
            what: "first page".to_owned(),
            entity: list.entity.name,
            seen: seen(list),
        })
        .collect()
}

pub(super) fn next_page_twice(known: &Known) -> Vec<Ask> {
    let linked = |list: &List| Some((list.first.next_link()?.to_owned(), list.target.clone()));
    let found = known
        .lists
        .iter()
        .find_map(|list| Some((list, linked(list)?)));
    let Some((list, (link, target))) = found else {
        return Vec::new();
    };
    let asks = ["the first time", "the second time"].map(|what| {
        Ask::new(what, list.entity.name, link.clone()).varied(Variation::LinkIn(target.clone()))
    });
    asks.into()
}

pub(super) fn compare(known: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let mut findings = statuses(known, replies);
    if let [first, second] = replies
        && let (Some(first), Some(second)) = (first.success(), second.success())
    {
        let is_same = first.records() == second.records();
        let seen = if is_same { "the same" } else { "different" };
        findings.push(Finding::general("records of both", seen));
    }
    findings
}

pub(super) fn single(known: &Known) -> Vec<Ask> {
    let asks = known.lists.iter().filter_map(|list| {
        let target = one(list, &list.id()?)?;
        Some(Ask::new("one record", list.entity.name, target))
    });
    asks.collect()
}

/// The target of one record. `None` if its path takes more than an id.
pub(super) fn one(list: &List, id: &str) -> Option<String> {
    let operation = list.entity.operation(OperationKind::GetById)?;
    let (before, after) = operation.path.split_once('{')?;
    let (_, after) = after.split_once('}')?;
    let takes_more = after.contains('{');
    (!takes_more).then(|| format!("{API_PATH}{before}{id}{after}"))
}

pub(super) fn note_etags(known: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let seen = |has_etag| if has_etag { "ETag" } else { "no ETag" };
    let mut findings: Vec<Finding> = known
        .lists
        .iter()
        .map(|list| Finding {
            what: "list".to_owned(),
            entity: list.entity.name,
            seen: seen(list.first.headers.contains_key("etag")).to_owned(),
        })
        .collect();
    for reply in replies {
        let seen = match &reply.outcome {
            Ok(answer) => {
                let etag = answer.headers.get("etag");
                let noted = etag.map(|etag| (reply.entity, reply.target.clone(), etag.clone()));
                known.etags.extend(noted);
                format!("{}, {}", answer.status, seen(etag.is_some()))
            }
            Err(reason) => reason.clone(),
        };
        findings.push(Finding::of(reply, seen));
    }
    findings
}

pub(super) fn again_with_etags(known: &Known) -> Vec<Ask> {
    let etags = known.etags.iter().take(MOST_ETAGS);
    etags
        .map(|(entity, target, etag)| {
            let ask = Ask::new("one record, with If-None-Match", entity, target.clone());
            ask.varied(Variation::IfNoneMatch(etag.clone()))
        })
        .collect()
}

/// External references that nothing has, for an entity other than people.
pub(super) fn path_characters(known: &Known) -> Vec<Ask> {
    let predefined = |list: &List| {
        let references = catalogue().predefined_external_references(list.entity.name);
        references.first().copied()
    };
    let found = known
        .lists
        .iter()
        .filter(|list| list.entity.name != "people")
        .find_map(|list| Some((list, predefined(list)?)));
    let Some((list, reference)) = found else {
        return Vec::new();
    };
    let name = list.entity.name;
    let asks = CHARACTERS.iter().filter_map(|(what, encoded)| {
        let target = one(list, &format!("no-such{encoded}reference"))?;
        let target = format!("{target}?externalReferences=({name},{reference})");
        Some(Ask::new(*what, name, target))
    });
    asks.collect()
}
