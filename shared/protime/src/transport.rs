//! One HTTP exchange: sends a request, measures it, logs it if the settings say so, and reads the whole body.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use crate::catalogue::Method;
use crate::retry;

/// In bytes. Memory for bodies comes in multiples of this, so that the room of one page fits the next. A long run then
/// needs no more memory than a short one.
const RESERVE_IN: usize = 64 * 1024;

/// The limit of the bodies that a client keeps at the same time.
pub(crate) struct Memory {
    /// In bytes, for one body and for all together.
    pub(crate) limit: usize,
    taken: Arc<AtomicUsize>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }
}

/// A body that gives its memory back when it is dropped.
struct Body {
    bytes: Vec<u8>,
    taken: Arc<AtomicUsize>,
}

impl Body {
    fn append(&mut self, chunk: &[u8], limit: usize) -> Result<(), ExchangeError> {
        if self.bytes.len() + chunk.len() > limit {
            return Err(ExchangeError::TooLarge);
        }
        self.bytes.extend_from_slice(chunk);
        let taken = self.taken.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        if taken > limit {
            return Err(ExchangeError::Disconnected {
                reason: "the answers read at the same time exceed the memory limit; lower concurrency, or raise MemorySize"
                    .to_owned(),
                sent: true,
            });
        }
        Ok(())
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// The parts of an answer that a caller needs.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The reason why there is no answer.
pub(crate) enum ExchangeError {
    /// The connection broke or could not be made.
    Disconnected {
        reason: String,
        /// Whether the server may have acted on the request.
        sent: bool,
    },
    /// The host does not exist, or its certificate is not accepted.
    Host(String),
    /// The body exceeds the limit of [`Memory`].
    TooLarge,
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { reason, .. } | Self::Host(reason) => f.write_str(reason),
            Self::TooLarge => f.write_str("the answer is too large"),
        }
    }
}

/// Sends a request and reads the whole answer within the limit of `memory`.
pub(crate) async fn send_request(
    http: &reqwest::Client,
    request: reqwest::Request,
    log: bool,
    memory: &Memory,
) -> Result<HttpResponse, ExchangeError> {
    let started = Instant::now();
    let method = request.method().clone();
    let url = request.url().clone();
    let request_bytes = request
        .body()
        .and_then(|body| body.as_bytes())
        .map_or(0, <[u8]>::len);
    let result = receive(http, request, memory).await;
    if log {
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let url = loggable(&url);
        match &result {
            Ok(answer) => tracing::info!(
                %method, url, status = answer.status, durationMs = duration_ms,
                requestBytes = request_bytes, responseBytes = answer.body.len(), "request answered"
            ),
            Err(broken) => tracing::info!(
                %method, url, durationMs = duration_ms, requestBytes = request_bytes,
                reason = %broken, "request not answered"
            ),
        }
    }
    result
}

async fn receive(
    http: &reqwest::Client,
    request: reqwest::Request,
    memory: &Memory,
) -> Result<HttpResponse, ExchangeError> {
    let mut response = http
        .execute(request)
        .await
        .map_err(|error| exchange_error(&error))?;
    let header = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let mut answer = HttpResponse {
        status: response.status().as_u16(),
        content_type: header(CONTENT_TYPE),
        location: header(LOCATION),
        retry_after: header(RETRY_AFTER)
            .and_then(|value| retry::retry_after(&value, Timestamp::now())),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    answer.headers = std::mem::take(response.headers_mut());
    let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if expected > memory.limit {
        return Err(ExchangeError::TooLarge);
    }
    let mut body = Body {
        bytes: Vec::with_capacity(expected.next_multiple_of(RESERVE_IN)),
        taken: memory.taken.clone(),
    };
    // The size of a compressed body shows only as it arrives.
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| exchange_error(&error))?
    {
        body.append(&chunk, memory.limit)?;
    }
    answer.body = Bytes::from_owner(body);
    Ok(answer)
}

fn exchange_error(error: &reqwest::Error) -> ExchangeError {
    // reqwest's own text contains the URL; its causes do not.
    let mut reason = if error.is_timeout() {
        "timeout".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else if error.is_body() || error.is_decode() {
        "the answer broke off or was damaged".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Libraries name their own types and pages, which do not help a reader of logs.
        let text = error.to_string();
        let text = text.split(": https://docs.rs/").next().unwrap_or_default();
        if !text.starts_with("client error (") {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    let host = error.url().and_then(Url::host_str).unwrap_or_default();
    // Resolvers say this of a name that does not exist, not of a server that is down.
    let is_unknown = [
        "Name or service not known",
        "No address associated",
        "nodename nor servname",
        "invalid dns name",
    ];
    if error.is_connect() && is_unknown.iter().any(|words| reason.contains(words)) {
        return ExchangeError::Host(format!("no host has the name `{host}`; correct it"));
    }
    if error.is_connect() && reason.contains("invalid peer certificate") {
        return ExchangeError::Host(format!(
            "the certificate of `{host}` is not accepted ({reason}); correct the name, or let SSL_CERT_FILE name the authorities of a proxy"
        ));
    }
    ExchangeError::Disconnected {
        reason,
        sent: !(error.is_connect() || error.is_builder()),
    }
}

/// Hides continuation and delta tokens in logs: with one of them and an access token, anybody could read on.
fn loggable(url: &Url) -> String {
    let Some(query) = url.query() else {
        return url.to_string();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name @ ("continuationToken" | "deltaToken"), _)) => format!("{name}=..."),
            _ => parameter.to_owned(),
        })
        .collect();
    let mut shown = url.clone();
    shown.set_query(Some(&parameters.join("&")));
    shown.to_string()
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Delete => Self::DELETE,
        }
    }
}
