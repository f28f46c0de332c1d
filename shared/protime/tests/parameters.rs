//! Misspelt query parameters are refused, never sent silently.

use protime::catalogue::{Certainty, Method, OperationKind, catalogue};
use protime::{Context, PathParameters, Query, Request, RequestError, Target};
use serde_json::json;

fn read(target: Target<'_>, scopes: &[String]) -> Result<Request, RequestError> {
    let context = Context {
        scopes,
        base_uri: &"https://acme.myprotime.eu".parse().unwrap(),
        today: "2026-11-25".parse().unwrap(),
    };
    Request::read(target, &context)
}

#[test]
fn every_documented_parameter_with_one_letter_changed_is_refused() {
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
                let target = Target {
                    entity: entity.name,
                    path: &path,
                    query,
                };
                let error = read(target, &scopes).unwrap_err();
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

/// Whether the external references of a list of people are refused, and the message.
fn references(entity: &str, text: &str) -> (bool, String) {
    let query = serde_json::from_value(json!({"externalReferences": text})).unwrap();
    let scopes = [
        "connector-protimeapi-people.read",
        "connector-protimeapi-jobs.read",
    ];
    let scopes = scopes.map(str::to_owned);
    let target = Target {
        entity,
        path: &PathParameters::default(),
        query,
    };
    match read(target, &scopes) {
        Ok(request) => (false, request.warnings.join("; ")),
        Err(error) => (true, error.to_string()),
    }
}

#[test]
fn external_references_that_protime_refuses_are_refused_here() {
    let refused = |text: &str| {
        let (is_refused, said) = references("people", text);
        assert!(is_refused, "{text}: {said}");
        said
    };
    for malformed in [
        "people,@badge-number",
        "(people)",
        "(people,)",
        "(people,@a),(jobs,b)",
        "",
    ] {
        assert!(
            refused(malformed).contains("write (people,@badge-number)"),
            "{malformed}"
        );
    }
    // reference/external-references, and the release notes of 05/05/2025.
    assert!(refused("(persons,@badge)").contains("did you mean `people`?"));
    assert!(refused("(people,@badge)").contains("did you mean `@badge-number`?"));
    assert!(refused("(poeple,@badge-number)").contains("did you mean `people`?"));
    assert!(refused("(people,@badgenumber)").contains("did you mean `@badge-number`?"));
    assert!(refused("(people,@colour)").contains("predefined are @badge-number, @employee-number"));
    assert!(refused("(people,@badge-number)(jobs,@code)").contains("only those of your own"));
    for fine in ["(people,@badge-number)", "(people,payroll)"] {
        assert_eq!(references("people", fine), (false, String::new()));
    }
    for (text, why) in [
        ("(jobs,erp)", "not documented for `people`"),
        ("(colours,erp)", "is not documented"),
    ] {
        let (is_refused, said) = references("people", text);
        assert!(!is_refused && said.contains(why), "{text}: {said}");
    }
}

/// The name in another case, or with two letters swapped, one missing, one doubled or one changed.
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
