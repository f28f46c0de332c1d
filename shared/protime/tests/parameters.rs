//! Query parameters with a letter wrong are refused, never sent silently.

use protime::catalogue::{Certainty, Method, OperationKind, catalogue};
use protime::{PathParameters, Query, Request, RequestError};
use serde_json::json;

#[test]
fn every_documented_parameter_with_one_letter_changed_is_refused() {
    let today = "2026-11-25".parse().unwrap();
    let mut tried = 0;
    for entity in catalogue().entities() {
        let Some(operation) = entity.operation(OperationKind::List) else {
            continue;
        };
        if operation.certainty != Certainty::Documented || operation.path_parameters().count() > 0 {
            continue;
        }
        let prefix = catalogue().scope_prefix();
        let scopes: Vec<String> = operation
            .scopes
            .iter()
            .map(|scope| format!("{prefix}{scope}"))
            .collect();
        for parameter in catalogue().query_parameters() {
            for wrong in variants(parameter) {
                let mut query = json!({ wrong.as_str(): "x" });
                let required = operation
                    .filters
                    .iter()
                    .flatten()
                    .any(|field| field.required);
                if required {
                    query["filter"] = "date ge '2026-11-01' and date le '2026-11-02'".into();
                }
                let query: Query = serde_json::from_value(query).unwrap();
                let path = PathParameters::default();
                let error = Request::read(entity.name, &path, query, &scopes, today).unwrap_err();
                let RequestError::Query { meant, .. } = error else {
                    panic!("{}, {wrong}: {error}", entity.name)
                };
                assert_eq!(meant, parameter, "{wrong}");
                tried += 1;
            }
        }
        assert_eq!(operation.method, Method::Get);
    }
    println!("{tried} tried");
    assert!(tried > 300);
}

/// In another case, with two letters swapped, one missing, one doubled, one changed.
fn variants(name: &str) -> Vec<String> {
    let (first, rest) = name.split_at(1);
    let mut swapped: Vec<char> = name.chars().collect();
    swapped.swap(1, 2);
    vec![
        first.to_uppercase() + rest,
        format!("${name}"),
        swapped.into_iter().collect(),
        rest.to_owned(),
        format!("{first}{name}"),
        format!("{name}z"),
    ]
}
