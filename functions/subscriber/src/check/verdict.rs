//! The result of a check: verdicts on the parts of a connection, and who has to act on a fault.

use connector::aws::credentials::CredentialsError;
use connector::contract::connection::IncomingConnection;
use protime::catalogue::Operation;
use protime::{RefusalKind, Request, RequestError};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The result of checking a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The connection's name. None if the event has none.
    pub incoming: Option<String>,
    /// One verdict for each part, in the order in which a run needs them.
    pub verdicts: Vec<Verdict>,
}

/// The verdict on one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The part that was checked.
    pub part: Part,
    /// Whether a run would succeed.
    pub result: CheckResult,
    /// What was found, or what is wrong and how to correct it.
    pub message: String,
    /// The kind of fault. None if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// The parts that a run needs, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The event, its transformer and its request.
    Connection,
    /// The secret that holds the HTTP client.
    Secret,
    /// The access token from the token endpoint.
    Token,
    /// The scopes that were granted.
    Scopes,
    /// The first page of the read.
    Read,
    /// The queue that takes the pages.
    Queue,
    /// The table that keeps the connection's state.
    State,
    /// Whether this connection may own the delta.
    Delta,
}

/// The judgement on a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// A run would succeed.
    Passed,
    /// A run would succeed, but somebody should look at this.
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
    /// The connection is wrong, or asks for something impossible.
    Connection,
    /// The secret does not exist, or is not an HTTP client.
    Secret,
    /// A host cannot be reached.
    Unreachable,
    /// Protime rejects the client id or the client secret.
    ClientRejected,
    /// The client lacks a scope.
    Scope,
    /// Protime refuses the request.
    Refused,
    /// Protime or an AWS service cannot answer now.
    Unavailable,
    /// The function's role lacks a permission.
    Role,
    /// Another connection owns the delta.
    DeltaOwned,
}

impl Part {
    const ALL: [Self; 8] = [
        Self::Connection,
        Self::Secret,
        Self::Token,
        Self::Scopes,
        Self::Read,
        Self::Queue,
        Self::State,
        Self::Delta,
    ];
}

impl Check {
    pub(super) fn new(incoming: Option<String>) -> Self {
        Self {
            incoming,
            verdicts: Vec::new(),
        }
    }

    /// The fault of the first part that has one.
    pub fn fault(&self) -> Option<Fault> {
        self.verdicts.iter().find_map(|verdict| verdict.fault)
    }

    pub(super) fn add(&mut self, part: Part, result: CheckResult, message: impl Into<String>) {
        let message = message.into();
        self.verdicts.push(Verdict {
            part,
            result,
            message,
            fault: None,
        });
    }

    fn fail(&mut self, part: Part, message: String, fault: Fault) {
        self.verdicts.push(Verdict {
            part,
            result: CheckResult::Failed,
            message,
            fault: Some(fault),
        });
    }

    pub(super) fn requests(&mut self, connection: &IncomingConnection, requests: &[Request]) {
        let mut warnings = connection.warnings();
        warnings.extend(
            requests
                .first()
                .into_iter()
                .flat_map(|request| request.warnings.clone()),
        );
        if warnings.is_empty() {
            let (entity, count) = (&connection.entity, requests.len());
            let plural = if count == 1 { "" } else { "s" };
            let seen = format!("`{entity}` is read by {count} request{plural}, page by page");
            self.add(Part::Connection, CheckResult::Passed, seen);
        } else {
            self.add(Part::Connection, CheckResult::Warned, warnings.join("; "));
        }
    }

    pub(super) fn failed(&mut self, part: Part, error: &Error) {
        self.fail(part, error.to_string(), error.fault());
    }

    /// Compares the granted scopes with the scopes that the read needs.
    pub(super) fn scopes(
        &mut self,
        requests: &[Request],
        granted: Option<&[String]>,
    ) -> CheckResult {
        let needed = requests.first().and_then(|request| request.operation);
        let needed = needed.map_or_else(Vec::new, Operation::needed_scopes);
        let has = granted.and_then(|granted| needed.iter().find(|scope| granted.contains(scope)));
        let (result, seen) = if granted.is_none() {
            let seen = "the token endpoint does not say which scopes it granted".to_owned();
            (CheckResult::Warned, seen)
        } else if needed.is_empty() {
            let seen = "which scope this needs is not documented".to_owned();
            (CheckResult::Warned, seen)
        } else if let Some(scope) = has {
            (CheckResult::Passed, format!("{scope} is granted"))
        } else {
            let message = format!(
                "{} is not granted to the client; ask Protime to grant it, and add it to `scopes` of the secret",
                needed.join(" or ")
            );
            self.fail(Part::Scopes, message, Fault::Scope);
            return CheckResult::Failed;
        };
        self.add(Part::Scopes, result, seen);
        result
    }

    /// Adds the parts that were not tried, as skipped.
    pub(super) fn complete(mut self, is_delta: bool) -> Self {
        let parts = Part::ALL.into_iter();
        for part in parts.filter(|part| is_delta || *part != Part::Delta) {
            if !self.verdicts.iter().any(|verdict| verdict.part == part) {
                let because = "not tried, since a part that it needs failed";
                self.add(part, CheckResult::Skipped, because);
            }
        }
        self.verdicts.sort_by_key(|verdict| verdict.part);
        self
    }
}

impl Error {
    /// The kind of this fault, by who has to act.
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

/// AWS names a denied call in the error's code, which every service spells alike.
fn is_denied(message: &str) -> bool {
    message.contains("AccessDenied")
}
