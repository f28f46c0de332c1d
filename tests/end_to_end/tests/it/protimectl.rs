//! protimectl on the deployed stack, as a program.

mod command;

use std::time::{Duration, Instant};

use end_to_end::in_process_subscriber::InProcessSubscriber;
use end_to_end::{Tenant, eventually};
use serde_json::{Value, json};
use simulator::{Fault, Options};

pub(crate) use command::{Folder, Printed, Protimectl, connection, masked, program};

/// What it prints with `--json` of the deployed stack, and its exit code.
fn json_of(arguments: &[&str]) -> (Value, i32) {
    Protimectl::deployed().json(arguments)
}

/// A file with JSON.
fn file(tenant: &Tenant, content: &Value) -> (Folder, String) {
    let folder = Folder::new(tenant);
    let path = folder.write("x.json", &content.to_string());
    (folder, path)
}

/// Checks a connection: the exit code, and the message of what failed.
fn checked(tenant: &Tenant, fields: &Value) -> (i32, String) {
    let (_folder, file) = file(tenant, &connection(tenant, fields));
    let started = Instant::now();
    let (document, code) = json_of(&["check", &file]);
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let verdicts = document["checks"][0]["verdicts"].as_array().unwrap();
    let failed = verdicts
        .iter()
        .find(|verdict| verdict["result"] == "failed");
    let message = failed.map(|verdict| verdict["message"].as_str().unwrap().to_owned());
    (code, message.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_a_message_and_an_exit_code() {
    let tenant = Tenant::new().await;
    let none = json!({});
    assert_eq!(checked(&tenant, &none), (0, String::new()));

    let (code, message) = checked(&tenant, &json!({"client": "protime/absent"}));
    assert_eq!(code, 12);
    assert!(
        message.contains("secret `protime/absent`: does not exist; create it with"),
        "{message}"
    );

    // The role allows the queues that the stack's parameter names.
    let queue = format!("elsewhere-{}", tenant.incoming());
    let queue = tenant.stack.sqs.create_queue().queue_name(queue);
    let queue = queue.send().await.unwrap().queue_url.unwrap();
    let (code, message) = checked(&tenant, &json!({"queue": queue}));
    assert_eq!(code, 18, "{message}");
    assert!(message.contains("ConnectionQueueArns"), "{message}");

    let (code, message) = checked(&tenant, &json!({"entity": "clockings"}));
    assert_eq!(code, 11);
    assert!(
        message.contains("filter") && message.contains("`date`"),
        "{message}"
    );

    tenant.protime.configure(|settings| {
        settings.withheld_scopes = vec!["connector-protimeapi-people.read".to_owned()];
    });
    tenant.protime.revoke_tokens();
    let another = Tenant::new().await;
    another.protime.configure(|settings| {
        settings.withheld_scopes = vec!["connector-protimeapi-people.read".to_owned()];
    });
    let (code, message) = checked(&another, &none);
    assert_eq!(code, 15, "{message}");
    assert!(
        message.contains("connector-protimeapi-people.read"),
        "{message}"
    );

    let tenant = Tenant::new().await;
    tenant
        .store_secret_with(&json!({"client_id": "another-client"}))
        .await;
    let (code, message) = checked(&tenant, &none);
    assert_eq!(code, 14, "{message}");
    assert!(message.contains("`client_id`"), "{message}");

    let tenant = Tenant::new().await;
    tenant
        .store_secret_with(&json!({"base_uri": "https://no-such-tenant.invalid"}))
        .await;
    let (code, message) = checked(&tenant, &none);
    assert_eq!(code, 13, "{message}");
    assert!(message.contains("`base_uri`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_outages_and_deltas_of_others_are_told_apart() {
    let tenant = Tenant::new().await;
    tenant.protime.add_fault(Fault::status("/people", 400, 1));
    assert_eq!(checked(&tenant, &json!({})).0, 16);
    tenant.protime.add_fault(Fault::status("/people", 503, 100));
    assert_eq!(checked(&tenant, &json!({})).0, 17);
    tenant.protime.clear_faults();
    let delta = json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}});
    tenant.completed(delta.clone()).await;
    assert_eq!(checked(&tenant, &delta).0, 0);
    let mut another = delta;
    another["incoming"] = format!("{}-too", tenant.incoming()).into();
    let (code, message) = checked(&tenant, &another);
    assert_eq!(code, 19, "{message}");
    assert!(message.contains(&tenant.incoming()), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_previewed_write_is_the_later_request() {
    let tenant = Tenant::new().await;
    let request = json!({
        "client": tenant.client, "method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"},
    });
    let (_folder, file) = file(&tenant, &request);
    let before = tenant.protime.requests().len();
    let (document, code) = json_of(&["preview", "--publish", &file]);
    assert_eq!((code, tenant.protime.requests().len()), (0, before));
    let previewed = &document["request"];
    tenant.publish(request.clone()).await;
    eventually("the write", || {
        tenant
            .protime
            .requests()
            .iter()
            .any(|sent| sent.method == "POST" && sent.target.contains("/clockings"))
    })
    .await;
    let sent = tenant.protime.requests();
    let sent = sent
        .iter()
        .find(|sent| sent.method == "POST" && sent.target.contains("/clockings"))
        .unwrap();
    assert_eq!(previewed["method"], sent.method.as_str());
    assert_eq!(
        previewed["url"],
        format!("{}{}", tenant.base_uri, sent.target)
    );
    assert_eq!(previewed["headers"]["user-agent"], sent.user_agent.as_str());
    assert_eq!(previewed["body"], sent.body.as_str());
    assert_eq!(previewed["headers"]["authorization"], "Bearer ***");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_changes_nothing_and_leaves_a_delta_alive() {
    let tenant = Tenant::with(
        Options {
            days: 3,
            ..Options::default()
        },
        &json!({}),
    )
    .await;
    let delta = json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}});
    tenant.completed(delta.clone()).await;
    tenant.stack.drain(&tenant.pages).await;
    let (_folder, file) = file(&tenant, &connection(&tenant, &delta));
    let asked = tenant.protime.requests().len();
    for arguments in [
        &["check", &file][..],
        &["check", "--here", &file],
        &["preview", &file],
        &[
            "count",
            &file,
            "--from",
            "2026-11-01",
            "--to",
            "2026-11-26",
            "--by",
            "day",
        ],
        &["status"],
        &["runs", &tenant.incoming()],
        &["entities", "clockings"],
        &["parked"],
        &["failed"],
    ] {
        let Printed {
            stdout,
            stderr,
            code,
        } = Protimectl::deployed().run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    }
    let requests = tenant.protime.requests();
    let reads = requests[asked..]
        .iter()
        .filter(|sent| !sent.target.contains("/connect/token"));
    for sent in reads {
        assert_eq!(sent.method, "GET");
        assert!(!sent.target.contains("delta"), "{}", sent.target);
    }
    assert!(tenant.stack.drain(&tenant.pages).await.is_empty());
    // The delta is polled as before.
    tenant.completed(json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}})).await;
    let last = tenant.protime.requests();
    assert!(
        last.last().unwrap().target.contains("/delta/"),
        "{}",
        last.last().unwrap().target
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_run_paused_and_forgotten() {
    let tenant = Tenant::new().await;
    let (_folder, file) = file(&tenant, &connection(&tenant, &json!({})));
    let name = tenant.incoming();
    let (run, code) = json_of(&["run", &file, "--yes", "--follow"]);
    assert_eq!((code, &run["status"]), (0, &json!("completed")));
    assert_eq!(run["counts"]["records"], 20);

    // Without a terminal, nothing is changed that was not agreed to.
    let asked = Protimectl::deployed().run(&["pause", &name, "--for", "PT1H"]);
    assert_eq!(asked.code, 2);
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    let (_, code) = json_of(&[
        "pause", &name, "--for", "PT1H", "--reason", "upgrade", "--yes",
    ]);
    assert_eq!(code, 0);
    let skipped = tenant.subscribe(json!({"entity": "people"})).await;
    assert_eq!(skipped.payload["status"], "skipped", "{}", skipped.payload);
    let (status, _) = json_of(&["status"]);
    let connections = status["connections"].as_array().unwrap();
    let own = connections
        .iter()
        .find(|told| told["incoming"] == name.as_str())
        .unwrap();
    assert_eq!(own["stands"], "paused");
    assert!(own["note"].as_str().unwrap().contains("(upgrade)"));
    json_of(&["resume", &name, "--yes"]);
    tenant.completed(json!({"entity": "people"})).await;

    let (dry, _) = json_of(&["forget", &name, "--dry-run"]);
    assert_eq!(dry["done"], false);
    let (runs, _) = json_of(&["runs", &name]);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);
    json_of(&["forget", &name, "--yes"]);
    let (_, code) = json_of(&["runs", &name]);
    assert_eq!(code, 11, "nothing is remembered, and no schedule runs it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_is_not_paused_into_its_death_by_mistake() {
    let tenant = Tenant::new().await;
    tenant.completed(json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}})).await;
    let name = tenant.incoming();
    let (refused, code) = json_of(&["pause", &name, "--for", "PT80H", "--yes"]);
    assert_eq!(code, 2);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--let-delta-expire")
    );
    let (_, code) = json_of(&[
        "pause",
        &name,
        "--for",
        "PT80H",
        "--let-delta-expire",
        "--yes",
    ]);
    assert_eq!(code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_is_paused_and_goes_on() {
    let tenant = Tenant::new().await;
    json_of(&["pause", "--publishing", "--for", "PT10S", "--yes"]);
    let request = json!({
        "client": tenant.client, "method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 511, "kind": "InOut"},
    });
    tenant.publish(request).await;
    let has_written = || {
        tenant
            .protime
            .requests()
            .iter()
            .any(|sent| sent.method == "POST" && sent.target.contains("/clockings"))
    };
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!has_written());
    json_of(&["resume", "--publishing", "--yes"]);
    eventually("the write", has_written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_forgotten_by_half_is_forgotten_by_the_next_try() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let departments = json!({"entity": "departments"});
    local.run(&departments).await.unwrap();
    let (name, state) = (local.incoming("test"), &local.subscriber.state);
    local.crash_proxy.arm(2, false);
    tokio::select! {
        forgotten = state.forget(&name) => panic!("nothing stops it: {forgotten:?}"),
        () = local.crash_proxy.crashed() => {}
    }
    local.crash_proxy.arm(0, false);
    assert!(state.connection(&name).await.unwrap().is_some());
    state.forget(&name).await.unwrap();
    assert!(state.connection(&name).await.unwrap().is_none());
    assert!(state.history(&name).await.unwrap().runs.is_empty());
}
