//! The catalogue against the documented facts, and the URL of every operation.

use std::fmt::Write;

use protime::catalogue::{Operation, OperationKind, catalogue};
use protime::{Context, Method, PathParameters, Query, Request, Target};
use url::Url;

fn all_scopes() -> Vec<String> {
    let scopes = catalogue()
        .entities()
        .iter()
        .flat_map(|entity| &entity.operations)
        .flat_map(|operation| &operation.scopes);
    scopes
        .map(|scope| format!("{}{scope}", catalogue().scope_prefix()))
        .collect()
}

/// A value for every path parameter. The last one is given as `id`, to show that the alias works.
fn path_of(operation: &Operation) -> PathParameters {
    let names: Vec<&str> = operation.path_parameters().collect();
    let members: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let value = match (operation.path_values.get(name), *name) {
                (Some(values), _) => format!("\"{}\"", values[0]),
                (None, "structureVersionId") => {
                    "\"00000000-0000-0000-0000-00000000000a\"".to_owned()
                }
                (None, _) => (index + 1).to_string(),
            };
            let name = if index + 1 == names.len() { "id" } else { name };
            format!("\"{name}\": {value}")
        })
        .collect();
    serde_json::from_str(&format!("{{{}}}", members.join(","))).unwrap()
}

fn query_of(operation: &Operation) -> Query {
    let needs_date = operation
        .filters
        .iter()
        .flatten()
        .any(|field| field.required);
    serde_json::from_str(if needs_date {
        r#"{"filter": "date ge '2026-01-01' and date le '2026-06-30'"}"#
    } else {
        "{}"
    })
    .unwrap()
}

#[test]
fn thirty_entities_and_eighty_four_operations_are_documented() {
    assert_eq!(catalogue().entities().len(), 30);
    assert_eq!(
        catalogue()
            .entities()
            .iter()
            .map(|entity| entity.operations.len())
            .sum::<usize>(),
        84
    );
    let webhooks = catalogue()
        .entities()
        .iter()
        .filter(|entity| entity.webhooks)
        .count();
    assert_eq!(webhooks, 18, "collections a webhook can be created for");
}

#[test]
fn reads_need_a_read_scope_and_writes_a_write_scope() {
    for operation in catalogue()
        .entities()
        .iter()
        .flat_map(|entity| &entity.operations)
    {
        let suffix = if operation.method == Method::Get {
            ".read"
        } else {
            ".write"
        };
        assert!(!operation.scopes.is_empty(), "{operation:?}");
        assert!(
            operation.scopes.iter().all(|scope| scope.ends_with(suffix)),
            "{operation:?}"
        );
    }
}

#[test]
fn every_operation_is_found_by_its_own_path() {
    for entity in catalogue().entities() {
        for operation in &entity.operations {
            let path = operation.path.replace(['{', '}'], "");
            let found = catalogue().operation_at(operation.method, &path).unwrap();
            assert_eq!(
                found.scopes, operation.scopes,
                "{} {path}",
                operation.method
            );
            if let Some(polled) = operation.delta_path {
                let found = catalogue().operation_at(operation.method, polled).unwrap();
                assert_eq!(found.scopes, operation.scopes, "{polled}");
            }
        }
    }
    assert!(catalogue().operation_at(Method::Get, "/salaries").is_none());
}

#[test]
fn every_delta_starts_at_its_list_and_is_polled_below_delta() {
    for entity in catalogue().entities() {
        let Some(delta) = entity.operation(OperationKind::Delta) else {
            continue;
        };
        assert_eq!(
            delta.path,
            entity.operation(OperationKind::List).unwrap().path
        );
        assert_eq!(delta.delta_path.unwrap(), format!("/delta/{}", entity.name));
    }
}

#[test]
fn the_method_and_url_of_every_operation_are_as_documented() {
    let base_uri: Url = "https://acme.myprotime.eu".parse().unwrap();
    let scopes = all_scopes();
    let context = Context {
        scopes: &scopes,
        base_uri: &base_uri,
        today: "2026-11-23".parse().unwrap(),
    };
    let mut golden = String::new();
    for entity in catalogue().entities() {
        for operation in &entity.operations {
            let (path, query) = (path_of(operation), query_of(operation));
            let target = Target {
                entity: entity.name,
                path: &path,
                query,
            };
            let mut request = match operation.method {
                Method::Get => Request::read(target, &context),
                method => Request::write(method, target, &scopes),
            }
            .unwrap();
            if operation.kind == OperationKind::Delta {
                request.query = request.query.with_flag("delta");
            } else {
                assert!(
                    std::ptr::eq(request.operation.unwrap(), operation),
                    "{operation:?}"
                );
            }
            let url = request.url(&base_uri);
            writeln!(
                golden,
                "{} {:?}: {} {url}",
                entity.name, operation.kind, request.method
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!(golden);
}
