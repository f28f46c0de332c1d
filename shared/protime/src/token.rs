//! Access tokens by the client-credentials grant of OAuth 2.0 (`reference/authentication`).

use std::time::{Duration, SystemTime};

use oauth2::basic::BasicClient;
use oauth2::{AuthType, ClientId, ClientSecret, RequestTokenError, Scope, TokenResponse, TokenUrl};
use reqwest::header::{HeaderValue, USER_AGENT};
use secrecy::{ExposeSecret, SecretString};

use crate::error::Error;
use crate::settings::Settings;
use crate::transport::exchange;

/// A token is renewed this long before it expires, or a fifth of its life before if that is less.
const MARGIN: Duration = Duration::from_mins(1);

/// An access token and when to stop using it.
#[derive(Debug)]
pub(crate) struct Token {
    /// `Bearer <token>`, marked as sensitive.
    pub(crate) authorization: HeaderValue,
    /// By the wall clock, since a frozen Lambda environment stops the monotonic one. None where the server
    /// did not say: then a 401 tells.
    renew_at: Option<SystemTime>,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        self.renew_at
            .is_none_or(|renew_at| SystemTime::now() < renew_at)
    }
}

/// Asks the token endpoint once.
pub(crate) async fn request(http: &reqwest::Client, settings: &Settings) -> Result<Token, Error> {
    let asked = SystemTime::now();
    let client = BasicClient::new(ClientId::new(settings.client_id.clone()))
        .set_client_secret(ClientSecret::new(
            settings.client_secret.expose_secret().to_owned(),
        ))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::from_url(settings.access_token_url.clone()));
    let send = |request| send(http, settings, request);
    let answer = client
        .exchange_client_credentials()
        .add_scopes(settings.scopes.iter().cloned().map(Scope::new))
        .request_async(&send)
        .await
        .map_err(token_error)?;

    if let Some(granted) = answer.scopes() {
        let missing: Vec<&str> = settings
            .scopes
            .iter()
            .filter(|scope| {
                !granted
                    .iter()
                    .any(|granted| granted.as_str() == scope.as_str())
            })
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            tracing::warn!(
                scopes = missing.join(" "),
                "the token endpoint did not grant all scopes of the secret"
            );
        }
    }
    let text = SecretString::from(format!("Bearer {}", answer.access_token().secret()));
    let mut authorization = HeaderValue::try_from(text.expose_secret())
        .map_err(|_| endpoint_error("the token has characters that a header cannot carry"))?;
    authorization.set_sensitive(true);
    let renew_at = answer
        .expires_in()
        .map(|life| asked + life - MARGIN.min(life / 5));
    Ok(Token {
        authorization,
        renew_at,
    })
}

/// The HTTP client that the oauth2 crate asks for: ours, so that only one is linked.
async fn send(
    http: &reqwest::Client,
    settings: &Settings,
    request: oauth2::HttpRequest,
) -> Result<oauth2::HttpResponse, Error> {
    let mut request = reqwest::Request::try_from(request)
        .map_err(|_| endpoint_error("the request could not be built"))?;
    request
        .headers_mut()
        .insert(USER_AGENT, settings.user_agent.clone());
    let answer = exchange(http, request, settings.log_requests)
        .await
        .map_err(|broken| Error::TokenEndpoint {
            reason: broken.reason,
            status: None,
            retryable: true,
            retry_after: None,
        })?;
    let status = answer.status;
    if status == 429 || status >= 500 {
        let reason = format!("it answered {status}");
        return Err(Error::TokenEndpoint {
            reason,
            status: Some(status),
            retryable: true,
            retry_after: answer.retry_after,
        });
    }
    if (300..400).contains(&status) {
        return Err(endpoint_error(&format!(
            "it answered {status}, a redirect, which is not followed; check access_token_url"
        )));
    }
    let is_json = serde_json::from_slice::<serde_json::Value>(&answer.body)
        .is_ok_and(|body| body.is_object());
    match status {
        _ if is_json => {}
        400 | 401 => {
            return Err(Error::ClientRejected {
                code: "no OAuth 2.0 error code".to_owned(),
            });
        }
        _ => {
            return Err(endpoint_error(&format!(
                "it answered {status} without a JSON object; check access_token_url"
            )));
        }
    }
    let mut response = oauth2::HttpResponse::new(answer.body.to_vec());
    *response.status_mut() = oauth2::http::StatusCode::from_u16(status)
        .map_err(|_| endpoint_error("its status is not an HTTP status"))?;
    Ok(response)
}

fn endpoint_error(reason: &str) -> Error {
    Error::TokenEndpoint {
        reason: reason.to_owned(),
        status: None,
        retryable: false,
        retry_after: None,
    }
}

fn token_error(error: RequestTokenError<Error, oauth2::basic::BasicErrorResponse>) -> Error {
    match error {
        RequestTokenError::Request(error) => error,
        // Codes are words of the standard; the free-text description could repeat what was sent.
        RequestTokenError::ServerResponse(response) => Error::ClientRejected {
            code: response.error().as_ref().to_owned(),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            endpoint_error("its answer is not an OAuth 2.0 token response; check access_token_url")
        }
    }
}
