//! The HTTP servers of the services, with the weather in front of each.

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
use crate::protime::Protime;
use crate::sqs::Sqs;
use crate::weather::{Event, Fault, Service};

/// How long a request takes in fair weather, in milliseconds. Protime's lists are slow, so that runs outlast
/// invocations and meet each other.
fn latency(service: Service) -> std::ops::Range<u64> {
    match service {
        Service::Protime => 500..12_000,
        Service::ProtimeWrites => 50..400,
        Service::Sqs | Service::DynamoDb | Service::Secrets => 2..40,
    }
}

/// The weather, with the state that decides what happens to each request.
pub(crate) struct Weather {
    pub(crate) events: Vec<Event>,
    pub(crate) start: Instant,
    /// The clock of each environment, by the environment's number.
    clocks: RefCell<Vec<Clock>>,
    base: Timestamp,
    counts: [Cell<u32>; 5],
    random: RefCell<fastrand::Rng>,
    is_clear: Cell<bool>,
}

impl Weather {
    pub(crate) fn new(events: Vec<Event>, base: Timestamp) -> Self {
        Self {
            events,
            start: Instant::now(),
            clocks: RefCell::default(),
            base,
            counts: Default::default(),
            random: RefCell::new(fastrand::Rng::with_seed(1)),
            is_clear: Cell::new(false),
        }
    }

    /// The longest time after which a request to a service may still take effect.
    pub(crate) fn latest_effect(&self, of: Service) -> Duration {
        let faults = self.events.iter().filter_map(|event| match *event {
            Event::RequestFaults { service, fault, .. } | Event::Outage { service, fault, .. } => {
                (service == of).then_some(fault)
            }
            _ => None,
        });
        let seconds = faults.map(|fault| match fault {
            Fault::Late { breaks, effect } => u64::from(breaks) + u64::from(effect),
            _ => 0,
        });
        Duration::from_secs(seconds.max().unwrap_or_default())
    }

    /// The true time, which no event changes.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        let passed = instant.duration_since(self.start);
        self.base + SignedDuration::try_from(passed).expect("a while")
    }

    /// The number of a new environment, and its clock.
    pub(crate) fn new_clock(&self) -> (usize, Clock) {
        let clock = Clock::default();
        let mut clocks = self.clocks.borrow_mut();
        clocks.push(clock.clone());
        let number = clocks.len() - 1;
        drop(clocks);
        self.move_clocks();
        (number, clock)
    }

    /// Sets the environments' clocks to tokio's time, except where the weather changes them.
    pub(crate) fn move_clocks(&self) {
        let passed = self.start.elapsed().as_secs();
        let now = self.now();
        for (number, clock) in self.clocks.borrow().iter().enumerate() {
            let off = self.events.iter().find_map(|event| match *event {
                Event::ClockSkew {
                    environment,
                    from,
                    seconds,
                    by,
                } => {
                    let from = u64::from(from);
                    let is_off = usize::from(environment) == number
                        && (from..from + u64::from(seconds)).contains(&passed);
                    is_off.then_some(by)
                }
                _ => None,
            });
            let off = off.filter(|_| !self.is_clear.get()).unwrap_or_default();
            clock.set(now + SignedDuration::from_secs(off.into()));
        }
    }

    /// Ends the weather: from now on, no request or clock has a fault.
    pub(crate) fn clear(&self) {
        self.is_clear.set(true);
    }

    /// How long the sender of the newest write stands still.
    fn freeze_at_write(&self) -> Option<Duration> {
        let number = self.counts[Service::ProtimeWrites as usize].get() - 1;
        let of = |event: &Event| match *event {
            Event::FreezeAtWrite { write, seconds } if u32::from(write) == number => {
                Some(Duration::from_secs(seconds.into()))
            }
            _ => None,
        };
        self.events.iter().find_map(of)
    }

    /// The duration of the next request to a service, and its fault.
    fn next(&self, service: Service) -> (Duration, Option<Fault>) {
        let count = &self.counts[service as usize];
        let number = count.get();
        count.set(number + 1);
        let latency = self.random.borrow_mut().u64(latency(service));
        let now = self.start.elapsed().as_secs();
        let of = |event: &Event| match *event {
            Event::RequestFaults {
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
            Some(Fault::Late { breaks, .. }) => (Duration::from_secs(breaks.into()), fault),
            fault => (Duration::from_millis(latency), fault),
        }
    }
}

/// The services with their state.
pub(crate) struct Services {
    pub(crate) dynamodb: RefCell<DynamoDb>,
    pub(crate) sqs: RefCell<Sqs>,
    pub(crate) protime: Protime,
    /// The first violation that was seen during the storm, before the checks at its end.
    pub(crate) violation: RefCell<Option<String>>,
}

impl Services {
    pub(crate) fn new(protime: Protime) -> Self {
        Self {
            dynamodb: RefCell::default(),
            sqs: RefCell::default(),
            protime,
            violation: RefCell::default(),
        }
    }
}

/// An HTTP client without root certificates: loading the system's takes longer than a storm.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_certs_only([]);
    // The simulator is not part of the weather, so a pooled connection to it must never turn out to be closed.
    let builder = builder.pool_max_idle_per_host(0);
    builder.build().expect("an HTTP client")
}

/// Serves a service, and returns its origin. Secrets Manager returns the client secret of the environment number
/// `environment`.
pub(crate) async fn serve(
    service: Service,
    environment: usize,
    services: Rc<Services>,
    weather: Rc<Weather>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::task::spawn_local(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let host = Host {
                service,
                environment,
                services: services.clone(),
                weather: weather.clone(),
            };
            tokio::task::spawn_local(host.connection(connection));
        }
    });
    origin
}

#[derive(Clone)]
struct Host {
    service: Service,
    environment: usize,
    services: Rc<Services>,
    weather: Rc<Weather>,
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

    /// Answers a request. An error makes the server break the connection.
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX)
            .await
            .map_err(io::Error::other)?;
        let service = match self.service {
            Service::Protime if is_write(&parts) => Service::ProtimeWrites,
            service => service,
        };
        let received = (self.service == Service::Protime)
            .then(|| self.services.protime.arrived(&parts, &body))
            .flatten();
        if let (Service::ProtimeWrites, Some(received)) = (service, received) {
            let received = &self.services.protime.received.borrow()[received];
            self.services.check_write(received);
        }
        let (latency, fault) = self.weather.next(service);
        if let (Service::ProtimeWrites, Some(received)) = (service, received)
            && let Some(long) = self.weather.freeze_at_write()
        {
            self.services.protime.freeze(received, long);
        }
        // A service completes a request even if its sender is gone.
        let host = self.clone();
        let answer = tokio::task::spawn_local(async move {
            tokio::time::sleep(latency).await;
            host.weather.move_clocks();
            match fault {
                Some(Fault::Late { effect, .. }) => {
                    let late = host.clone();
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(Duration::from_secs(effect.into())).await;
                        late.done(&parts, body, false).await;
                        if let Some(received) = received {
                            late.services.protime.done(received);
                        }
                    });
                    None
                }
                Some(Fault::Drop) => None,
                Some(Fault::Throttle) => Some(host.refused(true)),
                Some(Fault::Refuse) => Some(host.refused(false)),
                // Never for a write: a 2xx answer to a write means that Protime has written.
                Some(Fault::EmptyObject)
                    if service == Service::Protime && parts.method == "GET" =>
                {
                    Some(json_response(200, &json!({})))
                }
                fault => {
                    let is_partial = fault == Some(Fault::Partial);
                    let answer = host.done(&parts, body, is_partial).await;
                    if let Some(received) = received {
                        host.services.protime.done(received);
                    }
                    Some(answer).filter(|_| fault != Some(Fault::LoseAnswer))
                }
            }
        });
        let answer = answer.await.map_err(io::Error::other)?;
        if let (Some(received), Some(answer)) = (received, &answer) {
            self.services.protime.answered(received, answer.status());
        }
        answer.ok_or_else(|| io::Error::other("the connection breaks"))
    }

    async fn done(
        &self,
        parts: &http::request::Parts,
        body: Bytes,
        is_partial: bool,
    ) -> Response<Body> {
        let services = &self.services;
        if self.service == Service::Protime {
            return services.protime.forward(parts, body).await;
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
            Service::DynamoDb => {
                let mut dynamodb = services.dynamodb.borrow_mut();
                dynamodb.answer(operation, &request, is_partial)
            }
            Service::Sqs => {
                let answer = services
                    .sqs
                    .borrow_mut()
                    .answer(operation, &request, is_partial);
                services.look(&request);
                answer
            }
            _ => {
                let secret = services.protime.secret_of(self.environment);
                let id = &request["SecretId"];
                (
                    200,
                    json!({"ARN": "arn", "Name": id, "SecretString": secret, "VersionId": "1"}),
                )
            }
        };
        json_response(status, &answer)
    }

    fn refused(&self, is_throttled: bool) -> Response<Body> {
        let aws = |status, kind: &str| {
            json_response(status, &json!({"__type": kind, "message": "the weather"}))
        };
        match (self.service, is_throttled) {
            (Service::Protime | Service::ProtimeWrites, true) => {
                let mut response = json_response(
                    429,
                    &json!({"error": {"code": "TooManyRequests", "message": "the weather"}}),
                );
                response
                    .headers_mut()
                    .insert("retry-after", http::HeaderValue::from_static("20"));
                response
            }
            (Service::Protime | Service::ProtimeWrites, false) => json_response(503, &json!({})),
            (Service::Sqs, true) => aws(400, "com.amazonaws.sqs#RequestThrottled"),
            (_, true) => aws(400, "ThrottlingException"),
            (_, false) => aws(500, "InternalServerError"),
        }
    }
}

/// Whether a request changes something. A request for a token is no write.
fn is_write(parts: &http::request::Parts) -> bool {
    let authorization = parts.headers.get("authorization");
    let has_token = authorization.is_some_and(|value| value.as_bytes().starts_with(b"Bearer"));
    has_token && parts.method != "GET"
}

fn json_response(status: u16, value: &Value) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0");
    response
        .body(Body::from(value.to_string()))
        .unwrap_or_else(|never| unreachable!("{never}"))
}
