//! Reads that Protime would refuse as one request, split into several.
//!
//! A date range above the documented year becomes windows. A long list of ids becomes several shorter ones. Splitting
//! maps one filter to several, so that every part is an ordinary request.

use std::collections::HashSet;

use jiff::civil::Date;
use jiff::{Span, ToSpan};
use url::Url;

use crate::catalogue::{FieldType, Operation};
use crate::filter::{Comparison, Constant, Factor, Filter, Operator};

/// The longest URL of a part, in characters. Protime refuses 4,096, and continuation tokens are added to the URL.
const LONGEST_URL: usize = 2_000;
/// More requests for one read are more likely a mistake than intended.
const MOST_PARTS: usize = 5_000;

/// The reason why a filter cannot be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The read cannot be split into windows as asked.
    #[error("window: {0}")]
    Window(String),
    /// The read would take too many requests.
    #[error(
        "query.filter: the read takes more than {most} requests ({windows} spans of dates, each with as many requests as its list of ids needs); choose a longer `window`, or shorten the list"
    )]
    TooManyParts {
        /// The number of date windows.
        windows: usize,
        /// The most requests that are allowed.
        most: usize,
    },
}

/// One filter for each window of dates.
fn windows(
    filter: &Filter,
    operation: &Operation,
    window: Option<Span>,
) -> Result<Vec<Filter>, SplitError> {
    let date = operation
        .filters
        .iter()
        .flatten()
        .find(|field| field.kind == FieldType::Date);
    let bounds = date.map(|field| (field, filter.date_bounds(field)));
    let (field, from, until) = match (bounds, window) {
        (Some((field, (Some(from), Some(until)))), _) => (field, from, until),
        (_, None) => return Ok(vec![filter.clone()]),
        (None, Some(_)) => {
            let problem = "this entity has no dates to split by".to_owned();
            return Err(SplitError::Window(problem));
        }
        (Some((field, _)), Some(_)) => {
            let name = field.name;
            let problem = format!("the filter needs `{name} ge '...' and {name} le '...'`");
            return Err(SplitError::Window(problem));
        }
    };
    let documented = field.max_range_years.map(|years| Span::new().years(years));
    let is_too_long = |span: &Span| until > from.saturating_add(*span);
    let Some(longest) = window.or_else(|| documented.filter(is_too_long)) else {
        return Ok(vec![filter.clone()]);
    };
    let spans = spans(from, until, longest)?;
    let with_span = |(start, end): (Date, Date)| {
        filter.mapped(&mut |comparison| with_bounds(comparison, field.name, start, end))
    };
    if spans.is_empty() {
        return Ok(vec![filter.clone()]);
    }
    Ok(spans.into_iter().map(with_span).collect())
}

/// The first and last day of each window between two dates. No window is longer than `longest`.
fn spans(from: Date, until: Date, longest: Span) -> Result<Vec<(Date, Date)>, SplitError> {
    let mut spans = Vec::new();
    let mut count = 0_i64;
    let mut start = from;
    while start <= until {
        count += 1;
        // Counted from the first day each time, so that a month after 31 January does not drift.
        let next = longest
            .checked_mul(count)
            .and_then(|span| from.checked_add(span))
            .map_err(|_| SplitError::Window("the span is out of range".to_owned()))?;
        if next <= start || spans.len() == MOST_PARTS {
            return Err(SplitError::Window(format!(
                "it makes more than {MOST_PARTS} windows; choose a longer one"
            )));
        }
        spans.push((start, next.saturating_sub(1.day()).min(until)));
        start = next;
    }
    Ok(spans)
}

fn with_bounds(comparison: &Comparison, name: &str, start: Date, end: Date) -> Comparison {
    let bound = match comparison.operator {
        Operator::Ge => start,
        Operator::Le => end,
        Operator::Eq | Operator::In => return comparison.clone(),
    };
    if comparison.field != name {
        return comparison.clone();
    }
    Comparison {
        factor: Factor::Constant(Constant::String(bound.to_string())),
        ..comparison.clone()
    }
}

/// The longest plain list of ids among the mandatory comparisons.
fn longest_list(filter: &Filter) -> Option<&Comparison> {
    filter
        .mandatory_comparisons()
        .into_iter()
        .filter(|comparison| {
            comparison.operator == Operator::In
                && items(comparison).is_some_and(|items| items.len() > 1)
        })
        .max_by_key(|comparison| items(comparison).map_or(0, <[_]>::len))
}

fn items(comparison: &Comparison) -> Option<&[Constant]> {
    match &comparison.factor {
        Factor::List { name: None, items } => Some(items),
        _ => None,
    }
}

fn with_items(filter: &Filter, list: &Comparison, items: &[Constant]) -> Filter {
    let factor = Factor::List {
        name: None,
        items: items.to_vec(),
    };
    filter.mapped(&mut |comparison| {
        if comparison == list {
            Comparison {
                factor: factor.clone(),
                ..list.clone()
            }
        } else {
            comparison.clone()
        }
    })
}

/// Two filters, each with half of the longest list. `None` if no list can be halved.
fn halves(filter: &Filter) -> Option<[Filter; 2]> {
    let list = longest_list(filter)?;
    let (first, second) = items(list)?.split_at(items(list)?.len() / 2);
    Some([
        with_items(filter, list, first),
        with_items(filter, list, second),
    ])
}

/// Two URLs of a read, each with half of the longest list in its filter. `None` if no list can be halved.
pub fn halves_of_url(url: &str) -> Option<[String; 2]> {
    let url = Url::parse(url).ok()?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let (_, filter) = pairs.iter().find(|(name, _)| name == "filter")?;
    let halves = halves(&filter.parse().ok()?)?;
    Some(halves.map(|half| {
        let mut url = url.clone();
        let half = half.to_string();
        let written = pairs.iter().map(|(name, value)| match name.as_str() {
            "filter" => (name, &half),
            _ => (name, value),
        });
        url.query_pairs_mut().clear().extend_pairs(written);
        url.into()
    }))
}

/// Splits a filter until each part's URL is short enough.
fn shortened(filter: Filter, url_length: &dyn Fn(&Filter) -> usize) -> Vec<Filter> {
    if url_length(&filter) < LONGEST_URL {
        return vec![filter];
    }
    let Some(list) = longest_list(&filter) else {
        return vec![filter];
    };
    let mut seen = HashSet::new();
    let all: Vec<Constant> = items(list)
        .into_iter()
        .flatten()
        .filter(|item| seen.insert(item.to_string()))
        .cloned()
        .collect();
    let mut parts = Vec::new();
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        // Binary search for the most items that fit.
        let (mut fits, mut too_many) = (1, rest.len() + 1);
        while too_many - fits > 1 {
            let middle = usize::midpoint(fits, too_many);
            if url_length(&with_items(&filter, list, &rest[..middle])) < LONGEST_URL {
                fits = middle;
            } else {
                too_many = middle;
            }
        }
        let (part, others) = rest.split_at(fits);
        parts.push(with_items(&filter, list, part));
        rest = others;
    }
    parts
}

/// Splits a filter into filters that Protime allows. Together they select the same records.
///
/// `window` is the longest span of dates in one filter, or the documented limit if it is `None`. `url_length` returns
/// the length of a filter's URL.
pub(crate) fn split(
    filter: &Filter,
    operation: &Operation,
    window: Option<Span>,
    url_length: &dyn Fn(&Filter) -> usize,
) -> Result<Vec<Filter>, SplitError> {
    let windows = windows(filter, operation, window)?;
    let window_count = windows.len();
    let mut parts = Vec::new();
    for filter in windows {
        parts.extend(shortened(filter, url_length));
        if parts.len() > MOST_PARTS {
            return Err(SplitError::TooManyParts {
                windows: window_count,
                most: MOST_PARTS,
            });
        }
    }
    Ok(parts)
}
