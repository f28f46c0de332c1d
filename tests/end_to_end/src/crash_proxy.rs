//! Proxies that count requests, to stop a process at one of them or to lose an answer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Causes a fault at one request. It counts the requests of all proxies that use it.
#[derive(Default)]
pub struct CrashProxy {
    count: AtomicU32,
    updates: AtomicU32,
    write_units: AtomicU64,
    /// The number of the request with the fault; 0 for none.
    at: AtomicU32,
    fault: Mutex<Fault>,
    /// Belongs to the present count, so that a request left from an earlier attempt does not count as the crash.
    crashed: Mutex<Arc<Notify>>,
}

/// The fault at the chosen request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// The process ends before the request is passed on. From then on, nothing is answered.
    #[default]
    StopBefore,
    /// The process ends after the request had its effect.
    StopAfter,
    /// The request has its effect, but the connection breaks before the answer.
    LoseAnswer,
    /// From the chosen request on, this AWS operation has its effect, but its answers are lost.
    LoseAnswersTo(&'static str),
    /// From the chosen request on, this AWS operation is answered with 503 and has no effect.
    Refuse(&'static str),
    /// From the chosen request on, this AWS operation is never answered and has no effect.
    Hold(&'static str),
}

impl Fault {
    fn ends_the_process(self) -> bool {
        matches!(self, Self::StopBefore | Self::StopAfter)
    }
}

impl CrashProxy {
    /// Restarts the count. The process stops at request `at`, before the request is passed on or after its effect.
    pub fn arm(&self, at: u32, after: bool) {
        let fault = if after {
            Fault::StopAfter
        } else {
            Fault::StopBefore
        };
        self.arm_with(at, fault);
    }

    /// Restarts the count. The fault happens at request `at`.
    pub fn arm_with(&self, at: u32, fault: Fault) {
        self.count.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        *self.crashed.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        self.at.store(at, Ordering::SeqCst);
    }

    /// The number of requests since the count was restarted.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// The number of `DynamoDB` updates and an upper limit of their write units. `DynamoDB` bills one unit for each
    /// begun KB of the item. The update sends all long parts of the item.
    pub fn updates(&self) -> (u32, u64) {
        let updates = self.updates.load(Ordering::SeqCst);
        (updates, self.write_units.load(Ordering::SeqCst))
    }

    fn count_update(&self, target: &str, bytes: usize) {
        if target.ends_with(".UpdateItem") || target.ends_with(".PutItem") {
            self.updates.fetch_add(1, Ordering::SeqCst);
            let units = u64::try_from(bytes.div_ceil(1024)).unwrap_or(u64::MAX);
            self.write_units.fetch_add(units, Ordering::SeqCst);
        }
    }

    /// Waits until the process is stopped.
    pub async fn crashed(&self) {
        self.present().notified().await;
    }

    /// Starts a proxy in front of `upstream` and returns its origin.
    pub async fn proxy(self: &Arc<Self>, upstream: &str) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(std::io::Error::other)?;
        let proxy = Proxy {
            shared: self.clone(),
            upstream: upstream.to_owned(),
            http,
        };
        let router = Router::new().fallback(forward).with_state(proxy);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(origin)
    }

    fn present(&self) -> Arc<Notify> {
        let crashed = self.crashed.lock();
        crashed.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn stop<T>(crashed: &Notify) -> T {
    crashed.notify_one();
    std::future::pending().await
}

#[derive(Clone)]
struct Proxy {
    shared: Arc<CrashProxy>,
    upstream: String,
    http: reqwest::Client,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let crash_proxy = &proxy.shared;
    let number = crash_proxy.count.fetch_add(1, Ordering::SeqCst) + 1;
    let at = crash_proxy.at.load(Ordering::SeqCst);
    let crashed = crash_proxy.present();
    let fault = *crash_proxy
        .fault
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let is_dead = number > at || (number == at && fault == Fault::StopBefore);
    if at > 0 && is_dead && fault.ends_the_process() {
        stop::<()>(&crashed).await;
    }
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let operation = parts.headers.get("x-amz-target");
    let operation = operation.and_then(|target| target.to_str().ok());
    let operation = operation.unwrap_or_default().to_owned();
    crash_proxy.count_update(&operation, body.len());
    let is_meant = |name| at > 0 && number >= at && operation.ends_with(name);
    if matches!(fault, Fault::Refuse(name) if is_meant(name)) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if matches!(fault, Fault::Hold(name) if is_meant(name)) {
        return std::future::pending().await;
    }
    let mut forwarded = proxy
        .http
        .request(parts.method, format!("{}{target}", proxy.upstream))
        .body(body);
    for (name, value) in parts.headers.iter().filter(|(name, _)| {
        !matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding"
        )
    }) {
        forwarded = forwarded.header(name, value);
    }
    let response = match forwarded.send().await {
        Ok(answer) => {
            let mut builder = Response::builder().status(answer.status());
            for (name, value) in answer.headers().iter().filter(|(name, _)| {
                !matches!(
                    name.as_str(),
                    "content-length" | "transfer-encoding" | "connection"
                )
            }) {
                builder = builder.header(name, value);
            }
            builder
                .body(Body::from(answer.bytes().await.unwrap_or_default()))
                .unwrap_or_default()
        }
        Err(_) => Response::builder()
            .status(502)
            .body(Body::empty())
            .unwrap_or_default(),
    };
    let is_it = at > 0 && number == at;
    let is_lost = match fault {
        Fault::StopAfter if is_it => stop(&crashed).await,
        Fault::StopBefore | Fault::Refuse(_) | Fault::Hold(_) | Fault::StopAfter => false,
        Fault::LoseAnswer => is_it,
        Fault::LoseAnswersTo(name) => is_meant(name),
    };
    if is_lost {
        // The panic ends this connection's task, and so the connection.
        std::panic::resume_unwind(Box::new("an answer is lost"));
    }
    response
}
