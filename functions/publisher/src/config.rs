//! The function's settings, from its environment variables.

use jiff::SignedDuration;

use connector::contract::outgoing::{OutgoingConnection, OutgoingError};

/// How long after a lost response a slow write can still appear. `SETTLE_AFTER_SECONDS` overrides it.
pub const SETTLE_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// The `maxReceiveCount` of the stack's publish queues. `MAX_RECEIVE_COUNT` overrides it.
pub const MOST_RECEIVES: u32 = 1_000;

/// The function's settings, read once at its start.
#[derive(Debug)]
pub struct Config {
    /// `PUBLISH_QUEUE_URL`: the queue whose messages invoke the function.
    pub publish_queue: String,
    /// `DEAD_LETTER_QUEUE_URL`: the queue for parked messages.
    pub dead_letter_queue: String,
    /// `RESULTS_QUEUE_URL`: the queue for results. None if nobody wants results.
    pub results_queue: Option<String>,
    /// `STATE_TABLE`: the name of the `DynamoDB` table.
    pub state_table: String,
    /// Defaults for what messages leave out. An error here must not stop the function from starting. SQS would use up
    /// the messages' receives and park them without a reason.
    pub outgoing: Result<OutgoingConnection, OutgoingError>,
    /// Settings that hold for every message.
    pub rules: Rules,
    /// `CLIENT_SECRET_PREFIX`: all secrets that the function may read begin with it. Empty if unknown.
    pub secret_prefix: String,
}

/// Settings that hold for every message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long after a lost response a slow write can still appear.
    pub settle_after: SignedDuration,
    /// The queue's `maxReceiveCount`. After that many receives SQS itself parks a message, without a reason and without
    /// its key.
    pub most_receives: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            settle_after: SETTLE_AFTER,
            most_receives: MOST_RECEIVES,
        }
    }
}

/// All variables that are missing or wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variables: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

impl Config {
    /// Reads the settings from the process environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from(|name| std::env::var(name).ok())
    }

    /// Reads the settings through `variable`. An empty value counts as absent.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let mut problems = Vec::new();
        let mut needed = |name: &str, meaning: &str| {
            variable(name).unwrap_or_else(|| {
                problems.push(format!("{name} needs {meaning}"));
                String::new()
            })
        };
        let publish_queue = needed("PUBLISH_QUEUE_URL", "the publish queue's URL");
        let dead_letter_queue = needed("DEAD_LETTER_QUEUE_URL", "the dead-letter queue's URL");
        let state_table = needed("STATE_TABLE", "the state table's name");
        let mut number = |name: &str, default: u32, least: u32| {
            let Some(text) = variable(name) else {
                return default;
            };
            let number = text.trim().parse().ok().filter(|number| *number >= least);
            number.unwrap_or_else(|| {
                problems.push(format!("{name} needs a whole number from {least} on"));
                default
            })
        };
        let rules = Rules::default();
        let settle_after = u32::try_from(rules.settle_after.as_secs()).unwrap_or_default();
        let settle_after = number("SETTLE_AFTER_SECONDS", settle_after, 0);
        let most_receives = number("MAX_RECEIVE_COUNT", rules.most_receives, 2);
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        Ok(Self {
            publish_queue,
            dead_letter_queue,
            results_queue: variable("RESULTS_QUEUE_URL"),
            state_table,
            outgoing: OutgoingConnection::from_json(&variable("OUTGOING").unwrap_or_default()),
            rules: Rules {
                settle_after: SignedDuration::from_secs(settle_after.into()),
                most_receives,
            },
            secret_prefix: variable("CLIENT_SECRET_PREFIX").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let error = Config::from(|name| match name {
            "STATE_TABLE" => Some(" ".to_owned()),
            "SETTLE_AFTER_SECONDS" => Some("soon".to_owned()),
            "MAX_RECEIVE_COUNT" => Some("1".to_owned()),
            _ => None,
        });
        let message = error.unwrap_err().to_string();
        for name in [
            "PUBLISH_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            "STATE_TABLE",
            "SETTLE_AFTER_SECONDS",
            "MAX_RECEIVE_COUNT",
        ] {
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_wrong_outgoing_connection_is_no_reason_not_to_start() {
        let config = Config::from(|name| match name {
            "OUTGOING" => Some("{".to_owned()),
            "RESULTS_QUEUE_URL" => Some(String::new()),
            "SETTLE_AFTER_SECONDS" => Some("7".to_owned()),
            _ => Some("1000".to_owned()),
        });
        let config = config.unwrap();
        assert!(config.outgoing.is_err());
        assert_eq!(config.results_queue, None);
        assert_eq!(config.rules.settle_after, SignedDuration::from_secs(7));
        assert_eq!(config.rules.most_receives, MOST_RECEIVES);
    }
}
