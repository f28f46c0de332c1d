use jiff::civil::{Date, date};
use jiff::{Span, ToSpan};

use super::{Comparison, Constant, Factor, Filter, Operator, parse_date};
use crate::catalogue::{Certainty, FieldType, FilterField, Operation, OperationKind};

/// The named lists that `in` takes. `org-tree` is the older name of `org-group` and may still work.
const LIST_NAMES: [&str; 3] = ["circle", "org-group", "org-tree"];

/// Something in a filter that Protime will refuse, or might refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether Protime will refuse it, or might.
    pub severity: Severity,
    /// What is wrong, and what is allowed instead.
    pub message: String,
}

/// How certain it is that Protime refuses the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Contradicts the documentation: Protime answers 400.
    Error,
    /// The documentation does not say, so it is only a warning.
    Warning,
}

/// Checks a filter, or its absence, against an operation.
///
/// `today` decides the earliest start of a delta: 1 January of the previous year (`reference/delta`).
pub fn check(filter: Option<&Filter>, operation: &Operation, today: Date) -> Vec<Problem> {
    let mut checker = Checker {
        operation,
        problems: Vec::new(),
    };
    checker.required_fields(filter);
    if let Some(filter) = filter {
        checker.filter(filter);
        checker.date_range(filter, today);
    }
    checker.problems
}

struct Checker<'a> {
    operation: &'a Operation,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn is_delta(&self) -> bool {
        self.operation.kind == OperationKind::Delta
    }

    /// Reports a broken rule. The rules of an inferred operation are not documented, so there it is a warning.
    fn error(&mut self, message: String) {
        match self.operation.certainty {
            Certainty::Documented => self.problems.push(Problem {
                severity: Severity::Error,
                message,
            }),
            Certainty::Inferred => self.warning(message),
        }
    }

    fn warning(&mut self, message: String) {
        self.problems.push(Problem {
            severity: Severity::Warning,
            message,
        });
    }

    fn required_fields(&mut self, filter: Option<&Filter>) {
        let operation = self.operation;
        let mandatory = filter
            .map(Filter::mandatory_comparisons)
            .unwrap_or_default();
        for field in operation
            .filters
            .iter()
            .flatten()
            .filter(|field| field.required)
        {
            let present = |operator: Option<Operator>| {
                mandatory.iter().any(|comparison| {
                    field.is_named(&comparison.field)
                        && operator.is_none_or(|operator| comparison.operator == operator)
                })
            };
            let name = field.name;
            // If the field is only misspelt, its name is reported as a problem of its own.
            let is_misspelt = filter.is_some_and(|filter| {
                let mut comparisons = filter.comparisons().into_iter();
                comparisons.any(|comparison| {
                    operation.filter_field(&comparison.field).is_none()
                        && crate::nearest(&comparison.field, [name]).is_some()
                })
            });
            if is_misspelt {
                continue;
            }
            if self.is_delta() && !present(Some(Operator::Ge)) {
                self.error(format!(
                    "filter: a delta of this entity needs a start, for example `{name} ge '2026-01-01'` (not below an `or`)"
                ));
            } else if !present(None) {
                self.error(format!(
                    "filter: `{name}` is required, for example `{name} ge '2026-01-01' and {name} le '2026-01-31'` (not below an `or`)"
                ));
            }
        }
    }

    fn filter(&mut self, filter: &Filter) {
        let Some(fields) = &self.operation.filters else {
            self.warning("filter: the fields of this entity are not documented; the filter is sent unchecked".to_owned());
            return;
        };
        for comparison in filter.comparisons() {
            match self.operation.filter_field(&comparison.field) {
                Some(field) => self.comparison(comparison, field),
                None => self.unknown_field(comparison, fields),
            }
        }
        self.alternatives(filter);
    }

    fn unknown_field(&mut self, comparison: &Comparison, fields: &[FilterField]) {
        let name = &comparison.field;
        let allowed = match fields {
            [] => "this entity takes no filter".to_owned(),
            fields => format!(
                "allowed: {}",
                fields
                    .iter()
                    .map(|field| field.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        self.error(if self.is_delta() && name == "person" {
            format!("filter: `person` is not allowed in a delta; {allowed}")
        } else {
            let names = fields.iter().map(|field| field.name);
            let meant = crate::nearest(name, names)
                .map(|meant| format!("did you mean `{meant}`? "))
                .unwrap_or_default();
            format!("filter: unknown field `{name}`; {meant}{allowed}")
        });
    }

    fn comparison(&mut self, comparison: &Comparison, field: &FilterField) {
        let Comparison {
            field: written,
            operator,
            factor,
        } = comparison;
        let name = field.name;
        if written != name {
            self.warning(format!(
                "filter: `{written}` is the older spelling of `{name}`"
            ));
        }
        if !field.operators.contains(operator) {
            let allowed = field
                .operators
                .iter()
                .map(|operator| operator.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            // The documentation shows operators by example. It does not say which others a field takes.
            self.warning(format!(
                "filter: no page shows the operator `{operator}` on `{name}`; shown: {allowed}"
            ));
        }
        match (operator, factor) {
            (Operator::In, Factor::Constant(_)) => {
                self.error(format!("filter: `{name} in` needs a list in parentheses, for example `{name} in (1, 2)`"));
            }
            (
                Operator::In,
                Factor::List {
                    name: Some(list), ..
                },
            ) if !LIST_NAMES.contains(&list.as_str()) => {
                self.error(format!(
                    "filter: unknown list `{list}(...)` on `{name}`; allowed: circle, org-group"
                ));
            }
            (Operator::In, Factor::List { name: list, items }) => {
                if list.as_deref() == Some("org-tree") {
                    self.warning("filter: `org-tree` is the older name of `org-group`; whether Protime still takes it is not documented".to_owned());
                }
                self.constants(field, items);
            }
            (_, Factor::List { .. }) => {
                self.error(format!(
                    "filter: `{name} {operator}` takes one value; a list needs `{name} in (...)`"
                ));
            }
            (_, Factor::Constant(constant)) => {
                self.constants(field, std::slice::from_ref(constant));
            }
        }
    }

    fn constants(&mut self, field: &FilterField, constants: &[Constant]) {
        let name = field.name;
        for constant in constants {
            match (field.kind, constant) {
                (FieldType::Date, Constant::String(text)) if parse_date(text).is_some() => {}
                (FieldType::Date, _) => {
                    self.error(format!("filter: `{name}` needs a date in single quotes, 'YYYY-MM-DD'; found {constant}"));
                }
                (FieldType::IdList, Constant::String(_) | Constant::Boolean(_)) => {
                    self.error(format!(
                        "filter: `{name}` needs integer ids without quotes; found {constant}"
                    ));
                }
                (FieldType::Enum, Constant::String(value)) => {
                    let known = field.values.join(", ");
                    let mut same = field.values.iter();
                    match same.find(|known| known.eq_ignore_ascii_case(value)) {
                        Some(known) if known == value => {}
                        Some(known) => {
                            self.error(format!("filter: `{name}` knows '{known}', not '{value}'"));
                        }
                        None => self.warning(format!(
                            "filter: '{value}' is not a documented value of `{name}`: {known}"
                        )),
                    }
                }
                (
                    FieldType::Enum | FieldType::String,
                    Constant::Integer(_) | Constant::Boolean(_),
                ) => {
                    self.error(format!(
                        "filter: `{name}` needs a value in single quotes; found {constant}"
                    ));
                }
                (FieldType::Boolean, Constant::Integer(_) | Constant::String(_)) => {
                    self.warning(format!(
                        "filter: `{name}` is true or false; found {constant}"
                    ));
                }
                (FieldType::IdList, Constant::Integer(_))
                | (FieldType::String, Constant::String(_))
                | (FieldType::Boolean, Constant::Boolean(_)) => {}
            }
            if let Constant::String(text) = constant
                && text.contains('\'')
            {
                self.warning(format!(
                    "filter: how Protime escapes a quote in `{name}` is not documented"
                ));
            }
        }
    }

    /// Protime refuses `or` on fields that are a range or take one value only. The documentation does not name these
    /// fields: a field with `ge` and `le` is a range, and an enum takes several values by example.
    fn alternatives(&mut self, filter: &Filter) {
        if filter.terms.len() > 1 {
            for comparison in filter.comparisons() {
                let Some(field) = self.operation.filter_field(&comparison.field) else {
                    continue;
                };
                let name = field.name;
                match field.kind {
                    FieldType::Date => self.error(format!("filter: `or` is not allowed on the range field `{name}`; use `and`")),
                    FieldType::Enum => {}
                    _ => self.warning(format!(
                        "filter: `or` works on fields with several values only; whether `{name}` is one is not documented"
                    )),
                }
            }
            return;
        }
        for term in &filter.terms {
            for condition in &term.conditions {
                if let super::Condition::Group(group) = condition {
                    self.alternatives(group);
                }
            }
        }
    }

    fn date_range(&mut self, filter: &Filter, today: Date) {
        let operation = self.operation;
        for field in operation
            .filters
            .iter()
            .flatten()
            .filter(|field| field.kind == FieldType::Date)
        {
            let name = field.name;
            let (from, until) = filter.date_bounds(field);
            if self.is_delta()
                && let Some(from) = from
                && let earliest = date(today.year() - 1, 1, 1)
                && from < earliest
            {
                self.error(format!(
                    "filter: a delta may not start before 1 January of the previous year; `{name} ge '{from}'` must be `{name} ge '{earliest}'` or later"
                ));
            }
            match (from, until) {
                (Some(from), Some(until)) => {
                    let Some(years) = field.max_range_years else {
                        continue;
                    };
                    let limit = from.saturating_add(Span::new().years(years));
                    if until > limit {
                        self.error(format!(
                            "filter: the range of `{name}` may not exceed 1 year; with `{name} ge '{from}'` the end may be '{}' at most",
                            limit.saturating_sub(1.day())
                        ));
                    } else if until == limit {
                        self.warning(format!(
                            "filter: whether '{from}' to '{until}' still counts as 1 year is not documented; '{}' is safe",
                            limit.saturating_sub(1.day())
                        ));
                    }
                }
                (None, Some(_)) if field.max_range_years.is_some() => {
                    self.warning(format!(
                        "filter: `{name}` has an end but no start, so the range may exceed 1 year"
                    ));
                }
                (Some(from), None)
                    if field.max_range_years.is_some()
                        && !self.is_delta()
                        && from.saturating_add(1.year()) < today =>
                {
                    self.warning(format!(
                        "filter: `{name}` has no end, and starts more than 1 year ago"
                    ));
                }
                _ => {}
            }
        }
    }
}
