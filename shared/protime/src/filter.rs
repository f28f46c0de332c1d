//! Protime's filter language (`reference/filtering`): parsed, printed again and checked against an entity.
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
    /// At least one.
    pub terms: Vec<Term>,
}

/// Conditions joined by `and`, which binds tighter than `or`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// At least one.
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
    /// The kebab-case field name.
    pub field: String,
    /// How it is compared.
    pub operator: Operator,
    /// What it is compared with.
    pub factor: Factor,
}

/// The right-hand side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Factor {
    /// A single value.
    Constant(Constant),
    /// A list, which never is empty.
    List {
        /// `circle`, `org-group`, the older `org-tree`, or none for plain values.
        name: Option<String>,
        /// The values.
        items: Vec<Constant>,
    },
}

/// A value in a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// An id.
    Integer(i64),
    /// The text between single quotes, as written: how Protime escapes a quote is not documented.
    String(String),
    /// `true` or `false`; the spelling is not documented.
    Boolean(bool),
}

impl Filter {
    /// Every comparison, wherever it stands.
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

    /// The filter with every comparison replaced.
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

    /// The tightest bounds of a date field outside of any `or`.
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

    /// Why no record can match: a range that ends before it starts, or a field that would have to have two values.
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

    /// The comparisons that every matching record fulfils: those not below an `or`.
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
