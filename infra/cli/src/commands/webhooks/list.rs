//! Lists Protime's webhooks. Of each URL it shows the host only, since the path is a token.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::deployed_doorbell::Doorbell;
use super::remote::{Remote, Webhook};
use crate::error::Error;
use crate::output::{Report, hint, table};
use crate::stack::Stack;

pub(super) async fn list(stack: &Stack, clients: &[String]) -> Result<Report, Error> {
    let doorbell = Doorbell::find(stack).await?;
    let clients: BTreeSet<String> = if clients.is_empty() {
        rung(stack, doorbell.as_ref()).await?
    } else {
        clients.iter().cloned().collect()
    };
    let now = Timestamp::now();
    let (mut webhooks, mut rows, mut is_in_need) = (Vec::new(), Vec::new(), false);
    let mut best: BTreeMap<String, Webhook> = BTreeMap::new();
    for client in &clients {
        for webhook in Remote::of(stack, client).await?.webhooks().await? {
            let url = webhook.destination_url.as_deref().unwrap_or_default();
            let connection = doorbell.as_ref().and_then(|bell| bell.connection_of(url));
            let seen = webhook.seen();
            let days = seen.days_left(now);
            is_in_need |= connection.is_some() && seen.needs_renewal(now);
            if let Some(incoming) = connection {
                let best = best
                    .entry(incoming.to_owned())
                    .or_insert_with(|| webhook.clone());
                if rank(&webhook, now) > rank(best, now) {
                    *best = webhook.clone();
                }
            }
            webhooks.push(json!({
                "client": client, "incoming": connection, "collection": webhook.collection_name, "status": webhook.status,
                "validUntil": webhook.valid_until, "daysLeft": days, "host": host(url), "id": webhook.id,
            }));
            rows.push(row(connection, &webhook, days, url));
        }
    }
    for (incoming, webhook) in &best {
        super::note(stack, incoming, Some(webhook)).await;
    }
    let text = if rows.is_empty() {
        "Protime has no webhooks of these clients\n".to_owned()
    } else {
        table(
            [
                "rings",
                "collection",
                "status",
                "days left",
                "valid until",
                "host",
                "id",
            ],
            rows,
        )
    };
    if is_in_need {
        hint("protimectl webhooks renew replaces those that end soon or are disabled.");
    }
    Ok(Report::new(json!({"webhooks": webhooks}), text))
}

/// If a connection has several webhooks, the one that stays valid longest counts.
fn rank(webhook: &Webhook, now: Timestamp) -> (bool, SignedDuration) {
    let left = webhook.left(now).unwrap_or(SignedDuration::MAX);
    (!webhook.is_disabled(), left)
}

fn row(connection: Option<&str>, webhook: &Webhook, days: Option<i64>, url: &str) -> [String; 7] {
    let or_unknown = |text: Option<&str>| text.unwrap_or("?").to_owned();
    [
        connection.unwrap_or("-").to_owned(),
        or_unknown(webhook.collection_name.as_deref()),
        or_unknown(webhook.status.as_deref()),
        days.map_or_else(|| "?".to_owned(), |days| days.to_string()),
        or_unknown(webhook.valid_until.as_deref()),
        or_unknown(host(url)),
        webhook.id.clone(),
    ]
}

/// The clients of the connections that can be rung, by the names of their secrets.
async fn rung(stack: &Stack, doorbell: Option<&Doorbell>) -> Result<BTreeSet<String>, Error> {
    let Some(doorbell) = doorbell else {
        return Err(super::no_doorbell(stack));
    };
    let now = Timestamp::now();
    let mut clients = BTreeSet::new();
    for source in stack.connections().await? {
        if doorbell.connections().any(|name| name == source.incoming) {
            clients.insert(source.connection(now)?.secret_name);
        }
    }
    Ok(clients)
}

/// The host and port of a URL, without user name and password. `None` if the URL has no host.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    authority.rsplit('@').next().filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_url_is_shown_but_its_host() {
        for url in [
            "https://abc.lambda-url.eu-west-1.on.aws/token",
            "https://abc.lambda-url.eu-west-1.on.aws?token",
            "https://name:token@abc.lambda-url.eu-west-1.on.aws/x@y",
        ] {
            assert_eq!(host(url), Some("abc.lambda-url.eu-west-1.on.aws"), "{url}");
        }
        for url in ["", "token", "/token", "https://", "https:///token"] {
            assert_eq!(host(url), None, "{url}");
        }
    }
}
