//! The HTTP side: connections that can be broken on purpose, requests exactly as they were sent.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderName, USER_AGENT};
use hyper_util::rt::{TokioIo, TokioTimer};
use protime::catalogue::Method;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::answer::Answer;
use crate::fault::{self, Action};
use crate::route::{self, Call, Route};
use crate::state::{LoggedRequest, State};
use crate::{auth, control};

/// Longer request targets are refused (`reference/responses`).
const LONGEST_TARGET: usize = 4_096;

pub(crate) type SharedState = Arc<Mutex<State>>;

pub(crate) fn lock(state: &SharedState) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until dropped.
pub(crate) async fn serve(listener: TcpListener, state: SharedState) {
    let router = control::routes().fallback(api).with_state(state);
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(serve_connection(connection, router.clone()));
    }
}

async fn serve_connection(connection: TcpStream, router: Router) {
    // Without it, answers of several slices wait for acknowledgements.
    let _ = connection.set_nodelay(true);
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let router = router.clone();
            async move {
                let response = router
                    .oneshot(request)
                    .await
                    .unwrap_or_else(|never: Infallible| match never {});
                // An error instead of a response makes hyper close the connection.
                match response.extensions().get::<Dropped>() {
                    Some(Dropped) => Err(io::Error::other("dropped by a fault")),
                    None => Ok(response),
                }
            }
        });
    let mut server = hyper::server::conn::http1::Builder::new();
    // The client that went away is its own business.
    let _ = server
        .timer(TokioTimer::new())
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(connection), service)
        .await;
}

#[derive(Clone)]
struct Dropped;

/// Every request that is not for the control plane: tokens and the API.
async fn api(Shared(state): Shared<SharedState>, request: Request) -> Response {
    let target = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let method = request.method().as_str().to_owned();
    let authorization = header(&request, AUTHORIZATION);
    let user_agent = header(&request, USER_AGENT).unwrap_or_default();
    let accepts_gzip =
        header(&request, ACCEPT_ENCODING).is_some_and(|encodings| encodings.contains("gzip"));
    let body = to_bytes(request.into_body(), usize::MAX)
        .await
        .unwrap_or_default();

    let (fault, latency, gzip) = {
        let mut state = lock(&state);
        let fault = fault::due(&mut state.faults, &method, &target, &body);
        (
            fault,
            state.settings.latency_ms,
            state.settings.gzip && accepts_gzip,
        )
    };
    let is_token_request = target.ends_with("/connect/token");
    let delay = match fault {
        Some(Action::Delay { ms }) => ms,
        _ if is_token_request => 0,
        _ => latency,
    };
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }

    let request = Received {
        method,
        target,
        authorization,
        user_agent,
        body,
    };
    match handle(&mut lock(&state), request, fault.as_ref()) {
        None => {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(Dropped);
            response
        }
        Some(answer) => response(answer, gzip, matches!(fault, Some(Action::Truncate))),
    }
}

struct Received {
    method: String,
    target: String,
    authorization: Option<String>,
    user_agent: String,
    body: Bytes,
}

/// The answer, unless the connection is to break, and the entry in the log.
fn handle(state: &mut State, request: Received, fault: Option<&Action>) -> Option<Answer> {
    let Received {
        method,
        target,
        authorization,
        user_agent,
        body,
    } = request;
    let answer = match fault {
        Some(Action::DropBefore) => None,
        Some(Action::Answer {
            status,
            headers,
            body,
        }) => Some(Answer {
            status: *status,
            headers: headers.clone(),
            body: vec![body.clone().into()],
        }),
        _ => Some(answer(
            state,
            &method,
            &target,
            authorization.as_deref(),
            &user_agent,
            &body,
        )),
    };
    let answer = answer.filter(|_| !matches!(fault, Some(Action::DropAfter)));
    let is_token_request = target.ends_with("/connect/token");
    state.remember(LoggedRequest {
        method,
        target,
        user_agent,
        authorized: authorization.is_some(),
        body: if is_token_request {
            String::new()
        } else {
            String::from_utf8_lossy(&body).into_owned()
        },
        status: answer.as_ref().map_or(0, |answer| answer.status),
    });
    answer
}

fn header(request: &Request, name: HeaderName) -> Option<String> {
    request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

fn answer(
    state: &mut State,
    method: &str,
    target: &str,
    authorization: Option<&str>,
    user_agent: &str,
    body: &Bytes,
) -> Answer {
    if target.len() > LONGEST_TARGET {
        return Answer::empty(414);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path.starts_with("/tenants/") && path.ends_with("/connect/token") {
        return auth::token(state, body);
    }
    let Some(below) = path.strip_prefix(protime::API_PATH) else {
        return Answer::error(404, "NotFound", "No such resource.");
    };
    let client_id = match auth::authenticate(state, authorization, user_agent) {
        Ok(client_id) => client_id,
        Err(answer) => return answer,
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        _ => return Answer::error(405, "MethodNotAllowed", "The method is not supported."),
    };
    let route = route::route(method, below);
    if let Route::Operation(_, operation, _) | Route::Delta(_, operation) = &route
        && let Err(answer) = auth::authorise(state, authorization, operation)
    {
        return answer;
    }
    let query = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let call = Call {
        path: path.to_owned(),
        query,
        body: body.to_vec(),
        client_id,
        parameters: Vec::new(),
    };
    route::perform(state, route, call)
}

fn response(answer: Answer, gzip: bool, truncate: bool) -> Response {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        builder = builder.header(name, value);
    }
    let mut slices = answer.body;
    if gzip && !slices.is_empty() {
        slices = vec![compressed(&slices)];
        builder = builder.header("content-encoding", "gzip");
    }
    let length: usize = slices.iter().map(Bytes::len).sum();
    builder = builder.header("content-length", length);
    let body = if truncate {
        let all = slices.concat();
        let half = Bytes::from(all[..length / 2].to_vec());
        Body::from_stream(stream::iter([
            Ok(half),
            Err(io::Error::other("cut off by a fault")),
        ]))
    } else {
        Body::from_stream(Slices(slices.into_iter()))
    };
    // Only a header that a fault names wrongly can fail here.
    builder
        .body(body)
        .unwrap_or_else(|error| Response::new(Body::from(format!("simulator: {error}"))))
}

fn compressed(slices: &[Bytes]) -> Bytes {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for slice in slices {
        // Writing to memory cannot fail.
        let _ = encoder.write_all(slice);
    }
    encoder.finish().unwrap_or_default().into()
}

/// A body of slices that are ready.
struct Slices(std::vec::IntoIter<Bytes>);

impl stream::Stream for Slices {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}
