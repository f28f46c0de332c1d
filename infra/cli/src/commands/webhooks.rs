//! Webhooks at Protime, each of which rings one connection.
//!
//! A secret of Secrets Manager keeps a connection's token and the private key of its webhook, once there is one. No
//! function reads this secret. The doorbell gets the token's hash from its template. A webhook cannot be changed or
//! revived (`reference/webhooks`), so `renew` replaces it: it creates the new one first, then deletes the old one. The
//! documentation does not say whether a collection can have a second webhook. If Protime refuses it, the command says
//! so.
//!
//! Every command reads Protime's webhooks before it changes anything. So after a lost answer or a crash, the same
//! command continues: it replaces a webhook whose key was not kept.

mod deployed_doorbell;
mod kept;
mod list;
mod remote;

use std::fmt::Write as _;

use connector::contract::connection::SyncMode;
use jiff::{SignedDuration, Timestamp};
use protime::RefusalKind;
use protime::catalogue::catalogue;
use serde_json::{Value, json};

use crate::arguments::{Change, StackArguments, Webhooks, WebhooksAction};
use crate::confirm::confirm;
use crate::error::{Code, Error};
use crate::output::{Report, hint};
use crate::stack::Stack;
use deployed_doorbell::Doorbell;
use kept::{WebhookSecret, WebhookSecrets};
use remote::{Remote, Webhook};

const NO_TIME: SignedDuration = SignedDuration::ZERO;

pub(crate) async fn webhooks(
    arguments: &Webhooks,
    stack: &StackArguments,
) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    match &arguments.action {
        WebhooksAction::List { clients } => list::list(&stack, clients).await,
        WebhooksAction::Create { connection, change } => create(&stack, connection, change).await,
        WebhooksAction::Renew {
            connection,
            within,
            change,
        } => renew(&stack, connection.as_deref(), *within, change).await,
        WebhooksAction::Delete { connection, change } => delete(&stack, connection, change).await,
    }
}

async fn create(stack: &Stack, argument: &str, change: &Change) -> Result<Report, Error> {
    let source = stack.source(argument).await?;
    let connection = source.connection(Timestamp::now())?;
    let (name, collection) = (&connection.name, &connection.entity);
    check_collection(collection)?;
    if connection.sync != SyncMode::Delta {
        return Err(Error::Connection(format!(
            "connection `{name}`: would read everything at every ring; a webhook needs a connection with \"sync\": \"delta\""
        )));
    }
    let secrets = WebhookSecrets::new(stack);
    let kept = secrets.read(name).await?;
    let doorbell = Doorbell::find(stack).await?;
    let Some(mut kept) = kept else {
        let secret = secrets.secret(name);
        let what = format!("make a token for `{name}`, and keep it in the secret `{secret}`");
        if !confirm(change, &what)? {
            return Ok(Report::undone());
        }
        let kept = WebhookSecret::new(name, &connection.secret_name, collection)?;
        secrets.create(&kept).await?;
        return Ok(to_deploy(&kept, doorbell.as_ref()));
    };
    if kept.client != connection.secret_name || kept.collection != *collection {
        return Err(Error::Connection(format!(
            "connection `{name}`: reads `{collection}` with client `{}`, and its webhook is for `{}` with `{}`; delete that first: protimectl webhooks delete {name}",
            connection.secret_name, kept.collection, kept.client
        )));
    }
    let Some(doorbell) = doorbell.filter(|doorbell| doorbell.knows(&kept)) else {
        return Ok(to_deploy(&kept, None));
    };
    let remote = Remote::of(stack, &kept.client).await?;
    let found = remote.webhooks().await?;
    let url = doorbell.url_of(&kept);
    if let Some(standing) = standing(&kept, &url, &found, NO_TIME) {
        delete_others(&remote, &kept, &url, &found).await?;
        note(stack, name, Some(standing)).await;
        let text = format!(
            "`{name}` already has a webhook{}\n",
            standing.until().unwrap_or_default()
        );
        return Ok(Report::new(told(&kept, standing, false), text));
    }
    let what = format!("let Protime ring `{name}` when `{collection}` change");
    if !confirm(change, &what)? {
        return Ok(Report::undone());
    }
    let webhook = replace(&secrets, &remote, &mut kept, url, &found).await?;
    note(stack, name, Some(&webhook)).await;
    let text = format!(
        "Protime rings `{name}` when `{collection}` change{}; the webhook's key is kept in the secret `{}`\n",
        webhook.until().unwrap_or_default(),
        secrets.secret(name)
    );
    Ok(Report::new(told(&kept, &webhook, true), text))
}

/// Renews the webhooks of one connection or of all. A connection that fails does not stop the others. Its error is in
/// the report, and the first error decides the exit code.
async fn renew(
    stack: &Stack,
    only: Option<&str>,
    within: u16,
    change: &Change,
) -> Result<Report, Error> {
    let doorbell = Doorbell::find(stack)
        .await?
        .ok_or_else(|| no_doorbell(stack))?;
    let secrets = WebhookSecrets::new(stack);
    let names: Vec<&str> = match only {
        Some(name) => vec![name],
        None => doorbell.connections().collect(),
    };
    let within = SignedDuration::from_hours(24 * i64::from(within));
    let (mut renewed, mut to_replace) = (Renewed::default(), Vec::new());
    for name in names {
        match Found::of(stack, &secrets, &doorbell, name).await {
            Ok(found) => match standing(&found.kept, &found.url, &found.webhooks, within) {
                Some(webhook) => {
                    let Found {
                        kept,
                        remote,
                        url,
                        webhooks,
                    } = &found;
                    match delete_others(remote, kept, url, webhooks).await {
                        Ok(()) => renewed.stays(kept, webhook),
                        Err(error) => renewed.failed(name, &error),
                    }
                    note(stack, name, Some(webhook)).await;
                }
                None => to_replace.push(found),
            },
            Err(error) => renewed.failed(name, &error),
        }
    }
    if !to_replace.is_empty() {
        let names: Vec<&str> = to_replace
            .iter()
            .map(|found| found.kept.incoming.as_str())
            .collect();
        let what = format!("replace the webhooks of {}", names.join(", "));
        if !confirm(change, &what)? {
            return Ok(Report::undone());
        }
    }
    for mut found in to_replace {
        let (kept, webhooks) = (&mut found.kept, &found.webhooks);
        match replace(&secrets, &found.remote, kept, found.url, webhooks).await {
            Ok(webhook) => {
                note(stack, &found.kept.incoming, Some(&webhook)).await;
                renewed.replaced(&found.kept, &webhook);
            }
            Err(error) => renewed.failed(&found.kept.incoming, &error),
        }
    }
    Ok(renewed.report())
}

/// The facts about a connection that are read before its webhook is renewed.
struct Found {
    kept: WebhookSecret,
    remote: Remote,
    url: String,
    webhooks: Vec<Webhook>,
}

impl Found {
    async fn of(
        stack: &Stack,
        secrets: &WebhookSecrets,
        doorbell: &Doorbell,
        name: &str,
    ) -> Result<Self, Error> {
        let kept = secrets.read(name).await?;
        let kept = kept.filter(|kept| doorbell.knows(kept)).ok_or_else(|| {
            Error::Connection(format!(
                "connection `{name}`: has no token that the doorbell knows; protimectl webhooks create {name}"
            ))
        })?;
        let remote = Remote::of(stack, &kept.client).await?;
        Ok(Self {
            webhooks: remote.webhooks().await?,
            url: doorbell.url_of(&kept),
            kept,
            remote,
        })
    }
}

/// The outcome for each webhook.
#[derive(Default)]
struct Renewed {
    webhooks: Vec<Value>,
    text: String,
    /// The exit code of the first connection that failed.
    code: Option<Code>,
}

impl Renewed {
    fn stays(&mut self, kept: &WebhookSecret, webhook: &Webhook) {
        let until = webhook.until().unwrap_or_default();
        let _ = writeln!(self.text, "`{}` stays{until}", kept.incoming);
        self.webhooks.push(told(kept, webhook, false));
    }

    fn replaced(&mut self, kept: &WebhookSecret, webhook: &Webhook) {
        let until = webhook.until().unwrap_or_default();
        let _ = writeln!(self.text, "`{}` has another webhook{until}", kept.incoming);
        self.webhooks.push(told(kept, webhook, true));
    }

    fn failed(&mut self, incoming: &str, error: &Error) {
        let _ = writeln!(self.text, "`{incoming}` is not renewed: {error}");
        let message = error.to_string();
        self.webhooks
            .push(json!({"done": false, "incoming": incoming, "error": {"message": message}}));
        self.code.get_or_insert(error.code());
    }

    fn report(self) -> Report {
        let json = json!({"done": self.code.is_none(), "webhooks": self.webhooks});
        Report::new(json, self.text).with_code(self.code.unwrap_or(Code::Ok))
    }
}

async fn delete(stack: &Stack, name: &str, change: &Change) -> Result<Report, Error> {
    let secrets = WebhookSecrets::new(stack);
    let kept = secrets.read(name).await?.ok_or_else(|| {
        let secret = secrets.secret(name);
        Error::Connection(format!(
            "connection `{name}`: has no webhook that was made here; there is no secret `{secret}`"
        ))
    })?;
    if !confirm(change, &format!("let Protime ring `{name}` no more"))? {
        return Ok(Report::undone());
    }
    let remote = Remote::of(stack, &kept.client).await?;
    let url = Doorbell::find(stack)
        .await?
        .map(|doorbell| doorbell.url_of(&kept));
    for webhook in remote.webhooks().await? {
        if is_of(&webhook, &kept, url.as_deref()) && !webhook.is_disabled() {
            remote.delete(&webhook.id).await?;
        }
    }
    secrets.delete(name).await?;
    note(stack, name, None).await;
    hint("Take it out of Connections of the doorbell as well.");
    Ok(Report::done(format!(
        "`{name}` no longer has a webhook; its schedule still runs\n"
    )))
}

/// Creates a webhook, keeps its key, and deletes the webhooks that it replaces.
async fn replace(
    secrets: &WebhookSecrets,
    remote: &Remote,
    kept: &mut WebhookSecret,
    url: String,
    found: &[Webhook],
) -> Result<Webhook, Error> {
    let is_old = |known: &&Webhook| is_of(known, kept, Some(&url)) && !known.is_disabled();
    let old: Vec<String> = found
        .iter()
        .filter(is_old)
        .map(|known| known.id.clone())
        .collect();
    let is_orphan = |id: &&String| kept.webhook.as_ref() != Some(*id);
    let orphans: Vec<&String> = old.iter().filter(is_orphan).collect();
    let created = match remote.create(&url, &kept.collection).await {
        // Protime may allow one webhook for each collection. Those whose keys are lost make room; the one that rings stays.
        Err(error) if is_refused(&error) && !orphans.is_empty() => {
            for id in orphans {
                remote.delete(id).await?;
            }
            remote.create(&url, &kept.collection).await
        }
        created => created,
    };
    let (webhook, answer) = created.map_err(|error| {
        hint("Give the same command again: it looks first for what Protime has.");
        without_token(error, &kept.token)
    })?;
    kept.url = Some(url);
    kept.webhook = Some(webhook.id.clone());
    kept.answer = Some(answer);
    kept.replaced.clone_from(&old);
    secrets.put(kept).await?;
    for id in old.iter().filter(|id| **id != webhook.id) {
        remote.delete(id).await?;
    }
    Ok(webhook)
}

/// Deletes the other webhooks that ring the connection, which an interrupted command left.
async fn delete_others(
    remote: &Remote,
    kept: &WebhookSecret,
    url: &str,
    found: &[Webhook],
) -> Result<(), Error> {
    for known in found {
        let is_own = kept.webhook.as_ref() == Some(&known.id);
        if !is_own && is_of(known, kept, Some(url)) && !known.is_disabled() {
            remote.delete(&known.id).await?;
        }
    }
    Ok(())
}

/// Whether Protime certainly created nothing, and waiting would change nothing.
fn is_refused(error: &Error) -> bool {
    let Error::Run(error) = error else {
        return false;
    };
    matches!(
        error.refusal_kind(),
        Some(RefusalKind::Invalid | RefusalKind::Conflict)
    )
}

/// Protime's answer may quote the URL, which has the token in it.
fn without_token(error: Error, token: &str) -> Error {
    let text = error.to_string();
    if text.contains(token) {
        Error::Other(text.replace(token, "..."))
    } else {
        error
    }
}

/// Lets the watch report the webhook. Without it the webhook rings all the same.
async fn note(stack: &Stack, incoming: &str, webhook: Option<&Webhook>) {
    let seen = webhook.map(Webhook::seen);
    let noted = match stack.state() {
        Ok(state) => state
            .note_webhook(incoming, seen.as_ref())
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = noted {
        hint(format!(
            "The watch cannot report the webhook of `{incoming}`: {error}"
        ));
    }
}

/// The webhook that rings this connection, if its key is kept and it stays valid for longer than `within`.
fn standing<'a>(
    kept: &WebhookSecret,
    url: &str,
    found: &'a [Webhook],
    within: SignedDuration,
) -> Option<&'a Webhook> {
    let now = Timestamp::now();
    found.iter().find(|webhook| {
        kept.webhook.as_ref() == Some(&webhook.id)
            && webhook.destination_url.as_deref() == Some(url)
            && !webhook.is_disabled()
            && webhook.left(now).is_none_or(|left| left > within)
    })
}

fn is_of(webhook: &Webhook, kept: &WebhookSecret, url: Option<&str>) -> bool {
    let leads_to = webhook.destination_url.as_deref();
    kept.webhook.as_ref() == Some(&webhook.id)
        || kept.replaced.contains(&webhook.id)
        || leads_to.is_some_and(|to| Some(to) == url || Some(to) == kept.url.as_deref())
}

/// Tells the user to deploy the token's hash, without which the doorbell refuses the ring.
fn to_deploy(kept: &WebhookSecret, doorbell: Option<&Doorbell>) -> Report {
    let (name, hash) = (&kept.incoming, kept.hash());
    let where_to = if doorbell.is_some() {
        "the doorbell's parameter Connections"
    } else {
        "Connections of infra/doorbell.yaml (functions/doorbell/README.md)"
    };
    let text = format!(
        "`{name}` has a token, which the doorbell does not know yet. Put its hash into {where_to}, deploy, and give the same command again:\n\n  \"{name}\": \"{hash}\"\n"
    );
    Report::new(json!({"done": false, "incoming": name, "hash": hash}), text)
}

fn told(kept: &WebhookSecret, webhook: &Webhook, is_new: bool) -> Value {
    json!({
        "done": true, "incoming": kept.incoming, "client": kept.client, "collection": kept.collection,
        "id": webhook.id, "validUntil": webhook.valid_until, "isNew": is_new,
    })
}

fn no_doorbell(stack: &Stack) -> Error {
    Error::Other(format!(
        "stack `{}` has no doorbell; functions/doorbell/README.md says how to add it",
        stack.name
    ))
}

/// Only some collections have webhooks (`reference/webhooks`).
fn check_collection(entity: &str) -> Result<(), Error> {
    let with_webhooks = || catalogue().entities().iter().filter(|known| known.webhooks);
    if with_webhooks().any(|known| known.name == entity) {
        return Ok(());
    }
    let names: Vec<&str> = with_webhooks().map(|known| known.name).collect();
    Err(Error::Connection(format!(
        "entity `{entity}`: Protime documents no webhooks for it, but for {}",
        names.join(", ")
    )))
}
