use jiff::Timestamp;
use tokio::time::Instant;

/// What Lambda says about one invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The request id.
    pub request_id: String,
    /// When it started.
    pub now: Timestamp,
    /// When work has to end.
    pub deadline: Instant,
}

impl Invocation {
    /// Reads Lambda's context.
    pub fn from_context(context: &lambda_runtime::Context) -> Self {
        Self {
            request_id: context.request_id.clone(),
            now: Timestamp::now(),
            deadline: connector::invocation::deadline(context.deadline),
        }
    }
}
