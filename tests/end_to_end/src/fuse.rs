//! Stopping a process at one of its requests: proxies that count, and at the wanted one go silent for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Counts requests over all proxies it is used by.
#[derive(Default)]
pub struct Fuse {
    count: AtomicU32,
    /// Blows at this request; 0 never.
    at: AtomicU32,
    /// After it was answered rather than before it was passed on.
    after: AtomicU32,
    blown: Notify,
}

impl Fuse {
    /// Counts from the start; blows at request `at`, before it is passed on or after it was answered.
    pub fn arm(&self, at: u32, after: bool) {
        self.count.store(0, Ordering::SeqCst);
        self.after.store(u32::from(after), Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }

    /// How many requests were made since.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until it blows.
    pub async fn blown(&self) {
        self.blown.notified().await;
    }

    /// A proxy in front of `upstream`; returns its origin.
    pub async fn proxy(self: &Arc<Self>, upstream: &str) -> std::io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(std::io::Error::other)?;
        let proxy = Proxy {
            fuse: self.clone(),
            upstream: upstream.to_owned(),
            http,
        };
        let router = Router::new().fallback(forward).with_state(proxy);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(origin)
    }

    async fn stop(&self) {
        self.blown.notify_one();
        std::future::pending::<()>().await;
    }
}

#[derive(Clone)]
struct Proxy {
    fuse: Arc<Fuse>,
    upstream: String,
    http: reqwest::Client,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let fuse = &proxy.fuse;
    let number = fuse.count.fetch_add(1, Ordering::SeqCst) + 1;
    let at = fuse.at.load(Ordering::SeqCst);
    let after = fuse.after.load(Ordering::SeqCst) == 1;
    if at > 0 && (number > at || (number == at && !after)) {
        fuse.stop().await;
    }
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
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
    if at > 0 && number == at && after {
        fuse.stop().await;
    }
    response
}
