//! The answer to a refused request. It tells nothing about the stack or about what would have been right.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// The reason why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Host,
    Method,
    Site,
    Token,
    Cookie,
    Origin,
    Content,
    TooLarge,
    Form,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "The console does not answer to this host name.\n",
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "The console does not accept this method.\n",
            ),
            Self::Site => (
                StatusCode::FORBIDDEN,
                "The request came from another site.\n",
            ),
            Self::Token => (
                StatusCode::FORBIDDEN,
                "The address that protimectl prints works once. For another, end the console and start it again.\n",
            ),
            Self::Cookie => (
                StatusCode::FORBIDDEN,
                "Open the address that protimectl has printed, in a browser that keeps cookies.\n",
            ),
            Self::Origin | Self::Form => (
                StatusCode::FORBIDDEN,
                "Only the console's own pages send forms here.\n",
            ),
            Self::Content => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is not a form.\n",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The form is too large.\n"),
        };
        (status, message).into_response()
    }
}
