//! Questions about filters.

use jiff::ToSpan as _;
use protime::catalogue::{FieldType, FilterField};
use protime::filter::Operator;

use super::ask::{Ask, List, Reply};
use super::known::{Known, SPACES, between, target};
use super::questions::{Finding, statuses};

/// How many lists are read to find out how spaces are written: the tenant may lack the feature of one.
const LISTS_FOR_SPACES: usize = 3;

const OPERATORS: [Operator; 4] = [Operator::Eq, Operator::Ge, Operator::Le, Operator::In];

/// Conditions for lists whose filters the documentation does not show. The names are those of other lists' filters, and
/// properties in the same style.
const NOT_DOCUMENTED: [&str; 6] = [
    "person in (1)",
    "id in (1)",
    "department in (1)",
    "employee-number eq 'probe'",
    "badge-number eq 'probe'",
    "in-service-date ge '2100-01-01'",
];

const NAMED_LISTS: [&str; 3] = ["org-group", "org-tree", "circle"];

/// Ways to write a string that contains a quote. The first has none, for comparison.
const QUOTES: [(&str, &str); 4] = [
    ("no quote", "'ab'"),
    ("quote doubled", "'a''b'"),
    ("quote after a backslash", r"'a\'b'"),
    ("quote as it is", "'a'b'"),
];

/// Values in spellings that the documentation does not show, by type. `DATE` stands for today.
const CONSTANTS: [(FieldType, &str); 10] = [
    (FieldType::Boolean, "true"),
    (FieldType::Boolean, "True"),
    (FieldType::Boolean, "'true'"),
    (FieldType::Boolean, "1"),
    (FieldType::Date, "'DATE'"),
    (FieldType::Date, "DATE"),
    (FieldType::Date, "'DATET00:00:00'"),
    (FieldType::IdList, "(1)"),
    (FieldType::IdList, "('1')"),
    (FieldType::IdList, "(1,1)"),
];

/// Ranges of dates, by the days that they lack to a year. `None` means no end.
const SPANS: [(&str, Option<i64>); 4] = [
    ("to the day before that of the next year", Some(1)),
    ("to the same day of the next year", Some(0)),
    ("to the day after that of the next year", Some(-1)),
    ("without an end", None),
];

pub(super) fn spaces(known: &Known) -> Vec<Ask> {
    let filtered = known.readable().filter_map(|(entity, operation)| {
        let filter = known.least(operation).or_else(|| {
            let field = operation.filters.iter().flatten().next()?;
            Some(documented(known, field))
        });
        Some((entity.name, operation.path, filter?))
    });
    filtered
        .take(LISTS_FOR_SPACES)
        .flat_map(|(entity, path, filter)| {
            SPACES.map(|space| Ask::new(space, entity, target(path, Some(&filter), space)))
        })
        .collect()
}

pub(super) fn note_spaces(known: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let is_taken = |space: &&&str| {
        let mut same = replies.iter().filter(|reply| reply.what == **space);
        same.any(|reply| reply.success().is_some())
    };
    if let Some(taken) = SPACES.iter().find(is_taken) {
        known.space = taken;
    }
    statuses(known, replies)
}

pub(super) fn operators(known: &Known) -> Vec<Ask> {
    let open = known.fields().flat_map(|(list, field)| {
        let open = OPERATORS
            .into_iter()
            .filter(|operator| !field.operators.contains(operator));
        open.map(move |operator| (list, field, operator))
    });
    open.map(|(list, field, operator)| {
        let condition = comparison(known, field, operator);
        let what = format!("{} {operator}", field.name);
        filtered(known, list, what, &condition)
    })
    .collect()
}

pub(super) fn fields_not_documented(known: &Known) -> Vec<Ask> {
    let lists = known.lists.iter();
    let guessed = lists
        .filter(|list| list.operation.filters.is_none())
        .flat_map(|list| NOT_DOCUMENTED.map(|filter| filtered(known, list, filter, filter)));
    let older = known.fields().flat_map(|(list, field)| {
        let names = field.aliases.iter().copied();
        names.map(move |name| {
            let condition = documented(known, field).replacen(field.name, name, 1);
            filtered(known, list, condition.as_str(), &condition)
        })
    });
    guessed.chain(older).collect()
}

pub(super) fn joined_by_or(known: &Known) -> Vec<Ask> {
    let asks = known.fields().map(|(list, field)| {
        let condition = documented(known, field);
        filtered(
            known,
            list,
            field.name,
            &format!("({condition} or {condition})"),
        )
    });
    asks.collect()
}

pub(super) fn named_lists(known: &Known) -> Vec<Ask> {
    let Some((list, field)) = known.fields().find(|(_, field)| field.name == "person") else {
        return Vec::new();
    };
    let asks = NAMED_LISTS.map(|name| {
        let condition = format!("{} in {name}(1)", field.name);
        filtered(known, list, name, &condition)
    });
    asks.into()
}

pub(super) fn quotes(known: &Known) -> Vec<Ask> {
    let Some((list, field)) = known.with_field(FieldType::String) else {
        return Vec::new();
    };
    let asks = QUOTES.map(|(what, text)| {
        let condition = format!("{} eq {text}", field.name);
        filtered(known, list, format!("{what}: {text}"), &condition)
    });
    asks.into()
}

pub(super) fn constants(known: &Known) -> Vec<Ask> {
    let asks = CONSTANTS.iter().filter_map(|(kind, text)| {
        let (list, field) = known.with_field(*kind)?;
        let operator = field.operators.first()?;
        let value = text.replace("DATE", &known.today.to_string());
        let condition = format!("{} {operator} {value}", field.name);
        Some(filtered(
            known,
            list,
            format!("{} {operator} {text}", field.name),
            &condition,
        ))
    });
    asks.collect()
}

pub(super) fn ranges(known: &Known) -> Vec<Ask> {
    let Some((list, _)) = known
        .fields()
        .find(|(_, field)| field.required && field.max_range_years.is_some())
    else {
        return Vec::new();
    };
    let today = known.today;
    let asks = SPANS.map(|(what, days)| {
        let (from, until) = match days {
            Some(days) => {
                let from = today.saturating_sub(1.year()).saturating_add(days.days());
                (from, Some(today))
            }
            None => (today, None),
        };
        let filter = between(list.operation, from, until);
        let target = known.target(list.operation.path, filter.as_deref());
        Ask::new(what, list.entity.name, target)
    });
    asks.into()
}

/// Reads the list with its required filter and this condition.
fn filtered(known: &Known, list: &List, what: impl Into<String>, condition: &str) -> Ask {
    let filter = known.also(list.operation, condition);
    let target = known.target(list.operation.path, Some(&filter));
    Ask::new(what, list.entity.name, target)
}

/// A condition with an operator that the documentation shows with the field.
pub(super) fn documented(known: &Known, field: &FilterField) -> String {
    let operator = field.operators.first().copied();
    comparison(known, field, operator.unwrap_or(Operator::Eq))
}

/// A condition with a value that probably matches no record.
fn comparison(known: &Known, field: &FilterField, operator: Operator) -> String {
    let value = match field.kind {
        FieldType::IdList => "1".to_owned(),
        FieldType::Boolean => "true".to_owned(),
        FieldType::Date => format!("'{}'", known.today),
        FieldType::Enum => format!("'{}'", field.values.first().unwrap_or(&"probe")),
        FieldType::String => "'probe'".to_owned(),
    };
    let name = field.name;
    match operator {
        Operator::In => format!("{name} in ({value})"),
        operator => format!("{name} {operator} {value}"),
    }
}
