//! Access tokens by the client credentials grant of OAuth 2.0 (`reference/authentication`).

use std::time::{Duration, SystemTime};

use oauth2::basic::BasicClient;
use oauth2::{AuthType, ClientId, ClientSecret, RequestTokenError, Scope, TokenResponse, TokenUrl};
use reqwest::header::{HeaderValue, USER_AGENT};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::page::json;
use crate::settings::Settings;
use crate::transport::{ExchangeError, HttpResponse, Memory, send_request};

/// A token is renewed this long before it expires. If its life is short, it is renewed a fifth of its life before.
const MARGIN: Duration = Duration::from_mins(1);

/// In bytes. No token response is larger.
const LARGEST_ANSWER: usize = 1 << 20;

/// An access token and the time at which to renew it.
#[derive(Debug)]
pub(crate) struct Token {
    /// `Bearer <token>`, marked as sensitive.
    pub(crate) authorization: HeaderValue,
    /// By the wall clock: a frozen Lambda environment stops the monotonic one. `None` if the server did not say; then a
    /// 401 shows that the token has expired.
    renew_at: Option<SystemTime>,
    /// The token's life, as the server stated it.
    pub(crate) life: Option<Duration>,
    /// The token's scopes. `None` if the server did not name them.
    pub(crate) granted: Option<Vec<String>>,
}

impl Token {
    pub(crate) fn is_fresh(&self) -> bool {
        self.renew_at
            .is_none_or(|renew_at| SystemTime::now() < renew_at)
    }
}

/// Asks the token endpoint once. `name` is the place of the settings, for errors.
pub(crate) async fn request(
    http: &reqwest::Client,
    settings: &Settings,
    name: &str,
) -> Result<Token, Error> {
    let failed = |problem: Problem| problem.of(name);
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
        .map_err(|error| failed(token_error(error)))?;

    let granted: Option<Vec<String>> = answer
        .scopes()
        .map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect());
    if let Some(granted) = &granted {
        let missing: Vec<&str> = settings
            .scopes
            .iter()
            .filter(|scope| !granted.contains(scope))
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
    let mut authorization = HeaderValue::try_from(text.expose_secret()).map_err(|_| {
        failed(unusual(
            "the token has characters that a header cannot carry",
        ))
    })?;
    authorization.set_sensitive(true);
    let life = answer.expires_in();
    let renew_at =
        life.and_then(|life| asked.checked_add(life.saturating_sub(MARGIN.min(life / 5))));
    Ok(Token {
        authorization,
        renew_at,
        life,
        granted,
    })
}

/// Sends the requests of the oauth2 crate with our HTTP client, so that only one is linked.
async fn send(
    http: &reqwest::Client,
    settings: &Settings,
    request: oauth2::HttpRequest,
) -> Result<oauth2::HttpResponse, Problem> {
    let mut request = reqwest::Request::try_from(request)
        .map_err(|_| unusual("the request could not be built"))?;
    request
        .headers_mut()
        .insert(USER_AGENT, settings.user_agent.clone());
    let answer = send_request(
        http,
        request,
        settings.log_requests,
        &Memory::new(LARGEST_ANSWER),
    )
    .await
    .map_err(|broken| match broken {
        ExchangeError::Host(problem) => Problem::Host(problem),
        broken => Problem::Unavailable {
            reason: broken.to_string(),
            status: None,
            retry_after: None,
        },
    })?;
    let (status, body) = read(&answer)?;
    let mut response = oauth2::HttpResponse::new(Value::Object(body).to_string().into_bytes());
    *response.status_mut() = oauth2::http::StatusCode::from_u16(status)
        .map_err(|_| unusual("its status is not an HTTP status"))?;
    Ok(response)
}

/// The status and body that the oauth2 crate understands, of an answer as servers really send them.
fn read(answer: &HttpResponse) -> Result<(u16, Map<String, Value>), Problem> {
    let status = answer.status;
    if status == 429 || status >= 500 {
        let reason = format!("it answered {status}");
        return Err(Problem::Unavailable {
            reason,
            status: Some(status),
            retry_after: answer.retry_after,
        });
    }
    if (300..400).contains(&status) {
        return Err(unusual(&format!(
            "it answered {status}, a redirect, which is not followed; check the field `access_token_url`"
        )));
    }
    let body = serde_json::from_slice::<Map<String, Value>>(json(&answer.body)).ok();
    match (status, body) {
        // Some servers report errors with status 200.
        (200 | 400 | 401 | 403, Some(body)) if body.get("error").is_some_and(Value::is_string) => {
            let error = body.into_iter().filter(|(name, _)| name == "error");
            Ok((400, error.collect()))
        }
        (400 | 401 | 403, _) => Err(Problem::Rejected(format!(
            "status {status} and no OAuth 2.0 error code"
        ))),
        (200, Some(body)) => Ok((200, normalised(body)?)),
        _ => Err(unusual(&format!(
            "it answered {status} without a JSON object; check the field `access_token_url`"
        ))),
    }
}

/// Gives a token response the types of RFC 6749, from which servers deviate.
fn normalised(mut body: Map<String, Value>) -> Result<Map<String, Value>, Problem> {
    let token = body.get("access_token").and_then(Value::as_str);
    if token.is_none_or(str::is_empty) {
        return Err(unusual(
            "its answer has no access_token, which it needs by RFC 6749",
        ));
    }
    let seconds = match body.get("expires_in") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(number) => number.as_f64(),
        None => None,
    };
    // An unreadable life counts as not stated: then a 401 shows that the token has expired.
    let seconds = seconds.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    let scope = match body.get("scope") {
        Some(Value::Array(scopes)) => {
            let scopes = scopes.iter().filter_map(Value::as_str);
            Some(scopes.collect::<Vec<_>>().join(" "))
        }
        Some(Value::String(scope)) => Some(scope.clone()),
        _ => None,
    };
    let mut standard = Map::new();
    standard.insert("token_type".to_owned(), "bearer".into());
    standard.extend(body.remove_entry("access_token"));
    standard.extend(seconds.map(|seconds| ("expires_in".to_owned(), whole(seconds).into())));
    standard.extend(scope.map(|scope| ("scope".to_owned(), scope.into())));
    Ok(standard)
}

/// Whole seconds. A life beyond `u32` is practically endless.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates"
)]
fn whole(seconds: f64) -> u32 {
    seconds as u32
}

/// The reason why there is no token.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Host(String),
    #[error("{reason}")]
    Unavailable {
        reason: String,
        status: Option<u16>,
        retry_after: Option<Duration>,
    },
    /// An answer that is not OAuth 2.0.
    #[error("{0}")]
    Unusual(String),
    /// The OAuth 2.0 error code.
    #[error("{0}")]
    Rejected(String),
}

impl Problem {
    /// The error to return, with the place of the settings.
    fn of(self, settings: &str) -> Error {
        let settings = settings.to_owned();
        match self {
            Self::Host(problem) => Error::WrongHost {
                settings,
                field: "access_token_url",
                problem,
            },
            Self::Unavailable {
                reason,
                status,
                retry_after,
            } => Error::TokenEndpoint {
                settings,
                reason,
                status,
                retryable: true,
                retry_after,
            },
            Self::Unusual(reason) => Error::TokenEndpoint {
                settings,
                reason,
                status: None,
                retryable: false,
                retry_after: None,
            },
            Self::Rejected(code) => Error::ClientRejected { settings, code },
        }
    }
}

fn unusual(reason: &str) -> Problem {
    Problem::Unusual(reason.to_owned())
}

fn token_error(error: RequestTokenError<Problem, oauth2::basic::BasicErrorResponse>) -> Problem {
    match error {
        RequestTokenError::Request(problem) => problem,
        // Codes are words of the standard. The free-text description could repeat what was sent, so it is left out.
        RequestTokenError::ServerResponse(response) => {
            Problem::Rejected(response.error().as_ref().to_owned())
        }
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => unusual(
            "its answer is not an OAuth 2.0 token response; check the field `access_token_url`",
        ),
    }
}
