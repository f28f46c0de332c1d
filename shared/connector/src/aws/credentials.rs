//! HTTP clients from Secrets Manager. Each is read on first use, and kept while the environment lives.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use protime::{Client, Observer, Settings, SettingsError, SettingsSource};
use tokio::sync::Mutex;

use crate::aws;
use crate::clock::Clock;

/// A secret older than this is read again, so that an edit takes effect without a redeployment. After a rejection by
/// Protime it is read again at once.
const MAX_AGE: Duration = Duration::from_mins(5);

/// Why no HTTP client is available.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No secret has this name.
    #[error(
        "secret `{name}`: does not exist; create it with `aws secretsmanager create-secret --name {name} --secret-string file://client.json`"
    )]
    NotFound {
        /// The secret's name, as requested.
        name: String,
    },
    /// The name lacks the prefix of the secrets that the function may read.
    #[error(
        "secret `{name}`: the function may read secrets whose names begin with `{prefix}` only; give the full name, such as `{prefix}{}`",
        name.rsplit('/').next().unwrap_or_default()
    )]
    OutsidePrefix {
        /// The secret's name; at most its first 100 characters.
        name: String,
        /// The prefix of all secret names that the function may read.
        prefix: String,
    },
    /// Secrets Manager allows no such name.
    #[error(
        "secret `{name}`: no secret can have that name; it is 1 to 512 letters, digits and characters of /_+=.@-"
    )]
    InvalidName {
        /// The secret's name; at most its first 100 characters.
        name: String,
    },
    /// The function's role may not read the secret, or not use its key.
    #[error(
        "secret `{name}`: the function may not read it: {reason}. Its name must begin with ClientSecretPrefix, and the function's role must be allowed to use its key"
    )]
    Forbidden {
        /// The secret's name, as requested.
        name: String,
        /// AWS's error code and message.
        reason: String,
    },
    /// The call to Secrets Manager failed for another reason.
    #[error("secret `{name}`: cannot be read: {reason}")]
    Unreadable {
        /// The secret's name, as requested.
        name: String,
        /// AWS's error code and message, or the chain of causes.
        reason: String,
        /// Whether a later call may succeed.
        retryable: bool,
    },
    /// The secret's value is not an HTTP client.
    #[error("secret `{name}`: {source}")]
    Invalid {
        /// The secret's name, as requested.
        name: String,
        /// What is wrong; never quotes a value of the secret.
        source: SettingsError,
    },
}

/// The HTTP clients of one execution environment, by the name of their secret.
pub struct HttpClients {
    service: &'static str,
    secret_prefix: String,
    secrets: aws_sdk_secretsmanager::Client,
    http: protime::HttpPool,
    observer: Observer,
    clock: Clock,
    cached: std::sync::Mutex<HashMap<String, Arc<Mutex<Option<Cached>>>>>,
}

struct Cached {
    client: Arc<Client>,
    read: SystemTime,
}

impl HttpClients {
    /// Creates an empty set of clients. `service` names the function in `User-Agent`. Secret names must begin with
    /// `secret_prefix`. All clients share `http`, and report their requests to `observer`.
    pub fn new(
        service: &'static str,
        secret_prefix: impl Into<String>,
        secrets: aws_sdk_secretsmanager::Client,
        http: protime::HttpPool,
        observer: Observer,
        clock: Clock,
    ) -> Self {
        Self {
            service,
            secret_prefix: secret_prefix.into(),
            secrets,
            http,
            observer,
            clock,
            cached: std::sync::Mutex::default(),
        }
    }

    /// The client of the secret `name`. A slow secret does not delay requests for others.
    pub async fn get(&self, name: &str) -> Result<Arc<Client>, CredentialsError> {
        if !name.starts_with(&self.secret_prefix) {
            return Err(CredentialsError::OutsidePrefix {
                name: name.chars().take(100).collect(),
                prefix: self.secret_prefix.clone(),
            });
        }
        if !is_secret_name(name) {
            return Err(CredentialsError::InvalidName {
                name: name.chars().take(100).collect(),
            });
        }
        let slot = self.slots().entry(name.to_owned()).or_default().clone();
        let mut slot = slot.lock().await;
        let known = slot.as_ref();
        if let Some(known) = known
            && known.read.elapsed().is_ok_and(|age| age < MAX_AGE)
        {
            return Ok(known.client.clone());
        }
        let client = self.read(name, known.map(|known| &known.client)).await?;
        *slot = Some(Cached {
            client: client.clone(),
            read: SystemTime::now(),
        });
        Ok(client)
    }

    /// Reads a secret. `known` is the client of its last known value.
    async fn read(
        &self,
        name: &str,
        known: Option<&Arc<Client>>,
    ) -> Result<Arc<Client>, CredentialsError> {
        let source = Secret {
            service: self.service,
            secrets: self.secrets.clone(),
            name: name.to_owned(),
        };
        match (source.read().await, known) {
            (Ok(settings), Some(client)) if *client.settings() == settings => Ok(client.clone()),
            (Ok(settings), _) => {
                let clock = self.clock.clone();
                let client = Client::new(self.http.clone(), settings, Box::new(source))
                    .with_settings_name(format!("secret `{name}`"))
                    .with_clock(Arc::new(move || clock.now()))
                    .with_observer(self.observer.clone())
                    .with_largest_answer(largest_answer());
                Ok(Arc::new(client))
            }
            (
                Err(
                    error @ CredentialsError::Unreadable {
                        retryable: true, ..
                    },
                ),
                Some(client),
            ) => {
                tracing::warn!(%error, "the secret cannot be read again; its last known value stays in use");
                Ok(client.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Forgets a client. The next request for it reads the secret again.
    pub fn forget(&self, name: &str) {
        self.slots().remove(name);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Arc<Mutex<Option<Cached>>>>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Largest response, in bytes: a quarter of the function's memory, since a response takes twice its size while it
/// grows.
fn largest_answer() -> usize {
    const ELSEWHERE: usize = 256;
    let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok();
    let mebibytes = memory.and_then(|memory| memory.parse().ok());
    (mebibytes.unwrap_or(ELSEWHERE) << 20) / 4
}

/// The naming rule of `CreateSecret` in the API reference of Secrets Manager.
fn is_secret_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    (1..=512).contains(&name.len()) && name.bytes().all(is_allowed)
}

struct Secret {
    service: &'static str,
    secrets: aws_sdk_secretsmanager::Client,
    name: String,
}

impl Secret {
    async fn read(&self) -> Result<Settings, CredentialsError> {
        let name = || self.name.clone();
        let answer = self
            .secrets
            .get_secret_value()
            .secret_id(&self.name)
            .send()
            .await
            .map_err(|error| match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => {
                    CredentialsError::NotFound { name: name() }
                }
                error_code
                    if error_code.and_then(ProvideErrorMetadata::code)
                        == Some("AccessDeniedException") =>
                {
                    CredentialsError::Forbidden {
                        name: name(),
                        reason: aws::describe(&error),
                    }
                }
                _ => CredentialsError::Unreadable {
                    name: name(),
                    reason: aws::describe(&error),
                    retryable: aws::is_transient(&error),
                },
            })?;
        // A secret that was created from a file can be binary.
        let binary = answer.secret_binary().map(AsRef::as_ref);
        let json = answer.secret_string().map(str::as_bytes).or(binary);
        let settings = Settings::from_json(json.unwrap_or_default());
        settings
            .map(|settings| settings.for_service(self.service))
            .map_err(|source| CredentialsError::Invalid {
                name: name(),
                source,
            })
    }
}

impl SettingsSource for Secret {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Result<Settings, String>> + Send + '_>> {
        Box::pin(async { self.read().await.map_err(|error| error.to_string()) })
    }
}
