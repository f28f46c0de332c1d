//! What the README says of the simulator is so.

use simulator::{Options, Simulator};

/// The requests of the table, each with its body.
fn rows() -> Vec<(String, String)> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let table = readme
        .split("| request | body | what it does |")
        .nth(1)
        .unwrap();
    let lines = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| "));
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let mut rows = Vec::new();
    let mut requests = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split('|').collect();
        let named = quoted(cells[1]);
        if !named.is_empty() {
            requests = named;
        }
        let body = quoted(cells[2]).pop().unwrap_or_default();
        rows.extend(
            requests
                .iter()
                .map(|request| (request.clone(), body.clone())),
        );
    }
    rows
}

#[tokio::test]
async fn every_request_of_readme_is_taken() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let http = reqwest::Client::new();
    let rows = rows();
    assert!(rows.len() > 10);
    for (request, body) in rows {
        let (method, path) = request.split_once(' ').unwrap();
        let url = format!("{}/_simulator/{path}", simulator.base_uri());
        let mut sent = http.request(method.parse().unwrap(), url);
        if matches!(method, "POST" | "PUT") && !body.is_empty() {
            sent = sent
                .header("content-type", "application/json")
                .body(body.clone());
        }
        let answer = sent.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{request} {body}: {status} {text}");
    }
}
