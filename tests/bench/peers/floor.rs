//! What moving the bytes takes: the pages are downloaded and as many bytes sent as the subscriber sends, without any
//! work on the JSON, signing or state. With `HASH`, also the hash that nobody can do without: SHA-256 of what is sent,
//! which SQS demands in the signature.

use anyhow::Context;
use sha2::{Digest, Sha256};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let first = variable("FIRST_PAGE")?;
    let (origin, _) = first
        .split_at_checked(first.find("/connector/").unwrap_or_default())
        .context("FIRST_PAGE")?;
    let token = variable("ACCESS_TOKEN")?;
    let sink = variable("SINK")?;
    let pages_per_call: usize = variable("PAGES_PER_CALL")?.parse()?;
    let bytes_per_call: usize = variable("BYTES_PER_CALL")?.parse()?;
    let hash = std::env::var_os("HASH").is_some();

    let http = protime::http_client()?.at(jiff::Timestamp::now());
    let mut next = Some(first.clone());
    let mut waiting = Vec::with_capacity(bytes_per_call);
    let mut pages = 0;
    while let Some(url) = next {
        let request = http
            .get(&url)
            .bearer_auth(&token)
            .header("user-agent", "Bench/1.0 (Bench)");
        let mut response = request.send().await?.error_for_status()?;
        let start = waiting.len();
        while let Some(chunk) = response.chunk().await? {
            waiting.extend_from_slice(&chunk);
        }
        // Links are not percent-encoded: the plus signs of the token would arrive as spaces.
        next = next_link(&waiting[start..])
            .map(|link| format!("{origin}{}", link.replace('+', "%2B")));
        pages += 1;
        if pages % pages_per_call == 0 || next.is_none() {
            // The subscriber's calls are larger than the pages in them.
            waiting.resize(bytes_per_call, b' ');
            let body = std::mem::replace(&mut waiting, Vec::with_capacity(bytes_per_call));
            if hash {
                std::hint::black_box(Sha256::digest(&body));
            }
            http.post(&sink)
                .body(body)
                .send()
                .await?
                .error_for_status()?;
        }
    }
    Ok(())
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}"))
}

/// The link at the end of a page.
fn next_link(page: &[u8]) -> Option<&str> {
    let key = br#""nextLink":""#;
    let tail = &page[page.len().saturating_sub(4096)..];
    let start = tail.windows(key.len()).rposition(|bytes| bytes == key)? + key.len();
    let end = start + tail[start..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&tail[start..end]).ok()
}
