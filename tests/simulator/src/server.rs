//! The HTTP server. It can break connections on purpose, and sees requests exactly as they were sent.

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
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::answer::Answer;
use crate::documentation::{Method, documentation};
use crate::fault::{self, Action};
use crate::route::{self, Call, Route};
use crate::settings::Spaces;
use crate::state::{LoggedRequest, State};
use crate::{auth, control};

pub(crate) type SharedState = Arc<Mutex<State>>;

pub(crate) fn lock(state: &SharedState) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections until the future is dropped.
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
    // Otherwise, answers of several slices would wait for acknowledgements.
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
    // A client may close its connection at any time.
    let _ = server
        .timer(TokioTimer::new())
        .max_buf_size(1 << 20)
        .serve_connection(TokioIo::new(connection), service)
        .await;
}

#[derive(Clone)]
struct Dropped;

/// Handles every request outside the control plane: tokens and the API.
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
    let is_json =
        header(&request, CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
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
        is_json,
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
    is_json: bool,
    body: Bytes,
}

/// Makes the answer and logs the request. `None` if the connection is to break.
fn handle(state: &mut State, request: Received, fault: Option<&Action>) -> Option<Answer> {
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
        _ => Some(answer(state, &request)),
    };
    let answer = answer.filter(|_| !matches!(fault, Some(Action::DropAfter)));
    let is_token_request = request.target.ends_with("/connect/token");
    state.remember(LoggedRequest {
        method: request.method,
        target: request.target,
        user_agent: request.user_agent,
        authorized: request.authorization.is_some(),
        body: if is_token_request {
            String::new()
        } else {
            String::from_utf8_lossy(&request.body).into_owned()
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

fn answer(state: &mut State, request: &Received) -> Answer {
    if request.target.len() > documentation().uri_limit() {
        return Answer::empty(414);
    }
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    if request.method == "POST" && auth::is_token_endpoint(path) {
        return auth::token(state, &request.body);
    }
    let Some(below) = path.strip_prefix(documentation().base_path.as_str()) else {
        return Answer::error(404, "NotFound", "No such resource.");
    };
    let authorization = request.authorization.as_deref();
    let token = match auth::authenticate(state, authorization, &request.user_agent) {
        Ok(token) => token,
        Err(answer) => return answer,
    };
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        _ => return Answer::error(405, "MethodNotAllowed", "The method is not supported."),
    };
    let route = route::route(method, below);
    if let Route::Operation(entity, operation, _) | Route::Delta(entity, operation) = &route
        && let Err(answer) = auth::authorise(state, &token, entity, operation)
    {
        return answer;
    }
    let query = match decoded(query, state.settings.spaces) {
        Ok(query) => query,
        Err(answer) => return answer,
    };
    let call = Call {
        path: path.to_owned(),
        query,
        body: request.body.to_vec(),
        is_json: request.is_json,
        is_upsert: false,
        client_id: token.client_id.clone(),
        parameters: Vec::new(),
    };
    route::perform(state, route, call)
}

/// The parameters of a query. `Settings::spaces` decides how spaces are written.
fn decoded(query: &str, spaces: Spaces) -> Result<Vec<(String, String)>, Answer> {
    let parse = |query: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    };
    match spaces {
        Spaces::Percent20 => Ok(parse(&query.replace('+', "%2B"))),
        Spaces::Plus if query.contains("%20") => {
            let reason = "a space in the query is written as %20".to_owned();
            Err(Answer::refused(&[reason]))
        }
        Spaces::Plus | Spaces::Both => Ok(parse(query)),
    }
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
    // This fails only if a fault names an invalid header.
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

/// A body of slices that are ready to be sent.
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
