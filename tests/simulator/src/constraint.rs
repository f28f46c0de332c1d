//! The rules of an operation for its filter. Where the documentation is open, the stricter reading is the default.

use jiff::ToSpan;
use jiff::civil::{Date, date};

use crate::documentation::{self, FilterKind, Kind, Operation};
use crate::filter::{Condition, Constant, Factor, Filter, Operator};
use crate::settings::Settings;

/// The rules that a filter breaks. Empty if the operation accepts it.
pub(crate) fn problems(
    operation: &Operation,
    filter: Option<&Filter>,
    settings: &Settings,
    today: Date,
) -> Vec<String> {
    // §3.1: missing or malformed → `400`
    let Some(documented) = &operation.filters else {
        // The table of filters could not be read, as for people.
        return match filter {
            Some(_) if !settings.filters_not_documented => {
                vec!["this collection takes no filter".to_owned()]
            }
            _ => Vec::new(),
        };
    };
    let mut problems = Vec::new();
    let comparisons = filter.map(Filter::comparisons).unwrap_or_default();
    for (field, operator, factor) in comparisons {
        match documented.iter().find(|known| known.name == field) {
            None => problems.push(format!("{field} is not a filter of this collection")),
            Some(known) => problems.extend(misused(known, operator, factor, settings)),
        }
    }
    problems.extend(filter.and_then(|filter| joined_by_or(filter, settings)));
    for field in documented {
        if field.kind == FilterKind::Date {
            let range = range(filter, &field.name);
            problems.extend(out_of_range(operation, field, &range, today));
        }
    }
    problems
}

/// The problem with a comparison that the field does not accept.
fn misused(
    field: &documentation::Filter,
    operator: Operator,
    factor: &Factor,
    settings: &Settings,
) -> Option<String> {
    let name = &field.name;
    let takes_list = operator == Operator::In;
    if takes_list != matches!(factor, Factor::List { .. }) {
        return Some(format!("{name}: only `in` takes a list"));
    }
    if !field.operators.contains(&operator) && !settings.operators_not_documented {
        return Some(format!("{name} does not take this operator"));
    }
    if let Factor::List {
        name: Some(list), ..
    } = factor
    {
        let known =
            list == "circle" || list == "org-group" || (list == "org-tree" && settings.org_tree);
        if name != "person" || !known {
            return Some(format!("{name}: there is no list {list}"));
        }
    }
    let fits = |constant: &Constant| match (field.kind, constant) {
        (FilterKind::Ids, Constant::Integer(_))
        | (FilterKind::Boolean, Constant::Boolean(_))
        | (FilterKind::String, Constant::Text(_)) => true,
        (FilterKind::Date, Constant::Text(text)) => is_date(text),
        (FilterKind::Enum, Constant::Text(text)) => field
            .values
            .as_ref()
            .is_none_or(|values| values.contains(text)),
        _ => false,
    };
    (!factor.constants().iter().all(fits)).then(|| format!("{name}: the value has the wrong type"))
}

/// Whether the text is `YYYY-MM-DD`: a library may accept other forms as dates too.
fn is_date(text: &str) -> bool {
    text.parse::<Date>()
        .is_ok_and(|date| date.to_string() == text)
}

/// The problem with an `or`. It is for fields of the category Multiple, which the documentation shows for `kind` only.
fn joined_by_or(filter: &Filter, settings: &Settings) -> Option<String> {
    // §3.1: `or` works only on fields of constraint category **Multiple**
    if filter.terms.len() > 1 {
        let mut fields = filter.comparisons().into_iter().map(|(field, ..)| field);
        let single =
            fields.find(|field| !settings.multiple_fields.iter().any(|known| known == field));
        return single.map(|field| format!("{field} cannot be joined by or"));
    }
    let mut conditions = filter.terms.iter().flatten();
    conditions.find_map(|condition| match condition {
        Condition::Group(filter) => joined_by_or(filter, settings),
        Condition::Simple { .. } => None,
    })
}

/// The range of dates that a filter without `or` selects.
#[derive(Default)]
struct Range {
    from: Option<Date>,
    until: Option<Date>,
}

fn range(filter: Option<&Filter>, wanted: &str) -> Range {
    let mut range = Range::default();
    let Some(Filter { terms }) = filter else {
        return range;
    };
    let [term] = terms.as_slice() else {
        return range;
    };
    for condition in term {
        match condition {
            Condition::Simple {
                field,
                operator,
                factor: Factor::Constant(Constant::Text(text)),
            } if field == wanted => {
                let date = text.parse().ok();
                if matches!(operator, Operator::Ge | Operator::Eq) {
                    range.from = range.from.max(date);
                }
                if matches!(operator, Operator::Le | Operator::Eq) {
                    range.until = earlier(range.until, date);
                }
            }
            Condition::Group(filter) => {
                let inner = self::range(Some(filter), wanted);
                range.from = range.from.max(inner.from);
                range.until = earlier(range.until, inner.until);
            }
            Condition::Simple { .. } => {}
        }
    }
    range
}

fn earlier(one: Option<Date>, other: Option<Date>) -> Option<Date> {
    one.into_iter().chain(other).min()
}

/// The problem with a range that is too long. The documentation does not say whether its ends may be 365 or 366 days
/// apart. Here the last day must come before the same day of the next year.
fn out_of_range(
    operation: &Operation,
    field: &documentation::Filter,
    range: &Range,
    today: Date,
) -> Option<String> {
    // §3.2: `date` mandatory, span at most **1 year**
    // §3.2: earliest start **1 January of the previous year**
    let name = &field.name;
    let Some(from) = range.from else {
        return field
            .required
            .then(|| format!("{name} is required, with a start"));
    };
    let is_delta = operation.kind == Kind::Delta;
    if is_delta && from < date(today.year() - 1, 1, 1) {
        return Some(format!(
            "{name}: a delta starts on 1 January of the previous year at the earliest"
        ));
    }
    // A list may leave the end open, as in `tutorials/real-time-sync`. It then ends today.
    let until = match range.until {
        None if is_delta => return None,
        until => until.unwrap_or(today),
    };
    let is_limited = field.max_range.is_some();
    let too_long = is_limited && from.checked_add(1.year()).is_ok_and(|limit| until >= limit);
    too_long.then(|| format!("{name}: the range is longer than one year"))
}
