//! The rules of the documentation for every request, seen from a server, and its promises for every answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use protime::{
    Client, Context, Method, PathParameters, Query, Request, Settings, SettingsError, Target,
    http_client,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A record with a value and a property that the documentation does not show, as a later version may have them.
const RECORD: &str =
    r#"{"id":1,"kind":"Novelty","colour":{"id":7},"status":"Active","timeOfDayInMinutes":510}"#;

const TOKEN: &str = r#"{"access_token":"a.b.c","expires_in":1800,"token_type":"Bearer"}"#;

type Seen = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server that answers every request with success and keeps its headers.
async fn server() -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let log = seen.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let log = log.clone();
            let answer = move |request: HttpRequest<Incoming>| {
                let line = format!("{} {}", request.method(), request.uri());
                log.lock().unwrap().push((line, request.headers().clone()));
                let is_token = request.uri().path().ends_with("/connect/token");
                let (status, body) = match request.method().as_str() {
                    _ if is_token => (200, TOKEN.to_owned()),
                    "POST" => (201, String::new()),
                    _ => (200, format!(r#"{{"value":[{RECORD}]}}"#)),
                };
                async move { Response::builder().status(status).body(body) }
            };
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(connection), service_fn(answer)));
        }
    });
    (origin, seen)
}

fn secret(fields: &Value) -> Result<Settings, SettingsError> {
    let mut secret = json!({"base_uri": "https://acme.myprotime.eu", "client_id": "client", "client_secret": "secret",
        "access_token_url": "https://authentication.myprotime.eu/tenants/acme/connect/token",
        "scopes": ["connector-protimeapi-clockings.read", "connector-protimeapi-clockings.write"]});
    for (name, value) in fields.as_object().unwrap() {
        secret[name] = value.clone();
    }
    Settings::from_json(secret.to_string().as_bytes())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A read of clockings and the creation of one.
fn requests(settings: &Settings) -> (Request, Request) {
    let query = json!({"filter": "date ge '2026-03-01' and date le '2026-03-31'"});
    let path = PathParameters::default();
    let clockings = |query| Target {
        entity: "clockings",
        path: &path,
        query,
    };
    let context = Context::of(settings, "2026-03-31".parse().unwrap());
    let read = Request::read(clockings(serde_json::from_value(query).unwrap()), &context);
    let write = Request::write(Method::Post, clockings(Query::default()), context.scopes);
    (read.unwrap(), write.unwrap())
}

#[tokio::test]
async fn every_request_carries_the_documented_headers_and_tolerates_what_is_new() {
    let (origin, seen) = server().await;
    let token_url = format!("{origin}/tenants/acme/connect/token");
    let settings = secret(&json!({"base_uri": origin, "access_token_url": token_url}));
    let settings = settings.unwrap().for_service("subscriber");
    let (read, write) = requests(&settings);
    let client = Client::new(http_client().unwrap(), settings.clone(), Box::new(settings));
    let page = client.pages(&read, soon()).next().await.unwrap().unwrap();
    // §1: Clients should therefore tolerate unknown properties and enum values
    assert_eq!(page.records().collect::<Vec<_>>(), [RECORD]);
    let payload = r#"{"person":{"id":1}}"#;
    let written = client.write(&write, Some(payload.into()), soon());
    assert_eq!(written.await.unwrap().status, 201);

    let seen = seen.lock().unwrap();
    let of = |part: &str| {
        let (_, headers) = seen
            .iter()
            .find(|(line, _)| line.starts_with(part))
            .unwrap();
        move |name: &str| {
            headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        }
    };
    let (token, list, creation) = (
        of("POST /tenants/acme/connect/token"),
        of("GET /connector/protimeapi/api/v1/clockings?"),
        of("POST /connector/protimeapi/api/v1/clockings"),
    );
    assert_eq!(token("content-type"), "application/x-www-form-urlencoded");
    for headers in [&list, &creation] {
        // §1.1: `Authorization` | request | `Bearer <jwt>`
        assert_eq!(headers("authorization"), "Bearer a.b.c");
        // §1.1: `Accept` | request | `application/json`
        assert_eq!(headers("accept"), "application/json");
    }
    // §1.1: `Content-Type` | both
    assert_eq!(creation("content-type"), "application/json");
    // §1.1: `Content-Length` | both
    assert_eq!(creation("content-length"), payload.len().to_string());
    for headers in [&token, &list, &creation] {
        // §1.1: Format: `ServiceName/Version (Company Name)`
        // §1.1: One distinct value per consuming service
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("ProtimeConnector/{version} (127.0.0.1; subscriber)");
        assert_eq!(headers("user-agent"), expected);
    }
}

#[test]
fn only_https_leaves_this_machine() {
    // §1: Protocol | HTTPS
    for field in ["base_uri", "access_token_url"] {
        let error = secret(&json!({field: "http://acme.myprotime.eu"})).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
        assert!(error.to_string().contains("must be https"), "{error}");
    }
    assert!(secret(&json!({})).is_ok());
}
