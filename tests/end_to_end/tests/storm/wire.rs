//! The services at the wire, and the weather in front of each.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use connector::clock::Clock;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::dynamodb::DynamoDb;
use crate::sqs::Sqs;
use crate::weather::{Event, Fault, Service};

/// How long a request takes in fair weather, in milliseconds.
const LATENCY: std::ops::Range<u64> = 2..40;

/// What the weather is at each request.
pub(crate) struct Sky {
    pub(crate) events: Vec<Event>,
    pub(crate) start: Instant,
    /// What tells the functions the time.
    pub(crate) clock: Clock,
    base: Timestamp,
    counts: [Cell<u32>; 4],
    random: RefCell<fastrand::Rng>,
    is_clear: Cell<bool>,
}

impl Sky {
    pub(crate) fn new(events: Vec<Event>, base: Timestamp) -> Self {
        Self {
            events,
            start: Instant::now(),
            clock: Clock::default(),
            base,
            counts: Default::default(),
            random: RefCell::new(fastrand::Rng::with_seed(1)),
            is_clear: Cell::new(false),
        }
    }

    /// The time outside of the functions.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        let passed = instant.duration_since(self.start);
        self.base + SignedDuration::try_from(passed).expect("a while")
    }

    /// The functions' clock goes with tokio's, but for what the weather does to it.
    pub(crate) fn move_clock(&self) {
        let passed = self.start.elapsed().as_secs();
        let off = self.events.iter().find_map(|event| match *event {
            Event::Jump { from, seconds, by } => {
                let from = u64::from(from);
                (from..from + u64::from(seconds))
                    .contains(&passed)
                    .then_some(by)
            }
            _ => None,
        });
        let off = off.filter(|_| !self.is_clear.get()).unwrap_or_default();
        self.clock
            .set(self.now() + SignedDuration::from_secs(off.into()));
    }

    /// Ends all that goes wrong.
    pub(crate) fn clear(&self) {
        self.is_clear.set(true);
    }

    /// How long this request takes, and what happens to it.
    fn next(&self, service: Service) -> (Duration, Option<Fault>) {
        let count = &self.counts[service as usize];
        let number = count.get();
        count.set(number + 1);
        let latency = self.random.borrow_mut().u64(LATENCY);
        let now = self.start.elapsed().as_secs();
        let of = |event: &Event| match *event {
            Event::Wire {
                service: at,
                from,
                times,
                fault,
            } => {
                let from = u32::from(from);
                (at == service && (from..from + u32::from(times)).contains(&number))
                    .then_some(fault)
            }
            Event::Outage {
                service: at,
                from,
                seconds,
                fault,
            } => {
                let from = u64::from(from);
                (at == service && (from..from + u64::from(seconds)).contains(&now)).then_some(fault)
            }
            _ => None,
        };
        let fault = self
            .events
            .iter()
            .find_map(of)
            .filter(|_| !self.is_clear.get());
        match fault {
            Some(Fault::Delay(seconds)) => (Duration::from_secs(seconds.into()), None),
            fault => (Duration::from_millis(latency), fault),
        }
    }
}

/// What the services remember.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) dynamodb: RefCell<DynamoDb>,
    pub(crate) sqs: RefCell<Sqs>,
    pub(crate) secret: RefCell<String>,
    /// Protime itself.
    pub(crate) protime: RefCell<String>,
}

/// An HTTP client that trusts nobody: reading what the system trusts takes longer than a storm.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_certs_only([]);
    // The simulator is no part of the weather: no connection to it is found closed.
    let builder = builder.pool_max_idle_per_host(0);
    builder.build().expect("an HTTP client")
}

/// Serves one of them; returns its origin.
pub(crate) async fn serve(service: Service, services: Rc<Services>, sky: Rc<Sky>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let http = client();
    tokio::task::spawn_local(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let host = Host {
                service,
                services: services.clone(),
                sky: sky.clone(),
                http: http.clone(),
            };
            tokio::task::spawn_local(host.connection(connection));
        }
    });
    origin
}

#[derive(Clone)]
struct Host {
    service: Service,
    services: Rc<Services>,
    sky: Rc<Sky>,
    http: reqwest::Client,
}

impl Host {
    async fn connection(self, connection: TcpStream) {
        let _ = connection.set_nodelay(true);
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let host = self.clone();
            async move { host.answer(request).await }
        });
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server
            .serve_connection(TokioIo::new(connection), service)
            .await;
    }

    /// An error breaks the connection.
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> io::Result<Response<Body>> {
        let (latency, fault) = self.sky.next(self.service);
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX)
            .await
            .map_err(io::Error::other)?;
        // A service goes on with what it was asked for when the one who asked is gone.
        let host = self.clone();
        let answer = tokio::task::spawn_local(async move {
            tokio::time::sleep(latency).await;
            host.sky.move_clock();
            match fault {
                Some(Fault::Drop) => None,
                Some(Fault::Throttle) => Some(host.refused(true)),
                Some(Fault::Refuse) => Some(host.refused(false)),
                // What it answers to a write with 2xx is its word.
                Some(Fault::Hollow)
                    if host.service == Service::Protime && parts.method == "GET" =>
                {
                    Some(json_response(200, &json!({})))
                }
                fault => {
                    let is_partial = fault == Some(Fault::Partial);
                    let answer = host.done(&parts, body, is_partial).await;
                    Some(answer).filter(|_| fault != Some(Fault::LoseAnswer))
                }
            }
        });
        let answer = answer.await.map_err(io::Error::other)?;
        answer.ok_or_else(|| io::Error::other("the connection breaks"))
    }

    async fn done(
        &self,
        parts: &http::request::Parts,
        body: Bytes,
        is_partial: bool,
    ) -> Response<Body> {
        if self.service == Service::Protime {
            return self.forward(parts, body).await;
        }
        let target = parts
            .headers
            .get("x-amz-target")
            .and_then(|target| target.to_str().ok());
        let operation = target
            .and_then(|target| target.split('.').nth(1))
            .unwrap_or_default();
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (status, answer) = match self.service {
            Service::DynamoDb => self
                .services
                .dynamodb
                .borrow_mut()
                .answer(operation, &request),
            Service::Sqs => self
                .services
                .sqs
                .borrow_mut()
                .answer(operation, &request, is_partial),
            _ => (
                200,
                json!({"ARN": "arn", "Name": request["SecretId"], "SecretString": *self.services.secret.borrow(), "VersionId": "1"}),
            ),
        };
        json_response(status, &answer)
    }

    async fn forward(&self, parts: &http::request::Parts, body: Bytes) -> Response<Body> {
        let target = parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let url = format!("{}{target}", self.services.protime.borrow());
        let mut request = self.http.request(parts.method.clone(), url).body(body);
        for name in ["authorization", "content-type", "user-agent", "accept"] {
            if let Some(value) = parts.headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("the simulator answers");
        let mut response = Response::builder().status(answer.status());
        for name in ["content-type", "location", "retry-after"] {
            if let Some(value) = answer.headers().get(name) {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes().await.expect("a body");
        response.body(Body::from(body)).expect("a response")
    }

    fn refused(&self, is_throttled: bool) -> Response<Body> {
        let aws = |status, kind: &str| {
            json_response(status, &json!({"__type": kind, "message": "the weather"}))
        };
        match (self.service, is_throttled) {
            (Service::Protime, true) => {
                let mut response = json_response(
                    429,
                    &json!({"error": {"code": "TooManyRequests", "message": "the weather"}}),
                );
                response
                    .headers_mut()
                    .insert("retry-after", http::HeaderValue::from_static("20"));
                response
            }
            (Service::Protime, false) => json_response(503, &json!({})),
            (Service::Sqs, true) => aws(400, "com.amazonaws.sqs#RequestThrottled"),
            (_, true) => aws(400, "ThrottlingException"),
            (_, false) => aws(500, "InternalServerError"),
        }
    }
}

fn json_response(status: u16, value: &Value) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0");
    response
        .body(Body::from(value.to_string()))
        .unwrap_or_else(|never| unreachable!("{never}"))
}
