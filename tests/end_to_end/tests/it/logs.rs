//! What the logs must have, and must never have.

use aws_sdk_lambda::types::Environment;
use end_to_end::{Stack, Tenant, eventually, variable};
use serde_json::{Value, json};
use simulator::{Fault, Options};

/// A person is read and written, and requests are logged, with canaries in the secret, in records and payloads.
async fn canaries(tenant: &Tenant) {
    tenant.protime.rotate_client_secret("canary-client-secret");
    tenant
        .store_secret_with(&json!({"log_requests": true}))
        .await;
    tenant
        .protime
        .set_records(
            "people",
            r#"[{"id":1,"lastName":"canary-record"},{"id":2,"lastName":"x"}]"#,
        )
        .unwrap();
    tenant.protime.configure(|settings| settings.page_size = 1);
    let outcome = tenant
        .completed(json!({"entity": "people", "run": "logged-run"}))
        .await;
    assert_eq!(outcome["records"], 2);
    let kept = json!({"entity": "people", "run": "kept-run", "fields": ["initials"]});
    let outcome = tenant.completed(kept).await;
    assert_eq!(outcome["records"], 2);
    assert!(!outcome.to_string().contains("canary-record"));
    let events = tenant.events().await;
    let mut of_kept = events.iter().filter(|event| event["run"] == "kept-run");
    assert!(of_kept.all(|event| !event.to_string().contains("canary-record")));
    tenant.publish_text("canary-payload is not JSON").await;
    let payload = json!({"person": {"id": 999}, "date": "2026-01-15", "timeOfDayInMinutes": 1, "kind": "InOut", "comments": "canary-payload"});
    tenant.publish(json!({"method": "POST", "entity": "clockings", "payload": payload, "idempotencyKey": "k"})).await;
    eventually("the publishing", || {
        tenant
            .protime
            .requests()
            .iter()
            .any(|request| request.method == "POST" && request.authorized)
    })
    .await;
    tenant
        .stack
        .receive(&variable("PUBLISH_DEAD_LETTER_QUEUE_URL"), |found| {
            found.len() >= 2
        })
        .await;
}

#[tokio::test]
async fn no_secret_token_or_record_content_is_in_any_log() {
    // The stack is deployed with LogLevel=debug.
    let tenant = Tenant::with(Options::default(), &json!({"log_requests": true})).await;
    canaries(&tenant).await;
    let lines = tenant.stack.log_lines().await;
    tells_of_requests_and_metrics(&lines);
    let everything =
        lines.join("\n") + &std::fs::read_to_string(variable("LOCAL_AWS_LOG")).unwrap();
    for canary in [
        "canary-client-secret",
        "simulator-client-secret",
        "simulated.access-token",
        "Bearer",
        "canary-record",
        "canary-payload",
    ] {
        assert!(!everything.contains(canary), "{canary} is in a log");
    }
    // The continuation of the second page was logged without its token.
    assert!(everything.contains("continuationToken=..."));
}

/// What was looked through has lines of every kind.
fn tells_of_requests_and_metrics(lines: &[String]) {
    let requests: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let of_url = |end: &str| {
        let is_it = |line: &&Value| line["url"].as_str().is_some_and(|url| url.ends_with(end));
        requests.iter().find(is_it)
    };
    let logged = of_url("/people").expect("log_requests logs the URL");
    assert_eq!(
        (&logged["method"], &logged["status"], &logged["level"]),
        (&json!("GET"), &json!(200), &json!("INFO"))
    );
    assert!(logged["durationMs"].is_u64() && logged["responseBytes"].is_u64());
    assert!(
        logged["requestId"]
            .as_str()
            .is_some_and(|id| id.len() == 36),
        "{logged}"
    );
    assert!(of_url("/connect/token").is_some());
    assert!(
        requests.iter().any(|line| line["level"] == "DEBUG"),
        "debug lines are there"
    );
    for metric in ["Records", "Parked"] {
        assert!(
            requests
                .iter()
                .any(|line| !line["_aws"].is_null() && !line[metric].is_null()),
            "the lines of {metric} are there"
        );
    }
}

/// The lines that have a field of that value.
async fn lines_of(stack: &Stack, field: &str, value: &str) -> Vec<Value> {
    let lines = stack.log_lines().await;
    let lines = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line[field] == value).collect()
}

#[tokio::test]
async fn a_failed_run_is_one_line_with_the_documented_fields() {
    let tenant = Tenant::new().await;
    let (client, incoming) = (tenant.client.as_str(), tenant.incoming());
    let connection =
        json!({"entity": "people", "transform": ".path = 1", "run": "wrong-parameters"});
    let failed = tenant.subscribe(connection).await;
    let lines = lines_of(&tenant.stack, "incoming", &incoming).await;
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let [line] = errors.as_slice() else {
        panic!("not one line: {errors:#?}")
    };
    let field = |name: &str| line[name].as_str().unwrap_or_default();
    assert_eq!(field("message"), "run failed");
    assert_eq!(field("kind"), "InvalidParameters");
    assert_eq!(field("kind"), failed.payload["errorType"]);
    assert_eq!(
        (field("run"), field("client")),
        ("wrong-parameters", client)
    );
    assert_eq!(field("error"), failed.payload["errorMessage"]);
    // The runtime does not tell of it again.
    let request = lines_of(&tenant.stack, "requestId", field("requestId")).await;
    let errors = request.iter().filter(|line| line["level"] == "ERROR");
    assert_eq!(errors.count(), 1);

    // An event that is no connection says of itself what it can.
    let event =
        json!({"incoming": incoming, "client": client, "run": "no-entity", "entitty": "people"});
    tenant.invoke(event.to_string()).await;
    let lines = lines_of(&tenant.stack, "run", "no-entity").await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["kind"], "InvalidConnection");
    assert_eq!(
        (&lines[0]["incoming"], &lines[0]["client"]),
        (&json!(incoming), &json!(client))
    );
}

#[tokio::test]
async fn the_log_level_changes_no_metric() {
    let tenant = Tenant::new().await;
    let function = variable("SUBSCRIBER_FUNCTION_NAME");
    let lambda = &tenant.stack.lambda;
    let configuration = lambda.get_function_configuration().function_name(&function);
    let configuration = configuration.send().await.unwrap();
    let variables = configuration
        .environment
        .and_then(|environment| environment.variables);
    let deployed = variables.unwrap();
    assert_eq!(deployed["LOG_LEVEL"], "debug");
    let with_level = |level: &str| {
        let mut variables = deployed.clone();
        variables.insert("LOG_LEVEL".to_owned(), level.to_owned());
        let environment = Environment::builder().set_variables(Some(variables));
        let update = lambda
            .update_function_configuration()
            .function_name(&function);
        update.environment(environment.build()).send()
    };
    let run = async |name: &str| {
        let run = format!("{}-{name}", tenant.incoming());
        tenant
            .completed(json!({"entity": "departments", "run": run}))
            .await;
        let mut lines = lines_of(&tenant.stack, "run", &run).await;
        let metrics: Vec<Value> = lines
            .extract_if(.., |line| line["_aws"].is_object())
            .collect();
        let [metrics] = metrics.as_slice() else {
            panic!("not one line of metrics: {metrics:#?}")
        };
        (metrics["_aws"]["CloudWatchMetrics"].clone(), lines.len())
    };
    // Nothing is left to do that only a first run does, such as getting a token.
    run("first").await;
    let (metrics, logged) = run("debug").await;
    with_level("error").await.unwrap();
    let (at_error, logged_at_error) = run("error").await;
    with_level("debug").await.unwrap();
    assert!(
        logged > 0 && logged_at_error == 0,
        "{logged} {logged_at_error}"
    );
    assert_eq!(metrics, at_error);
}

#[tokio::test]
async fn every_line_of_a_retry_names_its_connection() {
    let tenant = Tenant::new().await;
    let fault = Fault::status("/departments", 503, 1);
    tenant.protime.add_fault(fault);
    tenant
        .completed(json!({"entity": "departments", "run": "again"}))
        .await;
    let lines = lines_of(&tenant.stack, "incoming", &tenant.incoming()).await;
    let again = lines
        .iter()
        .find(|line| line["message"] == "a read failed; it is repeated after a delay");
    assert_eq!(again.unwrap()["run"], "again");
}
