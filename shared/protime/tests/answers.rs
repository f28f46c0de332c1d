//! Input as servers and people really send it: bad answers, odd tokens, links in another spelling, waits of any length.

use std::sync::Arc;
use std::time::Duration;

use protime::{
    Client, Context, Error, Page, PathParameters, Query, Request, Settings, Target, http_client,
};
use simulator::{Action, Fault, Options, Simulator};
use tokio::time::Instant;

const DEPARTMENTS: &str = "/connector/protimeapi/api/v1/departments";
const TOKEN: &str = "/connect/token";

async fn simulator() -> Arc<Simulator> {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    simulator.configure(|settings| settings.page_size = 1);
    let records = r#"[{"id":1},{"id":2},{"id":3}]"#;
    simulator.set_records("departments", records).unwrap();
    Arc::new(simulator)
}

fn client(simulator: &Simulator) -> Client {
    let settings = Settings::from_json(simulator.secret_json().as_bytes()).unwrap();
    Client::new(http_client().unwrap(), settings.clone(), Box::new(settings))
}

fn request(path: &str) -> Request {
    read_of("departments", path, Query::default())
}

fn read_of(entity: &str, path: &str, query: Query) -> Request {
    let path: PathParameters = serde_json::from_str(path).unwrap();
    let target = Target {
        entity,
        path: &path,
        query,
    };
    let context = Context {
        scopes: &["connector-protimeapi-departments.read".to_owned()],
        base_uri: &"https://acme.myprotime.eu".parse().unwrap(),
        today: "2026-03-31".parse().unwrap(),
    };
    Request::read(target, &context).unwrap()
}

async fn read(client: &Client, request: &Request, time: Duration) -> Result<Vec<Page>, Error> {
    let mut pages = client.pages(request, Instant::now() + time);
    let mut found = Vec::new();
    while let Some(page) = pages.next().await? {
        found.push(page);
    }
    Ok(found)
}

const LONG: Duration = Duration::from_mins(1);

fn answer(status: u16, body: &str) -> Action {
    let json = ("content-type".to_owned(), "application/json".to_owned());
    Action::Answer {
        status,
        headers: vec![json],
        body: body.to_owned(),
    }
}

fn count(simulator: &Simulator, part: &str) -> usize {
    let requests = simulator.requests();
    requests
        .iter()
        .filter(|request| request.target.contains(part))
        .count()
}

#[tokio::test]
async fn a_list_is_answered_with_a_list() {
    for (status, body) in [
        (200, "{}"),
        (200, r#"{"value": null}"#),
        (200, r#"{"value": {}}"#),
        (200, r#"{"value": 3, "nextLink": null}"#),
        (200, r#"{"error": {"code": "Busy"}}"#),
        (200, r#"{"id": 1}"#),
        (200, "null"),
        (200, "[] []"),
        (200, r#""text""#),
        (200, "<html><title>Maintenance</title></html>"),
        (206, r#"{"value": []}"#),
        (202, r#"{"value": [{"id": 1}]}"#),
        (203, "[]"),
    ] {
        for target in ["departments", "continuationToken"] {
            let simulator = simulator().await;
            simulator.add_fault(Fault::new(target, 99, answer(status, body)));
            let error = read(&client(&simulator), &request("{}"), LONG)
                .await
                .unwrap_err();
            assert!(
                matches!(error, Error::Content { .. }),
                "{status} {body}: {error}"
            );
            assert!(!error.is_retryable(), "{status} {body}");
            assert!(error.to_string().contains("GET /connector"), "{error}");
            let asked = count(&simulator, target);
            assert_eq!(asked, 1, "{status} {body}: once");
        }
    }
}

#[tokio::test]
async fn an_answer_that_broke_off_is_read_five_times() {
    let bodies = [
        (200, ""),
        (204, ""),
        (200, "  \n"),
        (200, r#"{"value": [{"id": 1}"#),
        (200, r#"{"val"#),
        (200, "["),
    ];
    let cases = bodies.map(async |(status, body)| {
        for target in ["departments", "continuationToken"] {
            let simulator = simulator().await;
            simulator.add_fault(Fault::new(target, 4, answer(status, body)));
            let client = client(&simulator);
            let pages = read(&client, &request("{}"), LONG).await.unwrap();
            let records: usize = pages.iter().map(|page| page.records().len()).sum();
            assert_eq!(records, 3, "{status} {body}");

            simulator.add_fault(Fault::new(target, 99, answer(status, body)));
            let before = count(&simulator, target);
            let error = read(&client, &request("{}"), LONG).await.unwrap_err();
            assert!(
                matches!(error, Error::Content { .. }),
                "{status} {body}: {error}"
            );
            assert_eq!(count(&simulator, target) - before, 5, "{status} {body}");
        }
    });
    // The waits are real, so the cases run in parallel.
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn one_record_comes_only_where_one_was_asked_for() {
    let simulator = simulator().await;
    let pages = read(&client(&simulator), &request(r#"{"id": 2}"#), LONG)
        .await
        .unwrap();
    assert_eq!(pages[0].records().collect::<Vec<_>>(), [r#"{"id":2}"#]);
    for body in ["null", "3", r#"{"error": {"code": "Busy"}}"#] {
        simulator.add_fault(Fault::new("departments/2", 1, answer(200, body)));
        let error = read(&client(&simulator), &request(r#"{"id": 2}"#), LONG)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Content { .. }), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_no_part_of_an_answer() {
    let simulator = simulator().await;
    let body = "\u{feff}{\"value\":[{\"id\":7}]}";
    simulator.add_fault(Fault::new("departments", 1, answer(200, body)));
    let pages = read(&client(&simulator), &request("{}"), LONG)
        .await
        .unwrap();
    assert_eq!(pages[0].records().collect::<Vec<_>>(), [r#"{"id":7}"#]);
    let token = "\u{feff}{\"access_token\":\"t\",\"token_type\":\"Bearer\"}";
    simulator.add_fault(Fault::new(TOKEN, 1, answer(200, token)));
    let refused = read(&client(&simulator), &request("{}"), LONG).await;
    // The client reads the token, but the simulator does not know it. So the client asks for a second one.
    assert!(refused.is_ok(), "{refused:?}");
    assert_eq!(count(&simulator, TOKEN), 3);
}

#[tokio::test]
async fn tokens_are_read_as_servers_write_them() {
    for rest in [
        "",
        r#","token_type":"Bearer""#,
        r#","token_type":"bearer","expires_in":"1800""#,
        r#","expires_in":1799.5"#,
        r#","expires_in":"1799.5""#,
        r#","expires_in":null"#,
        r#","expires_in":-1"#,
        r#","expires_in":18446744073709551615"#,
        r#","expires_in":1e300"#,
        r#","expires_in":"soon""#,
        r#","scope":["a","b"]"#,
        r#","scope":null"#,
        r#","scope":"a b","refresh_token":null,"extra":{}"#,
    ] {
        let simulator = simulator().await;
        // A token that the simulator accepts, in an unusual answer.
        let client = client(&simulator);
        let real = token(&simulator).await;
        let body = format!(r#"{{"access_token":"{real}"{rest}}}"#);
        simulator.add_fault(Fault::new(TOKEN, 99, answer(200, &body)));
        let pages = read(&client, &request("{}"), LONG).await;
        assert!(pages.is_ok(), "{rest}: {}", pages.unwrap_err());
    }
}

/// Asks the simulator for a token, as any OAuth 2.0 client does.
async fn token(simulator: &Simulator) -> String {
    let secret: serde_json::Value = serde_json::from_str(&simulator.secret_json()).unwrap();
    let field = |name: &str| secret[name].as_str().unwrap().to_owned();
    let scopes = secret["scopes"].as_array().unwrap();
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
    let form = [
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", field("client_id")),
        ("client_secret", field("client_secret")),
        ("scope", scopes.join(" ")),
    ];
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let post = http_client()
        .unwrap()
        .at(jiff::Timestamp::now())
        .post(field("access_token_url"))
        .body(body);
    let post = post.header("content-type", "application/x-www-form-urlencoded");
    let text = post.send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_token_endpoint_answers_is_blamed_on_whom_it_concerns() {
    for (status, body, wanted, not) in [
        (
            200,
            r#"{"error":"invalid_client","error_description":"secret expired"}"#,
            "invalid_client",
            "access_token_url",
        ),
        (
            200,
            r#"{"error":"invalid_scope"}"#,
            "invalid_scope",
            "access_token_url",
        ),
        (
            401,
            r#"{"message":"Unauthorized by gateway"}"#,
            "401",
            "access_token_url",
        ),
        (403, r#"{"message":"Forbidden"}"#, "403", "access_token_url"),
        (401, "", "401", "access_token_url"),
        (200, r#"{"token":"t"}"#, "access_token", "client_secret"),
        (
            200,
            r#"{"access_token":""}"#,
            "access_token",
            "client_secret",
        ),
        (
            200,
            "<html>Log in</html>",
            "access_token_url",
            "client_secret",
        ),
        (404, "", "access_token_url", "client_secret"),
    ] {
        let simulator = simulator().await;
        simulator.add_fault(Fault::new(TOKEN, 99, answer(status, body)));
        let error = read(&client(&simulator), &request("{}"), LONG)
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains(wanted), "{status} {body}: {error}");
        assert!(!error.contains(not), "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_is_not_renewed_again_and_again() {
    let simulator = simulator().await;
    let client = client(&simulator);
    simulator.add_fault(Fault::new("departments", 99, answer(401, "")));
    for _ in 0..20 {
        let error = read(&client, &request("{}"), LONG).await.unwrap_err();
        assert_eq!(error.status(), Some(401));
    }
    assert_eq!(simulator.token_requests(), 2);
    // The refused token is accepted for another request, without a new one.
    simulator.clear_faults();
    assert_eq!(read(&client, &request("{}"), LONG).await.unwrap().len(), 3);
    assert_eq!(simulator.token_requests(), 2);
}

#[tokio::test]
async fn retry_after_raises_the_wait_and_never_lowers_it() {
    // §1.1: `Retry-After`
    // §7.4: `Retry-After` is a response header
    let cases = ["0", "Mon, 23 Nov 2020 09:00:00 GMT", "-5", "1"].map(async |retry_after| {
        let simulator = simulator().await;
        let throttled = Action::Answer {
            status: 429,
            headers: vec![("retry-after".to_owned(), retry_after.to_owned())],
            body: String::new(),
        };
        simulator.add_fault(Fault::new("departments", u32::MAX, throttled));
        let time = Duration::from_secs(10);
        let error = read(&client(&simulator), &request("{}"), time)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Deadline { .. }), "{error}");
        // The waits are at least a quarter, a half, one, two and four seconds.
        let asked = count(&simulator, "departments");
        assert!(
            (3..=6).contains(&asked),
            "{retry_after}: {asked} requests in 10 s"
        );
    });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn a_wait_beyond_all_bounds_is_only_a_long_wait() {
    for retry_after in [
        "18446744073709551615",
        "9999999999999",
        "Wed, 01 Dec 9999 23:59:59 GMT",
        "99999999999999999999999",
    ] {
        let simulator = simulator().await;
        let throttled = Action::Answer {
            status: 503,
            headers: vec![("retry-after".to_owned(), retry_after.to_owned())],
            body: String::new(),
        };
        simulator.add_fault(Fault::new("departments", 1, throttled));
        let error = read(&client(&simulator), &request("{}"), LONG)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Deadline { attempts: 1, .. }),
            "{retry_after}: {error}"
        );
        assert!(error.retry_after() > Some(LONG), "{retry_after}");
    }
}

#[tokio::test]
async fn one_wait_holds_back_all_requests_of_the_client() {
    let simulator = simulator().await;
    let client = client(&simulator);
    let throttled = Action::Answer {
        status: 429,
        headers: vec![("retry-after".to_owned(), "5".to_owned())],
        body: String::new(),
    };
    simulator.add_fault(Fault::new("departments", 1, throttled));
    let (list, one) = (request("{}"), request(r#"{"id": 1}"#));
    let started = Instant::now();
    let first = async { read(&client, &list, LONG * 2).await.unwrap() };
    let second = async {
        while count(&simulator, "departments") < 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // By then, the client has read the refusal.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pages = read(&client, &one, LONG * 2).await.unwrap();
        assert!(
            started.elapsed() >= Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        pages
    };
    tokio::join!(first, second);
}

#[tokio::test]
async fn a_body_that_takes_the_memory_is_refused_by_name() {
    let simulator = simulator().await;
    simulator.configure(|settings| settings.gzip = true);
    let large = format!(r#"[{{"id":1,"text":"{}"}}]"#, "x".repeat(20 << 20));
    simulator.set_records("departments", &large).unwrap();
    let client = client(&simulator).with_largest_answer(8 << 20);
    let error = read(&client, &request("{}"), LONG).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("8 MiB"), "{error}");
    assert!(!error.is_retryable());
    let bound = request(r#"{"id": 1}"#);
    assert!(
        read(&client, &bound, LONG).await.is_err(),
        "one record as well"
    );
}

#[tokio::test]
async fn bodies_that_are_read_at_the_same_time_share_the_memory() {
    let simulator = simulator().await;
    simulator.configure(|settings| settings.gzip = true);
    let large = format!(r#"[{{"id":1,"text":"{}"}}]"#, "x".repeat(5 << 20));
    simulator.set_records("departments", &large).unwrap();
    let client = client(&simulator).with_largest_answer(8 << 20);
    let list = request("{}");
    // Each answer alone fits the memory. While one is kept, a second does not fit.
    let kept = read(&client, &list, LONG).await.unwrap();
    let short = Duration::from_secs(3);
    let error = read(&client, &list, short).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    drop(kept);
    let read_and_dropped = || async { read(&client, &list, LONG).await.map(|pages| pages.len()) };
    let (first, second) = tokio::join!(read_and_dropped(), read_and_dropped());
    assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
}

#[tokio::test]
async fn a_link_that_spells_our_filter_another_way_is_read_as_ours() {
    let simulator = simulator().await;
    let query: Query = serde_json::from_str(
        r#"{"filter": "name eq 'a + b'", "externalReferences": "(people,@badge+number)"}"#,
    )
    .unwrap();
    let request = read_of("/departments", "{}", query);
    for filter in [
        "name+eq+'a+%2B+b'",
        "name+eq+%27a+%2b+b%27",
        "name eq 'a + b'",
        "name%20eq%20%27a%20%2B%20b%27",
    ] {
        simulator.clear_faults();
        let next = format!(
            "{DEPARTMENTS}?filter={filter}&externalReferences=(people,@badge%2Bnumber)&continuationToken=a+b/c="
        );
        let body = serde_json::json!({"value": [], "nextLink": next}).to_string();
        simulator.add_fault(Fault::new("departments?filter", 1, answer(200, &body)));
        let end = r#"{"value": []}"#;
        simulator.add_fault(Fault::new("continuationToken", 1, answer(200, end)));
        read(&client(&simulator), &request, LONG).await.unwrap();
        let asked = simulator.requests().pop().unwrap().target;
        let ours =
            "filter=name+eq+%27a+%2B+b%27&externalReferences=%28people%2C%40badge%2Bnumber%29";
        assert_eq!(
            asked,
            format!("{DEPARTMENTS}?{ours}&continuationToken=a%2Bb/c="),
            "{filter}"
        );
    }
}
