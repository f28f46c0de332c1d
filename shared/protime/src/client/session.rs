//! The access token of a request: when the client asks for a new one, and when that is useless.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::Client;
use crate::catalogue::Method;
use crate::error::{Error, Refusal};
use crate::settings::Settings;
use crate::token::{self, Token};
use crate::transport::HttpResponse;

/// If a new token is refused as well, scopes are missing. The client then asks for no other token during this time:
/// Protime limits clients that ask for a token at every call.
const REFUSAL_REMEMBERED: Duration = Duration::from_mins(5);

#[derive(Default)]
pub(super) struct AuthState {
    token: Option<Arc<Token>>,
    /// When Protime last refused a token that replaced a refused one.
    renewed_token_refused_at: Option<Instant>,
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
        if self.is_refused_anew(&session.token).await {
            return Ok((answer, session));
        }
        let newer = self.authorize(Some(&session.token), deadline).await?;
        let answer = self.send(&newer, method, url, payload, deadline).await?;
        let renewed_token_refused_at = (answer.status == 401).then(Instant::now);
        self.auth.lock().await.renewed_token_refused_at = renewed_token_refused_at;
        Ok((answer, newer))
    }

    /// Whether this token is the newest, and a replaced token was refused a short time ago. Another new one would be
    /// refused too.
    async fn is_refused_anew(&self, refused: &Arc<Token>) -> bool {
        let auth = self.auth.lock().await;
        let is_newest = auth
            .token
            .as_ref()
            .is_some_and(|token| Arc::ptr_eq(token, refused));
        let is_remembered = auth
            .renewed_token_refused_at
            .is_some_and(|refused| refused.elapsed() < REFUSAL_REMEMBERED);
        is_newest && is_remembered
    }

    /// Returns a fresh token other than `refused`. The lock is held while a token is fetched, so that concurrent
    /// requests share one renewal.
    pub(super) async fn authorize(
        &self,
        refused: Option<&Arc<Token>>,
        deadline: Instant,
    ) -> Result<AuthorizedSession, Error> {
        let mut auth = self.auth.lock().await;
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
        auth.token = Some(token.clone());
        Ok(AuthorizedSession {
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
}

impl AuthorizedSession {
    /// The error for an answer of Protime that is not a success.
    pub(super) fn refusal(&self, method: Method, url: &Url, answer: &HttpResponse) -> Error {
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
