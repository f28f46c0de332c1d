//! Protime's filter language (`reference/filtering`): parsed, printed and checked against an entity.
//!
//! ```text
//! expression := term { "or" term }
//! term       := condition { "and" condition }
//! condition  := simple | "(" expression ")"
//! simple     := field operator factor          operator := eq | ge | le | in
//! factor     := constant | [name] "(" constant { "," constant } ")"
//! constant   := integer | 'string' | true | false
//! ```
//!
//! ```
//! use protime::filter::Filter;
//!
//! let filter: Filter = "person in (1,2) and date ge '2026-01-01'".parse()?;
//! assert_eq!(filter.to_string(), "person in (1,2) and date ge '2026-01-01'");
//! # Ok::<(), protime::filter::ParseError>(())
//! ```

mod check;
mod parse;

use std::fmt;

use jiff::civil::Date;

pub use crate::catalogue::Operator;
use crate::catalogue::{FilterField, Operation};

pub use check::{Problem, Severity, check};
pub use parse::ParseError;

/// An expression: terms joined by `or`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The terms, of which at least one must hold. Never empty.
    pub terms: Vec<Term>,
}

/// Conditions joined by `and`, which binds tighter than `or`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The conditions, which must all hold. Never empty.
    pub conditions: Vec<Condition>,
}

/// One condition of a term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A field compared with something.
    Simple(Comparison),
    /// An expression in parentheses.
    Group(Filter),
}

/// A field compared with a constant or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The field's name in kebab case.
    pub field: String,
    /// The operator between field and factor.
    pub operator: Operator,
    /// The constant or the list on the right.
    pub factor: Factor,
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Factor {
    /// A single value, as after `eq`.
    Constant(Constant),
    /// A list, which is never empty.
    List {
        /// The name of the list: `circle`, `org-group` or the older `org-tree`. `None` for plain values.
        name: Option<String>,
        /// The values in parentheses.
        items: Vec<Constant>,
    },
}

/// A value in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// An id or another whole number.
    Integer(i64),
    /// The text between single quotes, as written: the documentation does not say how Protime escapes a quote.
    String(String),
    /// `true` or `false`. The documentation does not show the spelling.
    Boolean(bool),
}

impl Filter {
    /// Every comparison, including those in groups.
    pub fn comparisons(&self) -> Vec<&Comparison> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Comparison>) {
        for condition in self.terms.iter().flat_map(|term| &term.conditions) {
            match condition {
                Condition::Simple(comparison) => found.push(comparison),
                Condition::Group(filter) => filter.collect(found),
            }
        }
    }

    /// The same filter with every comparison replaced by the result of `change`.
    pub(crate) fn mapped(&self, change: &mut dyn FnMut(&Comparison) -> Comparison) -> Self {
        let mut condition = |condition: &Condition| match condition {
            Condition::Simple(comparison) => Condition::Simple(change(comparison)),
            Condition::Group(filter) => Condition::Group(filter.mapped(change)),
        };
        let terms = self.terms.iter();
        let terms = terms.map(|term| Term {
            conditions: term.conditions.iter().map(&mut condition).collect(),
        });
        Self {
            terms: terms.collect(),
        }
    }

    /// The tightest lower and upper bound of a date field. Comparisons below an `or` do not count.
    pub fn date_bounds(&self, field: &FilterField) -> (Option<Date>, Option<Date>) {
        let (mut from, mut until): (Option<Date>, Option<Date>) = (None, None);
        for comparison in self.mandatory_comparisons() {
            let Factor::Constant(Constant::String(text)) = &comparison.factor else {
                continue;
            };
            let Some(day) = parse_date(text) else {
                continue;
            };
            if !field.is_named(&comparison.field) {
                continue;
            }
            match comparison.operator {
                Operator::Ge => from = Some(from.map_or(day, |from| from.max(day))),
                Operator::Le => until = Some(until.map_or(day, |until| until.min(day))),
                Operator::Eq | Operator::In => {}
            }
        }
        (from, until)
    }

    /// The reason why no record can match: a range ends before it starts, or a field would need two values at once.
    /// `None` if a record can match.
    pub fn contradiction(&self, operation: &Operation) -> Option<String> {
        let fields = operation.filters.iter().flatten();
        fields.into_iter().find_map(|field| {
            let name = field.name;
            if let (Some(from), Some(until)) = self.date_bounds(field)
                && until < from
            {
                return Some(format!(
                    "filter: the range of `{name}` ends ('{until}') before it starts ('{from}')"
                ));
            }
            let mut wanted: Option<Vec<&Constant>> = None;
            for comparison in self.mandatory_comparisons() {
                let values: Vec<&Constant> = match (&comparison.operator, &comparison.factor) {
                    _ if !field.is_named(&comparison.field) => continue,
                    (Operator::Eq, Factor::Constant(value)) => vec![value],
                    (Operator::In, Factor::List { name: None, items }) => items.iter().collect(),
                    _ => continue,
                };
                let both = match wanted {
                    None => values,
                    Some(before) => before
                        .into_iter()
                        .filter(|value| values.contains(value))
                        .collect(),
                };
                if both.is_empty() {
                    return Some(format!(
                        "filter: `{name}` cannot have two different values at once"
                    ));
                }
                wanted = Some(both);
            }
            None
        })
    }

    /// The comparisons that every matching record satisfies: those that are not below an `or`.
    pub fn mandatory_comparisons(&self) -> Vec<&Comparison> {
        let [term] = self.terms.as_slice() else {
            return Vec::new();
        };
        term.conditions
            .iter()
            .flat_map(|condition| match condition {
                Condition::Simple(comparison) => vec![comparison],
                Condition::Group(filter) => filter.mandatory_comparisons(),
            })
            .collect()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.terms, " or ")
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, &self.conditions, " and ")
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(comparison) => comparison.fmt(f),
            Self::Group(filter) => write!(f, "({filter})"),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.field, self.operator, self.factor)
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(constant) => constant.fmt(f),
            Self::List { name, items } => {
                f.write_str(name.as_deref().unwrap_or_default())?;
                f.write_str("(")?;
                separated(f, items, ",")?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::String(text) => write!(f, "'{text}'"),
            Self::Boolean(boolean) => boolean.fmt(f),
        }
    }
}

fn separated<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

fn parse_date(text: &str) -> Option<Date> {
    (text.len() == "YYYY-MM-DD".len())
        .then(|| text.parse().ok())
        .flatten()
}
