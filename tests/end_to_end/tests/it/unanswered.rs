//! Calls to AWS that are never answered end with the invocation's deadline. What was certain before stays certain.

use std::time::Duration;

use connector::aws::queue::{Message, Queue};
use end_to_end::crash_proxy::{CrashProxy, Fault as Broken};
use end_to_end::fake_queue::FakeQueue;
use jiff::SignedDuration;
use serde_json::json;
use simulator::{Action, Fault};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::once::{clocking, queue};

/// A little longer than the publisher needs to begin a message.
const SHORT: Duration = Duration::from_secs(28);

/// Delivers the queue's messages in a short invocation, in which an AWS operation is not answered from a request on.
async fn deliver_without_answers_to(queue: &mut FakeQueue, operation: &'static str, from: u32) {
    queue.timeout = SHORT;
    queue.crash_proxy.arm_with(from, Broken::Hold(operation));
    timeout(SHORT, queue.deliver())
        .await
        .expect("an end before Lambda ends the invocation");
    queue.crash_proxy.arm(0, false);
}

/// What Protime has written is reported as written, although it cannot be stored.
async fn a_write_that_cannot_be_stored_is_reported() {
    let mut queue = queue().await;
    queue.send(&clocking(600));
    // The pause, the secret, the record, the token, the write; then the claim.
    deliver_without_answers_to(&mut queue, "UpdateItem", 6).await;
    assert!(queue.is_empty(), "SQS deletes the message");
    assert_eq!(queue.statuses("POST"), [201]);
    assert_eq!(queue.results()[0]["type"], "protime.published.v1");
}

async fn a_write_that_cannot_begin_comes_again() {
    let mut queue = queue().await;
    queue.send(&clocking(600));
    deliver_without_answers_to(&mut queue, "UpdateItem", 3).await;
    assert_eq!((queue.len(), queue.statuses("POST").len()), (1, 0));
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [201]);
    assert!(queue.parked().is_empty());
}

/// A secret that cannot be read again leaves time to release the write, so nothing is uncertain.
async fn a_secret_that_cannot_be_read_again_makes_nothing_uncertain() {
    let mut queue = queue().await;
    queue.tenant.protime.rotate_client_secret("another");
    queue.send(&clocking(600));
    deliver_without_answers_to(&mut queue, "GetSecretValue", 3).await;
    queue
        .tenant
        .protime
        .rotate_client_secret("simulator-client-secret");
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [201]);
    assert!(queue.statuses("GET").is_empty(), "nothing is looked up");
    assert!(queue.parked().is_empty());
}

#[tokio::test]
async fn calls_that_are_never_answered_take_no_invocation_down() {
    tokio::join!(
        a_write_that_cannot_be_stored_is_reported(),
        a_write_that_cannot_begin_comes_again(),
        a_secret_that_cannot_be_read_again_makes_nothing_uncertain(),
    );
}

#[tokio::test]
async fn a_queue_that_never_answers_is_waited_for_until_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", silent.local_addr().unwrap());
    let aws = end_to_end::aws().endpoint_url(&origin).load().await;
    let queue = Queue::new(
        aws_sdk_sqs::Client::new(&aws),
        format!("{origin}/000000000000/pages"),
    );
    let deadline = Instant::now() + Duration::from_secs(2);
    let message = Message {
        id: "1".to_owned(),
        group: "group".to_owned(),
        body: "{}".to_owned().into(),
        attributes: Vec::new(),
        delay_seconds: 0,
    };
    let sent = queue.send(message, deadline);
    // An attempt of the SDK lasts ten seconds, and there are three.
    let error = timeout(Duration::from_secs(8), sent).await.expect("an end");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("before the deadline"), "{error}");
}

#[tokio::test]
async fn a_release_that_fails_for_a_moment_leaves_nothing_uncertain() {
    let mut queue = queue().await;
    let unavailable = Action::Answer {
        status: 503,
        headers: Vec::new(),
        body: String::new(),
    };
    queue.tenant.protime.add_fault(Fault {
        method: Some("POST".to_owned()),
        ..Fault::new("/clockings", 1, unavailable)
    });
    queue.send(&clocking(600));
    let crash_proxy = queue.crash_proxy.clone();
    crash_proxy.arm_with(6, Broken::Refuse("DeleteItem"));
    // Until the SDK has given up once: it asks three times by itself.
    tokio::join!(queue.deliver(), recover_after(&crash_proxy, 9));
    queue.drain().await;
    assert_eq!(queue.statuses("POST"), [503, 201]);
    assert!(queue.statuses("GET").is_empty(), "nothing is looked up");
    assert!(queue.parked().is_empty());
}

async fn recover_after(crash_proxy: &CrashProxy, requests: u32) {
    while crash_proxy.count() < requests {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    crash_proxy.arm(0, false);
}

#[tokio::test]
async fn a_clock_behind_that_of_sqs_makes_no_message_a_new_one() {
    let mut queue = queue().await;
    let mut refused = clocking(600);
    refused["payload"]["person"] = json!({"id": 999});
    queue.send(&refused);
    let event = queue.receive();
    queue.advance(-SignedDuration::from_secs(20));
    assert!(queue.publish(&event).await.is_empty());
    assert_eq!(queue.parked(), ["refused"]);
    // SQS did not hear of it, and delivers the message again.
    queue.advance(SignedDuration::from_mins(7));
    queue.deliver().await;
    assert_eq!(queue.statuses("POST"), [400]);
    assert_eq!(queue.parked(), ["refused"]);
    assert!(queue.is_empty());
}
