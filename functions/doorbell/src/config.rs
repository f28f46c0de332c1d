//! The function's environment variables.

use crate::{TokenHashes, TokenHashesError};

/// The function's configuration, read once per environment.
#[derive(Debug)]
pub struct Config {
    /// `RINGS_QUEUE_URL`: the URL of the queue of rings.
    pub rings_queue: String,
    /// `CONNECTIONS`: the connections that can be rung, with the hashes of their tokens.
    pub token_hashes: TokenHashes,
}

/// The first variable that is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `RINGS_QUEUE_URL` is missing or empty.
    #[error("environment variable RINGS_QUEUE_URL: needs the rings queue's URL")]
    Queue,
    /// `CONNECTIONS` is missing or cannot be used.
    #[error("environment variable CONNECTIONS: {0}")]
    TokenHashes(#[from] TokenHashesError),
}

impl Config {
    /// Reads and checks both variables.
    pub fn from_env() -> Result<Self, ConfigError> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let rings_queue = variable("RINGS_QUEUE_URL");
        if rings_queue.is_empty() {
            return Err(ConfigError::Queue);
        }
        Ok(Self {
            rings_queue,
            token_hashes: TokenHashes::from_json(&variable("CONNECTIONS"))?,
        })
    }
}
