//! Pages from Protime into SQS.

use end_to_end::Tenant;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options, Simulator};
use twox_hash::XxHash3_64;

const CLOCKINGS: &str = "/connector/protimeapi/api/v1/clockings";

fn year_2025() -> Options {
    Options {
        now: Some("2025-07-05T12:00:00Z".parse().unwrap()),
        ..Options::default()
    }
}

#[tokio::test]
async fn protime_is_asked_for_exactly_the_url_its_users_know() {
    let tenant = Tenant::with(year_2025(), &json!({})).await;
    let event = json!({
        "entity": "clockings", "path": {},
        "query": {"filter": "date ge '2025-01-01' and date le '2025-07-05'"},
        "pagination": true, "sync": "full", "time_zone": "Europe/Brussels",
        "run": "<aws.scheduler.execution-id>", "scheduled": "<aws.scheduler.scheduled-time>",
    });
    tenant.completed(event.clone()).await;
    let mut by_id = event;
    by_id["path"] = json!({"id": 7});
    by_id["query"] = json!({});
    let outcome = tenant.completed(by_id).await;
    let targets = tenant.targets();
    assert_eq!(
        targets[0],
        format!("{CLOCKINGS}?filter=date+ge+%272025-01-01%27+and+date+le+%272025-07-05%27")
    );
    assert_eq!(targets.last().unwrap(), &format!("{CLOCKINGS}/7"));
    assert_eq!(
        (&outcome["pages"], &outcome["records"], &outcome["messages"]),
        (&json!(1), &json!(1), &json!(1))
    );
}

#[tokio::test]
async fn every_record_arrives_once_and_in_order_with_one_run_completed() {
    let tenant = Tenant::new().await;
    tenant.protime.configure(|settings| {
        settings.page_size = 100;
        settings.empty_pages_after = vec![2, 7];
    });
    let records: Vec<Value> = (1..=1234)
        .map(|id| json!({"id": id, "name": {"default": "Département"}}))
        .collect();
    tenant
        .protime
        .set_records("departments", &json!(records).to_string())
        .unwrap();

    let outcome = tenant
        .completed(
            json!({"entity": "departments", "run": "run-1", "scheduled": "2026-11-23T10:00:00Z"}),
        )
        .await;
    assert_eq!(outcome["incoming"], tenant.incoming());
    assert_eq!(outcome["run"], "run-1");
    assert_eq!(
        (&outcome["pages"], &outcome["records"], &outcome["messages"]),
        (&json!(15), &json!(1234), &json!(13))
    );

    let events = tenant.events().await;
    let (completed, pages) = events.split_last().unwrap();
    assert_eq!(completed["type"], "protime.run-completed.v1");
    assert_eq!(completed["id"], "run-1/completed");
    assert_eq!(
        completed["data"],
        json!({"pages": 15, "records": 1234, "messages": 13, "request": {"path": {}, "query": {}}})
    );

    let arrived: Vec<u64> = pages
        .iter()
        .flat_map(|page| page["data"]["value"].as_array().unwrap())
        .map(|record| record["id"].as_u64().unwrap())
        .collect();
    assert_eq!(arrived, (1..=1234).collect::<Vec<u64>>());
    let origin = tenant.protime.base_uri();
    let attributes = json!({
        "specversion": "1.0", "type": "protime.page.v1", "datacontenttype": "application/json",
        "source": format!("{origin}/connector/protimeapi/api/v1/departments"), "subject": tenant.incoming(),
        "entity": "departments", "run": "run-1", "sync": "full", "chain": 0, "part": 0,
    });
    for page in pages {
        for (name, value) in attributes.as_object().unwrap() {
            assert_eq!(&page[name], value, "{name}");
        }
    }
}

#[tokio::test]
async fn a_page_of_five_megabytes_arrives_in_parts_that_join_to_the_same_bytes() {
    let tenant = Tenant::new().await;
    let number = "12345678901234567890123.000100";
    let text = "é\u{FFFF}\\u0001 ".repeat(450);
    let records: Vec<String> = (1..=1000)
        .map(|id| format!(r#"{{"id" : {id}, "n":{number},"text":"{text}"}}"#))
        .collect();
    tenant
        .protime
        .configure(|settings| settings.page_size = 1000);
    tenant
        .protime
        .set_records("departments", &format!("[{}]", records.join(",")))
        .unwrap();
    let outcome = tenant.completed(json!({"entity": "departments"})).await;
    assert!(outcome["bytes"].as_u64().unwrap() > 5_000_000, "{outcome}");

    let messages = tenant.stack.drain(&tenant.pages).await;
    let mut parts: Vec<(u64, String)> = Vec::new();
    for message in &messages {
        let body = message.body().unwrap();
        assert!(body.len() <= 1_048_576);
        let event: Value = serde_json::from_str(body).unwrap();
        let Some(part) = event["part"].as_u64() else {
            continue;
        };
        let value = body
            .split_once(r#""data":{"value":"#)
            .unwrap()
            .1
            .strip_suffix("}}")
            .unwrap();
        // By another implementation than the function's.
        let hash = format!("{:016x}", XxHash3_64::oneshot(value.as_bytes()));
        assert_eq!(
            event["id"],
            format!("{}/0/0/{part}/{hash}", event["run"].as_str().unwrap())
        );
        parts.push((part, value[1..value.len() - 1].to_owned()));
    }
    parts.sort();
    assert!(parts.len() > 5, "{}", parts.len());
    let joined = parts
        .into_iter()
        .map(|(_, value)| value)
        .collect::<Vec<_>>()
        .join(",");
    // SQS cannot carry U+FFFF; as a JSON escape it is the same text.
    assert!(
        joined == records.join(",").replace('\u{FFFF}', "\\uffff"),
        "the records are the same bytes"
    );
}

#[tokio::test]
async fn one_token_serves_warm_runs_and_renewals_cost_one_request_each() {
    let tenant = Tenant::new().await;
    let event = json!({"entity": "departments"});
    for _ in 0..3 {
        tenant.completed(event.clone()).await;
    }
    assert_eq!(tenant.protime.token_requests(), 1);
    tenant.protime.revoke_tokens();
    tenant.completed(event.clone()).await;
    assert_eq!(tenant.protime.token_requests(), 2);
    tenant.protime.rotate_client_secret("rotated");
    tenant.store_secret().await;
    tenant.completed(event).await;
    assert_eq!(
        tenant.protime.token_requests(),
        4,
        "one that was refused, one with the new secret"
    );
}

#[tokio::test]
async fn links_and_redirects_to_other_origins_and_repeated_links_fail_the_run() {
    let elsewhere = Simulator::start(Options::default()).await.unwrap();
    let answer = |status, body: String, headers| Action::Answer {
        status,
        headers,
        body,
    };
    let foreign = json!({"value": [{"id": 1}], "nextLink": format!("{}/connector?continuationToken=x", elsewhere.base_uri())});
    let repeated = json!({"value": [{"id": 1}], "nextLink": "/connector/protimeapi/api/v1/departments?continuationToken=x"});
    let location = vec![("location".to_owned(), elsewhere.base_uri())];
    for (action, kind, message) in [
        (
            answer(200, foreign.to_string(), Vec::new()),
            "ProtimeLink",
            "nothing was sent there",
        ),
        (
            answer(302, String::new(), location),
            "ProtimeRefused",
            "which is not followed",
        ),
        (
            answer(200, repeated.to_string(), Vec::new()),
            "ProtimeLink",
            "the same link twice",
        ),
    ] {
        let tenant = Tenant::new().await;
        tenant
            .protime
            .add_fault(Fault::new("/departments", 9, action));
        let invoked = tenant.subscribe(json!({"entity": "departments"})).await;
        assert!(invoked.failed, "{}", invoked.payload);
        assert_eq!(invoked.payload["errorType"], kind, "{}", invoked.payload);
        assert!(
            invoked.payload["errorMessage"]
                .as_str()
                .unwrap()
                .contains(message),
            "{}",
            invoked.payload
        );
        let events = tenant.events().await;
        assert!(
            events
                .iter()
                .all(|event| event["type"] != "protime.run-completed.v1"),
            "a failed run sends none"
        );
    }
    assert!(
        elsewhere.requests().is_empty(),
        "{:?}",
        elsewhere.requests()
    );
}

/// An event, the type of its error, and what the error says.
fn mistakes() -> [(Value, &'static str, &'static str); 9] {
    [
        (
            json!({"entity": "clocking"}),
            "InvalidRequest",
            "entity `clocking`: unknown; did you mean `clockings`?",
        ),
        (
            json!({"entity": "clockings"}),
            "InvalidRequest",
            "`date` is required",
        ),
        (
            json!({"entity": "departments", "colour": "red"}),
            "InvalidConnection",
            "field `colour`: unknown; allowed: incoming,",
        ),
        (
            json!({"entity": "departments", "sync": "delta"}),
            "InvalidRequest",
            "has no documented delta",
        ),
        (
            json!({"entity": "departments", "window": "2 weeks"}),
            "InvalidConnection",
            "is not a period of days",
        ),
        (
            json!({"entity": "departments", "time_zone": "Mars"}),
            "InvalidConnection",
            "unknown zone \"Mars\"",
        ),
        (
            json!({"entity": "departments", "transform": ".query = "}),
            "InvalidConnection",
            "jq, line 1",
        ),
        (
            json!({"entity": "departments", "client": "protime/nobody"}),
            "Credentials",
            "secret `protime/nobody`: does not exist",
        ),
        (
            json!({"entity": "activity-definitions", "path": {"level": 1}}),
            "InvalidRequest",
            "structureVersionId",
        ),
    ]
}

#[tokio::test]
async fn mistakes_are_explained_before_protime_is_asked() {
    let tenant = Tenant::new().await;
    for (event, kind, message) in mistakes() {
        let invoked = tenant.subscribe(event.clone()).await;
        let payload = invoked.payload;
        assert_eq!(payload["errorType"], kind, "{event}: {payload}");
        let said = payload["errorMessage"].as_str().unwrap();
        assert!(said.contains(message), "{event}: {payload}");
    }
    assert!(tenant.targets().is_empty());
}

#[tokio::test]
async fn a_transformer_sets_the_request_and_a_fifo_queue_keeps_the_pages_in_order() {
    let mut tenant = Tenant::with(year_2025(), &json!({})).await;
    tenant.protime.configure(|settings| settings.page_size = 50);
    let name = tenant.pages.rsplit('/').next().unwrap().to_owned() + ".fifo";
    let create = tenant.stack.sqs.create_queue().queue_name(name);
    let create = create.attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true");
    tenant.pages = create.send().await.unwrap().queue_url.unwrap();
    let event = json!({
        "entity": "clockings", "scheduled": "2025-07-04T22:30:00Z",
        "transform": ".query.filter = \"date ge '\\(days(-3))' and date le '\\(today)'\"",
    });
    tenant.completed(event).await;
    assert_eq!(
        tenant.targets()[0],
        format!("{CLOCKINGS}?filter=date+ge+%272025-07-02%27+and+date+le+%272025-07-05%27"),
        "dates are local"
    );
    let messages = tenant.stack.drain(&tenant.pages).await;
    let pages: Vec<Option<u64>> = messages
        .iter()
        .map(|message| {
            serde_json::from_str::<Value>(message.body().unwrap()).unwrap()["page"].as_u64()
        })
        .collect();
    assert_eq!(
        pages,
        [Some(0), Some(1), Some(2), Some(3), None],
        "in order, run-completed last"
    );
}

#[tokio::test]
async fn entities_that_the_catalogue_lacks_and_first_pages_can_be_read() {
    let tenant = Tenant::new().await;
    tenant
        .protime
        .set_records("new-collection", r#"[{"id":1},{"id":2}]"#)
        .unwrap();
    // As text, since the order of the query's keys is kept.
    let event = format!(
        r#"{{"incoming": "ordered", "client": "{}", "queue": "{}", "entity": "/new-collection", "query": {{"type": true, "start": 0}}}}"#,
        tenant.client, tenant.pages
    );
    let outcome = tenant.invoke(event).await.payload;
    assert_eq!(outcome["records"], 2, "{outcome}");
    assert_eq!(
        tenant.targets(),
        ["/connector/protimeapi/api/v1/new-collection?type=true&start=0"]
    );
    tenant.protime.configure(|settings| settings.page_size = 5);
    let outcome = tenant
        .completed(json!({"entity": "departments", "pagination": false}))
        .await;
    assert_eq!(
        (&outcome["pages"], &outcome["records"]),
        (&json!(1), &json!(5))
    );
}

#[tokio::test]
async fn a_transformer_cannot_take_the_deployed_function_down() {
    let tenant = Tenant::new().await;
    for program in ["def f: [f]; f", "last(range(1e9))", "[range(1e9)]"] {
        let failed = tenant
            .subscribe(json!({"entity": "departments", "transform": program}))
            .await;
        assert_eq!(
            failed.payload["errorType"], "InvalidParameters",
            "{program}: {}",
            failed.payload
        );
        let message = failed.payload["errorMessage"].as_str().unwrap();
        assert!(message.contains("the program was stopped"), "{message}");
        let connection = json!({"entity": "departments", "transform": ".query = {}"});
        tenant.completed(connection).await;
    }
    assert!(
        tenant
            .targets()
            .iter()
            .all(|target| target.ends_with("/departments"))
    );
}

#[tokio::test]
async fn a_queue_of_ones_own_sets_the_size_of_its_messages() {
    let tenant = Tenant::new().await;
    let limit = aws_sdk_sqs::types::QueueAttributeName::MaximumMessageSize;
    let set = tenant
        .stack
        .sqs
        .set_queue_attributes()
        .queue_url(&tenant.pages);
    set.attributes(limit, "4096").send().await.unwrap();
    let records: Vec<Value> = (1..=40)
        .map(|id| json!({"id": id, "text": "x".repeat(500)}))
        .collect();
    tenant
        .protime
        .set_records("departments", &json!(records).to_string())
        .unwrap();
    tenant.completed(json!({"entity": "departments"})).await;
    let messages = tenant.stack.drain(&tenant.pages).await;
    assert!(messages.len() > 6);
    assert!(
        messages
            .iter()
            .all(|message| message.body().unwrap().len() < 4_096)
    );
    let records = json!([{"id": 1, "text": "x".repeat(5_000)}]).to_string();
    tenant.protime.set_records("departments", &records).unwrap();
    let failed = tenant.subscribe(json!({"entity": "departments"})).await;
    assert_eq!(failed.payload["errorType"], "OversizedRecord");
    assert!(
        failed.payload["errorMessage"]
            .as_str()
            .unwrap()
            .contains("4096 bytes"),
        "{}",
        failed.payload
    );
}

#[tokio::test]
async fn a_month_is_reconciled_from_messages_alone_by_the_documented_recipe() {
    let tenant = Tenant::new().await;
    tenant.protime.configure(|settings| settings.page_size = 7);
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    let filter = format!("date ge '{today}' and date le '{today}'");
    let outcome = tenant
        .completed(json!({"entity": "clockings", "query": {"filter": filter}, "run": "month"}))
        .await;
    let mut messages = tenant.events().await;
    // Delivery is at least once.
    messages.push(messages[0].clone());
    let readme = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../functions/subscriber/README.md"
    );
    let readme = std::fs::read_to_string(readme).unwrap();
    let recipe = readme.split("jq -sr '").nth(1).unwrap();
    let recipe = recipe.split("' messages.jsonl").next().unwrap();
    let recipe = connector::transformer::Transformer::outgoing(recipe).unwrap();
    let said = |messages: &[serde_json::Value]| {
        let said = recipe.run_outgoing(&json!(messages).to_string()).unwrap();
        let said: Vec<String> = said
            .iter()
            .map(|json| serde_json::from_str(json).unwrap())
            .collect();
        said.join("\n")
    };
    let records = &outcome["records"];
    assert_eq!(
        said(&messages),
        format!("month\t{filter}\t{records}\t{records}")
    );
    assert!(records.as_u64().unwrap() > 14, "several pages");
    messages.retain(|message| message["page"] != 1);
    assert_ne!(
        said(&messages),
        format!("month\t{filter}\t{records}\t{records}")
    );
}
