//! `protimectl probe` finds out by reads how a tenant answers where the documentation leaves it open.

mod findings;
mod switches;

use std::time::{Duration, Instant};

use end_to_end::Tenant;
use serde_json::{Value, json};
use simulator::{Action, Fault, Options, Settings, Simulator};

use crate::protimectl::{Printed, Protimectl};
use findings::{
    CHARACTERS, CONSTANTS, ERRORS, ETAGS, FIELDS, Findings, GZIP, HEADERS, LISTS, NAMED,
    NOT_MODIFIED, OPERATORS, OR, PAGES, PROPERTIES, QUOTES, RANGES, SCOPE, SPACES, TOKEN, TWICE,
    USER_AGENT,
};

/// Every request reads, and none has to do with a delta.
fn only_read(tenant: &Tenant) {
    for request in tenant.protime.requests() {
        let is_token = request.target.ends_with("/connect/token");
        assert_eq!(request.method, if is_token { "POST" } else { "GET" });
        assert!(!request.target.contains("delta"), "{}", request.target);
    }
}

fn probe(tenant: &Tenant, more: &[&str]) -> Value {
    let arguments = ["probe", &tenant.client, "--yes"];
    let document = Protimectl::deployed().succeeds(&[&arguments, more].concat());
    only_read(tenant);
    document
}

async fn tenant(change: impl FnOnce(&mut Settings)) -> Tenant {
    let mut settings = Settings::default();
    change(&mut settings);
    let options = Options {
        settings,
        ..Options::default()
    };
    Tenant::with(options, &json!({})).await
}

async fn found(change: impl FnOnce(&mut Settings)) -> Findings {
    let tenant = tenant(change).await;
    Findings::of(&probe(&tenant, &["--per-second", "1000"]))
}

const BAD_REQUEST: &str = "400 {error: {code: BadRequest, message: string, reasons: [string]}}";
const NOT_FOUND: &str = "404 {error: {code: NotFound, message: string}}";

/// What is asked, of what, and what a tenant answers that is as documented.
const DOCUMENTED: &[(&str, &str, &str)] = &[
    (SPACES, "clockings %20", "200"),
    (SPACES, "clockings +", "200"),
    (LISTS, "people list", "200"),
    (TOKEN, "life of a token", "1800 s"),
    (TOKEN, "scopes granted of those asked for", "all"),
    (TOKEN, "scope that does not exist", "refused, invalid_scope"),
    (PAGES, "clockings first page", "500 records, and a nextLink"),
    (PAGES, "people first page", "no nextLink"),
    (TWICE, "clockings the second time", "200"),
    (TWICE, "records of both", "the same"),
    (PROPERTIES, "clockings record", "as documented"),
    (OPERATORS, "clockings person eq", "400"),
    (OPERATORS, "clockings kind in", "400"),
    (FIELDS, "people person in (1)", "400"),
    (OR, "clockings kind", "200"),
    (OR, "clockings person", "400"),
    (OR, "clockings date", "400"),
    (NAMED, "clockings org-group", "200"),
    (NAMED, "clockings org-tree", "400"),
    (QUOTES, "webhooks no quote: 'ab'", "200"),
    (QUOTES, "webhooks quote doubled: 'a''b'", "400"),
    (CONSTANTS, "counter-definitions enabled eq true", "200"),
    (CONSTANTS, "counter-definitions enabled eq 'true'", "400"),
    (CONSTANTS, "clockings date ge 'DATE'", "200"),
    (CONSTANTS, "clockings date ge DATE", "400"),
    (
        RANGES,
        "clockings to the day before that of the next year",
        "200",
    ),
    (RANGES, "clockings to the same day of the next year", "400"),
    (RANGES, "clockings without an end", "200"),
    (ETAGS, "clockings one record", "200, no ETag"),
    (ERRORS, "clockings malformed filter", BAD_REQUEST),
    (
        ERRORS,
        "clockings no filter where one is required",
        BAD_REQUEST,
    ),
    (ERRORS, "clockings id that does not exist", NOT_FOUND),
    (
        ERRORS,
        "clockings URL of more than 4,096 characters",
        "414, no body",
    ),
    (ERRORS, "collection that does not exist", NOT_FOUND),
    (
        SCOPE,
        "clockings list, with a token of another scope",
        "403 {error: {code: Forbidden, message: string}}",
    ),
    (
        USER_AGENT,
        "clockings list",
        "400 {error: {code: BadRequest, message: string}}",
    ),
    (CHARACTERS, "absence-definitions a letter", "404"),
    (GZIP, "clockings list", "200, not compressed"),
    (HEADERS, "headers about rates", "none"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_as_documented_is_described() {
    let tenant = tenant(|_| {}).await;
    let document = probe(&tenant, &["--per-second", "1000"]);
    let found = Findings::of(&document);
    for (question, asked, seen) in DOCUMENTED {
        assert_eq!(found.seen(question, asked), *seen, "{question} {asked}");
    }
    let questions = document["questions"].as_array().unwrap();
    let not_modified = questions
        .iter()
        .find(|asked| asked["question"] == NOT_MODIFIED);
    assert_eq!(
        not_modified.unwrap()["notObtained"],
        "no answer had an ETag"
    );
}

/// An answer from something that is not the simulator's to say.
fn instead(target: &str, status: u16, headers: &[(&str, &str)], body: &str) -> Fault {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let action = Action::Answer {
        status,
        headers: headers.iter().map(own).collect(),
        body: body.to_owned(),
    };
    Fault::new(target, u32::MAX, action)
}

#[tokio::test(flavor = "multi_thread")]
async fn quotes_and_etags_are_found_where_a_tenant_has_them() {
    let tenant = tenant(|_| {}).await;
    let list = r#"{"value": []}"#;
    tenant
        .protime
        .add_fault(instead("%27a%27%27b%27", 200, &[], list));
    tenant
        .protime
        .add_fault(instead("/people/", 200, &[("etag", "\"46ab44\"")], "{}"));
    let found = Findings::of(&probe(&tenant, &["--per-second", "1000"]));
    assert_eq!(found.seen(QUOTES, "webhooks quote doubled: 'a''b'"), "200");
    assert_eq!(
        found.seen(QUOTES, r"webhooks quote after a backslash: 'a\'b'"),
        "400"
    );
    assert_eq!(found.seen(ETAGS, "people one record"), "200, ETag");
    assert_eq!(
        found.seen(NOT_MODIFIED, "people one record, with If-None-Match"),
        "200"
    );
    assert!(
        found
            .seen(HEADERS, "headers")
            .split(", ")
            .any(|name| name == "etag")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_for_the_rate_are_noted_and_end_the_probe() {
    let limited = [("retry-after", "0"), ("x-ratelimit-remaining", "0")];
    let once = tenant(|_| {}).await;
    let fault = instead("/people", 429, &limited, "");
    once.protime.add_fault(Fault { times: 1, ..fault });
    let found = Findings::of(&probe(&once, &["--per-second", "1000"]));
    assert_eq!(found.seen(LISTS, "people list"), "200");
    assert_eq!(
        found.seen(HEADERS, "headers about rates"),
        "retry-after, x-ratelimit-remaining"
    );
    assert!(found.seen(HEADERS, "refused with 429").starts_with("1 of "));

    for (headers, requests) in [(&limited[..], 3), (&[("retry-after", "3600")], 1)] {
        let tenant = tenant(|_| {}).await;
        tenant
            .protime
            .add_fault(instead("/connector/", 429, headers, ""));
        let found = Findings::of(&probe(&tenant, &["--per-second", "1000"]));
        assert_eq!(tenant.targets().len(), requests);
        let seen = found.seen(LISTS, "people list");
        assert!(seen.starts_with("not asked: Protime"), "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_says_why() {
    let tenant = tenant(|_| {}).await;
    tenant
        .store_secret_with(&json!({"scopes": ["connector-protimeapi-departments.read"]}))
        .await;
    let started = Instant::now();
    let document = probe(&tenant, &[]);
    let elapsed = started.elapsed();
    let requests = u32::try_from(tenant.targets().len()).unwrap();
    assert_eq!(document["requests"], requests);
    // Four a second.
    assert!(
        requests > 3 && elapsed >= Duration::from_millis(250) * (requests - 1),
        "{elapsed:?}"
    );
    let found = Findings::of(&document);
    assert_eq!(found.seen(LISTS, "departments list"), "200");
    let without = "not asked: the secret has no scope for it";
    assert_eq!(found.seen(LISTS, "people list"), without);
    let questions = document["questions"].as_array().unwrap();
    for question in questions {
        let is_answered = !question["findings"].as_array().unwrap().is_empty();
        let reason = question["notObtained"].as_str().unwrap_or_default();
        assert_ne!(is_answered, !reason.is_empty(), "{question}");
    }
    let rejected = self::tenant(|_| {}).await;
    rejected
        .store_secret_with(&json!({"client_id": "another-client"}))
        .await;
    let (document, code) = Protimectl::deployed().json(&["probe", &rejected.client, "--yes"]);
    assert_eq!(code, 14, "{document:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_record_is_shown() {
    let tenant = tenant(|_| {}).await;
    let people = json!([{"id": 471_100_815, "changeVersion": "00C0FFEE", "firstName": "Kanarie", "lastName": "Vogelaar",
        "badgeNumber": "998877665544", "Vogelaar, Kanarie": "x", "shoeSize": 43, "mobile": 998_877_665_544_u64}]);
    let departments =
        json!([{"id": 471_100_816, "name": {"default": "Vogelkooi"}, "code": "Zangers"}]);
    tenant
        .protime
        .set_records("people", &people.to_string())
        .unwrap();
    tenant
        .protime
        .set_records("departments", &departments.to_string())
        .unwrap();
    let words = r#"{"error": {"code": "Kanarie Vogelaar has no badge", "message": "Vogelaar", "reasons": ["998877665544"]}}"#;
    tenant.protime.add_fault(instead(
        "no-such-field",
        400,
        &[("x-badge", "998877665544")],
        words,
    ));
    tenant
        .protime
        .add_fault(Fault::new("/people/", 1, Action::DropBefore));
    for form in [&[][..], &["--json"]] {
        let arguments = ["probe", &tenant.client, "--yes", "--per-second", "1000"];
        let printed = Protimectl::deployed().run(&[&arguments, form].concat());
        assert_eq!(printed.code, 0, "{}", printed.stderr);
        assert!(
            printed
                .stdout
                .contains("{error: {code: string, message: string, reasons: [string]}}")
        );
        assert!(printed.stdout.contains("x-badge"));
        assert!(printed.stdout.contains("shoeSize"));
        let values = [
            "4711008", "C0FFEE", "Kanarie", "Vogel", "99887766", "Zangers",
        ];
        for text in [&printed.stdout, &printed.stderr] {
            assert!(!values.iter().any(|value| text.contains(value)), "{text}");
        }
    }
    let one = tenant
        .targets()
        .into_iter()
        .any(|target| target.ends_with("/people/471100815"));
    assert!(one, "the person was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_that_was_not_agreed_to() {
    let tenant = tenant(|_| {}).await;
    let Printed { stderr, code, .. } = Protimectl::deployed().run(&["probe", &tenant.client]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("--yes") && stderr.contains(&tenant.base_uri),
        "{stderr}"
    );
    let planned = Protimectl::deployed().succeeds(&["probe", &tenant.client, "--dry-run"]);
    assert_eq!(planned["done"], false);
    assert_eq!(planned["questions"].as_array().unwrap().len(), 21);
    assert!(tenant.protime.requests().is_empty());
    let most = |questions: &Value| {
        let questions = questions.as_array().unwrap().iter();
        questions
            .map(|question| question["requests"].as_u64().unwrap())
            .sum::<u64>()
    };
    let probed = probe(&tenant, &["--per-second", "1000"]);
    assert!(most(&probed["questions"]) <= most(&planned["questions"]));
    assert_eq!(most(&probed["questions"]), tenant.targets().len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_followed_neither_elsewhere_nor_to_a_delta() {
    let elsewhere = Simulator::start(Options::default()).await.unwrap();
    let path = "/connector/protimeapi/api/v1/clockings";
    for (link, seen) in [
        (
            format!("{}{path}?page=2", elsewhere.base_uri()),
            "the link leads elsewhere, or is none",
        ),
        (
            format!("{path}?deltaToken=x"),
            "not asked: it leads to a delta",
        ),
    ] {
        let tenant = tenant(|_| {}).await;
        let page = json!({"value": [], "nextLink": link}).to_string();
        tenant
            .protime
            .add_fault(instead("/clockings", 200, &[], &page));
        let found = Findings::of(&probe(&tenant, &["--per-second", "1000"]));
        assert_eq!(found.seen(TWICE, "clockings the first time"), seen);
    }
    assert!(elsewhere.requests().is_empty());
}
