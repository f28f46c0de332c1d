//! The access token of a request: when the client asks for a new one, and when that is useless.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Client, documented_path};
use crate::catalogue::Method;
use crate::error::Error;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::token::{self, Token};
use crate::transport::HttpResponse;

/// If an operation refuses a new token as well, its scope is missing. The client then asks for no other token for this
/// operation during this time: Protime limits clients that ask for a token at every call.
const REFUSAL_REMEMBERED: SignedDuration = SignedDuration::from_mins(5);

#[derive(Default)]
pub(super) struct AuthState {
    token: Option<Arc<Token>>,
}

/// The operations that lately refused a token that had replaced a refused one. Scopes are granted by operation, so one
/// that is missing says nothing of other operations.
#[derive(Default)]
pub(super) struct RefusedOperations(std::sync::Mutex<HashMap<OperationKey, Timestamp>>);

/// The method and the documented path. None if the path is not documented.
type OperationKey = (Method, Option<&'static str>);

impl RefusedOperations {
    fn contains(&self, operation: OperationKey, now: Timestamp) -> bool {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = refused.get(&operation);
        // By the wall clock: a frozen Lambda environment stops the monotonic one.
        at.is_some_and(|at| now.duration_since(*at).abs() < REFUSAL_REMEMBERED)
    }

    fn set(&self, operation: OperationKey, is_refused: bool, now: Timestamp) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_refused {
            refused.insert(operation, now);
        } else {
            refused.remove(&operation);
        }
    }
}

/// The settings and the token that a request is sent with.
#[derive(Clone)]
pub(super) struct AuthorizedSession {
    pub(super) settings: Arc<Settings>,
    pub(super) token: Arc<Token>,
}

impl Client {
    /// Sends with a fresh token, and once more with a newer one if Protime answers 401.
    pub(super) async fn authorised(
        &self,
        method: Method,
        url: &Url,
        payload: Option<&Bytes>,
        deadline: Instant,
    ) -> Result<(HttpResponse, AuthorizedSession), Error> {
        let session = self.authorize(None, deadline).await?;
        let answer = self.send(&session, method, url, payload, deadline).await?;
        if answer.status != 401 {
            return Ok((answer, session));
        }
        let operation = (method, documented_path(method, url.path()));
        if self.refused.contains(operation, (self.clock)()) && self.is_newest(&session.token) {
            return Ok((answer, session));
        }
        let newer = self.authorize(Some(&session.token), deadline).await?;
        let answer = self.send(&newer, method, url, payload, deadline).await?;
        self.refused
            .set(operation, answer.status == 401, (self.clock)());
        Ok((answer, newer))
    }

    /// Whether nobody has replaced this token, or is about to.
    fn is_newest(&self, token: &Arc<Token>) -> bool {
        self.auth.try_lock().is_ok_and(|auth| {
            let newest = auth.token.as_ref();
            newest.is_some_and(|newest| Arc::ptr_eq(newest, token))
        })
    }

    /// Returns a fresh token other than `refused`. The lock is held while a token is fetched, so that concurrent
    /// requests share one renewal.
    pub(super) async fn authorize(
        &self,
        refused: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<AuthorizedSession, Error> {
        let mut auth = timeout_at(deadline, self.auth.lock())
            .await
            .map_err(|_| self.token_deadline())?;
        if let Some(token) = &auth.token
            && token.is_fresh()
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, token))
        {
            return Ok(AuthorizedSession {
                settings: self.settings(),
                token: token.clone(),
            });
        }
        auth.token = None;
        let present = self.settings();
        let token = match self.token(&present, deadline).await {
            // Whatever is wrong with the settings, somebody may have corrected it by now.
            Err(
                rejected @ (Error::ClientRejected { .. }
                | Error::WrongHost { .. }
                | Error::TokenEndpoint {
                    retryable: false, ..
                }),
            ) => {
                let settings = timeout_at(deadline, self.source.reload())
                    .await
                    .unwrap_or_else(|_| {
                        Err(format!("{} were not read before the deadline", self.name))
                    })
                    .map_err(Error::SettingsUnavailable)?;
                if settings.base_uri != self.base_uri {
                    return Err(Error::BaseUriChanged);
                }
                if settings == *present {
                    return Err(rejected);
                }
                tracing::info!(
                    "the token endpoint gave no token; the client tries the settings that it has read again"
                );
                let settings = Arc::new(settings);
                self.in_use().clone_from(&settings);
                self.token(&settings, deadline).await?
            }
            other => other?,
        };
        let token = Arc::new(token);
        auth.token = Some(token.clone());
        Ok(AuthorizedSession {
            settings: self.settings(),
            token,
        })
    }

    fn token_deadline(&self) -> Error {
        Error::TokenEndpoint {
            settings: self.name.clone(),
            reason: "no answer before the deadline".to_owned(),
            status: None,
            retryable: true,
            retry_after: None,
        }
    }

    async fn token(&self, settings: &Settings, deadline: Instant) -> Result<Token, Error> {
        let started = Instant::now();
        let http = self.http.at((self.clock)());
        let asked = token::request(&http, settings, &self.name);
        let result = match timeout_at(deadline, asked).await {
            Ok(result) => result,
            Err(_) => Err(self.token_deadline()),
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
}

impl AuthorizedSession {
    /// The error for an answer of Protime that is not a success.
    pub(super) fn refusal(&self, method: Method, url: &Url, answer: &HttpResponse) -> Error {
        let refusal = Refusal::of(method, url, answer);
        Error::Refused(Box::new(Refusal {
            granted: self.token.granted.clone(),
            tenant_mismatch: self.settings.tenant_mismatch(),
            ..refusal
        }))
    }
}
