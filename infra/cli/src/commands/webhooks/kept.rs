//! The secrets of webhooks in Secrets Manager: tokens and private keys, which are never printed.

use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use doorbell::token_hash;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::stack::Stack;

/// 128 bits, as 32 hex digits in the URL.
const TOKEN_BYTES: usize = 16;

/// The value of a secret. It has no `Debug`, so that nothing of it is printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookSecret {
    /// The connection that the webhook rings.
    pub(super) incoming: String,
    /// The name of the secret with the credentials of the connection's client.
    pub(super) client: String,
    pub(super) collection: String,
    /// The path of the webhook's URL, without `/`.
    pub(super) token: String,
    /// The URL of the webhook. It is `None` until the webhook is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// The webhook's id at Protime. It is `None` until the webhook is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<String>,
    /// The webhooks that this one replaced. They are deleted, unless the command ended before it could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaced: Vec<String>,
    /// Protime's whole answer to the creation. It contains the private key, in a property whose name is not documented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Value>,
}

impl WebhookSecret {
    /// A new token for a connection, which has no webhook yet.
    pub(super) fn new(incoming: &str, client: &str, collection: &str) -> Result<Self, Error> {
        let mut bytes = [0; TOKEN_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| {
            Error::Other("this machine gives no random numbers, so no token can be made".to_owned())
        })?;
        Ok(Self {
            incoming: incoming.to_owned(),
            client: client.to_owned(),
            collection: collection.to_owned(),
            token: format!("{:032x}", u128::from_be_bytes(bytes)),
            url: None,
            webhook: None,
            replaced: Vec::new(),
            answer: None,
        })
    }

    /// The hash of the token, which the doorbell knows.
    pub(super) fn hash(&self) -> String {
        token_hash(&self.token)
    }
}

/// The secrets of a stack's webhooks.
pub(super) struct WebhookSecrets {
    secrets: aws_sdk_secretsmanager::Client,
    stack: String,
}

impl WebhookSecrets {
    pub(super) fn new(stack: &Stack) -> Self {
        Self {
            secrets: aws_sdk_secretsmanager::Client::new(&stack.account.config),
            stack: stack.name.clone(),
        }
    }

    /// The name of a connection's secret. The functions may not read secrets with such names.
    pub(super) fn secret(&self, incoming: &str) -> String {
        format!("{}-webhooks/{incoming}", self.stack)
    }

    fn what(&self, incoming: &str) -> String {
        format!("secret `{}`", self.secret(incoming))
    }

    pub(super) async fn read(&self, incoming: &str) -> Result<Option<WebhookSecret>, Error> {
        let get = self.secrets.get_secret_value();
        let value = match get.secret_id(self.secret(incoming)).send().await {
            Ok(value) => value.secret_string.unwrap_or_default(),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(Error::aws(self.what(incoming), &error)),
        };
        let kept = serde_json::from_str(&value);
        // The parser's message is left out, since it could quote the secret.
        let kept = kept.map_err(|_| {
            Error::Other(format!(
                "{}: not what protimectl keeps; delete it to begin anew",
                self.what(incoming)
            ))
        })?;
        Ok(Some(kept))
    }

    pub(super) async fn create(&self, kept: &WebhookSecret) -> Result<(), Error> {
        let create = self.secrets.create_secret();
        let create = create
            .name(self.secret(&kept.incoming))
            .description("Token and private key of a webhook of Protime")
            .secret_string(text(kept)?);
        let created = create.send().await;
        created.map_err(|error| Error::aws(self.what(&kept.incoming), &error))?;
        Ok(())
    }

    pub(super) async fn put(&self, kept: &WebhookSecret) -> Result<(), Error> {
        let put = self.secrets.put_secret_value();
        let put = put
            .secret_id(self.secret(&kept.incoming))
            .secret_string(text(kept)?);
        let stored = put.send().await;
        stored.map_err(|error| Error::aws(self.what(&kept.incoming), &error))?;
        Ok(())
    }

    /// Deletes the secret at once, without a recovery window. The webhook is gone, so token and key are of no use.
    pub(super) async fn delete(&self, incoming: &str) -> Result<(), Error> {
        let delete = self.secrets.delete_secret();
        let delete = delete
            .secret_id(self.secret(incoming))
            .force_delete_without_recovery(true);
        let deleted = delete.send().await;
        deleted.map_err(|error| Error::aws(self.what(incoming), &error))?;
        Ok(())
    }
}

fn text(kept: &WebhookSecret) -> Result<String, Error> {
    serde_json::to_string(kept).map_err(|error| Error::Other(error.to_string()))
}
