//! Runs the AWS SDK over the HTTP client that also calls Protime. So only one TLS stack is linked, started and trusted.

use std::time::Duration;

use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::{BehaviorVersion, HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use aws_smithy_types::timeout::TimeoutConfig;
use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use jiff::Timestamp;
use protime::HttpPool;

/// The time limit of one attempt. Sending 1 MiB to SQS takes less.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The configuration of all SDK clients.
///
/// Region and credentials come from the environment, where Lambda puts them. Looking elsewhere takes nearly as long as
/// the rest of a cold start. A call that hangs is cut off and repeated. The HTTP client's own time limit is meant for
/// Protime: it is as long as an invocation of the publisher.
pub fn config(http: HttpPool) -> aws_config::ConfigLoader {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new());
    over(loader, http)
}

/// Configures SDK clients to use our HTTP client. The loader decides where region and credentials come from.
pub fn over(loader: aws_config::ConfigLoader, http: HttpPool) -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT);
    loader
        .timeout_config(timeouts.build())
        // The time limit of an attempt also ends a stalled one.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(Http(http))
}

#[derive(Debug, Clone)]
struct Http(HttpPool);

impl HttpClient for Http {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let http = self.0.at(Timestamp::now());
        HttpConnectorFuture::new(async move {
            let mut request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?
                .map(reqwest::Body::wrap);
            // The SDK checks sizes and checksums of the response as sent, so it must not be compressed.
            request
                .headers_mut()
                .entry(ACCEPT_ENCODING)
                .or_insert(HeaderValue::from_static("identity"));
            let request = reqwest::Request::try_from(request)
                .map_err(|error| ConnectorError::user(error.into()))?;
            let response = http.execute(request).await.map_err(failed)?;
            let response: http::Response<reqwest::Body> = response.into();
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Sorts an error for the SDK, which retries transient ones.
fn failed(error: reqwest::Error) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else if error.is_connect() {
        ConnectorError::io(error.into())
    } else {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    }
}
