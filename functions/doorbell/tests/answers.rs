//! Which requests are rings, and which do nothing. Real SQS does not fail on demand, so a stub answers the real SDK.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region};
use axum::http::StatusCode;
use axum::{Json, Router};
use connector::aws::queue::Queue;
use connector::invocation::Event;
use doorbell::{Answer, Doorbell, LARGEST_BODY, Request, TokenHashes, token_hash};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::time::Instant;

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100";

type Sent = Arc<Mutex<Vec<Value>>>;

/// A doorbell for two connections, and the messages that SQS gets. SQS answers with these statuses in order, then
/// repeats the last.
async fn doorbell(statuses: &'static [StatusCode]) -> (Doorbell, Sent) {
    let sent = Sent::default();
    let of_stub = sent.clone();
    let statuses = statuses.iter().copied();
    let last = statuses.clone().last().unwrap();
    let statuses = Arc::new(Mutex::new(statuses));
    let answer = async move |body: String| {
        let call: Value = serde_json::from_str(&body).unwrap();
        let entries = call["Entries"].as_array().unwrap().clone();
        of_stub.lock().unwrap().extend(entries);
        let status = statuses.lock().unwrap().next().unwrap_or(last);
        let taken = json!([{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "x"}]);
        (status, Json(json!({"Successful": taken, "Failed": []})))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let aws = connector::aws::http::config(protime::http_client().unwrap())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(&endpoint)
        .load()
        .await;
    let token_hashes = json!({"clockings": token_hash(TOKEN), "people": token_hash(OTHER)});
    let doorbell = Doorbell {
        rings: Queue::new(
            aws_sdk_sqs::Client::new(&aws),
            format!("{endpoint}/000000000000/rings"),
        ),
        token_hashes: TokenHashes::from_json(&token_hashes.to_string()).unwrap(),
    };
    (doorbell, sent)
}

/// An event as in AWS's documentation of function URLs, with this method, path and body.
fn event(method: &str, path: &str, body: Option<&str>, is_base64: bool) -> String {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "a=secret-query",
        "cookies": ["secret-cookie"],
        "headers": {"x-signature": "secret-header", "content-type": "application/json", "user-agent": "Protime"},
        "queryStringParameters": {"a": "secret-query"},
        "requestContext": {
            "accountId": "anonymous", "apiId": "abc", "authentication": null, "authorizer": null,
            "domainName": "abc.lambda-url.eu-west-1.on.aws", "domainPrefix": "abc",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "Protime"},
            "requestId": "id", "routeKey": "$default", "stage": "$default", "time": "26/Nov/2026:10:00:00 +0000",
            "timeEpoch": 1_795_687_200_000_u64,
        },
        "pathParameters": null, "stageVariables": null, "isBase64Encoded": is_base64,
    });
    if let Some(body) = body {
        event["body"] = body.into();
    }
    event.to_string()
}

/// Reads an event as the runtime does.
fn read(event: &str) -> Result<Request, String> {
    let mut json = serde_json::Deserializer::from_slice(event.as_bytes());
    Event::<Request>::deserialize(&mut json).unwrap().0
}

async fn answer(doorbell: &Doorbell, event: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(5);
    let answer: Answer = doorbell
        .answer(&read(event).unwrap(), deadline)
        .await
        .unwrap();
    serde_json::to_value(answer).unwrap()
}

#[tokio::test]
async fn the_right_path_is_one_ring_and_nothing_of_the_delivery_is_passed_on() {
    let (doorbell, sent) = doorbell(&[StatusCode::OK]).await;
    let delivery =
        r#"{"changeType": "InsertOrUpdate", "data": {"id": 1, "secret-body": "Peeters"}}"#;
    let right = format!("/{TOKEN}");
    let events = [
        event("POST", &right, Some(delivery), false),
        event("POST", &right, Some("eyJzZWNyZXQtYm9keSI6MX0="), true),
        event("POST", &right, None, false),
        event("POST", &right, Some(&"x".repeat(LARGEST_BODY)), false),
    ];
    for event in &events {
        assert_eq!(answer(&doorbell, event).await, json!({"statusCode": 204}));
    }
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent.len(), events.len());
    for entry in &sent {
        assert_eq!(entry["MessageBody"], r#"{"ring":"clockings"}"#);
        assert!(!entry.to_string().contains("secret"), "{entry}");
        assert!(!entry.to_string().contains(TOKEN), "{entry}");
    }
}

#[tokio::test]
async fn forged_paths_other_methods_and_large_bodies_do_nothing() {
    let (doorbell, sent) = doorbell(&[StatusCode::OK]).await;
    let right = format!("/{TOKEN}");
    let hash = token_hash(TOKEN);
    let paths = [
        "/".to_owned(),
        String::new(),
        "/clockings".to_owned(),
        format!("/{hash}"),
        format!("/{}", TOKEN.to_uppercase()),
        format!("/{}", &TOKEN[1..]),
        format!("{right}/"),
        format!("/{right}"),
        format!("{right}0"),
        format!("/clockings{right}"),
        TOKEN.to_owned(),
        format!("/{}", "0".repeat(1_000_000)),
        "/\u{0}\u{7f}ü".to_owned(),
    ];
    for path in &paths {
        let event = event("POST", path, Some("{}"), false);
        assert_eq!(
            answer(&doorbell, &event).await,
            json!({"statusCode": 404}),
            "{path}"
        );
    }
    for method in [
        "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "",
    ] {
        let event = event(method, &right, None, false);
        assert_eq!(
            answer(&doorbell, &event).await,
            json!({"statusCode": 404}),
            "{method}"
        );
    }
    let large = "x".repeat(10 << 20);
    for is_base64 in [false, true] {
        let event = event("POST", &right, Some(&large), is_base64);
        assert_eq!(answer(&doorbell, &event).await, json!({"statusCode": 413}));
    }
    let event = event("POST", "/wrong", Some(&large), false);
    assert_eq!(answer(&doorbell, &event).await, json!({"statusCode": 404}));
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn each_connection_has_a_path_of_its_own() {
    let (doorbell, sent) = doorbell(&[StatusCode::OK]).await;
    answer(&doorbell, &event("POST", &format!("/{OTHER}"), None, false)).await;
    let sent = sent.lock().unwrap();
    assert_eq!(sent[0]["MessageBody"], r#"{"ring":"people"}"#);
}

/// A failure is told to Protime, which may deliver again.
#[tokio::test]
async fn a_ring_that_is_not_in_the_queue_is_not_answered_with_204() {
    let (doorbell, _) = doorbell(&[StatusCode::FORBIDDEN]).await;
    let request = read(&event("POST", &format!("/{TOKEN}"), None, false)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let error = doorbell.answer(&request, deadline).await.unwrap_err();
    assert_eq!(error.kind().name(), "Queue");
}

/// SQS may have taken the first message. Two rings are one poll, but without a ring there is none.
#[tokio::test]
async fn a_ring_whose_answer_is_lost_is_sent_again() {
    let answers = &[StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK];
    let (doorbell, sent) = doorbell(answers).await;
    let event = event("POST", &format!("/{TOKEN}"), None, false);
    assert_eq!(answer(&doorbell, &event).await, json!({"statusCode": 204}));
    assert_eq!(sent.lock().unwrap().len(), 2);
}

#[test]
fn what_is_no_request_is_no_ring() {
    for event in [
        "null",
        "[]",
        "{}",
        r#"{"rawPath": "/"}"#,
        r#"{"incoming": "clockings"}"#,
    ] {
        assert!(read(event).is_err(), "{event}");
    }
}
