//! A stub of the AWS services that the functions use. Its SQS checks messages and answers with correct MD5s. It has one
//! secret, and a state table on which every condition holds.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// The SQS limit for a message and for a batch, in bytes.
const LIMIT: usize = 1_048_576;

/// Counts of what the stub has received since the last [`Aws::take`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    /// Calls of `SendMessageBatch`, and the bytes that they sent.
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
    /// Requests as SQS bills them: one for each begun 64 KiB.
    pub(crate) billed: u64,
    /// Page messages and the records in them.
    pub(crate) messages: u64,
    pub(crate) records: u64,
    /// Identifies the pages that came, in any order: the sum of the hashes of the messages' ids. The ids' own hashes
    /// are left out, since the Python function writes some numbers differently from Protime.
    pub(crate) pages: u64,
    /// Writes to the state table.
    pub(crate) state_writes: u64,
    /// The arrival of the first page.
    pub(crate) first_page: Option<SystemTime>,
    /// The first request that was refused, and why.
    pub(crate) refused: Option<String>,
}

/// Sends answers at once, even short ones.
pub(crate) fn no_delay(connection: &mut TcpStream) {
    // If this fails, answers are only later.
    let _ = connection.set_nodelay(true);
}

/// A running stub of AWS.
#[derive(Clone)]
pub(crate) struct Aws {
    /// The value of `AWS_ENDPOINT_URL` for the measured processes.
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    secret: String,
    received: Mutex<Received>,
}

impl Aws {
    /// Starts listening. The secret is the same under every name.
    pub(crate) async fn start(secret: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let listener = listener.tap_io(no_delay);
        let shared = Arc::new(Shared {
            secret,
            received: Mutex::default(),
        });
        let router = Router::new()
            .route("/floor", post(floor))
            .fallback(post(call))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { endpoint, shared })
    }

    /// Returns the counts and resets them. Fails if a request was refused.
    pub(crate) fn take(&self) -> anyhow::Result<Received> {
        let received = std::mem::take(&mut *lock(&self.shared));
        match &received.refused {
            Some(reason) => anyhow::bail!("the AWS stub refused a request: {reason}"),
            None => Ok(received),
        }
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Received> {
    shared
        .received
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Receives the bytes of the floor program, which sends plain bytes instead of messages.
async fn floor(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let mut received = lock(&shared);
    received.calls += 1;
    received.bytes += body.len() as u64;
    StatusCode::OK
}

async fn call(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    match answer(&shared, &headers, &body) {
        Ok(answer) => (
            [("content-type", "application/x-amz-json-1.0")],
            answer.to_string(),
        )
            .into_response(),
        Err(error) => {
            let reason = format!("{error:#}");
            lock(&shared).refused.get_or_insert(reason.clone());
            let error = json!({"__type": "com.amazonaws.sqs#InvalidRequest", "message": reason});
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
    }
}

fn answer(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> anyhow::Result<Value> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    ensure!(
        header("authorization")
            .is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 Credential=")),
        "authorization: not signed"
    );
    let target = header("x-amz-target").context("x-amz-target: missing")?;
    match target
        .rsplit_once('.')
        .map_or(target, |(_, operation)| operation)
    {
        "SendMessageBatch" => send_batch(shared, body),
        "GetSecretValue" => Ok(json!({"Name": "bench", "SecretString": shared.secret})),
        "GetItem" => Ok(json!({})),
        "UpdateItem" => {
            lock(shared).state_writes += 1;
            Ok(json!({}))
        }
        other => anyhow::bail!("{other}: not known to the stub"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendBatch {
    queue_url: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    message_body: String,
    #[serde(default)]
    message_attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: String,
    string_value: String,
}

/// The parts of a page message that are counted.
#[derive(Deserialize)]
struct PageMessage<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    value: Vec<&'a RawValue>,
}

fn send_batch(shared: &Shared, body: &[u8]) -> anyhow::Result<Value> {
    let batch: SendBatch = serde_json::from_slice(body).context("the request")?;
    ensure!(batch.queue_url.starts_with("http"), "QueueUrl: no URL");
    ensure!(
        (1..=10).contains(&batch.entries.len()),
        "Entries: 1 to 10 are allowed"
    );
    let ids: HashSet<&str> = batch
        .entries
        .iter()
        .map(|entry| entry.id.as_str())
        .collect();
    ensure!(ids.len() == batch.entries.len(), "Entries: ids repeat");
    let (mut size, mut pages, mut records, mut page_hashes) = (0, 0, 0, 0_u64);
    let mut successful = Vec::new();
    for entry in &batch.entries {
        size += entry.message_body.len();
        for (name, attribute) in &entry.message_attributes {
            size += name.len() + attribute.data_type.len() + attribute.string_value.len();
        }
        let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..);
        ensure!(
            entry.message_body.chars().all(legal),
            "MessageBody: characters that XML 1.0 lacks"
        );
        let message: PageMessage =
            serde_json::from_str(&entry.message_body).context("MessageBody")?;
        if message.kind == "protime.page.v1" {
            pages += 1;
            records += message.data.value.len() as u64;
            page_hashes = page_hashes.wrapping_add(hash(page_of(message.id)));
        }
        successful.push(json!({
            "Id": entry.id, "MessageId": format!("00000000-0000-0000-0000-{pages:012}"),
            "MD5OfMessageBody": hex(&Md5::digest(entry.message_body.as_bytes())),
            "MD5OfMessageAttributes": attributes_digest(&entry.message_attributes),
        }));
    }
    ensure!(
        size <= LIMIT,
        "the batch has {size} bytes; {LIMIT} are allowed"
    );
    let mut received = lock(shared);
    received.calls += 1;
    received.bytes += body.len() as u64;
    received.billed += size.div_ceil(65_536).max(1) as u64;
    received.messages += pages;
    received.records += records;
    received.pages = received.pages.wrapping_add(page_hashes);
    if pages > 0 {
        received.first_page.get_or_insert_with(SystemTime::now);
    }
    Ok(json!({"Successful": successful, "Failed": []}))
}

/// The MD5 of message attributes, as SQS defines it. Attributes are sorted by name. Name, type and value each follow
/// their length. A 1 before the value marks a string.
fn attributes_digest(attributes: &BTreeMap<String, Attribute>) -> String {
    let mut digest = Md5::new();
    let sized = |digest: &mut Md5, text: &str| {
        digest.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        digest.update(text);
    };
    for (name, attribute) in attributes {
        sized(&mut digest, name);
        sized(&mut digest, &attribute.data_type);
        digest.update([1]);
        sized(&mut digest, &attribute.string_value);
    }
    hex(&digest.finalize())
}

fn page_of(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(page, _)| page)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
