//! Connections as they really are: TLS with real certificates, peers that close, peers that fall silent.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp};
use protime::{
    Client, Context, Error, Method, PathParameters, Query, Request, Settings, Target,
    http_client_trusting,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = r#"{"access_token": "token", "expires_in": 1800, "token_type": "Bearer"}"#;
const DEPARTMENTS: &str = r#"{"value": [{"id": 1}]}"#;

/// A private authority, such as a proxy has that inspects TLS.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file =
            std::env::temp_dir().join(format!("authority-{}-{number}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(parameters, key),
            file,
        }
    }

    /// A server's certificate for this name. It expires at the start of the year `until`.
    fn certify(&self, name: &str, until: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), key)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// The behaviour of a server.
#[derive(Clone)]
struct Behaviour {
    /// The protocol that it offers: `http/1.1` or `h2`.
    protocol: &'static str,
    /// How many requests it answers on each connection. It does not see later ones.
    answers_each: u32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            protocol: "http/1.1",
            answers_each: u32::MAX,
        }
    }
}

/// A server in its own thread, so that it continues while the client is frozen.
struct Server {
    port: u16,
    requests: Arc<AtomicU32>,
    writes: Arc<AtomicU32>,
}

impl Server {
    fn start(
        (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
        behaviour: Behaviour,
    ) -> Self {
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![behaviour.protocol.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (requests, writes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let counters = (requests.clone(), writes.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((connection, _)) = listener.accept().await {
                    tokio::spawn(serve(
                        connection,
                        acceptor.clone(),
                        behaviour.clone(),
                        counters.clone(),
                    ));
                }
            });
        });
        Self {
            port,
            requests,
            writes,
        }
    }

    fn settings(&self) -> Settings {
        let origin = format!("https://localhost:{}", self.port);
        let json = serde_json::json!({"base_uri": origin, "access_token_url": format!("{origin}/tenants/acme/connect/token"),
            "client_id": "client", "client_secret": "secret", "scopes": "connector-protimeapi-departments.read"});
        Settings::from_json(json.to_string().as_bytes()).unwrap()
    }

    fn client(&self, authorities: Option<&Path>) -> Client {
        let http = http_client_trusting(authorities).unwrap();
        Client::new(http, self.settings(), Box::new(self.settings()))
            .with_settings_name("secret `protime/acme`".to_owned())
    }
}

async fn serve(
    connection: TcpStream,
    acceptor: TlsAcceptor,
    behaviour: Behaviour,
    (requests, writes): (Arc<AtomicU32>, Arc<AtomicU32>),
) {
    let Ok(connection) = acceptor.accept(connection).await else {
        return;
    };
    let answered = AtomicU32::new(0);
    let answer = move |request: HttpRequest<Incoming>| {
        let is_seen = answered.fetch_add(1, Ordering::Relaxed) < behaviour.answers_each;
        requests.fetch_add(u32::from(is_seen), Ordering::Relaxed);
        let is_token = request.uri().path().ends_with("/connect/token");
        let is_write = request.method() == hyper::Method::POST && !is_token;
        writes.fetch_add(u32::from(is_write && is_seen), Ordering::Relaxed);
        async move {
            if !is_seen {
                std::future::pending::<()>().await;
            }
            let body = if is_token { TOKEN } else { DEPARTMENTS };
            let answer = Response::builder().status(if is_write { 201 } else { 200 });
            answer.body(body.to_owned())
        }
    };
    let (service, io) = (hyper::service::service_fn(answer), TokioIo::new(connection));
    let _ = match behaviour.protocol {
        "h2" => {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(io, service).await
        }
        _ => {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await
        }
    };
}

fn departments() -> Request {
    let scopes = ["connector-protimeapi-departments.read".to_owned()];
    let target = Target {
        entity: "departments",
        path: &PathParameters::default(),
        query: Query::default(),
    };
    let context = Context {
        scopes: &scopes,
        base_uri: &"https://acme.myprotime.eu".parse().unwrap(),
        today: "2026-03-31".parse().unwrap(),
    };
    Request::read(target, &context).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn read(client: &Client, until: Instant) -> Result<usize, Error> {
    let request = departments();
    let mut pages = client.pages(&request, until);
    let page = pages.next().await?;
    Ok(page.map_or(0, |page| page.records().count()))
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_besides_the_built_in_ones() {
    let authority = Authority::new();
    let server = Server::start(authority.certify("localhost", 2100), Behaviour::default());
    assert_eq!(
        read(&server.client(Some(&authority.file)), soon())
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_in_order_is_no_outage() {
    let authority = Authority::new();
    for (name, until, authorities, because) in [
        ("localhost", 2100, None, "UnknownIssuer"),
        ("localhost", 2021, Some(authority.file.as_path()), "expired"),
        (
            "elsewhere.example.com",
            2100,
            Some(authority.file.as_path()),
            "not valid for name",
        ),
    ] {
        let server = Server::start(authority.certify(name, until), Behaviour::default());
        let error = read(&server.client(authorities), soon()).await.unwrap_err();
        assert!(!error.is_retryable(), "{error}");
        let error = error.to_string();
        assert!(error.starts_with("secret `protime/acme`, field `access_token_url`: the certificate of `localhost` is not accepted"), "{error}");
        assert!(error.contains(because), "{because}: {error}");
        assert!(
            !error.contains("client error") && !error.contains("docs.rs"),
            "{error}"
        );
        assert_eq!(
            server.requests.load(Ordering::Relaxed),
            0,
            "nothing was sent"
        );
    }
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let authority = Authority::new();
    for protocol in ["http/1.1", "h2"] {
        let behaviour = Behaviour {
            protocol,
            ..Behaviour::default()
        };
        let server = Server::start(authority.certify("localhost", 2100), behaviour);
        assert_eq!(
            read(&server.client(Some(&authority.file)), soon())
                .await
                .unwrap(),
            1,
            "{protocol}"
        );
    }
}

/// Lambda freezes an environment between invocations. Meanwhile something on the way drops the connection without
/// notice. Whatever is sent on it is lost.
#[tokio::test]
async fn a_connection_that_was_given_up_during_a_freeze_is_not_written_on() {
    let authority = Authority::new();
    for protocol in ["http/1.1", "h2"] {
        let behaviour = Behaviour {
            protocol,
            answers_each: 2,
        };
        let server = Server::start(authority.certify("localhost", 2100), behaviour);
        let now = Arc::new(Mutex::new(Timestamp::now()));
        let clock = now.clone();
        let client = server.client(Some(&authority.file));
        let client = client.with_clock(Arc::new(move || *clock.lock().unwrap()));
        // After the token and one page, the server answers nothing more on this connection.
        read(&client, soon()).await.unwrap();
        *now.lock().unwrap() += SignedDuration::from_mins(5);
        let creation = creation();
        let written = client.write(&creation, Some(Bytes::from_static(b"{}")), soon());
        assert_eq!(written.await.unwrap().status, 201, "{protocol}");
        assert_eq!(server.writes.load(Ordering::Relaxed), 1, "{protocol}");
    }
}

fn creation() -> Request {
    let scopes = ["connector-protimeapi-clockings.write".to_owned()];
    let target = Target {
        entity: "clockings",
        path: &PathParameters::default(),
        query: Query::default(),
    };
    Request::write(Method::Post, target, &scopes).unwrap()
}

#[tokio::test]
async fn a_connection_that_falls_silent_ends_with_the_deadline() {
    let authority = Authority::new();
    let behaviour = Behaviour {
        answers_each: 1,
        ..Behaviour::default()
    };
    let server = Server::start(authority.certify("localhost", 2100), behaviour);
    let client = server.client(Some(&authority.file));
    let started = Instant::now();
    let error = read(&client, started + Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no answer before the deadline"),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}
