//! Reads as they are: nothing is checked, repeated or parsed. For probes, which ask what nobody documents.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use tokio::time::Instant;

use super::Client;
use crate::catalogue::Method;
use crate::error::Error;
use crate::link;

/// What one raw read sends, besides the token.
#[derive(Debug, Clone)]
pub struct RawRead<'a> {
    /// Path and query from [`crate::API_PATH`] on, encoded; or a `nextLink` as it came. It leads to the tenant's origin, or
    /// nothing is sent.
    pub target: &'a str,
    /// The target whose answer had the link, so that its parameters keep the spelling that they have there.
    pub asked: Option<&'a str>,
    /// All headers but `Authorization`.
    pub headers: HeaderMap,
}

/// Any answer, whatever its status.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// What its `Retry-After` says.
    pub retry_after: Option<Duration>,
    /// The body, of the size that [`Client::with_largest_answer`] allows.
    pub body: Bytes,
}

impl Client {
    /// Sends one GET, once, and returns whatever comes back.
    pub async fn raw_read(&self, read: RawRead<'_>, deadline: Instant) -> Result<RawAnswer, Error> {
        let asked = read
            .asked
            .map(|asked| link::resolve(&self.base_uri, asked, None))
            .transpose()?;
        let url = link::resolve(&self.base_uri, read.target, asked.as_ref())?;
        let session = self.authorize(None, deadline).await?;
        let mut request = reqwest::Request::new(Method::Get.into(), url);
        *request.headers_mut() = read.headers;
        let authorization = session.token.authorization.clone();
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let answer = self
            .deliver(&session, Method::Get, request, deadline)
            .await?;
        Ok(RawAnswer {
            status: answer.status,
            headers: answer.headers,
            retry_after: answer.retry_after,
            body: answer.body,
        })
    }

    /// How long the token endpoint lets a token live; none where it does not say.
    pub async fn token_life(&self, deadline: Instant) -> Result<Option<Duration>, Error> {
        let session = self.authorize(None, deadline).await?;
        Ok(session.token.life)
    }
}
