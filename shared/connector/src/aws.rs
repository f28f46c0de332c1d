//! The functions' access to AWS, and the meaning of its SDK's errors.

pub mod credentials;
pub mod http;
pub mod queue;

use std::error::Error;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Whether the same call may succeed later. False only if AWS blames the request, or it could not be built.
pub fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error {
        SdkError::ServiceError(error) => {
            let throttled = error
                .err()
                .code()
                .is_some_and(|code| code.contains("Throttl"));
            throttled || error.raw().status().as_u16() >= 500
        }
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    }
}

/// The service's error code and message. Without them, the whole chain of causes, which the SDK's own text omits. Never
/// the answer, which may hold a secret.
pub fn describe<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> String {
    match error {
        SdkError::ServiceError(error) => {
            let error = error.err();
            format!(
                "{}: {}",
                error.code().unwrap_or("no code"),
                error.message().unwrap_or("no message")
            )
        }
        other => {
            let mut causes = vec![other.to_string()];
            let mut source = other.source();
            while let Some(cause) = source {
                causes.push(cause.to_string());
                source = cause.source();
            }
            causes.join(": ")
        }
    }
}
