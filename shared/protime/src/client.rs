//! The client: authorises, sends, retries reads, never repeats a write by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use crate::catalogue::Method;
use crate::error::{Error, Refusal};
use crate::link;
use crate::page::Page;
use crate::pages::Pages;
use crate::request::Request;
use crate::retry;
use crate::settings::Settings;
use crate::token::{self, Token};
use crate::transport::{Answer, exchange};

/// How often a read is tried that answers 409.
const CONFLICT_ATTEMPTS: u32 = 5;

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

/// A client of one tenant's Protime API. Cheap to share: one per process and secret.
pub struct Client {
    http: reqwest::Client,
    observer: Option<Observer>,
    source: Box<dyn SettingsSource>,
    base_uri: Url,
    login: Mutex<Login>,
}

struct Login {
    settings: Arc<Settings>,
    token: Option<Arc<Token>>,
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
    pub fn new(http: reqwest::Client, settings: Settings, source: Box<dyn SettingsSource>) -> Self {
        let base_uri = settings.base_uri.clone();
        let login = Mutex::new(Login {
            settings: Arc::new(settings),
            token: None,
        });
        Self {
            http,
            observer: None,
            source,
            base_uri,
            login,
        }
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
    pub async fn settings(&self) -> Arc<Settings> {
        self.login.lock().await.settings.clone()
    }

    /// The pages of a read, one response each.
    ///
    /// Failed requests are repeated until `deadline`.
    pub fn pages(&self, request: &Request, deadline: Instant) -> Pages<'_> {
        Pages::new(self, request.url(&self.base_uri), deadline)
    }

    /// The pages from a link that Protime sent, or from a [`Pages::position`] on.
    pub fn pages_from(&self, link: &str, deadline: Instant) -> Result<Pages<'_>, Error> {
        Ok(Pages::new(
            self,
            link::resolve(&self.base_uri, link)?,
            deadline,
        ))
    }

    /// Sends a write once; only an expired token makes a second attempt.
    ///
    /// A [`Error::Transport`] that was `sent`, and a 500, 502 or 504, leave open whether Protime has written.
    pub async fn write(
        &self,
        request: &Request,
        payload: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Written, Error> {
        let url = request.url(&self.base_uri);
        let answer = self
            .authorised(request.method, &url, payload.as_ref(), deadline)
            .await?;
        match answer.status {
            200..300 => Ok(Written {
                status: answer.status,
                location: answer.location,
            }),
            _ => Err(refusal(request.method, &url, &answer)),
        }
    }

    /// The origin that links are resolved against.
    pub(crate) fn base_uri(&self) -> &Url {
        &self.base_uri
    }

    /// Reads one page, again and again until it is there or the deadline near.
    ///
    /// A 409 is a concurrency conflict of a delta (`reference/responses`): it is given a few attempts only.
    pub(crate) async fn page(&self, url: &Url, deadline: Instant) -> Result<Page, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.read_once(url, deadline).await {
                Ok(page) => return Ok(page),
                Err(error) if error.is_retryable() => error,
                Err(error) if error.status() == Some(409) && attempts < CONFLICT_ATTEMPTS => error,
                Err(error) => return Err(error),
            };
            let delay = retry::delay(attempts, error.retry_after());
            if Instant::now() + delay >= deadline {
                return Err(Error::Deadline {
                    attempts,
                    last: Box::new(error),
                });
            }
            tracing::warn!(attempts, delayMs = millis(delay), error = %error, "reading again after a delay");
            sleep(delay).await;
        }
    }

    async fn read_once(&self, url: &Url, deadline: Instant) -> Result<Page, Error> {
        let answer = self.authorised(Method::Get, url, None, deadline).await?;
        if !(200..300).contains(&answer.status) {
            return Err(refusal(Method::Get, url, &answer));
        }
        let status = answer.status;
        Page::parse(answer.body).map_err(|error| Error::Content {
            request: describe(Method::Get, url),
            status,
            problem: match answer.content_type {
                Some(kind) if !kind.contains("json") => format!("{kind} where JSON was expected"),
                _ => format!(
                    "a body that is not the JSON of a page (line {}, column {})",
                    error.line(),
                    error.column()
                ),
            },
            truncated: error.is_eof(),
        })
    }

    /// Sends with a fresh token, and once more with a newer one if Protime answers 401.
    async fn authorised(
        &self,
        method: Method,
        url: &Url,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<Answer, Error> {
        let grant = self.grant(None, deadline).await?;
        let answer = self.send(&grant, method, url, payload, deadline).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let newer = self.grant(Some(&grant.token), deadline).await?;
        self.send(&newer, method, url, payload, deadline).await
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
        let transport = |reason, sent| Error::Transport {
            request: describe(method, url),
            reason,
            sent,
        };
        let started = Instant::now();
        let result = timeout_at(
            deadline,
            exchange(&self.http, request, grant.settings.log_requests),
        )
        .await;
        let status = result.as_ref().ok().and_then(|result| result.as_ref().ok());
        self.observe(started, status.map(|answer| answer.status));
        match result {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(broken)) => Err(transport(broken.reason, broken.sent)),
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
                settings: login.settings.clone(),
                token: token.clone(),
            });
        }
        login.token = None;
        let token = match self.token(&login.settings, deadline).await {
            Err(rejected @ Error::ClientRejected { .. }) => {
                let settings = self
                    .source
                    .reload()
                    .await
                    .map_err(Error::SettingsUnavailable)?;
                if settings.base_uri != self.base_uri {
                    return Err(Error::BaseUriChanged);
                }
                if settings == *login.settings {
                    return Err(rejected);
                }
                tracing::info!("the client was rejected; trying its settings as they are now");
                login.settings = Arc::new(settings);
                self.token(&login.settings, deadline).await?
            }
            other => other?,
        };
        let token = Arc::new(token);
        login.token = Some(token.clone());
        Ok(Grant {
            settings: login.settings.clone(),
            token,
        })
    }

    async fn token(&self, settings: &Settings, deadline: Instant) -> Result<Token, Error> {
        let started = Instant::now();
        let result = match timeout_at(deadline, token::request(&self.http, settings)).await {
            Ok(result) => result,
            Err(_) => Err(Error::TokenEndpoint {
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

fn refusal(method: Method, url: &Url, answer: &Answer) -> Error {
    Error::Refused(Box::new(Refusal::new(
        method,
        url.path(),
        answer.status,
        answer.content_type.as_deref(),
        answer.location.as_deref(),
        answer.retry_after,
        &answer.body,
    )))
}

/// Method and path; queries are left out, since they can be long and name people.
fn describe(method: Method, url: &Url) -> String {
    format!("{method} {}", url.path())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
