//! Reads for probes, which find out what the documentation leaves open. Nothing is checked, repeated or parsed.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use tokio::time::Instant;

use super::Client;
use crate::catalogue::Method;
use crate::error::Error;
use crate::link;

/// One raw read. The client adds only the token.
#[derive(Debug, Clone)]
pub struct RawRead<'a> {
    /// Path and query from [`crate::API_PATH`] on, encoded, or a `nextLink` as it came. A target outside the tenant's
    /// origin is refused, and nothing is sent.
    pub target: &'a str,
    /// The target whose answer had the link. Parameters keep the spelling that they have there.
    pub asked: Option<&'a str>,
    /// All headers except `Authorization`.
    pub headers: HeaderMap,
}

/// The answer to a raw read, whatever its status.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// The HTTP status of the answer.
    pub status: u16,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// The wait that its `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The body. Its size is limited by [`Client::with_largest_answer`].
    pub body: Bytes,
}

impl Client {
    /// Sends one GET, once, and returns the answer whatever it is.
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

    /// The life of a token, as the token endpoint states it. `None` if it does not say.
    pub async fn token_life(&self, deadline: Instant) -> Result<Option<Duration>, Error> {
        let session = self.authorize(None, deadline).await?;
        Ok(session.token.life)
    }
}
