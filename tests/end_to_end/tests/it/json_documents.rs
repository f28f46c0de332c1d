//! The documents of `--json`, which scripts read: what is in them changes only on purpose, and not without their version.

use connector::store::Pause;
use end_to_end::{Tenant, eventually, variable};
use jiff::Timestamp;
use serde_json::{Value, json};
use simulator::{Fault, Options};

use crate::protimectl::{Folder, Protimectl, connection, masked};
use crate::screens::Stack;

/// What differs from one time to the next.
const VARYING: [(&str, &str); 12] = [
    (r"http://(127\.0\.0\.1|localhost):[0-9]+", "<host>"),
    (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+(\.[0-9]+)?(Z|\+[0-9:]+)",
        "<time>",
    ),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"\b[0-9a-z]+\.lambda-url\.", "<doorbell>.lambda-url."),
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "<id>",
    ),
    (r"protime-test-[0-9]+-[0-9]+", "<connection>"),
    (r"test-[0-9]+-[0-9]+", "<tenant>"),
    (r"documents-[a-z]+-[0-9]+", "<stack>"),
    (r"-[0-9A-F]{13}\b", "-<hash>"),
    // The names of the connection and the host are in it.
    (r#""bytes": [0-9]+"#, r#""bytes": "<bytes>""#),
    (r"ProtimeConnector/[0-9.]+", "ProtimeConnector/<version>"),
    (r#""[^"]*/(\w+\.(json|jsonl|yaml))""#, r#""<folder>/$1""#),
];

/// Holds the document of a command against the snapshot of that name.
pub(crate) fn documented(name: &str, protimectl: &Protimectl, arguments: &[&str]) -> Value {
    let (document, _) = protimectl.json(arguments);
    insta::assert_snapshot!(name, masked(&format!("{document:#}"), &VARYING));
    document
}

/// A Protime in which nothing depends on the day.
async fn tenant() -> Tenant {
    let options = Options {
        now: Some("2026-02-20T12:00:00Z".parse().unwrap()),
        days: 10,
        ..Options::default()
    };
    Tenant::with(options, &json!({})).await
}

fn clockings(tenant: &Tenant) -> Value {
    let filter = "date ge '2026-02-16' and date le '2026-02-17'";
    connection(
        tenant,
        &json!({"entity": "clockings", "query": {"filter": filter}, "fields": ["person.id", "date"]}),
    )
}

const DATES: [&str; 4] = ["--from", "2026-02-16", "--to", "2026-02-17"];

#[tokio::test(flavor = "multi_thread")]
async fn of_connections() {
    let tenant = tenant().await;
    let (folder, protimectl) = (Folder::new(&tenant), Protimectl::deployed());
    let file = folder.write("clockings.json", &clockings(&tenant).to_string());
    documented("check", &protimectl, &["check", &file]);
    documented("check_here", &protimectl, &["check", "--here", &file]);
    documented("check_offline", &protimectl, &["check", "--offline", &file]);
    tenant
        .protime
        .add_fault(Fault::status("/clockings", 400, 1));
    documented("check_refused", &protimectl, &["check", &file]);
    documented(
        "preview",
        &protimectl,
        &["preview", &file, "--records", "1"],
    );
    let count = [&["count", &file, "--by", "day"], &DATES[..]].concat();
    documented("count", &protimectl, &count);
    let backfill = [&["backfill", &file, "--dry-run"], &DATES[..]].concat();
    documented("backfill_dry_run", &protimectl, &backfill);
    documented("run_dry_run", &protimectl, &["run", &file, "--dry-run"]);
    let run = documented(
        "run_follow",
        &protimectl,
        &["run", &file, "--follow", "--yes"],
    );
    let (name, run) = (tenant.incoming(), run["run"].as_str().unwrap());
    documented("runs", &protimectl, &["runs", &name]);
    documented("runs_one", &protimectl, &["runs", &name, run]);
    documented("run", &protimectl, &["run", &file, "--yes"]);
    // It ends before its Protime does.
    eventually("the other run", || {
        let runs = protimectl.succeeds(&["runs", &name]);
        let runs = runs["runs"].as_array().unwrap();
        runs.iter()
            .filter(|run| run["status"] == "completed")
            .count()
            == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writes() {
    let tenant = tenant().await;
    let (folder, protimectl) = (Folder::new(&tenant), Protimectl::deployed());
    let request = json!({
        "client": tenant.client, "method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": "2026-02-20", "timeOfDayInMinutes": 510, "kind": "InOut"},
    });
    let file = folder.write("request.json", &request.to_string());
    documented(
        "preview_publish",
        &protimectl,
        &["preview", "--publish", &file],
    );
}

const TEMPLATE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Resources:
  Subscriber:
    Type: AWS::Serverless::Function
    Properties:
      Events:
        Clockings:
          Type: ScheduleV2
          Properties:
            ScheduleExpression: rate(1 hour)
            Input: '{"incoming": "clockings", "client": "protime/acme", "entity": "clocking"}'
"#;

#[test]
fn of_what_needs_no_stack() {
    let protimectl = Protimectl::on("documents-none-0");
    let folder = Folder::named(&format!("documents-none-{}", std::process::id()));
    let template = folder.write("template.yaml", TEMPLATE);
    documented("check_template", &protimectl, &["check", &template]);
    documented("entities_one", &protimectl, &["entities", "departments"]);
    let program = ".query.filter = \"date ge '\\(days(-7))'\"";
    let now = ["--now", "2026-11-25T02:00:00Z"];
    let incoming = [&["try", "--incoming", program], &now[..]].concat();
    documented("try_incoming", &protimectl, &incoming);
    documented(
        "try_outgoing",
        &protimectl,
        &["try", "--outgoing", "{a: 1}, {b: 2}"],
    );
    documented("error_entity", &protimectl, &["entities", "clocking"]);
    documented("error_stack", &protimectl, &["status"]);
    let entities = protimectl.succeeds(&["entities"]);
    let entities = entities["entities"].as_array().unwrap();
    // The catalogue has 30, of which one has nothing to read or write.
    assert_eq!(entities.len(), 30);
    let first = json!(["entity", "operations"]);
    for entity in entities {
        let fields: Vec<&String> = entity.as_object().unwrap().keys().collect();
        assert_eq!(json!(fields), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_how_everything_stands() {
    let stack = Stack::new("documents-status", &["nightly"], false).await;
    stack.completed("nightly", 72, 26).await;
    let pause = Pause {
        until: "2099-01-01T00:00:00Z".parse::<Timestamp>().unwrap(),
        reason: "an upgrade".to_owned(),
    };
    stack.state.pause_publishing(Some(&pause)).await.unwrap();
    let protimectl = stack.protimectl();
    documented("status", &protimectl, &["status"]);
    documented("status_fail", &protimectl, &["status", "--fail"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes() {
    let stack = Stack::new("documents-changes", &["nightly"], false).await;
    stack.completed("nightly", 3, 26).await;
    let protimectl = stack.protimectl();
    let pause = ["pause", "nightly", "--until", "2099-01-01T00:00:00Z"];
    documented("error_without_yes", &protimectl, &pause);
    documented(
        "pause_dry_run",
        &protimectl,
        &[&pause[..], &["--dry-run"]].concat(),
    );
    documented("pause", &protimectl, &[&pause[..], &["--yes"]].concat());
    documented("resume", &protimectl, &["resume", "nightly", "--yes"]);
    let publishing = [
        "pause",
        "--publishing",
        "--until",
        "2099-01-01T00:00:00Z",
        "--yes",
    ];
    documented("pause_publishing", &protimectl, &publishing);
    documented(
        "resume_publishing",
        &protimectl,
        &["resume", "--publishing", "--yes"],
    );
    documented("forget", &protimectl, &["forget", "nightly", "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_parked() {
    let stack = Stack::new("documents-parked", &[], false).await;
    for number in 1..=2 {
        stack.park(number, "refused").await;
    }
    stack.park(3, "unknown-outcome").await;
    let protimectl = stack.protimectl();
    let list = documented("parked", &protimectl, &["parked"]);
    let id = list["parked"][0]["messages"][0]["id"].as_str().unwrap();
    documented("parked_show", &protimectl, &["parked", "show", id]);
    let folder = Folder::named(&stack.name);
    let to = folder.path().join("skipped.jsonl");
    let to = to.to_str().unwrap();
    let some = ["--reason", "refused", "--yes"];
    let redrive = [&["parked", "redrive", "--dry-run"], &some[..2]].concat();
    documented("parked_redrive_dry_run", &protimectl, &redrive);
    documented(
        "parked_redrive",
        &protimectl,
        &[&["parked", "redrive"], &some[..]].concat(),
    );
    documented(
        "parked_skip",
        &protimectl,
        &["parked", "skip", "--to", to, "--yes"],
    );
    documented(
        "parked_nothing",
        &protimectl,
        &["parked", "redrive", "--yes"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_failed() {
    let tenant = tenant().await;
    let protimectl = Protimectl::deployed();
    let queue = variable("SUBSCRIBER_FAILURE_QUEUE_URL");
    tenant.stack.purge(&queue).await;
    let record = json!({
        "timestamp": "2026-11-23T03:00:00Z", "requestContext": {"condition": "RetriesExhausted"},
        "requestPayload": clockings(&tenant),
        "responsePayload": {"errorType": "ProtimeUnavailable", "errorMessage": "Protime did not answer"},
    });
    let send = tenant.stack.sqs.send_message().queue_url(queue);
    send.message_body(record.to_string()).send().await.unwrap();
    documented("failed", &protimectl, &["failed"]);
    documented(
        "failed_retry_dry_run",
        &protimectl,
        &["failed", "retry", "--dry-run"],
    );
    documented("failed_retry", &protimectl, &["failed", "retry", "--yes"]);
    eventually("the run", || {
        let (runs, _) = protimectl.json(&["runs", &tenant.incoming()]);
        runs["runs"][0]["status"] == "completed"
    })
    .await;
}
