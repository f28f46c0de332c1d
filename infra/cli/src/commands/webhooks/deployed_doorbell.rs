//! The doorbell of the stack, if it has one.

use doorbell::TokenHashes;

use super::kept::WebhookSecret;
use crate::error::Error;
use crate::stack::Stack;

/// The function's logical id in `infra/doorbell.yaml`.
const FUNCTION: &str = "Doorbell";
const CONNECTIONS: &str = "CONNECTIONS";

/// The doorbell as it is deployed: its URL, and the hashes of the tokens.
pub(super) struct Doorbell {
    /// The function's URL, which ends with `/`.
    url: String,
    token_hashes: TokenHashes,
}

impl Doorbell {
    pub(super) async fn find(stack: &Stack) -> Result<Option<Self>, Error> {
        let Some(name) = stack.function(FUNCTION) else {
            return Ok(None);
        };
        let failed = |error| Error::aws(format!("function {name}"), &error);
        let lambda = stack.account.lambda();
        let asked = lambda.get_function_url_config().function_name(name);
        let url = match asked.send().await {
            Ok(config) => config.function_url,
            Err(error) => return Err(Error::aws(format!("URL of function {name}"), &error)),
        };
        let asked = lambda.get_function_configuration().function_name(name);
        let configuration = asked.send().await.map_err(failed)?;
        let variables = configuration.environment.and_then(|found| found.variables);
        let connections = variables.and_then(|mut variables| variables.remove(CONNECTIONS));
        let token_hashes = TokenHashes::from_json(&connections.unwrap_or_default());
        let token_hashes = token_hashes.map_err(|error| {
            Error::Connection(format!("doorbell, parameter Connections: {error}"))
        })?;
        let url = format!("{}/", url.trim_end_matches('/'));
        Ok(Some(Self { url, token_hashes }))
    }

    /// Whether the doorbell knows the connection's token.
    pub(super) fn knows(&self, kept: &WebhookSecret) -> bool {
        self.token_hashes.has_token(&kept.incoming, &kept.token)
    }

    /// The URL to which a connection's webhook delivers. It contains the token, so it is never printed.
    pub(super) fn url_of(&self, kept: &WebhookSecret) -> String {
        format!("{}{}", self.url, kept.token)
    }

    /// The connection that a URL rings, if it is a URL of this doorbell with a known token.
    pub(super) fn connection_of(&self, url: &str) -> Option<&str> {
        self.token_hashes
            .connection_of(url.strip_prefix(&self.url)?)
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &str> {
        self.token_hashes.names()
    }
}
