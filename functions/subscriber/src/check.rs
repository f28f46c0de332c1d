//! Tries a connection: all that a run needs, one after the other, where a run would need it. Nothing is sent or stored, no
//! delta is started or polled, and no record is returned.

use std::sync::Arc;
use std::time::Duration;

use connector::aws::credentials::CredentialsError;
use connector::aws::queue::Queue;
use connector::contract::connection::{IncomingConnection, Sync};
use connector::store::ConnectionState;
use protime::catalogue::Operation;
use protime::{Client, RefusalKind, Request, RequestError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Error, Invocation, Subscriber, plan};

/// What Protime gets for an answer; a check is to end before whoever asked for it gives up.
const ANSWER: Duration = Duration::from_secs(8);

/// What was found out about a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The connection's name, as far as it is known.
    pub incoming: Option<String>,
    /// One for each part, in the order in which a run needs them.
    pub verdicts: Vec<Verdict>,
}

/// What was found out about one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which.
    pub part: Part,
    /// How it stands.
    pub result: Judgement,
    /// What was seen, or what is wrong and how it is mended.
    pub message: String,
    /// What kind of fault it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// What a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The event, its transformer and its request.
    Connection,
    /// The secret with the HTTP client.
    Secret,
    /// The token endpoint.
    Token,
    /// The scopes that were granted.
    Scopes,
    /// The first page.
    Read,
    /// The queue for pages.
    Queue,
    /// The state table.
    State,
    /// Whose the delta is.
    Delta,
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// As it has to be.
    Passed,
    /// Usable, but look at it.
    Warned,
    /// A run would fail.
    Failed,
    /// Not tried, since an earlier part failed.
    Skipped,
}

/// The kinds of faults, by who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection asks for what cannot be.
    Connection,
    /// The secret is not there, or is not an HTTP client.
    Secret,
    /// A host cannot be reached.
    Unreachable,
    /// Protime rejects client id or client secret.
    ClientRejected,
    /// The client lacks a scope.
    Scope,
    /// Protime refuses the request.
    Refused,
    /// Protime, or a service of AWS, cannot answer now.
    Unavailable,
    /// The function's role lacks a right.
    Role,
    /// Another connection has the delta.
    DeltaOwned,
}

impl Check {
    fn new(incoming: Option<String>) -> Self {
        Self {
            incoming,
            verdicts: Vec::new(),
        }
    }

    /// The first fault.
    pub fn fault(&self) -> Option<Fault> {
        self.verdicts.iter().find_map(|verdict| verdict.fault)
    }

    fn add(&mut self, part: Part, result: Judgement, message: impl Into<String>) {
        let message = message.into();
        self.verdicts.push(Verdict {
            part,
            result,
            message,
            fault: None,
        });
    }

    fn requests(&mut self, connection: &IncomingConnection, requests: &[Request]) {
        let first = requests.first();
        let warnings = first.map_or(&[][..], |request| &request.warnings);
        if warnings.is_empty() {
            let (entity, count) = (&connection.entity, requests.len());
            let seen = format!("`{entity}` is read by {count} requests and their pages");
            self.add(Part::Connection, Judgement::Passed, seen);
        } else {
            self.add(Part::Connection, Judgement::Warned, warnings.join("; "));
        }
    }

    fn failed(&mut self, part: Part, error: &Error) {
        self.verdicts.push(Verdict {
            part,
            result: Judgement::Failed,
            message: error.to_string(),
            fault: Some(error.fault()),
        });
    }

    fn skipped(&mut self, parts: &[Part]) {
        for part in parts {
            let because = "not tried, since what it needs has failed";
            self.add(*part, Judgement::Skipped, because);
        }
    }
}

impl Subscriber {
    /// Tries the connection in `event`.
    pub async fn check(&self, event: &str, invocation: &Invocation) -> Check {
        let now = invocation.clock.now();
        let connection = IncomingConnection::from_event(event, &invocation.request_id, now);
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                let mut check = Check::new(crate::report::Identity::of_event(event).incoming);
                check.failed(Part::Connection, &error.into());
                check.skipped(&[
                    Part::Secret,
                    Part::Token,
                    Part::Scopes,
                    Part::Read,
                    Part::Queue,
                    Part::State,
                ]);
                return check;
            }
        };
        let mut check = Check::new(Some(connection.incoming.clone()));
        // The state is looked at first, since a transformer sees `$last`, and told of last.
        let state = self.state.connection(&connection.incoming).await;
        let known = state.as_ref().ok().and_then(Option::as_ref);
        let known = known.map(|known| known.state.clone()).unwrap_or_default();
        let client = self.check_client(&connection, &known, &mut check).await;
        self.check_queue(&connection, &mut check).await;
        match state {
            Ok(state) => {
                let seen = match state.and_then(|state| state.history.last_completed()) {
                    Some(last) => format!("its last run completed at {last:.0}"),
                    None => "no run has completed yet".to_owned(),
                };
                check.add(Part::State, Judgement::Passed, seen);
            }
            Err(error) => check.failed(Part::State, &error.into()),
        }
        if connection.sync == Sync::Delta {
            match client {
                Some(client) => {
                    self.check_delta(&connection, &client, &mut check, now)
                        .await;
                }
                None => check.skipped(&[Part::Delta]),
            }
        }
        check
    }

    /// From the secret to the first page.
    async fn check_client(
        &self,
        connection: &IncomingConnection,
        state: &ConnectionState,
        check: &mut Check,
    ) -> Option<Arc<Client>> {
        let client = match self.clients.get(&connection.client).await {
            Ok(client) => client,
            Err(error) => {
                let seen =
                    "its fields can be used; the request was not made, since the secret is missing";
                check.add(Part::Connection, Judgement::Passed, seen);
                check.failed(Part::Secret, &error.into());
                check.skipped(&[Part::Token, Part::Scopes, Part::Read]);
                return None;
            }
        };
        let settings = client.settings();
        let seen = format!("client id {} at {}", settings.client_id, settings.base_uri);
        check.add(Part::Secret, Judgement::Passed, seen);
        match plan::reads(connection, state, &settings) {
            Ok(requests) => {
                check.requests(connection, &requests);
                self.check_read(&requests, &client, check).await;
            }
            Err(error) => {
                let is_scope = error.fault() == Fault::Scope;
                let part = if is_scope {
                    Part::Scopes
                } else {
                    Part::Connection
                };
                check.failed(part, &error);
                check.skipped(&[Part::Token, Part::Read]);
            }
        }
        Some(client)
    }

    async fn check_read(&self, requests: &[Request], client: &Client, check: &mut Check) {
        let deadline = Instant::now() + ANSWER;
        let granted = match client.granted(deadline).await {
            Ok(granted) => granted,
            Err(error) => {
                check.failed(Part::Token, &error.into());
                return check.skipped(&[Part::Scopes, Part::Read]);
            }
        };
        check.add(
            Part::Token,
            Judgement::Passed,
            "the token endpoint gave a token",
        );
        let needed = requests.first().and_then(|request| request.operation);
        let needed = needed.map_or_else(Vec::new, Operation::needed_scopes);
        let (result, seen) = match &granted {
            None => (
                Judgement::Warned,
                "the token endpoint does not say which scopes it granted".to_owned(),
            ),
            Some(_) if needed.is_empty() => (
                Judgement::Warned,
                "which scope this needs is not documented".to_owned(),
            ),
            Some(granted) if needed.iter().any(|scope| granted.contains(scope)) => {
                let has = needed.iter().find(|scope| granted.contains(scope));
                (
                    Judgement::Passed,
                    format!("{} is granted", has.map_or("", String::as_str)),
                )
            }
            Some(_) => {
                let missing = needed.join(" or ");
                check.verdicts.push(Verdict {
                    part: Part::Scopes,
                    result: Judgement::Failed,
                    message: format!(
                        "{missing} is not granted to the client; Protime has to add it to the client, and it has to stand in `scopes` of the secret"
                    ),
                    fault: Some(Fault::Scope),
                });
                return check.skipped(&[Part::Read]);
            }
        };
        check.add(Part::Scopes, result, seen);
        let Some(first) = requests.first() else {
            let seen = "there is nothing to read this time";
            return check.add(Part::Read, Judgement::Warned, seen);
        };
        let mut pages = client.pages(first, deadline);
        match pages.next().await {
            Ok(page) => {
                let records = page.map_or(0, |page| page.records().len());
                let more = if pages.position().is_some() || requests.len() > 1 {
                    ", and more follow"
                } else {
                    ""
                };
                let seen = format!("the first page has {records} records{more}");
                check.add(Part::Read, Judgement::Passed, seen);
            }
            Err(error) => check.failed(Part::Read, &error.into()),
        }
    }

    async fn check_queue(&self, connection: &IncomingConnection, check: &mut Check) {
        let queue = connection.queue.as_deref().unwrap_or(&self.pages_queue);
        let queue = Queue::new(self.sqs.clone(), queue);
        // Every run asks a queue of the user's own for its limit; its error says which parameter names such queues.
        let measured = match &connection.queue {
            Some(_) => queue.clone().measured().await.map(|_| ()),
            None => Ok(()),
        };
        let result = match measured {
            Ok(()) => queue.check().await,
            refused => refused,
        };
        match result {
            Ok(()) => {
                let seen = format!("{} takes messages", queue.url());
                check.add(Part::Queue, Judgement::Passed, seen);
            }
            Err(error) => check.failed(Part::Queue, &error.into()),
        }
    }

    async fn check_delta(
        &self,
        connection: &IncomingConnection,
        client: &Client,
        check: &mut Check,
        now: jiff::Timestamp,
    ) {
        let key = plan::delta_key(connection, &client.settings());
        let owner = self
            .state
            .other_owner(&key, &connection.incoming, now)
            .await;
        match owner {
            Ok(None) => {
                let seen = "no other connection has it";
                check.add(Part::Delta, Judgement::Passed, seen);
            }
            Ok(Some(owner)) => {
                let entity = connection.entity.clone();
                check.failed(Part::Delta, &Error::DeltaOwned { entity, owner });
            }
            Err(error) => check.failed(Part::Delta, &error.into()),
        }
    }
}

impl Error {
    /// Who has to act on it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Request(RequestError::Scope { .. }) => Fault::Scope,
            Self::Credentials(CredentialsError::Forbidden { .. }) => Fault::Role,
            Self::Credentials(_) => Fault::Secret,
            Self::Protime(error) | Self::DeltaRefused { source: error, .. } => of_protime(error),
            Self::Queue(_) | Self::State(_) if is_denied(&self.to_string()) => Fault::Role,
            Self::State(_) | Self::Contended(_) | Self::NoProgress | Self::SendingStopped => {
                Fault::Unavailable
            }
            Self::DeltaOwned { .. } => Fault::DeltaOwned,
            _ => Fault::Connection,
        }
    }
}

fn of_protime(error: &protime::Error) -> Fault {
    match error {
        protime::Error::ClientRejected { .. } => Fault::ClientRejected,
        protime::Error::SettingsUnavailable(_) | protime::Error::BaseUriChanged => Fault::Secret,
        protime::Error::Deadline { last, .. } => of_protime(last),
        protime::Error::TokenEndpoint {
            status: Some(429 | 500..),
            ..
        } => Fault::Unavailable,
        protime::Error::WrongHost { .. }
        | protime::Error::TokenEndpoint { .. }
        | protime::Error::Transport { .. } => Fault::Unreachable,
        protime::Error::Refused(refusal) => match refusal.kind() {
            RefusalKind::Unauthorized | RefusalKind::Forbidden => Fault::Scope,
            RefusalKind::Unavailable => Fault::Unavailable,
            _ => Fault::Refused,
        },
        protime::Error::Content { .. }
        | protime::Error::TooLarge { .. }
        | protime::Error::Link(_) => Fault::Refused,
    }
}

/// AWS says so in the code of an error, which every service spells alike.
fn is_denied(message: &str) -> bool {
    message.contains("AccessDenied")
}
