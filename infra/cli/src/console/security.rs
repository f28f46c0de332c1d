//! Decides which requests are let in. These rules hold for every request, also for files and for unknown pages:
//!
//! - `Host` is the address that is bound, so that no other name can be used (DNS rebinding).
//! - The methods are GET, HEAD and POST. Only POST changes something or sends a request to Protime.
//! - The printed URL has a token, which works once and becomes a cookie (`HttpOnly`, `SameSite=Strict`). All other
//!   requests need the cookie.
//! - Cookies do not depend on the port: a browser would send ours to every server on 127.0.0.1. So the cookie is valid
//!   only for a path that cannot be guessed. All pages are below this path.
//! - A request that another site or port caused (`Sec-Fetch-Site`) is refused.
//! - A POST has our `Origin` and is a form of at most [`LARGEST_BODY`]. It has the token of the forms on our own pages.
//!
//! Browsers must not store answers, frame them or guess their type. `console.js` is the only script that they may run.
//! The policy for `Referer` is `same-origin`: with `no-referrer`, browsers would send `null` as the `Origin` of our own
//! forms.

mod refusal;
mod request;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use self::refusal::Refusal;
pub(super) use self::request::Fields;
use super::Console;
use crate::error::Error;

/// The limit for a form, in bytes. The longest forms contain a program and its input.
const LARGEST_BODY: usize = 262_144;
const COOKIE: &str = "protimectl";
/// The form field with the token that shows that a form is ours.
const FORM: &str = "form";
/// The header with which the script refreshes a page. Such a request does not show that a person is there.
const REFRESH: &str = "x-refresh";

/// The secrets and addresses that a request is checked against.
pub(super) struct RequestGuard {
    /// The required `Host` header.
    authority: String,
    /// The prefix of all pages' paths.
    base: String,
    token: String,
    is_token_used: AtomicBool,
    cookie: String,
    form: String,
}

impl RequestGuard {
    pub(super) fn new(port: u16) -> Result<Self, Error> {
        // Browsers omit the default port of the scheme.
        let authority = match port {
            80 => "127.0.0.1".to_owned(),
            port => format!("127.0.0.1:{port}"),
        };
        Ok(Self {
            authority,
            base: format!("/{}", secret::<16>()?),
            token: secret::<32>()?,
            is_token_used: AtomicBool::new(false),
            cookie: secret::<32>()?,
            form: secret::<32>()?,
        })
    }

    /// The URL that is printed, with the token.
    pub(super) fn url(&self) -> String {
        format!("http://{}/?token={}", self.authority, self.token)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The token that our forms carry in [`FORM`].
    pub(super) fn form(&self) -> &str {
        &self.form
    }

    /// Checks everything except the body. Returns whether the request presents the token, to be let in.
    fn check(&self, parts: &Parts) -> Result<bool, Refusal> {
        self.check_host(parts)?;
        if ![Method::GET, Method::HEAD, Method::POST].contains(&parts.method) {
            return Err(Refusal::Method);
        }
        if parts.uri.path() == "/" && parts.method == Method::GET {
            return Ok(true);
        }
        let site = request::only(&parts.headers, "sec-fetch-site");
        if !matches!(site, Ok(None | Some("same-origin" | "none"))) {
            return Err(Refusal::Site);
        }
        if !request::cookies(&parts.headers, COOKIE).any(|cookie| equal(cookie, &self.cookie)) {
            return Err(Refusal::Cookie);
        }
        if parts.method == Method::POST {
            self.check_post(&parts.headers)?;
        }
        Ok(false)
    }

    fn check_host(&self, parts: &Parts) -> Result<(), Refusal> {
        let host = request::only(&parts.headers, "host");
        let is_named = host == Ok(Some(self.authority.as_str()));
        let mut target = parts.uri.authority().into_iter();
        if is_named && target.all(|authority| authority.as_str() == self.authority) {
            Ok(())
        } else {
            Err(Refusal::Host)
        }
    }

    fn check_post(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let origin = format!("http://{}", self.authority);
        if request::only(headers, "origin") != Ok(Some(origin.as_str())) {
            return Err(Refusal::Origin);
        }
        if request::only(headers, "content-type") != Ok(Some("application/x-www-form-urlencoded")) {
            return Err(Refusal::Content);
        }
        Ok(())
    }

    /// Exchanges the token for the cookie, once.
    fn open(&self, parts: &Parts) -> Result<Response, Refusal> {
        let fields = Fields::of(parts.uri.query().unwrap_or_default().as_bytes());
        let is_known = fields
            .get("token")
            .is_some_and(|token| equal(token, &self.token));
        if !is_known || self.is_token_used.swap(true, Ordering::SeqCst) {
            return Err(Refusal::Token);
        }
        let Self { base, cookie, .. } = self;
        let cookie = format!("{COOKIE}={cookie}; Path={base}; HttpOnly; SameSite=Strict");
        // A redirection would belong to the navigation that led here. If that came from another site, the browser would
        // withhold the cookie. So this page makes the next request itself.
        let page = format!(
            "<!doctype html><html lang=\"en\"><title>protimectl</title>\
             <meta http-equiv=\"refresh\" content=\"0; url={base}/\"><p><a href=\"{base}/\">Go on to the console</a></p></html>"
        );
        let headers = [
            (SET_COOKIE, cookie),
            (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        ];
        Ok((headers, page).into_response())
    }

    /// The fields of a form, after checking that it comes from our own pages.
    async fn posted(&self, body: Body) -> Result<Fields, Refusal> {
        let body = to_bytes(body, LARGEST_BODY).await;
        let fields = Fields::of(&body.map_err(|_| Refusal::TooLarge)?);
        let is_ours = fields.get(FORM).is_some_and(|form| equal(form, &self.form));
        if is_ours {
            Ok(fields)
        } else {
            Err(Refusal::Form)
        }
    }
}

/// Middleware that checks requests before every page.
pub(super) async fn guard(
    State(console): State<Arc<Console>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match admitted(&console, request).await {
        Ok(Admitted::Opened(response)) => response,
        Ok(Admitted::Request(request)) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in headers() {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// The headers of every answer.
fn headers() -> [(HeaderName, &'static str); 6] {
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                  form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let same_origin = "same-origin";
    [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, same_origin),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            same_origin,
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            same_origin,
        ),
    ]
}

enum Admitted {
    Opened(Response),
    Request(Request),
}

async fn admitted(console: &Console, request: Request) -> Result<Admitted, Refusal> {
    let (mut parts, body) = request.into_parts();
    if console.guard.check(&parts)? {
        let opened = console.guard.open(&parts)?;
        console.activity.seen();
        return Ok(Admitted::Opened(opened));
    }
    let fields = if parts.method == Method::POST {
        console.guard.posted(body).await?
    } else {
        Fields::of(parts.uri.query().unwrap_or_default().as_bytes())
    };
    if !parts.headers.contains_key(REFRESH) {
        console.activity.seen();
    }
    parts.extensions.insert(fields);
    Ok(Admitted::Request(Request::from_parts(parts, Body::empty())))
}

/// `N` random bytes in hexadecimal digits.
pub(super) fn secret<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0_u8; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Other("the system gives no random numbers".to_owned()))?;
    let mut digits = String::new();
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

/// Compares in constant time, so that the duration does not show how much was right.
fn equal(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}
