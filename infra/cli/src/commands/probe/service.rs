//! Questions about tokens, headers and the transport.

use super::ask::{Ask, Reply, Variation};
use super::errors::least;
use super::known::Known;
use super::questions::Finding;

/// Parts of header names that may tell the rate limit.
const ABOUT_RATES: [&str; 5] = ["rate", "limit", "retry", "quota", "throttl"];

pub(super) fn token(known: &mut Known, _: &[Reply]) -> Vec<Finding> {
    let facts = &known.token;
    vec![
        Finding::general("life of a token", facts.life.as_str()),
        Finding::general("scopes granted of those asked for", facts.granted.as_str()),
        Finding::general("scope that does not exist", facts.unknown_scope.as_str()),
    ]
}

pub(super) fn compressed(known: &Known) -> Vec<Ask> {
    let list = known.lists.first();
    let ask = list.map(|list| least("list", known, list, Variation::Gzip));
    ask.into_iter().collect()
}

pub(super) fn encodings(_: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let seen = |reply: &Reply| match &reply.outcome {
        Ok(answer) => match answer.headers.get("content-encoding") {
            Some(encoding) if encoding == "gzip" => format!("{}, gzip", answer.status),
            Some(_) => format!("{}, compressed in another way", answer.status),
            None => format!("{}, not compressed", answer.status),
        },
        Err(reason) => reason.clone(),
    };
    let findings = replies.iter().map(|reply| Finding::of(reply, seen(reply)));
    findings.collect()
}

pub(super) fn headers(known: &mut Known, _: &[Reply]) -> Vec<Finding> {
    let traffic = &known.traffic;
    let names: Vec<&str> = traffic.headers.iter().map(String::as_str).collect();
    let about_rates: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| ABOUT_RATES.iter().any(|part| name.contains(part)))
        .collect();
    let listed = |names: &[&str]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let refused = traffic.refused_for_rate;
    vec![
        Finding::general("headers", listed(&names)),
        Finding::general("headers about rates", listed(&about_rates)),
        Finding::general(
            "refused with 429",
            format!("{refused} of {} requests", traffic.sent),
        ),
    ]
}
