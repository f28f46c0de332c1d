//! What `protimectl new` makes, on the deployed stack: `infra/run.py` adds a connection by it before it deploys.

use std::io::Write as _;
use std::process::{Command, Stdio};

use end_to_end::{Stack, Tenant, variable};
use serde_json::{Value, json};

use crate::protimectl::program;

/// The connection that `infra/run.py` adds to the nested template.
const NESTED: &str = "nested-people";

/// What it prints, and its exit code; a secret that it is given is not in it.
fn protimectl(arguments: &[&str], input: &str) -> (Value, i32) {
    let mut command = Command::new(program());
    command.args(["--stack", &variable("STACK_NAME"), "--json"]);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let printed = String::from_utf8([output.stdout.clone(), output.stderr].concat()).unwrap();
    assert!(input.is_empty() || !printed.contains(input), "{printed}");
    let document = serde_json::from_slice(&output.stdout);
    (
        document.unwrap_or_else(|_| panic!("{printed}")),
        output.status.code().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_the_nested_template_is_listed_and_runs() {
    let (status, code) = protimectl(&["status"], "");
    assert_eq!(code, 0, "{status:#}");
    let connections = status["connections"].as_array().unwrap();
    for incoming in ["clockings", NESTED] {
        let told = connections.iter().find(|told| told["incoming"] == incoming);
        assert!(told.is_some(), "{incoming}: {status:#}");
    }
    let (run, code) = protimectl(&["run", NESTED, "--yes", "--follow"], "");
    assert_eq!((code, &run["status"]), (0, &json!("completed")), "{run:#}");
    assert_eq!(run["counts"]["records"], 20, "{run:#}");
    let stack = Stack::of_environment().await;
    let pages = stack.drain(&variable("PAGES_QUEUE_URL")).await;
    let is_own = |body: &str| body.contains("\"subject\":\"nested-people\"");
    assert!(pages.iter().any(|page| is_own(page.body().unwrap())));
    let (runs, _) = protimectl(&["runs", NESTED], "");
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_created_once_and_is_one_that_the_functions_use() {
    let tenant = Tenant::new().await;
    let client: Value = serde_json::from_str(&tenant.protime.secret_json()).unwrap();
    let text = |field: &str| client[field].as_str().unwrap();
    let scopes = client["scopes"].as_array().unwrap();
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
    let (name, scopes) = (format!("{}-new", tenant.client), scopes.join(" "));
    let create = [
        "new",
        "client",
        &name,
        "--base-uri",
        text("base_uri"),
        "--access-token-url",
        text("access_token_url"),
        "--client-id",
        text("client_id"),
        "--scopes",
        &scopes,
        "--secret-stdin",
        "--yes",
    ];
    let (created, code) = protimectl(&create, text("client_secret"));
    assert_eq!((code, &created["done"]), (0, &json!(true)), "{created:#}");
    let event = json!({"incoming": format!("{}-new", tenant.incoming()), "client": name, "entity": "people", "queue": tenant.pages});
    let invoked = tenant.invoke(event.to_string()).await;
    assert_eq!(
        invoked.payload["status"], "completed",
        "{}",
        invoked.payload
    );

    let (refused, code) = protimectl(&create, "another secret");
    assert_eq!(code, 10, "{refused:#}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("aws secretsmanager put-secret-value"),
        "{message}"
    );
    tenant.protime.revoke_tokens();
    let invoked = tenant.invoke(event.to_string()).await;
    assert_eq!(
        invoked.payload["status"], "completed",
        "{}",
        invoked.payload
    );
}
