//! The environment variables of the function.

use crate::{Doors, DoorsError};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    /// The URL of the queue of rings.
    pub rings_queue: String,
    /// Who may ring.
    pub doors: Doors,
}

/// What is missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No queue.
    #[error("environment variable RINGS_QUEUE_URL: needs the rings queue's URL")]
    Queue,
    /// No connections, or none that can be used.
    #[error("environment variable CONNECTIONS: {0}")]
    Doors(#[from] DoorsError),
}

impl Config {
    /// Reads the function's environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let rings_queue = variable("RINGS_QUEUE_URL");
        if rings_queue.is_empty() {
            return Err(ConfigError::Queue);
        }
        Ok(Self {
            rings_queue,
            doors: Doors::from_json(&variable("CONNECTIONS"))?,
        })
    }
}
