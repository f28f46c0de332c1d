//! The operator at 3 a.m. has the logs and infra/OPERATIONS.md: its command finds what went wrong, and its advice on the
//! kind of failure mends it.

use end_to_end::in_process_subscriber::create_table;
use end_to_end::{Stack, Tenant, eventually, variable};
use serde_json::{Value, json};
use simulator::{Action, Fault};

fn at_3_am() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/OPERATIONS.md");
    let operations = std::fs::read_to_string(path).unwrap();
    operations.split("## At 3 a.m.").nth(1).unwrap().to_owned()
}

/// What the document says of a kind of failure: what it means, and what to do.
fn advice(kind: &str) -> String {
    let section = at_3_am();
    let row = section
        .lines()
        .find(|line| line.starts_with(&format!("| `{kind}` |")));
    row.unwrap_or_else(|| panic!("infra/OPERATIONS.md has no row for {kind}"))
        .to_owned()
}

/// What the document's command shows of a function's failures.
async fn shown(stack: &Stack, function: &str) -> Vec<Value> {
    let section = at_3_am();
    let group = format!("/aws/lambda/<stack>-{function}");
    let command = section
        .lines()
        .find(|line| line.starts_with(&format!("aws logs tail {group}")));
    let pattern = command.unwrap().split('\'').nth(1).unwrap();
    let message = pattern.split('"').nth(1).unwrap();
    let group = group.replace("<stack>", &variable("STACK_NAME"));
    let lines = stack.log_lines_of(&group, pattern).await;
    let lines = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    // Local AWS shows lines that do not match as well.
    lines.filter(|line| line["message"] == message).collect()
}

/// The last failure of a connection, of the expected kind.
async fn failed_run(tenant: &Tenant, kind: &str) -> String {
    let lines = shown(&tenant.stack, "subscriber").await;
    let line = lines
        .iter()
        .rfind(|line| line["incoming"] == json!(tenant.incoming()));
    let line = line.expect("the command of infra/OPERATIONS.md shows the failure");
    assert_eq!(
        (&line["kind"], &line["level"]),
        (&json!(kind), &json!("ERROR"))
    );
    assert_eq!(line["client"], json!(tenant.client));
    line["error"].as_str().unwrap().to_owned()
}

/// Why a message was deferred, first of all.
async fn deferred(tenant: &Tenant, id: &str) -> (String, String) {
    let end = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let lines = shown(&tenant.stack, "publisher").await;
        if let Some(line) = lines.iter().find(|line| line["messageId"] == json!(id)) {
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            return (field("kind"), field("error"));
        }
        assert!(
            tokio::time::Instant::now() < end,
            "the message is not deferred"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

fn people() -> Value {
    json!({"entity": "people"})
}

fn clocking() -> Value {
    let payload = json!({"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"});
    json!({"method": "POST", "entity": "clockings", "payload": payload})
}

/// Runs that wait for their end need not take a minute.
async fn with_timeout(tenant: &Tenant, seconds: i32) {
    let update = tenant.stack.lambda.update_function_configuration();
    let function = variable("SUBSCRIBER_FUNCTION_NAME");
    update
        .function_name(function)
        .timeout(seconds)
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_secret_is_corrected() {
    let tenant = Tenant::new().await;
    tenant.protime.rotate_client_secret("another");
    let failed = tenant.subscribe(people()).await;
    assert!(failed.failed);
    let error = failed_run(&tenant, "ClientRejected").await;
    assert!(
        error.contains(&format!("secret `{}`", tenant.client)),
        "{error}"
    );
    assert!(error.contains("`client_secret`"), "{error}");
    assert!(advice("ClientRejected").contains("correct the secret; no redeploy"));
    tenant.store_secret().await;
    tenant.completed(people()).await;
}

#[tokio::test]
async fn an_outage_and_a_protime_without_an_answer_are_waited_out() {
    let tenant = Tenant::new().await;
    with_timeout(&tenant, 20).await;
    let doing_nothing = "nothing; the next run goes on from the checkpoint, messages come again";
    assert!(advice("ProtimeUnavailable").contains(doing_nothing));
    for (action, told) in [
        (Action::DropBefore, "connection"),
        (
            Action::Delay { ms: 60_000 },
            "no answer before the deadline",
        ),
    ] {
        tenant
            .protime
            .add_fault(Fault::new("/connector", 1_000, action));
        let failed = tenant.subscribe(people()).await;
        assert!(failed.failed);
        let error = failed_run(&tenant, "ProtimeUnavailable").await;
        assert!(error.contains(told), "{error}");
        tenant.protime.clear_faults();
        tenant.completed(people()).await;
    }
    with_timeout(&tenant, 60).await;

    tenant
        .protime
        .add_fault(Fault::new("/connector", 1, Action::DropBefore));
    let payload = json!({"from": "2026-02-02"});
    let id = tenant.publish(json!({"method": "PUT", "entity": "assignments", "path": {"id": 7}, "payload": payload})).await;
    let (kind, _) = deferred(&tenant, &id).await;
    assert!(advice(&kind).contains("| nothing"), "{kind}");
}

#[tokio::test]
async fn a_table_that_is_gone_is_restored() {
    let tenant = Tenant::new().await;
    let table = variable("STATE_TABLE_NAME");
    let dynamodb = aws_sdk_dynamodb::Client::new(&end_to_end::aws().load().await);
    dynamodb
        .delete_table()
        .table_name(&table)
        .send()
        .await
        .unwrap();
    let failed = tenant.subscribe(people()).await;
    assert!(failed.failed);
    let error = failed_run(&tenant, "State").await;
    assert!(error.contains(&table), "{error}");
    let id = tenant.publish(clocking()).await;
    let (kind, error) = deferred(&tenant, &id).await;
    assert_eq!(kind, "State");
    assert!(error.contains(&table), "{error}");
    assert!(
        tenant.targets().is_empty(),
        "nothing is read or written meanwhile"
    );
    assert!(advice("State").contains("check the table"));
    create_table(&dynamodb, &table).await;
    tenant.completed(people()).await;
    eventually("the write", || {
        tenant
            .protime
            .requests()
            .iter()
            .any(|request| request.status == 201)
    })
    .await;
}

#[tokio::test]
async fn queues_that_are_gone_are_created_again() {
    let tenant = Tenant::new().await;
    let pages = tenant.stack.delete_queue(&tenant.pages).await;
    let failed = tenant.subscribe(people()).await;
    assert!(failed.failed);
    let error = failed_run(&tenant, "Queue").await;
    assert!(error.contains(&tenant.pages), "{error}");
    assert!(advice("Queue").contains("the error names the queue"));
    tenant.stack.create_queue_again(pages).await;
    tenant.completed(people()).await;

    let dead_letters = variable("PUBLISH_DEAD_LETTER_QUEUE_URL");
    let deleted = tenant.stack.delete_queue(&dead_letters).await;
    let body = format!("for {}", tenant.client);
    let id = tenant.publish_text(&body).await;
    let (kind, error) = deferred(&tenant, &id).await;
    assert_eq!(kind, "DeadLetterQueue");
    assert!(error.contains("does not exist"), "{error}");
    assert!(advice(&kind).contains("check the dead-letter queue"));
    tenant.stack.create_queue_again(deleted).await;
    let parked = tenant
        .stack
        .receive(&dead_letters, |found| !found.is_empty())
        .await;
    assert_eq!(parked[0].body(), Some(body.as_str()));
}
