//! What holds for every collection: headers and names.

use serde_json::Value;

use crate::protime::{API, MARCH, Protime};

#[tokio::test]
async fn answers_are_json_of_a_stated_length() {
    let protime = Protime::start().await;
    let url = format!("{}{API}/departments", protime.simulator.base_uri());
    let get = |authorization: &str| {
        let request = protime.http.get(&url).header("user-agent", "Test/1 (Test)");
        request.header("authorization", authorization).send()
    };
    let answer = get(&protime.authorization()).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    // §1.1: `Content-Type` | both
    assert_eq!(header("content-type"), "application/json");
    // §1.1: `Content-Length` | both
    let length = header("content-length");
    assert_eq!(length, answer.bytes().await.unwrap().len().to_string());
    // §1.1: `Authorization` | request | `Bearer <jwt>`
    let token = protime.authorization().replace("Bearer ", "");
    for wrong in ["", "Bearer", &token, &format!("Basic {token}")] {
        assert_eq!(get(wrong).await.unwrap().status().as_u16(), 401, "{wrong}");
    }
}

#[tokio::test]
async fn resources_are_plural_in_kebab_case_and_members_in_camel_case() {
    let protime = Protime::start().await;
    // §1: kebab-case resource names; collections are plural nouns; JSON properties camelCase
    for (name, status) in [
        ("access-clockings", 200),
        ("accessClockings", 404),
        ("access_clockings", 404),
        ("access-clocking", 404),
    ] {
        let answer = protime.get(&format!("/{name}?{MARCH}")).await;
        assert_eq!(answer.status, status, "{name}");
    }
    let assignments = protime.get(&format!("/assignments?{MARCH}")).await;
    let mut names = Vec::new();
    collect_names(&assignments.records()[0], &mut names);
    assert!(names.contains(&"startTimeInMinutes".to_owned()));
    for name in names {
        assert!(name.starts_with(|letter: char| letter.is_ascii_lowercase()));
        assert!(
            name.chars().all(|letter| letter.is_ascii_alphanumeric()),
            "{name}"
        );
    }
}

fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                names.push(name.clone());
                collect_names(member, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}
