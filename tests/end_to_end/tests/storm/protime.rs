//! Protime: the simulator, with a log of the requests that each invocation sent.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use hyper::Response;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

/// The client secret of an environment ends with this and the environment's number. So the environment's tokens, and
/// its requests, can be recognised.
const OF_ENVIRONMENT: &str = "-of-";

/// A request that Protime got.
pub(crate) struct ReceivedRequest {
    pub(crate) invocation: u32,
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) body: Bytes,
    pub(crate) arrived: Instant,
    /// When the request took effect, or the simulator refused it. `None` if it never reached the simulator.
    pub(crate) done: Option<Instant>,
    /// The status that the sender got. `None` if it got no answer.
    pub(crate) status: Option<StatusCode>,
}

pub(crate) struct Protime {
    /// The simulator's own origin.
    origin: String,
    secret: String,
    /// The origin that the functions use, which has the weather.
    pub(crate) door: OnceCell<String>,
    http: reqwest::Client,
    /// The requests of the functions, except those for tokens.
    pub(crate) received: RefCell<Vec<ReceivedRequest>>,
    /// The environment to which each access token was given.
    tokens: RefCell<BTreeMap<String, usize>>,
    /// The current invocation of each environment, and the channel for its interruptions.
    running: RefCell<BTreeMap<usize, (u32, UnboundedSender<Interruption>)>>,
}

/// What an invocation must do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interruption {
    Kill,
    Freeze(Duration),
}

impl Protime {
    pub(crate) fn new(origin: String, secret: String) -> Self {
        Self {
            origin,
            secret,
            door: OnceCell::new(),
            http: crate::wire::client(),
            received: RefCell::default(),
            tokens: RefCell::default(),
            running: RefCell::default(),
        }
    }

    /// Remembers that an environment begins an invocation, and the channel for its interruptions.
    pub(crate) fn begins(
        &self,
        environment: usize,
        invocation: u32,
        interruptions: UnboundedSender<Interruption>,
    ) {
        let mut running = self.running.borrow_mut();
        running.insert(environment, (invocation, interruptions));
    }

    /// Makes the invocation that sent a request stand still. `place` is the request's place in the log.
    pub(crate) fn freeze(&self, place: usize, long: Duration) {
        let invocation = self.received.borrow()[place].invocation;
        let running = self.running.borrow();
        let own = running.values().find(|(number, _)| *number == invocation);
        if let Some((_, interruptions)) = own {
            // An invocation that has ended takes no interruptions.
            let _ = interruptions.send(Interruption::Freeze(long));
        }
    }

    pub(crate) fn secret_of(&self, environment: usize) -> String {
        let door = self.door.get().expect("a door");
        let secret = self.secret.replace(&self.origin, door);
        let mut secret: Value = serde_json::from_str(&secret).expect("JSON");
        let own = secret["client_secret"].as_str().expect("a client secret");
        secret["client_secret"] = format!("{own}{OF_ENVIRONMENT}{environment}").into();
        secret.to_string()
    }

    /// Logs a request. Returns its place in the log, or `None` if it asks for a token.
    pub(crate) fn arrived(&self, parts: &Parts, body: &Bytes) -> Option<usize> {
        let token = bearer(&parts.headers)?;
        let environment = *self.tokens.borrow().get(token)?;
        let invocation = self.running.borrow().get(&environment)?.0;
        let mut received = self.received.borrow_mut();
        received.push(ReceivedRequest {
            invocation,
            method: parts.method.clone(),
            target: target(parts),
            body: body.clone(),
            arrived: Instant::now(),
            done: None,
            status: None,
        });
        Some(received.len() - 1)
    }

    pub(crate) fn done(&self, place: usize) {
        self.received.borrow_mut()[place].done = Some(Instant::now());
    }

    pub(crate) fn answered(&self, place: usize, status: StatusCode) {
        self.received.borrow_mut()[place].status = Some(status);
    }

    pub(crate) async fn forward(&self, parts: &Parts, body: Bytes) -> Response<Body> {
        let mut environment = None;
        let mut body = body;
        if bearer(&parts.headers).is_none() {
            let form = String::from_utf8_lossy(&body).into_owned();
            let (before, after) = form.split_once(OF_ENVIRONMENT).expect("an environment's");
            let number = after.split('&').next().unwrap_or_default();
            environment = number.parse::<usize>().ok();
            body = format!("{before}{}", &after[number.len()..]).into();
        }
        let url = format!("{}{}", self.origin, target(parts));
        let mut request = self.http.request(parts.method.clone(), url).body(body);
        for name in ["authorization", "content-type", "user-agent", "accept"] {
            if let Some(value) = parts.headers.get(name) {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.expect("the simulator answers");
        let mut response = Response::builder().status(answer.status());
        for name in ["content-type", "location", "retry-after"] {
            if let Some(value) = answer.headers().get(name) {
                response = response.header(name, value);
            }
        }
        let body = answer.bytes().await.expect("a body");
        if let Some(environment) = environment {
            let token: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(token) = token["access_token"].as_str() {
                let mut tokens = self.tokens.borrow_mut();
                tokens.insert(token.to_owned(), environment);
            }
        }
        response.body(Body::from(body)).expect("a response")
    }
}

fn target(parts: &Parts) -> String {
    let target = parts.uri.path_and_query();
    target.map_or("", |target| target.as_str()).to_owned()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("authorization")?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}
