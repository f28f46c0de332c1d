//! By which rights protimectl does what it does: local AWS checks them, and writes down which are used.

mod people;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use end_to_end::{Tenant, aws, eventually, variable};
use serde_json::{Value, json};
use simulator::Options;

use crate::protimectl::{Folder, Protimectl, connection};
use people::{People, granted};

/// All that looking may use. `check` sends the pages queue a batch of nothing, to learn whether that is allowed.
const LOOKING: [&str; 12] = [
    "cloudformation:ListStackResources",
    "dynamodb:BatchGetItem",
    "dynamodb:GetItem",
    "dynamodb:Query",
    "lambda:GetFunctionConfiguration",
    "lambda:InvokeFunction",
    "scheduler:GetSchedule",
    "secretsmanager:GetSecretValue",
    "sqs:ChangeMessageVisibilityBatch",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessageBatch",
];

fn text(value: &str) -> MessageAttributeValue {
    let value = MessageAttributeValue::builder().string_value(value);
    value.data_type("String").build().unwrap()
}

/// Parks what the publisher would park again.
async fn park(tenant: &Tenant, code: &str) -> String {
    let body = json!({"client": tenant.client, "method": "PATCH", "entity": "clockings"});
    let send = tenant
        .stack
        .sqs
        .send_message()
        .message_body(body.to_string());
    let send = send.queue_url(variable("PUBLISH_DEAD_LETTER_QUEUE_URL"));
    let send = send
        .message_attributes("reason", text("invalid"))
        .message_attributes("code", text(code));
    send.send().await.unwrap().message_id.unwrap()
}

/// What Lambda would put there of a run that failed for good.
async fn fail(tenant: &Tenant, event: &Value) {
    let record = json!({
        "timestamp": "2026-11-23T03:00:00Z", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": event,
        "responsePayload": {"errorType": "ProtimeUnavailable", "errorMessage": "Protime did not answer"},
    });
    let send = tenant
        .stack
        .sqs
        .send_message()
        .message_body(record.to_string());
    let send = send.queue_url(variable("SUBSCRIBER_FAILURE_QUEUE_URL"));
    send.send().await.unwrap();
}

/// How many messages can be received, and how many are hidden.
async fn held(tenant: &Tenant, queue: &str) -> Vec<String> {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    let asked = tenant.stack.sqs.get_queue_attributes();
    let asked = asked
        .queue_url(variable(queue))
        .set_attribute_names(Some(names.to_vec()));
    let counts = asked.send().await.unwrap().attributes.unwrap();
    names.iter().map(|name| counts[name].clone()).collect()
}

/// What the state table holds of a tenant, by id.
async fn stored(tenant: &Tenant) -> Vec<(String, HashMap<String, AttributeValue>)> {
    let dynamodb = aws_sdk_dynamodb::Client::new(&aws().load().await);
    let scan = dynamodb.scan().table_name(variable("STATE_TABLE_NAME"));
    let pages = scan.into_paginator().items().send();
    let items = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let items = items
        .into_iter()
        .map(|item| (item["id"].as_s().unwrap().clone(), item));
    let mut own: Vec<_> = items
        .filter(|(id, _)| id.contains(&tenant.incoming()))
        .collect();
    own.sort_by(|(one, _), (other, _)| one.cmp(other));
    own
}

async fn clean(tenant: &Tenant) {
    for queue in [
        "PUBLISH_DEAD_LETTER_QUEUE_URL",
        "SUBSCRIBER_FAILURE_QUEUE_URL",
        "SCHEDULE_DEAD_LETTER_QUEUE_URL",
        "CONTINUATION_DEAD_LETTER_QUEUE_URL",
    ] {
        tenant.stack.purge(&variable(queue)).await;
    }
}

fn clockings(tenant: &Tenant) -> Value {
    let filter = "date ge '2026-11-01' and date le '2026-11-02'";
    connection(
        tenant,
        &json!({"entity": "clockings", "query": {"filter": filter}}),
    )
}

fn publish_request(tenant: &Tenant) -> String {
    let payload = json!({"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"});
    json!({"client": tenant.client, "method": "POST", "entity": "clockings", "payload": payload})
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_writes_nothing() {
    let things = Things::new().await;
    let people = People::new(&things.tenant, &things.folder).await;
    let Things {
        tenant,
        file,
        request,
        ..
    } = &things;
    let (event, name) = (clockings(tenant), tenant.incoming());
    tenant.completed(event.clone()).await;
    tenant.stack.drain(&tenant.pages).await;
    let parked = park(tenant, &name).await;
    fail(tenant, &event).await;
    let before = stored(tenant).await;
    assert!(!before.is_empty());
    let looking: [&[&str]; 17] = [
        &["check", file],
        &["check", "--here", file],
        &["check", "--offline", file],
        &["preview", file],
        &["preview", "--publish", request],
        &["try", "--incoming", ".query.filter = today"],
        &["entities", "clockings"],
        &things.dated(&["count"]),
        &["status"],
        &["runs"],
        &["runs", &name],
        &["run", file, "--dry-run"],
        &things.dated(&["backfill", "--dry-run"]),
        &["parked"],
        &["parked", "show", &parked],
        &["parked", "redrive", "--dry-run"],
        &["failed"],
    ];
    for arguments in looking {
        people.protimectl("reader").succeeds(arguments);
    }
    assert_eq!(people.used("reader"), LOOKING.map(str::to_owned).into());
    assert!(
        stored(tenant).await == before,
        "the state table is as it was"
    );
    assert!(tenant.stack.drain(&tenant.pages).await.is_empty());
    for queue in [
        "PUBLISH_DEAD_LETTER_QUEUE_URL",
        "SUBSCRIBER_FAILURE_QUEUE_URL",
    ] {
        assert_eq!(held(tenant, queue).await, ["1", "0"], "{queue}");
    }
    clean(tenant).await;
}

/// A command that is refused with AWS's exit code and names the right that it lacks.
fn lacks(protimectl: &Protimectl, right: &str, arguments: &[&str]) {
    let (document, code) = protimectl.json(arguments);
    let message = document["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(code, 10, "{arguments:?}: {document:#}");
    assert!(message.contains(right), "{arguments:?}: {message}");
    assert!(!message.contains("the function may"), "{message}");
}

const DATES: [&str; 4] = ["--from", "2026-11-01", "--to", "2026-11-02"];

/// What the commands are about.
struct Things {
    tenant: Tenant,
    folder: Folder,
    /// A connection's event, and a publish request.
    file: String,
    request: String,
    /// Those of the two parked messages.
    codes: [String; 2],
}

impl Things {
    async fn new() -> Self {
        let options = Options {
            days: 3,
            ..Options::default()
        };
        let tenant = Tenant::with(options, &json!({})).await;
        let (folder, name) = (Folder::new(&tenant), tenant.incoming());
        clean(&tenant).await;
        Self {
            file: folder.write("x.json", &clockings(&tenant).to_string()),
            request: folder.write("request.json", &publish_request(&tenant)),
            codes: ["sent", "skipped"].map(|code| format!("{name}-{code}")),
            tenant,
            folder,
        }
    }

    fn backfill(&self) -> String {
        format!("{}-backfill", self.tenant.incoming())
    }

    fn dated<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        [command, &[&self.file], &DATES].concat()
    }
}

fn a_viewer_looks(viewer: &Protimectl, things: &Things, run: &str) {
    let name = things.tenant.incoming();
    let looking: [&[&str]; 8] = [
        &["check", "--offline", &things.file],
        &["status"],
        &["runs"],
        &["runs", &name],
        &["runs", &name, run],
        &["entities"],
        &["entities", "clockings"],
        &["try", "--outgoing", "."],
    ];
    for arguments in looking {
        viewer.succeeds(arguments);
    }
}

fn a_viewer_does_not_act(viewer: &Protimectl, things: &Things, parked: &str) {
    let (file, name, backfill) = (&things.file, things.tenant.incoming(), things.backfill());
    let nowhere = things.folder.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let pause = ["pause", &name, "--for", "PT1H", "--yes"];
    let pause_publishing = ["pause", "--publishing", "--for", "PT1H", "--yes"];
    let skip = ["parked", "skip", "--to", nowhere, "--yes"];
    let acting: [(&str, &[&str]); 14] = [
        ("lambda:InvokeFunction", &["check", file]),
        ("lambda:InvokeFunction", &["run", file, "--yes"]),
        (
            "lambda:InvokeFunction",
            &things.dated(&["backfill", "--yes"]),
        ),
        ("dynamodb:UpdateItem", &pause),
        ("dynamodb:UpdateItem", &["resume", &name, "--yes"]),
        ("dynamodb:UpdateItem", &pause_publishing),
        ("dynamodb:UpdateItem", &["resume", "--publishing", "--yes"]),
        ("sqs:ReceiveMessage", &["parked"]),
        ("sqs:ReceiveMessage", &["parked", "show", parked]),
        ("sqs:ReceiveMessage", &["parked", "redrive", "--yes"]),
        ("sqs:ReceiveMessage", &skip),
        ("sqs:ReceiveMessage", &["failed"]),
        ("sqs:ReceiveMessage", &["failed", "retry", "--yes"]),
        ("dynamodb:DeleteItem", &["forget", &backfill, "--yes"]),
    ];
    for (right, arguments) in acting {
        lacks(viewer, right, arguments);
    }
}

fn nobody_reads_secrets(people: &[&Protimectl], things: &Things) {
    let reading: [&[&str]; 3] = [
        &["preview", &things.file],
        &["preview", "--publish", &things.request],
        &things.dated(&["count"]),
    ];
    for protimectl in people {
        for arguments in reading {
            lacks(protimectl, "secretsmanager:GetSecretValue", arguments);
        }
    }
}

async fn an_operator_acts(operator: &Protimectl, things: &Things, parked: &str) {
    let (name, [sent, skipped]) = (things.tenant.incoming(), &things.codes);
    operator.succeeds(&["pause", &name, "--for", "PT1H", "--yes"]);
    operator.succeeds(&["resume", &name, "--yes"]);
    operator.succeeds(&["pause", "--publishing", "--for", "PT1H", "--yes"]);
    operator.succeeds(&["resume", "--publishing", "--yes"]);
    operator.succeeds(&["parked", "show", parked]);
    let redriven = operator.succeeds(&["parked", "redrive", "--code", sent, "--yes"]);
    assert_eq!(redriven["sent"], 1);
    let to = things.folder.path().join("skipped.jsonl");
    let to = to.to_str().unwrap();
    let moved = operator.succeeds(&["parked", "skip", "--code", skipped, "--to", to, "--yes"]);
    assert_eq!(moved["skipped"], 1);
    let retried = operator.succeeds(&["failed", "retry", "--yes"]);
    assert_eq!(retried["started"], 1);
    eventually("the run that was started again", || {
        let runs = operator.succeeds(&["runs", &name]);
        let runs = runs["runs"].as_array().unwrap();
        let completed = runs.iter().filter(|run| run["status"] == "completed");
        completed.count() == 2
    })
    .await;
    operator.succeeds(&["forget", &things.backfill(), "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_an_operator_acts_and_neither_reads_secrets() {
    let things = Things::new().await;
    let people = People::new(&things.tenant, &things.folder).await;
    let (viewer, operator) = (people.protimectl("viewer"), people.protimectl("operator"));
    operator.succeeds(&["check", &things.file]);
    let run = operator.succeeds(&["run", &things.file, "--follow", "--yes"]);
    operator.succeeds(&things.dated(&["backfill", "--follow", "--yes"]));
    let parked = park(&things.tenant, &things.codes[0]).await;
    park(&things.tenant, &things.codes[1]).await;
    fail(&things.tenant, &clockings(&things.tenant)).await;

    a_viewer_looks(&viewer, &things, run["run"].as_str().unwrap());
    a_viewer_does_not_act(&viewer, &things, &parked);
    nobody_reads_secrets(&[&viewer, &operator], &things);
    an_operator_acts(&operator, &things, &parked).await;
    for (policy, who) in [("Viewer", "viewer"), ("Operator", "operator")] {
        let used = people.used(who);
        for action in granted(policy) {
            let is_used = used.contains(&action) || used.contains(&format!("{action}Batch"));
            assert!(is_used, "{policy}: nothing needs {action}");
        }
    }
    clean(&things.tenant).await;
}
