//! The filter language: parsing, printing and checks.

use proptest::prelude::*;
use protime::catalogue::{Operation, OperationKind, catalogue};
use protime::filter::{
    Comparison, Condition, Constant, Factor, Filter, Operator, Severity, Term, check,
};

fn operation(entity: &str, kind: OperationKind) -> &'static Operation {
    catalogue().entity(entity).unwrap().operation(kind).unwrap()
}

fn problems(entity: &str, kind: OperationKind, filter: &str) -> Vec<(Severity, String)> {
    let filter: Option<Filter> = (!filter.is_empty()).then(|| filter.parse().unwrap());
    let today = "2026-11-23".parse().unwrap();
    let found = check(filter.as_ref(), operation(entity, kind), today);
    found
        .into_iter()
        .map(|problem| (problem.severity, problem.message))
        .collect()
}

/// The message of the only documented rule that a list filter breaks.
fn error(entity: &str, filter: &str) -> String {
    let found = problems(entity, OperationKind::List, filter);
    let errors: Vec<String> = found
        .into_iter()
        .filter(|(severity, _)| *severity == Severity::Error)
        .map(|(_, message)| message)
        .collect();
    assert_eq!(errors.len(), 1, "{entity}: {filter}: {errors:?}");
    errors[0].clone()
}

fn parse_error(filter: &str) -> String {
    filter.parse::<Filter>().unwrap_err().to_string()
}

#[test]
fn documented_examples_are_accepted() {
    for filter in [
        "kind eq 'Activity' and date ge '2024-01-01'",
        "person in (1, 2, 3) and date ge '2026-01-01' and date le '2026-12-31'",
        "person in circle(2, 8) and date ge '2026-01-01'",
        "person in circle (1,2,3) and date ge '2026-01-01'",
        "person in org-group(121, 122) and date ge '2026-01-01'",
        "person in org-tree(121, 122) and date ge '2026-01-01'",
        "(kind eq 'Activity' or kind eq 'InOut') and date ge '2026-01-01'",
    ] {
        let found = problems("clockings", OperationKind::List, filter);
        assert!(
            found
                .iter()
                .all(|(severity, _)| *severity == Severity::Warning),
            "{filter}: {found:?}"
        );
    }
}

/// An entity, a filter, and what is said of it.
fn broken_rules() -> [(&'static str, String, &'static str); 10] {
    let year = "date ge '2026-01-01' and date le '2026-06-30'";
    [
        (
            "clockings",
            String::new(),
            "`date` is required, for example `date ge",
        ),
        (
            "clockings",
            "person in (1)".to_owned(),
            "`date` is required",
        ),
        (
            "clockings",
            format!("{year} and colour eq 'red'"),
            "unknown field `colour`; allowed: person, date, kind",
        ),
        (
            "clockings",
            format!("{year} and person in team(1)"),
            "unknown list `team(...)` on `person`; allowed: circle, org-group",
        ),
        (
            "clockings",
            format!("{year} and person in ('a')"),
            "`person` needs integer ids without quotes; found 'a'",
        ),
        (
            "clockings",
            format!("{year} and person in 5"),
            "`person in` needs a list in parentheses",
        ),
        (
            "clockings",
            "date ge 20260101".to_owned(),
            "`date` needs a date in single quotes, 'YYYY-MM-DD'; found 20260101",
        ),
        (
            "clockings",
            "date ge '2026-02-30'".to_owned(),
            "found '2026-02-30'",
        ),
        (
            "clockings",
            "date ge '2025-01-01' and date le '2026-01-02'".to_owned(),
            "may not exceed 1 year; with `date ge '2025-01-01'` the end may be '2025-12-31' at most",
        ),
        (
            "absence-definitions",
            "code eq 'A'".to_owned(),
            "unknown field `code`; this entity takes no filter",
        ),
    ]
}

#[test]
fn each_broken_rule_says_what_is_allowed_instead() {
    for (entity, filter, expected) in broken_rules() {
        let message = error(entity, &filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
    let or = problems(
        "clockings",
        OperationKind::List,
        "date ge '2026-01-01' or date le '2026-01-02'",
    );
    assert!(
        or.iter()
            .any(|(_, message)| message.contains("`or` is not allowed on the range field `date`")),
        "{or:?}"
    );
}

/// The documentation shows operators by example only, and of the older list only the name.
#[test]
fn what_no_page_says_is_a_warning() {
    let year = "date ge '2026-01-01' and date le '2026-06-30'";
    for (filter, expected) in [
        (
            "date eq '2026-01-01'".to_owned(),
            "no page shows the operator `eq` on `date`; shown: ge, le",
        ),
        (
            format!("{year} and person eq 7"),
            "no page shows the operator `eq` on `person`; shown: in",
        ),
        (
            format!("{year} and kind in ('InOut')"),
            "no page shows the operator `in` on `kind`; shown: eq",
        ),
        (
            format!("{year} and person in org-tree(7)"),
            "`org-tree` is the older name of `org-group`",
        ),
    ] {
        let found = problems("clockings", OperationKind::List, &filter);
        let [(Severity::Warning, message)] = found.as_slice() else {
            panic!("{filter}: {found:?}");
        };
        assert!(message.contains(expected), "{filter}: {message}");
    }
}

#[test]
fn deltas_have_rules_of_their_own() {
    let errors = |filter: &str| {
        let found = problems("clockings", OperationKind::Delta, filter);
        found
            .into_iter()
            .filter(|(severity, _)| *severity == Severity::Error)
            .map(|(_, message)| message)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert_eq!(errors("date ge '2025-01-01'"), "");
    assert!(errors("date le '2026-01-01'").contains("needs a start"));
    assert!(errors("date ge '2024-12-31'").contains("must be `date ge '2025-01-01'` or later"));
    // §3.2: `person` in a delta
    assert!(
        errors("date ge '2026-01-01' and person in (1)")
            .contains("`person` is not allowed in a delta")
    );
}

#[test]
fn what_is_not_documented_only_warns() {
    for (entity, filter) in [
        ("people", "anything eq 'x'"),
        ("jobs", "anything eq 'x'"),
        (
            "assignments",
            "date ge '2020-01-01' and date le '2026-01-01'",
        ),
        ("clockings", "date ge '2025-01-01' and date le '2026-01-01'"),
        ("clockings", "date ge '2026-01-01' and kind eq 'Novelty'"),
        (
            "counters",
            "date ge '2026-01-01' and counter-definitions in (1)",
        ),
        ("counter-definitions", "enabled in (true)"),
    ] {
        let found = problems(entity, OperationKind::List, filter);
        assert!(
            found
                .iter()
                .all(|(severity, _)| *severity == Severity::Warning),
            "{filter}: {found:?}"
        );
    }
}

#[test]
fn syntax_errors_name_the_place_and_the_remedy() {
    for (filter, expected) in [
        ("", "character 1: expected a field name"),
        (
            "date gt '2026-01-01'",
            "character 6: `gt` is not an operator of the filter language; allowed: eq, ge, le, in",
        ),
        (
            "not date eq '2026-01-01'",
            "`not` is not part of the filter language",
        ),
        ("contains(name, 'x')", "functions such as `contains(...)`"),
        ("person in ()", "a list needs at least one value"),
        ("person in (1, 2", "the list is not closed"),
        ("date ge '2026-01-01", "the string is not closed"),
        (
            "(date ge '2026-01-01'",
            "the parenthesis of a group is not closed",
        ),
        ("date ge '2026-01-01')", "closes nothing"),
        (
            "date ge '2026-01-01' date",
            "expected `and`, `or` or the end",
        ),
        ("date ge 2026-01-01", "`2026-01-01` is not a value"),
        (
            "person in (99999999999999999999)",
            "is not a value; write an integer of at most 64 bits",
        ),
    ] {
        let message = parse_error(filter);
        assert!(message.contains(expected), "{filter}: {message}");
    }
    assert!(parse_error(&"(".repeat(100_000)).contains("nested deeper"));
}

#[test]
fn and_binds_tighter_than_or() {
    // §3.1: so `and` binds tighter
    let filter: Filter = "a eq 1 or b eq 2 and c eq 3".parse().unwrap();
    assert_eq!(
        filter
            .terms
            .iter()
            .map(|term| term.conditions.len())
            .collect::<Vec<_>>(),
        [1, 2]
    );
}

fn constant() -> impl Strategy<Value = Constant> {
    prop_oneof![
        any::<i64>().prop_map(Constant::Integer),
        "[^']{0,12}".prop_map(Constant::String),
        any::<bool>().prop_map(Constant::Boolean),
    ]
}

fn comparison() -> impl Strategy<Value = Condition> {
    let list = (
        proptest::option::of("[a-z]{1,5}(-[a-z]{1,5})?"),
        proptest::collection::vec(constant(), 1..4),
    )
        .prop_map(|(name, items)| Factor::List { name, items });
    let factor = prop_oneof![constant().prop_map(Factor::Constant), list];
    let operator = prop_oneof![
        Just(Operator::Eq),
        Just(Operator::Ge),
        Just(Operator::Le),
        Just(Operator::In)
    ];
    ("[a-z]{1,8}(-[a-z]{1,8})?", operator, factor)
        .prop_filter("a word of the language", |(field, ..)| field != "not")
        .prop_map(|(field, operator, factor)| {
            Condition::Simple(Comparison {
                field,
                operator,
                factor,
            })
        })
}

fn filter() -> impl Strategy<Value = Filter> {
    let of = |condition: BoxedStrategy<Condition>| {
        let term =
            proptest::collection::vec(condition, 1..4).prop_map(|conditions| Term { conditions });
        proptest::collection::vec(term, 1..3).prop_map(|terms| Filter { terms })
    };
    let leaf = of(comparison().boxed());
    leaf.prop_recursive(3, 24, 4, move |inner| {
        of(prop_oneof![comparison(), inner.prop_map(Condition::Group)].boxed())
    })
}

proptest! {
    #[test]
    fn a_printed_filter_parses_to_the_same(filter in filter()) {
        prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}") {
        let _ = text.parse::<Filter>();
    }

    #[test]
    fn pieces_of_the_language_in_any_order_do_not_panic(pieces in proptest::collection::vec("date|ge|'|\\(|\\)|,|and|or|in| |1|é", 0..30)) {
        let _ = pieces.concat().parse::<Filter>();
    }
}
