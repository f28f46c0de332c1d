//! Page messages: their format, how pages are split, and what their ids guarantee.

use std::sync::Arc;
use std::time::Duration;

use connector::aws::queue::{MESSAGE_LIMIT, Message};
use connector::contract::page_message::RunHeader;
use connector::store::Counts;
use connector::store::LoadKind;
use jiff::Timestamp;
use proptest::prelude::*;
use protime::{Client, Context, Page, Request, Settings, Target, http_client};
use serde_json::Value;
use simulator::{Options, Simulator};
use tokio::time::Instant;

fn header() -> RunHeader {
    RunHeader {
        incoming: "departments \"and\" more".to_owned(),
        entity: "departments".to_owned(),
        source: "https://acme.myprotime.eu/connector/protimeapi/api/v1/departments".to_owned(),
        run: "run/1".to_owned(),
        load: LoadKind::Full,
        fields: None,
        largest_message: connector::aws::queue::MESSAGE_LIMIT,
    }
}

fn time() -> Timestamp {
    "2026-11-23T10:00:00.123Z".parse().unwrap()
}

/// A page as the client reads it from a simulator with these records.
async fn page(records: &[String]) -> Page {
    let options = Options::default();
    let simulator = Arc::new(Simulator::start(options).await.unwrap());
    simulator.configure(|settings| settings.page_size = usize::MAX);
    simulator
        .set_records("departments", &format!("[{}]", records.join(",")))
        .unwrap();
    let settings = Settings::from_json(simulator.secret_json().as_bytes()).unwrap();
    let path = serde_json::from_str("{}").unwrap();
    let query = serde_json::from_str("{}").unwrap();
    let target = Target {
        entity: "departments",
        path: &path,
        query,
    };
    let context = Context::of(&settings, "2026-11-23".parse().unwrap());
    let request = Request::read(target, &context).unwrap();
    let client = Client::new(http_client().unwrap(), settings.clone(), Box::new(settings));
    client
        .pages(&request, Instant::now() + Duration::from_secs(30))
        .next()
        .await
        .unwrap()
        .unwrap()
}

fn messages(page: &Page) -> Vec<Message> {
    header()
        .page_messages(page, 0, 3, time())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn value_text(message: &Message) -> String {
    let body = message.body.to_string();
    let (_, value) = body.split_once(r#""data":{"value":["#).unwrap();
    value.strip_suffix("]}}").unwrap().to_owned()
}

#[tokio::test]
async fn a_message_is_a_cloud_event_as_documented() {
    let page = page(&[r#"{"id":1, "n":1.10}"#.to_owned(), r#"{"id":2}"#.to_owned()]).await;
    let [message] = messages(&page).try_into().unwrap();
    let value = r#"[{"id":1, "n":1.10},{"id":2}]"#;
    // XXH3-64 of the value, computed by the reference implementation (`xxhsum -H3`).
    let hash = "68e0f9d6b98629d4";
    let expected = format!(
        r#"{{"specversion":"1.0","type":"protime.page.v1","id":"run/1/0/3/0/{hash}","source":"https://acme.myprotime.eu/connector/protimeapi/api/v1/departments","subject":"departments \"and\" more","time":"2026-11-23T10:00:00Z","datacontenttype":"application/json","entity":"departments","run":"run/1","sync":"full","chain":0,"page":3,"part":0,"data":{{"value":{value}}}}}"#,
    );
    assert_eq!(message.body.to_string(), expected);
    assert_eq!(
        serde_json::from_str::<Value>(&message.body.to_string()).unwrap()["id"],
        message.id.as_str()
    );
    let attributes: Vec<(&str, &str)> = message
        .attributes
        .iter()
        .map(|attribute| (attribute.name.as_ref(), attribute.value.as_str()))
        .collect();
    assert_eq!(
        attributes,
        [
            ("type", "protime.page.v1"),
            ("entity", "departments"),
            ("incoming", "departments \"and\" more")
        ]
    );
}

#[tokio::test]
async fn an_empty_page_has_no_message_and_a_completed_run_one() {
    assert!(messages(&page(&[]).await).is_empty());
    let completed = header().completed_message(
        Counts {
            pages: 3,
            records: 2,
            messages: 1,
        },
        Some("{\"path\":{},\"query\":{\"filter\":\"name eq '\u{ffff}'\"}}"),
        time(),
    );
    assert!(!completed.body.to_string().contains('\u{ffff}'));
    let event: Value = serde_json::from_str(&completed.body.to_string()).unwrap();
    assert_eq!(
        (completed.id.as_str(), event["id"].as_str().unwrap()),
        ("run/1/completed", "run/1/completed")
    );
    assert_eq!(
        event["data"],
        serde_json::json!({"pages": 3, "records": 2, "messages": 1,
            "request": {"path": {}, "query": {"filter": "name eq '\u{ffff}'"}}})
    );
}

#[tokio::test]
async fn a_record_of_just_the_limit_fits_and_one_byte_more_is_named() {
    let record = |text: usize| format!(r#"{{"id":77,"text":"{}"}}"#, "x".repeat(text));
    let overhead = messages(&page(&[record(0)]).await)[0].size();
    let fitting = page(&[record(MESSAGE_LIMIT - overhead)]).await;
    assert_eq!(messages(&fitting)[0].size(), MESSAGE_LIMIT);
    let too_long = page(&[
        r#"{"id":1}"#.to_owned(),
        record(MESSAGE_LIMIT - overhead + 1),
    ])
    .await;
    let error = header()
        .page_messages(&too_long, 0, 3, time())
        .find_map(Result::err)
        .unwrap();
    assert_eq!((error.page, error.index, error.id.as_str()), (3, 1, "77"));
    assert!(
        error.to_string().contains("record 1 of page 3 (id 77)"),
        "{error}"
    );
}

#[tokio::test]
async fn characters_that_sqs_refuses_become_escapes() {
    let page = page(&["{\"id\":1,\"t\":\"a\u{FFFE}b\u{FFFF}c\u{FFFD}\"}".to_owned()]).await;
    let [message] = messages(&page).try_into().unwrap();
    assert_eq!(
        value_text(&message),
        "{\"id\":1,\"t\":\"a\\ufffeb\\uffffc\u{FFFD}\"}"
    );
}

#[tokio::test]
async fn equal_records_have_equal_ids_and_others_have_others() {
    let one = messages(&page(&[r#"{"id":1}"#.to_owned()]).await);
    let same = messages(&page(&[r#"{"id":1}"#.to_owned()]).await);
    let other = messages(&page(&[r#"{"id":1 }"#.to_owned()]).await);
    assert_eq!(one[0].id, same[0].id);
    assert_ne!(one[0].id, other[0].id);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_hold_all_records_in_order_and_none_is_too_large(sizes in proptest::collection::vec(0_usize..400_000, 0..20)) {
        let records: Vec<String> =
            sizes.iter().enumerate().map(|(id, size)| format!(r#"{{"id":{id},"t":"{}"}}"#, "y".repeat(*size))).collect();
        let page = tokio::runtime::Runtime::new().unwrap().block_on(page(&records));
        let messages = messages(&page);
        let values: Vec<String> = messages.iter().map(value_text).collect();
        prop_assert!(values.join(",") == records.join(","));
        for (part, message) in messages.iter().enumerate() {
            prop_assert!(message.size() <= MESSAGE_LIMIT);
            prop_assert!(message.id.starts_with(&format!("run/1/0/3/{part}/")), "{}", message.id);
        }
        // Each part is full: it could not have held the next part's first record.
        for pair in values.windows(2) {
            let next = pair[1].split("},{").next().unwrap().len();
            prop_assert!(pair[0].len() + next + 700 > MESSAGE_LIMIT);
        }
    }
}
