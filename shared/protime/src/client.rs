//! The client: authorises, sends, retries reads, never repeats a write by itself.

mod raw;

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
use crate::error::{Error, Refusal, RefusalKind};
use crate::link;
use crate::page::{self, NoPage, Page, Shape};
use crate::pages::{Effort, Pages, Trail};
use crate::request::Request;
use crate::retry;
use crate::settings::Settings;
use crate::token::{self, Token};
use crate::transport::{Answer, Broken, HttpPool, Memory, exchange};

pub use raw::{RawAnswer, RawRead};

/// How often a read is tried that conflicts, or whose answer breaks off.
const FEW_ATTEMPTS: u32 = 5;
/// A token that was refused when it was new is not replaced before this: scopes are missing, and Protime limits who asks
/// for a token at every call.
const REFUSAL_REMEMBERED: Duration = Duration::from_mins(5);
/// What an answer may take unless the caller says otherwise.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where settings are read again when the token endpoint rejects the client, so that a rotated secret needs
/// no restart.
pub trait SettingsSource: Send + Sync {
    /// Reads the settings anew.
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>>;
}

/// Settings that never change.
impl SettingsSource for Settings {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

/// A request that ended, with or without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// How long it took.
    pub duration: Duration,
    /// The status of the answer; none where none came.
    pub status: Option<u16>,
}

/// What is told of every request to the API and to the token endpoint, for metrics.
pub type Observer = Arc<dyn Fn(Exchange) + Send + Sync>;

/// What tells the time by which waits are kept that outlast a request.
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
    /// Those in use, which can be read while somebody logs in.
    settings: std::sync::Mutex<Arc<Settings>>,
    login: Mutex<Login>,
    hold: std::sync::Mutex<Option<Hold>>,
}

#[derive(Default)]
struct Login {
    token: Option<Arc<Token>>,
    /// When a token was refused that was fetched since another was refused.
    refused_anew: Option<Instant>,
}

/// Until when reads wait because one of them was asked to.
#[derive(Clone)]
struct Hold {
    /// By the wall clock, since a frozen Lambda environment stops the monotonic one.
    until: Timestamp,
    refusal: Refusal,
}

/// What a request is sent with.
#[derive(Clone)]
struct Grant {
    settings: Arc<Settings>,
    token: Arc<Token>,
}

/// Protime's answer to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The success status: 200, 201, 202 or 204.
    pub status: u16,
    /// The `Location` of what was created.
    pub location: Option<String>,
}

impl Client {
    /// A client for these settings, which `source` can read again.
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
            login: Mutex::default(),
            hold: std::sync::Mutex::default(),
        }
    }

    /// The same client, which takes no answer of more than so many bytes, decoded, nor several that are more together: of
    /// these it reads some again later.
    #[must_use]
    pub fn with_largest_answer(self, bytes: usize) -> Self {
        Self {
            memory: Memory::new(bytes),
            ..self
        }
    }

    /// The same client, whose errors say where its settings are.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The same client, which reads the time from there.
    #[must_use]
    pub fn with_clock(self, clock: WallClock) -> Self {
        Self { clock, ..self }
    }

    /// The same client, which tells `observer` of every request.
    #[must_use]
    pub fn observed_by(self, observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// The settings in use.
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
        Pages::new(self, url, request.shape(), Trail::default(), deadline)
    }

    /// The pages from a link that Protime sent, or from a [`Pages::position`] on. `shape` is what the first of them has to
    /// be, `trail` what was remembered there.
    pub fn pages_from(
        &self,
        link: &str,
        shape: Shape,
        trail: Trail,
        deadline: Instant,
    ) -> Result<Pages<'_>, Error> {
        let url = link::resolve(&self.base_uri, link, None)?;
        Ok(Pages::new(self, url, shape, trail, deadline))
    }

    /// The scopes that Protime grants the client; none where its token endpoint does not say.
    pub async fn granted(&self, deadline: Instant) -> Result<Option<Vec<String>>, Error> {
        let grant = self.grant(None, deadline).await?;
        Ok(grant.token.granted.clone())
    }

    /// Sends a write once; only an expired token makes a second attempt.
    ///
    /// Written is what is answered with a 2xx without a body, or with JSON: a page of HTML comes from something in between.
    ///
    /// An [`Error::Transport`] that was `sent`, an [`Error::Content`], an [`Error::TooLarge`], and every 5xx but 503 leave open
    /// whether Protime has written.
    pub async fn write(
        &self,
        request: &Request,
        payload: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let (written, _) = self.write_and_read(request, payload, deadline).await?;
        Ok(written)
    }

    /// The same, and what Protime answered: nothing, or JSON.
    pub async fn write_and_read(
        &self,
        request: &Request,
        payload: Option<Bytes>,
        deadline: Instant,
    ) -> Result<(Written, Bytes), Error> {
        let url = request.url(&self.base_uri);
        let (answer, grant) = self
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
            _ => Err(grant.refusal(request.method, &url, &answer)),
        }
    }

    /// The origin that links are resolved against.
    pub(crate) fn base_uri(&self) -> &Url {
        &self.base_uri
    }

    /// Reads one page, again and again until it is there or the deadline near.
    ///
    /// A conflict (`reference/responses`) and an answer that breaks off are given a few attempts only.
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
            tracing::warn!(attempts, delayMs = millis(delay), error = %error, "reading again after a delay");
            sleep_until(until).await;
            effort.waited += delay;
        }
    }

    /// Protime limits a client, not one of its requests.
    fn hold_others_back(&self, error: &Error, delay: Duration) {
        let Some(refusal) = error.refusal() else {
            return;
        };
        let asked = refusal.status == 429 || refusal.retry_after.is_some();
        if asked && let Ok(until) = (self.clock)().saturating_add(delay) {
            let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
            if hold.as_ref().is_none_or(|hold| hold.until < until) {
                *hold = Some(Hold {
                    until,
                    refusal: refusal.clone(),
                });
            }
        }
    }

    async fn wait_for_others(&self, attempts: u32, deadline: Instant) -> Result<Duration, Error> {
        let hold = self
            .hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(Hold { until, refusal }) = hold else {
            return Ok(Duration::ZERO);
        };
        let left = Duration::try_from(until.duration_since((self.clock)())).unwrap_or_default();
        if left.is_zero() {
            return Ok(Duration::ZERO);
        }
        let until = retry::after(left);
        if until >= deadline {
            let refusal = Refusal {
                retry_after: Some(left),
                ..refusal
            };
            return Err(Error::Deadline {
                attempts,
                last: Box::new(Error::Refused(Box::new(refusal))),
            });
        }
        sleep_until(until).await;
        Ok(left)
    }

    async fn read_once(&self, url: &Url, shape: Shape, deadline: Instant) -> Result<Page, Error> {
        let (answer, grant) = self.authorised(Method::Get, url, None, deadline).await?;
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
            _ => return Err(grant.refusal(Method::Get, url, &answer)),
        }
        Page::parse(answer.body.clone(), shape).map_err(
            |NoPage {
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

    /// Sends with a fresh token, and once more with a newer one if Protime answers 401.
    async fn authorised(
        &self,
        method: Method,
        url: &Url,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<(Answer, Grant), Error> {
        let grant = self.grant(None, deadline).await?;
        let answer = self.send(&grant, method, url, payload, deadline).await?;
        if answer.status != 401 {
            return Ok((answer, grant));
        }
        if self.is_refused_anew(&grant.token).await {
            return Ok((answer, grant));
        }
        let newer = self.grant(Some(&grant.token), deadline).await?;
        let answer = self.send(&newer, method, url, payload, deadline).await?;
        let refused_anew = (answer.status == 401).then(Instant::now);
        self.login.lock().await.refused_anew = refused_anew;
        Ok((answer, newer))
    }

    /// Whether this token is the newest and others were refused a short time ago, so that another one would be as well.
    async fn is_refused_anew(&self, refused: &Arc<Token>) -> bool {
        let login = self.login.lock().await;
        let is_newest = login
            .token
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(token, refused));
        let is_remembered = login
            .refused_anew
            .is_some_and(|refused| refused.elapsed() < REFUSAL_REMEMBERED);
        is_newest && is_remembered
    }

    async fn send(
        &self,
        grant: &Grant,
        method: Method,
        url: &Url,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let mut request = reqwest::Request::new(method.into(), url.clone());
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, grant.token.authorization.clone());
        headers.insert(USER_AGENT, grant.settings.user_agent.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(payload) = payload {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(payload.clone().into());
        }
        self.deliver(grant, method, request, deadline).await
    }

    /// Sends a request that is complete.
    async fn deliver(
        &self,
        grant: &Grant,
        method: Method,
        request: reqwest::Request,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let url = request.url().clone();
        let transport = |reason, sent| Error::Transport {
            request: describe(method, &url),
            reason,
            sent,
        };
        let started = Instant::now();
        let result = timeout_at(
            deadline,
            exchange(
                &self.http.at((self.clock)()),
                request,
                grant.settings.log_requests,
                &self.memory,
            ),
        )
        .await;
        let status = result.as_ref().ok().and_then(|result| result.as_ref().ok());
        self.observe(started, status.map(|answer| answer.status));
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Broken::TooLarge)) => Err(Error::TooLarge {
                request: describe(method, &url),
                limit: self.memory.limit,
            }),
            Ok(Err(Broken::Host(problem))) => Err(Error::WrongHost {
                settings: self.name.clone(),
                field: "base_uri",
                problem,
            }),
            Ok(Err(Broken::Off { reason, sent })) => Err(transport(reason, sent)),
            Err(_) => Err(transport("no answer before the deadline".to_owned(), true)),
        }
    }

    /// A token that is fresh and is not `refused`. The lock is held while one is fetched, so that requests at
    /// the same time share one renewal.
    async fn grant(&self, refused: Option<&Arc<Token>>, deadline: Instant) -> Result<Grant, Error> {
        let mut login = self.login.lock().await;
        if let Some(token) = &login.token
            && token.is_fresh()
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token))
        {
            return Ok(Grant {
                settings: self.settings(),
                token: token.clone(),
            });
        }
        login.token = None;
        let present = self.settings();
        let token = match self.token(&present, deadline).await {
            // Whatever is wrong with them, somebody may have corrected it by now.
            Err(
                rejected @ (Error::ClientRejected { .. }
                | Error::WrongHost { .. }
                | Error::TokenEndpoint {
                    retryable: false, ..
                }),
            ) => {
                let settings = self
                    .source
                    .reload()
                    .await
                    .map_err(Error::SettingsUnavailable)?;
                if settings.base_uri != self.base_uri {
                    return Err(Error::BaseUriChanged);
                }
                if settings == *present {
                    return Err(rejected);
                }
                tracing::info!("there is no token; trying the settings as they are now");
                let settings = Arc::new(settings);
                self.in_use().clone_from(&settings);
                self.token(&settings, deadline).await?
            }
            other => other?,
        };
        let token = Arc::new(token);
        login.token = Some(token.clone());
        Ok(Grant {
            settings: self.settings(),
            token,
        })
    }

    async fn token(&self, settings: &Settings, deadline: Instant) -> Result<Token, Error> {
        let started = Instant::now();
        let http = self.http.at((self.clock)());
        let asked = token::request(&http, settings, &self.name);
        let result = match timeout_at(deadline, asked).await {
            Ok(result) => result,
            Err(_) => Err(Error::TokenEndpoint {
                settings: self.name.clone(),
                reason: "no answer before the deadline".to_owned(),
                status: None,
                retryable: true,
                retry_after: None,
            }),
        };
        let status = match &result {
            Ok(_) => Some(200),
            Err(Error::ClientRejected { .. }) => Some(401),
            Err(Error::TokenEndpoint { status, .. }) => *status,
            Err(_) => None,
        };
        self.observe(started, status);
        result
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

impl Grant {
    /// What Protime answered to a request that was sent with it.
    fn refusal(&self, method: Method, url: &Url, answer: &Answer) -> Error {
        let refusal = Refusal::new(
            method,
            url,
            answer.status,
            answer.content_type.as_deref(),
            answer.location.as_deref(),
            answer.retry_after,
            &answer.body,
        );
        Error::Refused(Box::new(Refusal {
            granted: self.token.granted.clone(),
            tenants: self.settings.tenants(),
            ..refusal
        }))
    }
}

/// Method and path; queries are left out, since they can be long and name people.
fn describe(method: Method, url: &Url) -> String {
    format!("{method} {}", shown_path(method, url))
}

/// The path, but the documented one where external references stand in it: a badge number is somebody's.
pub(crate) fn shown_path(method: Method, url: &Url) -> String {
    let path = url.path();
    let has_reference = url
        .query_pairs()
        .any(|(name, _)| name == "externalReferences");
    let below = path.strip_prefix(API_PATH).filter(|_| has_reference);
    below
        .and_then(|below| catalogue().operation_at(method, below))
        .map_or_else(
            || path.to_owned(),
            |operation| format!("{API_PATH}{}", operation.path),
        )
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
