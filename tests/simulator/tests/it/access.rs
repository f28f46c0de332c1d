//! Tokens, scopes, headers and statuses.

use serde_json::{Value, json};
use simulator::{Action, Fault};

use crate::protime::{API, Protime};

#[tokio::test]
async fn tokens_are_for_the_right_client_and_known_scopes() {
    let mut protime = Protime::start().await;
    // §2.1: Only grant documented: OAuth 2.0 client credentials
    let password = protime.token("grant_type=password".to_owned()).await;
    assert_eq!(password["error"], "unsupported_grant_type");
    let form = "grant_type=client_credentials&client_id=x".to_owned();
    assert_eq!(protime.token(form).await["error"], "invalid_client");
    assert_eq!(protime.login("made-up").await["error"], "invalid_scope");
    // §2.3: `expires_in` (int, seconds; example 1800)
    let answer = protime.login("connector-protimeapi-people.read").await;
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 1800);
    assert_eq!(answer["scope"], "connector-protimeapi-people.read");
    assert_eq!(protime.get("/people").await.status, 200);
    // §2.5: `403` valid token without the needed scope
    // §7.1: any | 401 / 403
    assert_eq!(protime.get("/departments").await.status, 403);
    // §2.3: Expired or invalid token → `401` from the API
    let later = "2026-03-31T12:31:00Z".parse().unwrap();
    protime.simulator.set_now(later);
    assert_eq!(protime.get("/people").await.status, 401);
}

#[tokio::test]
async fn the_two_pages_on_a_missing_scope_are_a_switch() {
    let mut protime = Protime::with(|settings| settings.missing_scope_status = 401).await;
    protime.login("connector-protimeapi-people.read").await;
    // §2.5: `401` = missing or invalid token **or insufficient scope**
    assert_eq!(protime.get("/departments").await.status, 401);
}

#[tokio::test]
async fn either_scope_is_enough_for_historical_fields() {
    let mut protime = Protime::start().await;
    for scope in ["people.read", "people-historical-data.read"] {
        protime
            .login(&format!("connector-protimeapi-{scope}"))
            .await;
        // §2.4: (either `people.read` **or** this one is accepted)
        assert_eq!(
            protime.get("/sector-histories").await.status,
            200,
            "{scope}"
        );
    }
    // §2.4: A scope covers a whole collection
    protime.login("connector-protimeapi-clockings.read").await;
    for path in [
        "/clockings/1",
        "/clockings?filter=date%20ge%20%272026-03-01%27&delta",
    ] {
        assert_eq!(protime.get(path).await.status, 200, "{path}");
    }
    // §2.4: `.write` = POST, PUT, DELETE
    assert_eq!(protime.post("/clockings", json!({})).await.status, 403);
}

#[tokio::test]
async fn a_user_agent_is_mandatory_and_long_targets_are_refused() {
    let mut protime = Protime::start().await;
    let token = protime.login("connector-protimeapi-departments.read").await;
    let token = token["access_token"].as_str().unwrap().to_owned();
    let url = format!("{}{API}/departments", protime.simulator.base_uri());
    let bare = protime
        .http
        .get(&url)
        .header("authorization", format!("Bearer {token}"));
    // §1.1: **mandatory on every request**
    let refused = bare.send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    let refused: Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(refused["error"]["code"], "BadRequest");
    // §1: Server limit **4 096 characters**
    let long = |length: usize| format!("/departments?x={}", "y".repeat(length - API.len() - 15));
    assert_eq!(protime.get(&long(4_096)).await.status, 200);
    // §7.1: URI above 4 096 characters
    assert_eq!(protime.get(&long(4_097)).await.status, 414);
    // §7.1: resource does not exist
    assert_eq!(protime.get("/nothing-here").await.status, 404);
    assert_eq!(protime.put("/departments", json!({})).await.status, 405);
}

#[tokio::test]
async fn faults_happen_as_often_as_asked_and_requests_are_remembered() {
    let protime = Protime::start().await;
    let action = Action::Answer {
        status: 409,
        headers: Vec::new(),
        body: String::new(),
    };
    let mut fault = Fault::new("/departments", 1, action);
    fault.skip = 1;
    protime.simulator.add_fault(fault);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(protime.get("/departments").await.status);
    }
    assert_eq!(statuses, [200, 409, 200]);
    let requests = protime.simulator.requests();
    let logged = requests.iter().filter(|request| request.authorized);
    let logged: Vec<u16> = logged.map(|request| request.status).collect();
    assert_eq!(logged, statuses);
}

#[tokio::test]
async fn each_collection_has_a_scope_of_its_own() {
    let mut protime = Protime::start().await;
    let march = "?filter=date%20ge%20%272026-03-01%27";
    let definitions = "activity-structure-versions/v/levels/1/activity-definitions";
    // §2.4: Pattern: `connector-protimeapi-<collection>.<permission>`
    for (scope, path, filter) in [
        // §2.4: `clockings` | D | D
        ("clockings", "clockings", march),
        // §2.4: `access-clockings`
        ("access-clockings", "access-clockings", march),
        // §2.4: `activity-definitions` (also usages, restrictions)
        ("activity-definitions", definitions, ""),
        // §2.4: `activity-durations` | D | U
        ("activity-durations", "activity-durations", march),
        // §2.4: `assignments`
        ("assignments", "assignments", march),
        // §2.4: `absences`
        ("absences", "absences", march),
        // §2.4: `absence-definitions`
        ("absence-definitions", "absence-definitions", ""),
        // §2.4: `break-definitions`, `work-interruptions`
        ("break-definitions", "break-definitions", ""),
        ("work-interruptions", "work-interruptions", march),
        // §2.4: `counters`, `counter-groups`
        ("counters", "counters", march),
        ("counter-groups", "counter-groups", ""),
        // §2.4: `people` | D
        ("people", "people", ""),
        // §2.4: `departments`, `sectors`, `job-categories`
        ("departments", "departments", ""),
        ("sectors", "sectors", ""),
        ("job-categories", "job-categories", ""),
        // §2.4: `webhooks` | D | D
        ("webhooks", "webhooks", ""),
        // Paid presences have no scope of their own.
        ("calculated-totals", "paid-presences", march),
    ] {
        let target = format!("/{path}{filter}");
        protime
            .login(&format!("connector-protimeapi-{scope}.read"))
            .await;
        assert_eq!(protime.get(&target).await.status, 200, "{scope}");
        let other = if scope == "jobs" { "sectors" } else { "jobs" };
        protime
            .login(&format!("connector-protimeapi-{other}.read"))
            .await;
        assert_eq!(protime.get(&target).await.status, 403, "{scope}");
    }
    let refused = protime.login("connector-protimeapi-absences.write").await;
    // §absences: no absences write scope exists
    assert_eq!(refused["error"], "invalid_scope", "absences are read only");
    // §2.4: `external-references` | U | D
    // §8.5: Scope `connector-protimeapi-external-references.write`
    // §external-references: need connector-protimeapi-external-references.write
    let scope = "connector-protimeapi-external-references.write";
    assert_eq!(protime.login(scope).await["scope"], scope);
}

#[tokio::test]
async fn the_credentials_travel_in_the_body() {
    let protime = Protime::start().await;
    let secret: Value = serde_json::from_str(&protime.simulator.secret_json()).unwrap();
    let field = |name: &str| secret[name].as_str().unwrap().to_owned();
    let form = [
        // §2.2: `grant_type`
        "grant_type=client_credentials".to_owned(),
        // §2.2: `client_id`
        format!("client_id={}", field("client_id")),
        // §2.2: `client_secret`
        format!("client_secret={}", field("client_secret")),
        // §2.2: space-separated list
        "scope=connector-protimeapi-people.read+connector-protimeapi-jobs.read".to_owned(),
    ];
    // §2.1: Token: `POST https://authentication.<environmentURL>/tenants/<tenantName>/connect/token`
    let granted = protime.token(form.join("&")).await;
    assert_eq!(
        granted["scope"],
        "connector-protimeapi-people.read connector-protimeapi-jobs.read"
    );
    for missing in 0..form.len() {
        let mut less = form.to_vec();
        less.remove(missing);
        let refused = protime.token(less.join("&")).await;
        assert!(refused["error"].is_string(), "without {}", form[missing]);
    }
    // §2.2: Credentials travel in the body
    let post = |tenant: &str, form: &str| {
        let url = format!(
            "{}/tenants/{tenant}/connect/token",
            protime.simulator.base_uri()
        );
        protime.http.post(url).body(form.to_owned())
    };
    let basic = "Basic c2ltdWxhdG9yLWNsaWVudDpzaW11bGF0b3ItY2xpZW50LXNlY3JldA==";
    let form_of_basic = format!("{}&{}", form[0], form[3]);
    let in_a_header = post("acme", &form_of_basic).header("authorization", basic);
    assert_eq!(in_a_header.send().await.unwrap().status().as_u16(), 400);
    // §2.3: Tokens are per tenant
    let elsewhere = post("globex", &form.join("&")).send().await.unwrap();
    assert_eq!(elsewhere.status().as_u16(), 404);
}

#[tokio::test]
async fn there_is_no_other_method() {
    let protime = Protime::start().await;
    // §9: PATCH | none
    let patched = protime
        .call("PATCH", &format!("{API}/people/1"), Some(json!({})))
        .await;
    assert_eq!(patched.status, 405);
    // §9: Clockings | can be created
    // §clockings: No update or delete operation is documented
    for method in ["PUT", "DELETE"] {
        let answer = protime
            .call(method, &format!("{API}/clockings/1"), Some(json!({})))
            .await;
        assert_eq!(answer.status, 405, "{method}");
    }
    // §1: `application/json` for requests and responses
    let url = format!("{}{API}/clockings", protime.simulator.base_uri());
    let plain = protime.http.post(url).header("user-agent", "Test/1 (Test)");
    let plain = plain
        .header("authorization", protime.authorization())
        .body("{}");
    assert_eq!(plain.send().await.unwrap().status().as_u16(), 400);
}
