//! The client against the simulator, over real HTTP.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use protime::{
    Client, Context, Error, LinkError, Method, Page, PathParameters, Query, Request, Settings,
    SettingsSource, Target, http_client,
};
use simulator::{Action, Fault, Options, Simulator, Spaces};
use tokio::time::Instant;

const CLOCKINGS: &str = "/connector/protimeapi/api/v1/clockings";

async fn simulator() -> Arc<Simulator> {
    let now = Some("2026-03-31T12:00:00Z".parse().unwrap());
    Arc::new(
        Simulator::start(Options {
            people: 5,
            days: 30,
            now,
            ..Options::default()
        })
        .await
        .unwrap(),
    )
}

/// Reads the secret again, as the connector does from Secrets Manager.
struct CurrentSecret(Arc<Simulator>);

impl SettingsSource for CurrentSecret {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>> {
        Box::pin(async { Ok(settings(&self.0)) })
    }
}

fn settings(simulator: &Simulator) -> Settings {
    Settings::from_json(simulator.secret_json().as_bytes()).unwrap()
}

fn client(simulator: &Arc<Simulator>) -> Client {
    Client::new(
        http_client().unwrap(),
        settings(simulator),
        Box::new(CurrentSecret(simulator.clone())),
    )
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn read(simulator: &Simulator, entity: &str, path: &str, query: &str) -> Request {
    let path: PathParameters = serde_json::from_str(path).unwrap();
    let query: Query = serde_json::from_str(query).unwrap();
    let target = Target {
        entity,
        path: &path,
        query,
    };
    let settings = settings(simulator);
    let context = Context::of(&settings, "2026-03-31".parse().unwrap());
    Request::read(target, &context).unwrap()
}

fn march(simulator: &Simulator) -> Request {
    read(
        simulator,
        "clockings",
        "{}",
        r#"{"filter": "date ge '2026-03-01' and date le '2026-03-31'"}"#,
    )
}

async fn all(client: &Client, request: &Request) -> Result<Vec<Page>, Error> {
    let mut pages = client.pages(request, soon());
    let mut found = Vec::new();
    while let Some(page) = pages.next().await? {
        found.push(page);
    }
    Ok(found)
}

fn records(pages: &[Page]) -> Vec<&str> {
    pages.iter().flat_map(Page::records).collect()
}

fn targets(simulator: &Simulator) -> Vec<String> {
    let api = simulator
        .requests()
        .into_iter()
        .filter(|request| !request.target.starts_with("/tenants/"));
    api.map(|request| request.target).collect()
}

#[tokio::test]
async fn the_url_is_the_one_protimes_users_know() {
    // §3.1: `GET …/<collection>?filter=<expression>`, URL-encoded
    // §1: URI template
    let simulator = simulator().await;
    let client = client(&simulator);
    all(&client, &march(&simulator)).await.unwrap();
    all(
        &client,
        &read(&simulator, "clockings", r#"{"id": 7}"#, "{}"),
    )
    .await
    .unwrap();
    assert_eq!(
        targets(&simulator),
        [
            format!("{CLOCKINGS}?filter=date+ge+%272026-03-01%27+and+date+le+%272026-03-31%27"),
            format!("{CLOCKINGS}/7"),
        ]
    );
    let user_agents: Vec<String> = simulator
        .requests()
        .into_iter()
        .map(|request| request.user_agent)
        .collect();
    assert!(
        user_agents
            .iter()
            .all(|agent| agent.starts_with("ProtimeConnector/")),
        "{user_agents:?}"
    );
}

/// The documentation writes spaces as `%20`, but the URLs of Protime's users contain `+`. If Protime accepted only
/// `%20`, it would refuse every read with a filter and nothing else.
#[tokio::test]
async fn only_filters_depend_on_how_spaces_are_written() {
    let simulator = simulator().await;
    let spaced = |spaces: Spaces| {
        move |settings: &mut simulator::Settings| {
            settings.spaces = spaces;
            settings.page_size = 70;
        }
    };
    let undated = read(
        &simulator,
        "people",
        "{}",
        r#"{"externalReferences": "(people,@badge-number)"}"#,
    );
    for (spaces, takes_filters) in [
        (Spaces::Both, true),
        (Spaces::Plus, true),
        (Spaces::Percent20, false),
    ] {
        simulator.configure(spaced(spaces));
        let filtered = all(&client(&simulator), &march(&simulator)).await;
        match filtered {
            Ok(pages) => assert_eq!((pages.len(), takes_filters), (5, true)),
            Err(error) => assert!(
                !takes_filters && error.to_string().contains("cannot be read"),
                "{error}"
            ),
        }
        all(&client(&simulator), &undated).await.unwrap();
    }
}

#[tokio::test]
async fn unencoded_links_and_empty_pages_are_followed_to_the_end() {
    // §4: In the samples `nextLink` is **not percent-encoded**
    // §4: **An empty `value` does not mean the end**
    let simulator = simulator().await;
    simulator.configure(|settings| {
        settings.page_size = 70;
        settings.empty_pages_after = vec![1, 3];
        settings.gzip = true;
    });
    let pages = all(&client(&simulator), &march(&simulator)).await.unwrap();
    let sizes: Vec<usize> = pages.iter().map(|page| page.records().len()).collect();
    assert_eq!(sizes, [70, 70, 0, 70, 70, 0, 20]);
    let mut ids: Vec<&str> = records(&pages)
        .iter()
        .map(|record| {
            record
                .split("\"id\":")
                .nth(1)
                .unwrap()
                .split(',')
                .next()
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 300, "every record once");
    let link = &targets(&simulator)[1];
    assert!(
        link.contains("%2B") && !link.contains(' '),
        "the token's plus signs survive: {link}"
    );
}

#[tokio::test]
async fn records_are_the_bytes_that_came() {
    let simulator = simulator().await;
    let texts = [
        r#"{"id":1,"n":12345678901234567890123.000100,"t":"\u00e9 é \/"}"#,
        r#"{ "id" : 2 , "a":[ 1 ] }"#,
    ];
    simulator
        .set_records("departments", &format!("[{}]", texts.join(" , ")))
        .unwrap();
    let pages = all(
        &client(&simulator),
        &read(&simulator, "departments", "{}", "{}"),
    )
    .await
    .unwrap();
    assert_eq!(records(&pages), texts);
    let one = all(
        &client(&simulator),
        &read(&simulator, "departments", r#"{"id": 2}"#, "{}"),
    )
    .await
    .unwrap();
    assert_eq!(
        records(&one),
        [texts[1]],
        "a single object is a page of one record"
    );
}

#[tokio::test]
async fn one_token_serves_all_until_it_is_revoked() {
    // §2.3: Reuse the token
    let simulator = simulator().await;
    let client = client(&simulator);
    for _ in 0..3 {
        all(&client, &march(&simulator)).await.unwrap();
    }
    assert_eq!(simulator.token_requests(), 1);
    simulator.revoke_tokens();
    all(&client, &march(&simulator)).await.unwrap();
    assert_eq!(simulator.token_requests(), 2);
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_token_request() {
    let simulator = simulator().await;
    let client = client(&simulator);
    let request = march(&simulator);
    let (one, two, three) = tokio::join!(
        all(&client, &request),
        all(&client, &request),
        all(&client, &request)
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(simulator.token_requests(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    // §2.3: Do not hard-code
    let simulator = simulator().await;
    simulator.configure(|settings| settings.expires_in = 0);
    let client = client(&simulator);
    // Such a token has expired at once, so the simulator refuses both attempts. The next read must not try it again.
    let error = all(&client, &march(&simulator)).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().status, 401);
    simulator.configure(|settings| settings.expires_in = 1800);
    all(&client, &march(&simulator)).await.unwrap();
    let refused = simulator
        .requests()
        .iter()
        .filter(|request| request.status == 401)
        .count();
    assert_eq!(refused, 2, "only the two attempts of the first read");
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_and_costs_one_renewal() {
    // §2.3: Expired or invalid token → `401` from the API
    let simulator = simulator().await;
    let client = client(&simulator);
    all(&client, &march(&simulator)).await.unwrap();
    simulator.rotate_client_secret("another secret");
    all(&client, &march(&simulator)).await.unwrap();
    assert_eq!(
        simulator.token_requests(),
        3,
        "one refused, one with the new secret"
    );
}

#[tokio::test]
async fn a_client_that_stays_rejected_is_reported_without_its_secret() {
    let simulator = simulator().await;
    let mut wrong = settings(&simulator);
    wrong.client_secret = "wrong secret".into();
    let client = Client::new(http_client().unwrap(), wrong.clone(), Box::new(wrong));
    let error = all(&client, &march(&simulator)).await.unwrap_err();
    assert!(
        matches!(&error, Error::ClientRejected { code, .. } if code == "invalid_client"),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("wrong secret"));
    assert_eq!(
        simulator.token_requests(),
        1,
        "the same settings are not tried twice"
    );
}

#[tokio::test]
async fn a_second_401_with_a_fresh_token_is_final() {
    // §2.5: `401` = missing or invalid token **or insufficient scope**
    let simulator = simulator().await;
    simulator.configure(|settings| settings.missing_scope_status = 401);
    let mut narrow = settings(&simulator);
    narrow.scopes = vec!["connector-protimeapi-people.read".to_owned()];
    let client = Client::new(http_client().unwrap(), narrow.clone(), Box::new(narrow));
    let error = all(&client, &march(&simulator)).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().status, 401);
    assert!(
        error
            .to_string()
            .contains("it needs the scope `connector-protimeapi-clockings.read`"),
        "{error}"
    );
    assert_eq!(simulator.token_requests(), 2);
}

#[tokio::test]
async fn passing_failures_of_reads_are_waited_out() {
    // §7.1: unavailable, e.g. maintenance
    // §7.1: too many requests
    // §7.1: any | 500 | internal error
    for action in [
        Action::Answer {
            status: 503,
            headers: vec![("retry-after".to_owned(), "0".to_owned())],
            body: String::new(),
        },
        Action::Answer {
            status: 429,
            headers: Vec::new(),
            body: "<html><title>Slow down</title></html>".to_owned(),
        },
        Action::Answer {
            status: 500,
            headers: Vec::new(),
            body: String::new(),
        },
        Action::DropBefore,
        Action::DropAfter,
        Action::Truncate,
    ] {
        let simulator = simulator().await;
        simulator.add_fault(Fault::new(CLOCKINGS, 1, action.clone()));
        let pages = all(&client(&simulator), &march(&simulator)).await.unwrap();
        assert_eq!(records(&pages).len(), 300, "{action:?}");
        assert_eq!(
            targets(&simulator).len(),
            2,
            "{action:?}: once more, and no more"
        );
    }
}

#[tokio::test]
async fn an_unavailable_token_endpoint_is_waited_out() {
    let simulator = simulator().await;
    simulator.add_fault(Fault::status("/connect/token", 503, 1));
    all(&client(&simulator), &march(&simulator)).await.unwrap();
}

#[tokio::test]
async fn retries_end_before_the_deadline() {
    let simulator = simulator().await;
    let wait = vec![("retry-after".to_owned(), "3600".to_owned())];
    simulator.add_fault(Fault::new(
        CLOCKINGS,
        9,
        Action::Answer {
            status: 503,
            headers: wait,
            body: String::new(),
        },
    ));
    let error = all(&client(&simulator), &march(&simulator))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Deadline { attempts: 1, .. }),
        "{error}"
    );
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
}

#[tokio::test]
async fn links_elsewhere_and_redirects_are_not_followed() {
    let elsewhere = Simulator::start(Options::default()).await.unwrap();
    for link in [
        format!("{}{CLOCKINGS}?continuationToken=x", elsewhere.base_uri()),
        elsewhere.base_uri().replace("http:", ""),
        elsewhere.base_uri().replace("http://", "/\\"),
    ] {
        let simulator = simulator().await;
        let body = format!(
            r#"{{"value":[],"nextLink":{}}}"#,
            serde_json::Value::from(link.as_str())
        );
        simulator.add_fault(Fault::new(
            CLOCKINGS,
            1,
            Action::Answer {
                status: 200,
                headers: Vec::new(),
                body,
            },
        ));
        let error = all(&client(&simulator), &march(&simulator))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Link(LinkError::ForeignOrigin { .. })),
            "{link}: {error}"
        );
        assert!(error.to_string().contains("nothing was sent there"));
    }
    let simulator = simulator().await;
    let location = vec![(
        "location".to_owned(),
        format!("{}/stolen?a=b", elsewhere.base_uri()),
    )];
    simulator.add_fault(Fault::new(
        CLOCKINGS,
        1,
        Action::Answer {
            status: 302,
            headers: location,
            body: String::new(),
        },
    ));
    let error = all(&client(&simulator), &march(&simulator))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("302") && error.to_string().contains("not followed"),
        "{error}"
    );
    assert!(
        elsewhere.requests().is_empty(),
        "{:?}",
        elsewhere.requests()
    );
}

#[tokio::test]
async fn a_link_that_repeats_ends_the_run() {
    let simulator = simulator().await;
    let body = format!(
        r#"{{"value":[{{"id":1}}],"nextLink":"{CLOCKINGS}?filter=date ge '2026-03-01'&continuationToken=a+b="}}"#
    );
    simulator.add_fault(Fault::new(
        CLOCKINGS,
        9,
        Action::Answer {
            status: 200,
            headers: Vec::new(),
            body,
        },
    ));
    let error = all(&client(&simulator), &march(&simulator))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Link(LinkError::Repeated { page: 1 })),
        "{error}"
    );
    assert_eq!(targets(&simulator).len(), 2);
}

#[tokio::test]
async fn every_error_body_becomes_one_readable_error() {
    // §7.2: Model validation
    // §7.2: Filter/business-rule rejection
    // §7.2: Standard (most 4xx/5xx)
    for (status, body, expected) in [
        (
            400,
            r#"{"error":{"code":"BadRequest","message":"No.","reasons":["a","b"]}}"#,
            "Protime answered 400 to GET /connector/protimeapi/api/v1/clockings: BadRequest: No.; reasons: a; b",
        ),
        (
            400,
            r#"{"message":"Invalid.","validationErrors":["x",{"field":"y"}]}"#,
            "Invalid.; validation errors: x; {\"field\":\"y\"}",
        ),
        (
            404,
            "<html><head><title>Not\n here</title></head></html>",
            "an HTML page titled \"Not here\"",
        ),
        (403, "", "no body"),
        (414, "too long\n", "/clockings: too long"),
    ] {
        let simulator = simulator().await;
        let headers = vec![("content-type".to_owned(), "text/plain".to_owned())];
        simulator.add_fault(Fault::new(
            CLOCKINGS,
            1,
            Action::Answer {
                status,
                headers,
                body: body.to_owned(),
            },
        ));
        let error = all(&client(&simulator), &march(&simulator))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn success_that_is_not_json_is_an_error_without_the_body() {
    let simulator = simulator().await;
    let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
    let body = "<html>canary</html>".to_owned();
    simulator.add_fault(Fault::new(
        CLOCKINGS,
        1,
        Action::Answer {
            status: 200,
            headers,
            body,
        },
    ));
    let error = all(&client(&simulator), &march(&simulator))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Content {
            truncated: false,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .contains("text/html where JSON was expected"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn a_write_is_sent_once_and_says_what_is_known() {
    let payload =
        r#"{"person":{"id":1},"date":"2026-03-02","timeOfDayInMinutes":510,"kind":"InOut"}"#;
    let post = |simulator: &Arc<Simulator>| {
        let scopes = settings(simulator).scopes;
        let target = Target {
            entity: "clockings",
            path: &PathParameters::default(),
            query: Query::default(),
        };
        let request = Request::write(Method::Post, target, &scopes).unwrap();
        let client = client(simulator);
        async move { client.write(&request, Some(payload.into()), soon()).await }
    };
    let simulator = simulator().await;
    let written = post(&simulator).await.unwrap();
    assert_eq!(written.status, 201);
    assert!(written.location.unwrap().starts_with(CLOCKINGS));
    assert_eq!(
        simulator.requests().last().unwrap().body,
        payload,
        "sent as it is"
    );

    for (action, sent) in [(Action::DropAfter, true), (Action::DropBefore, true)] {
        simulator.add_fault(Fault::new(CLOCKINGS, 1, action));
        let before = targets(&simulator).len();
        let error = post(&simulator).await.unwrap_err();
        assert!(
            matches!(error, Error::Transport { sent: known, .. } if known == sent),
            "{error}"
        );
        assert_eq!(targets(&simulator).len(), before + 1);
    }
    simulator.add_fault(Fault::status(CLOCKINGS, 503, 1));
    assert!(post(&simulator).await.unwrap_err().is_retryable());
    simulator.revoke_tokens();
    post(&simulator).await.unwrap();
}

/// A client of the simulator. `fields` replace some of its settings.
fn client_with(simulator: &Arc<Simulator>, fields: &serde_json::Value) -> Client {
    let mut secret: serde_json::Value = serde_json::from_str(&simulator.secret_json()).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        secret[name] = value.clone();
    }
    let settings = Settings::from_json(secret.to_string().as_bytes()).unwrap();
    let client = Client::new(http_client().unwrap(), settings.clone(), Box::new(settings));
    client.with_settings_name("secret `protime/acme`".to_owned())
}

async fn error_with(simulator: &Arc<Simulator>, fields: &serde_json::Value) -> String {
    let client = client_with(simulator, fields);
    let error = all(&client, &march(simulator)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_refusal_for_its_scope_tells_which_were_granted() {
    // §2.3: Compare granted against requested scopes
    let simulator = simulator().await;
    let few = serde_json::json!({"scopes": ["connector-protimeapi-people.read"]});
    let error = error_with(&simulator, &few).await;
    assert!(
        error.ends_with(
            "(it needs the scope `connector-protimeapi-clockings.read`; granted are `connector-protimeapi-people.read`. Ask Protime to grant it, and add it to the field `scopes` of the secret)"
        ),
        "{error}"
    );
    simulator.add_fault(Fault::status(CLOCKINGS, 403, 1));
    let error = error_with(&simulator, &serde_json::json!({})).await;
    assert!(
        error.contains("which the token has; the tenant may lack the feature"),
        "{error}"
    );
}

/// Whether resolvers can tell that a name does not exist. Without a network they cannot.
fn resolver_answers() -> bool {
    use std::net::ToSocketAddrs as _;
    let answer = "nobody.invalid:443".to_socket_addrs();
    answer.is_err_and(|error| !error.to_string().contains("Temporary failure"))
}

#[tokio::test]
async fn a_wrong_address_is_no_outage() {
    let simulator = simulator().await;
    let nowhere = "https://nobody.invalid/tenants/acme/connect/token";
    for (fields, told) in [
        (
            serde_json::json!({"access_token_url": nowhere}),
            "secret `protime/acme`, field `access_token_url`: no host has the name `nobody.invalid`; correct it",
        ),
        (
            serde_json::json!({"base_uri": "https://nobody.invalid"}),
            "secret `protime/acme`, field `base_uri`: no host has the name `nobody.invalid`; correct it",
        ),
        (
            serde_json::json!({"access_token_url": format!("{}/connect/tokens", simulator.base_uri())}),
            "no token from the token endpoint of secret `protime/acme`: it answered 404 without a JSON object; check the field `access_token_url`",
        ),
    ] {
        if told.contains("no host") && !resolver_answers() {
            continue;
        }
        assert_eq!(error_with(&simulator, &fields).await, told);
    }
    simulator.add_fault(Fault::status(CLOCKINGS, 404, 1));
    let error = error_with(&simulator, &serde_json::json!({})).await;
    assert!(
        error.contains("check the field `base_uri` of the secret"),
        "{error}"
    );
}

#[tokio::test]
async fn a_corrected_address_is_used_at_once() {
    let simulator = simulator().await;
    let mut wrong: serde_json::Value = serde_json::from_str(&simulator.secret_json()).unwrap();
    wrong["access_token_url"] = format!("{}/connect/tokens", simulator.base_uri()).into();
    let wrong = Settings::from_json(wrong.to_string().as_bytes()).unwrap();
    let source = Box::new(CurrentSecret(simulator.clone()));
    let client = Client::new(http_client().unwrap(), wrong, source);
    all(&client, &march(&simulator)).await.unwrap();
}
