//! The filter language of `reference/filtering`. Its grammar joins conditions with `and` to terms, and terms with `or`.

use serde::Deserialize;
use winnow::ascii::{dec_int, space0, space1};
use winnow::combinator::{alt, delimited, opt, separated, terminated};
use winnow::prelude::*;
use winnow::token::{take_till, take_while};

/// Terms, of which one must hold. All conditions of a term must hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    pub(crate) terms: Vec<Vec<Condition>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    Group(Filter),
    Simple {
        field: String,
        operator: Operator,
        factor: Factor,
    },
}

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operator {
    Eq,
    Ge,
    Le,
    In,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Factor {
    Constant(Constant),
    List {
        name: Option<String>,
        constants: Vec<Constant>,
    },
}

impl Factor {
    pub(crate) fn constants(&self) -> &[Constant] {
        match self {
            Self::Constant(constant) => std::slice::from_ref(constant),
            Self::List { constants, .. } => constants,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Integer(i64),
    Text(String),
    Boolean(bool),
}

impl Filter {
    /// Parses a filter. The error names the place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        delimited(space0, filter, space0)
            .parse(text)
            .map_err(|error| {
                format!(
                    "the filter cannot be read at character {}",
                    error.offset() + 1
                )
            })
    }

    /// Every comparison, at any depth.
    pub(crate) fn comparisons(&self) -> Vec<(&str, Operator, &Factor)> {
        let conditions = self.terms.iter().flatten();
        conditions
            .flat_map(|condition| match condition {
                Condition::Group(filter) => filter.comparisons(),
                Condition::Simple {
                    field,
                    operator,
                    factor,
                } => vec![(field.as_str(), *operator, factor)],
            })
            .collect()
    }
}

fn filter(input: &mut &str) -> ModalResult<Filter> {
    // §3.1: expression: one or more terms joined by `or`
    let terms = separated(1.., term, (space1, "or", space1));
    terms.map(|terms| Filter { terms }).parse_next(input)
}

fn term(input: &mut &str) -> ModalResult<Vec<Condition>> {
    separated(1.., condition, (space1, "and", space1)).parse_next(input)
}

fn condition(input: &mut &str) -> ModalResult<Condition> {
    let group = delimited(("(", space0), filter, (space0, ")")).map(Condition::Group);
    alt((group, simple)).parse_next(input)
}

fn simple(input: &mut &str) -> ModalResult<Condition> {
    let (field, _, operator, _, factor) =
        (name, space1, operator, space1, factor).parse_next(input)?;
    Ok(Condition::Simple {
        field,
        operator,
        factor,
    })
}

/// Names of fields and lists are in kebab case.
fn name(input: &mut &str) -> ModalResult<String> {
    let letters = take_while(1.., |letter: char| {
        letter.is_ascii_lowercase() || letter == '-'
    });
    letters.map(str::to_owned).parse_next(input)
}

fn operator(input: &mut &str) -> ModalResult<Operator> {
    // §3.1: **not part of the grammar**
    alt((
        "eq".value(Operator::Eq),
        "ge".value(Operator::Ge),
        "le".value(Operator::Le),
        "in".value(Operator::In),
    ))
    .parse_next(input)
}

fn factor(input: &mut &str) -> ModalResult<Factor> {
    alt((list, constant.map(Factor::Constant))).parse_next(input)
}

/// At least one constant; a space may stand before the parenthesis (`how-to/fetch-resources`).
fn list(input: &mut &str) -> ModalResult<Factor> {
    // §3.1: A space between list name and parenthesis is accepted
    let constants = separated(1.., constant, (space0, ",", space0));
    let (name, constants) = (
        opt(terminated(name, space0)),
        delimited(("(", space0), constants, (space0, ")")),
    )
        .parse_next(input)?;
    Ok(Factor::List { name, constants })
}

/// The documentation does not say how a string contains a quote. Here it cannot.
fn constant(input: &mut &str) -> ModalResult<Constant> {
    // §3.1: Strings and dates are in single quotes, integers bare
    alt((
        delimited("'", take_till(0.., '\''), "'").map(|text: &str| Constant::Text(text.to_owned())),
        "true".value(Constant::Boolean(true)),
        "false".value(Constant::Boolean(false)),
        dec_int.map(Constant::Integer),
    ))
    .parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_s_own_examples_are_read() {
        for example in [
            "kind eq 'Activity'",
            "date ge '2024-01-01'",
            "person in (1, 2, 3)",
            "person in circle(2, 8)",
            "person in org-tree(121, 122)",
            "person in org-group(121, 122)",
            "person in circle (1,2,3)",
            "person in (1,2,3) and date ge '2024-01-01'",
            "kind eq 'Activity' or kind eq 'Absence'",
            "(kind eq 'Activity' or kind eq 'Absence') and date ge '2024-01-01'",
        ] {
            assert!(Filter::parse(example).is_ok(), "{example}");
        }
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        for wrong in [
            "",
            "kind",
            "kind eq",
            "kind eq Activity",
            "kind eq \"Activity\"",
            "kind ne 'Activity'",
            "kind eq 'it''s'",
            "Kind eq 'Activity'",
            "person in ()",
            "person in (1,)",
            "person in (1) and",
            "person in (1) AND date ge '2024-01-01'",
            "person in (1)) and date ge '2024-01-01'",
            "not kind eq 'Activity'",
            "person in(1)",
        ] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn and_binds_tighter_than_or() {
        let filter = Filter::parse("kind eq 'A' or kind eq 'B' and kind eq 'C'").unwrap();
        let lengths: Vec<usize> = filter.terms.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2]);
    }
}
