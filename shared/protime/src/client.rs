//! The client: it authorises and sends requests. It retries reads, but never repeats a write by itself.

mod hold;
mod raw;
mod session;

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use serde::de::IgnoredAny;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use crate::API_PATH;
use crate::catalogue::{Method, catalogue};
use crate::error::Error;
use crate::http_pool::HttpPool;
use crate::link;
use crate::page::{self, Page, PageError, Shape};
use crate::pages::{CycleDetector, Effort, Pages};
use crate::refusal::RefusalKind;
use crate::request::Request;
use crate::retry;
use crate::settings::Settings;
use crate::transport::{ExchangeError, HttpResponse, Memory, send_request};

use hold::Hold;
pub use raw::{RawAnswer, RawRead};
use session::{AuthState, AuthorizedSession, RefusedOperations};

/// How many attempts a read gets when it conflicts or its answer breaks off.
const FEW_ATTEMPTS: u32 = 5;
/// The default limit of an answer's decoded body, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;

/// Reads the settings again when the token endpoint rejects the client, so that a rotated secret needs no restart.
pub trait SettingsSource: Send + Sync {
    /// Reads the settings from where they are kept. The error says why that failed.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>>;
}

/// Settings that never change.
impl SettingsSource for Settings {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

/// A request that has ended, with or without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// From the sending to the end of the answer.
    pub duration: Duration,
    /// The HTTP status of the answer. `None` if no answer came.
    pub status: Option<u16>,
}

/// Called after every request to the API and to the token endpoint, for metrics.
pub type Observer = Arc<dyn Fn(Exchange) + Send + Sync>;

/// The wall clock, for waits that outlast a request.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A client of one tenant's Protime API. Cheap to share: one per process and secret.
pub struct Client {
    name: String,
    http: HttpPool,
    observer: Option<Observer>,
    clock: WallClock,
    source: Box<dyn SettingsSource>,
    base_uri: Url,
    memory: Memory,
    /// Behind a lock of its own, so that it can be read while a token is fetched.
    settings: std::sync::Mutex<Arc<Settings>>,
    auth: Mutex<AuthState>,
    refused: RefusedOperations,
    hold: std::sync::Mutex<Option<Hold>>,
}

/// Protime's answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The success status: 200, 201, 202 or 204.
    pub status: u16,
    /// The `Location` header: the URL of the resource that was created.
    pub location: Option<String>,
}

impl Client {
    /// Makes a client for these settings. It reads them again from `source` when the token endpoint rejects them.
    pub fn new(http: HttpPool, settings: Settings, source: Box<dyn SettingsSource>) -> Self {
        let base_uri = settings.base_uri.clone();
        Self {
            name: "the settings".to_owned(),
            http,
            observer: None,
            clock: Arc::new(Timestamp::now),
            source,
            base_uri,
            memory: Memory::new(LARGEST_ANSWER),
            settings: std::sync::Mutex::new(Arc::new(settings)),
            auth: Mutex::default(),
            refused: RefusedOperations::default(),
            hold: std::sync::Mutex::default(),
        }
    }

    /// Limits the decoded bodies to this many bytes, each and together. Bodies count for as long as they are kept. A
    /// read that finds no room is repeated later.
    #[must_use]
    pub fn with_largest_answer(self, bytes: usize) -> Self {
        Self {
            memory: Memory::new(bytes),
            ..self
        }
    }

    /// Names the place of the settings, which error texts show.
    #[must_use]
    pub fn with_settings_name(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// Replaces the wall clock, by which waits and idle connections are timed.
    #[must_use]
    pub fn with_clock(self, clock: WallClock) -> Self {
        Self { clock, ..self }
    }

    /// Calls `observer` after every request.
    #[must_use]
    pub fn with_observer(self, observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// The settings in use: those given at first, or those that `source` returned last.
    pub fn settings(&self) -> Arc<Settings> {
        self.in_use().clone()
    }

    fn in_use(&self) -> std::sync::MutexGuard<'_, Arc<Settings>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pages of a read, one response each.
    ///
    /// Failed requests are repeated until `deadline`.
    pub fn pages(&self, request: &Request, deadline: Instant) -> Pages<'_> {
        let url = request.url(&self.base_uri);
        Pages::new(
            self,
            url,
            request.shape(),
            CycleDetector::default(),
            deadline,
        )
    }

    /// Continues from a link that Protime sent, or from a [`Pages::position`]. `shape` is the shape that the first page
    /// must have. `trail` is the [`Pages::trail`] at that position.
    pub fn pages_from(
        &self,
        link: &str,
        shape: Shape,
        trail: CycleDetector,
        deadline: Instant,
    ) -> Result<Pages<'_>, Error> {
        let url = link::resolve(&self.base_uri, link, None)?;
        Ok(Pages::new(self, url, shape, trail, deadline))
    }

    /// The scopes that Protime grants the client. `None` if its token endpoint does not say.
    pub async fn granted_scopes(&self, deadline: Instant) -> Result<Option<Vec<String>>, Error> {
        let session = self.authorize(None, deadline).await?;
        Ok(session.token.granted.clone())
    }

    /// Sends a write once. Only a refused token leads to a second attempt.
    ///
    /// A write succeeded if the answer is a 2xx whose body is empty or JSON. A 2xx with HTML comes from something
    /// between Protime and us.
    ///
    /// The outcome is unknown after an [`Error::Transport`] with `sent`, an [`Error::Content`], an [`Error::TooLarge`],
    /// or any 5xx but 503.
    pub async fn write(
        &self,
        request: &Request,
        payload: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let (written, _) = self.write_and_read(request, payload, deadline).await?;
        Ok(written)
    }

    /// Like [`Self::write`], and also returns the body of Protime's answer: JSON, or nothing.
    pub async fn write_and_read(
        &self,
        request: &Request,
        payload: Option<Bytes>,
        deadline: Instant,
    ) -> Result<(Written, Bytes), Error> {
        let url = request.url(&self.base_uri);
        let (answer, session) = self
            .authorised(request.method, &url, payload.as_ref(), deadline)
            .await?;
        match answer.status {
            200..300 if !is_empty_or_json(&answer.body) => Err(Error::Content {
                request: describe(request.method, &url),
                status: answer.status,
                problem: format!(
                    "{} where JSON or nothing was expected",
                    answer
                        .content_type
                        .as_deref()
                        .unwrap_or("a body that is not JSON")
                ),
                truncated: false,
            }),
            200..300 => {
                let written = Written {
                    status: answer.status,
                    location: answer.location,
                };
                Ok((written, answer.body))
            }
            _ => Err(session.refusal(request.method, &url, &answer)),
        }
    }

    /// The tenant's origin, which links are resolved against.
    pub(crate) fn base_uri(&self) -> &Url {
        &self.base_uri
    }

    /// Reads one page, and retries until it succeeds or the deadline is too near.
    ///
    /// A conflict (`reference/responses`) or a broken-off answer gets only `FEW_ATTEMPTS` attempts.
    pub(crate) async fn page(
        &self,
        url: &Url,
        shape: Shape,
        deadline: Instant,
        effort: &mut Effort,
    ) -> Result<Page, Error> {
        let mut attempts = 0;
        loop {
            effort.waited += self.wait_for_others(attempts, deadline).await?;
            attempts += 1;
            effort.requests += 1;
            effort.retries += u64::from(attempts > 1);
            let error = match self.read_once(url, shape, deadline).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let is_worth_another = match &error {
                Error::Content { truncated, .. } => *truncated && attempts < FEW_ATTEMPTS,
                error if error.refusal_kind() == Some(RefusalKind::Conflict) => {
                    attempts < FEW_ATTEMPTS
                }
                error => error.is_retryable(),
            };
            if !is_worth_another {
                return Err(error);
            }
            let delay = retry::delay(attempts, error.retry_after());
            let until = retry::after(delay);
            self.hold_others_back(&error, delay);
            if until >= deadline {
                return Err(Error::Deadline {
                    attempts,
                    last: Box::new(error),
                });
            }
            tracing::warn!(attempts, delayMs = millis(delay), error = %error, "a read failed; it is repeated after a delay");
            sleep_until(until).await;
            effort.waited += delay;
        }
    }

    async fn read_once(&self, url: &Url, shape: Shape, deadline: Instant) -> Result<Page, Error> {
        let (answer, session) = self.authorised(Method::Get, url, None, deadline).await?;
        let content = |problem, truncated| Error::Content {
            request: describe(Method::Get, url),
            status: answer.status,
            problem,
            truncated,
        };
        match answer.status {
            200 => {}
            201..300 if page::json(&answer.body).is_empty() => {
                return Err(content("an empty body".to_owned(), true));
            }
            201..300 => {
                return Err(content(
                    "a body; a list comes with status 200".to_owned(),
                    false,
                ));
            }
            _ => return Err(session.refusal(Method::Get, url, &answer)),
        }
        Page::parse(answer.body.clone(), shape).map_err(
            |PageError {
                 problem,
                 is_cut_off,
             }| {
                match &answer.content_type {
                    Some(kind) if !kind.contains("json") && !is_cut_off => {
                        content(format!("{kind} where JSON was expected"), false)
                    }
                    _ => content(problem, is_cut_off),
                }
            },
        )
    }

    async fn send(
        &self,
        session: &AuthorizedSession,
        method: Method,
        url: &Url,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<HttpResponse, Error> {
        let mut request = reqwest::Request::new(method.into(), url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, session.token.authorization.clone());
        headers.insert(USER_AGENT, session.settings.user_agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(payload) = payload {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(payload.clone().into());
        }
        self.deliver(session, method, request, deadline).await
    }

    /// Sends a request whose headers and body are complete.
    async fn deliver(
        &self,
        session: &AuthorizedSession,
        method: Method,
        request: reqwest::Request,
        deadline: Instant,
    ) -> Result<HttpResponse, Error> {
        let url = request.url().clone();
        let transport = |reason, sent| Error::Transport {
            request: describe(method, &url),
            reason,
            sent,
        };
        let started = Instant::now();
        let result = timeout_at(
            deadline,
            send_request(
                &self.http.at((self.clock)()),
                request,
                session.settings.log_requests,
                &self.memory,
            ),
        )
        .await;
        let status = result.as_ref().ok().and_then(|result| result.as_ref().ok());
        self.observe(started, status.map(|answer| answer.status));
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(ExchangeError::TooLarge)) => Err(Error::TooLarge {
                request: describe(method, &url),
                limit: self.memory.limit,
            }),
            Ok(Err(ExchangeError::Host(problem))) => Err(Error::WrongHost {
                settings: self.name.clone(),
                field: "base_uri",
                problem,
            }),
            Ok(Err(ExchangeError::Disconnected { reason, sent })) => Err(transport(reason, sent)),
            Err(_) => Err(transport("no answer before the deadline".to_owned(), true)),
        }
    }

    fn observe(&self, started: Instant, status: Option<u16>) {
        if let Some(observer) = &self.observer {
            observer(Exchange {
                duration: started.elapsed(),
                status,
            });
        }
    }
}

fn is_empty_or_json(body: &[u8]) -> bool {
    let content = page::json(body);
    content.is_empty() || serde_json::from_slice::<IgnoredAny>(content).is_ok()
}

/// Method and path. The query is left out: it can be long and name people.
fn describe(method: Method, url: &Url) -> String {
    format!("{method} {}", shown_path(method, url))
}

/// The path as error texts show it. A path with external references becomes the documented one: a badge number
/// identifies a person.
pub(crate) fn shown_path(method: Method, url: &Url) -> String {
    let path = url.path();
    let has_reference = url
        .query_pairs()
        .any(|(name, _)| name == "externalReferences");
    let documented = documented_path(method, path).filter(|_| has_reference);
    documented.map_or_else(
        || path.to_owned(),
        |documented| format!("{API_PATH}{documented}"),
    )
}

/// The documented path of a request, below the API's version.
fn documented_path(method: Method, path: &str) -> Option<&'static str> {
    let below = path.strip_prefix(API_PATH)?;
    Some(catalogue().operation_at(method, below)?.path)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
