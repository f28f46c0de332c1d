//! Checks that the table of entities in shared/protime/README.md matches the catalogue.
//!
//! After a change of the catalogue, `UPDATE_README=1 cargo test -p template --test entities` writes it again.

use std::fmt::Write as _;

use protime::catalogue::{
    Certainty, Entity, FieldType, FilterField, Operation, OperationKind, catalogue,
};
use template::root;

const BEGIN: &str = "<!-- made of the catalogue -->\n";
const END: &str = "<!-- until here -->";

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(" ")
}

/// The name of an operation in the table, with its path parameters.
fn call(operation: &Operation) -> String {
    let parameters: Vec<&str> = operation.path_parameters().collect();
    match operation.kind {
        OperationKind::Delta => "delta".to_owned(),
        OperationKind::List if parameters.is_empty() => "list".to_owned(),
        _ => {
            let verb = match operation.kind {
                OperationKind::List | OperationKind::ListForPerson => "list".to_owned(),
                OperationKind::GetById | OperationKind::Get => "get".to_owned(),
                _ => operation.method.to_string(),
            };
            format!("{verb} {}", quoted(parameters))
                .trim_end()
                .to_owned()
        }
    }
}

fn filter(field: &FilterField) -> String {
    let operators: Vec<&str> = field
        .operators
        .iter()
        .map(|operator| operator.as_str())
        .collect();
    let mut text = format!("`{}` {}", field.name, operators.join("/"));
    if field.kind == FieldType::Date {
        text.push_str(" a date");
    }
    if field.required {
        text.push_str(", required");
    }
    text
}

fn row(entity: &Entity) -> String {
    let mut calls: Vec<String> = Vec::new();
    let mut scopes: Vec<String> = Vec::new();
    for operation in &entity.operations {
        let call = call(operation);
        let call = match operation.certainty {
            Certainty::Documented => call,
            Certainty::Inferred => format!("{call} (inferred)"),
        };
        if !calls.contains(&call) {
            calls.push(call);
        }
        let alternatives = quoted(operation.scopes.iter().copied()).replace("` `", "` or `");
        if !scopes.contains(&alternatives) && !alternatives.is_empty() {
            scopes.push(alternatives);
        }
    }
    let lists = entity
        .operations
        .iter()
        .filter(|operation| operation.kind == OperationKind::List);
    let filters: Vec<String> = match lists.map(|list| list.filters.as_deref()).next() {
        Some(Some(fields)) => fields.iter().map(filter).collect(),
        Some(None) => vec!["not documented".to_owned()],
        None => Vec::new(),
    };
    format!(
        "| `{}` | {} | {} | {} |",
        entity.name,
        calls.join(", "),
        filters.join("; "),
        scopes.join(", ")
    )
}

fn table() -> String {
    let mut table =
        String::from("| entity | operations | filter of its list | scopes |\n|---|---|---|---|\n");
    for entity in catalogue().entities() {
        let _ = writeln!(table, "{}", row(entity));
    }
    table
}

#[test]
fn readme_shows_what_the_catalogue_knows() {
    let path = root().join("shared/protime/README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        return;
    }
    assert_eq!(
        shown,
        table(),
        "run UPDATE_README=1 cargo test -p template --test entities"
    );
}
