//! Tries a connection: each part that a run needs, in the order of a run. It sends and stores nothing, starts or polls
//! no delta, and returns no record.

mod verdict;

use std::sync::Arc;
use std::time::Duration;

use connector::aws::queue::Queue;
use connector::contract::connection::{IncomingConnection, SyncMode};
use connector::store::ConnectionState;
use protime::{Client, Request};
use tokio::time::Instant;

pub use verdict::{Check, CheckResult, Fault, Part, Verdict};

use crate::{Error, Invocation, Subscriber, plan};

/// How long Protime may take to answer. The check has to end before its caller gives up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// The message for a connection whose request cannot be made.
const FIELDS_ONLY: &str = "its fields are valid; its request is checked once the other parts pass";

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
                return check.complete(false);
            }
        };
        let mut check = Check::new(Some(connection.name.clone()));
        // The state is read first, since a transformer sees `$last`, and reported last.
        let state = self.state.connection(&connection.name).await;
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
                check.add(Part::State, CheckResult::Passed, seen);
            }
            Err(error) => check.failed(Part::State, &error.into()),
        }
        let is_delta = connection.sync == SyncMode::Delta;
        if let Some(client) = client.filter(|_| is_delta) {
            self.check_delta(&connection, &client, &mut check, now)
                .await;
        }
        check.complete(is_delta)
    }

    /// Checks the client, from its secret to the first page.
    async fn check_client(
        &self,
        connection: &IncomingConnection,
        state: &ConnectionState,
        check: &mut Check,
    ) -> Option<Arc<Client>> {
        // A secret corrected a moment ago is read again at once.
        self.clients.forget(&connection.secret_name);
        let client = match self.clients.get(&connection.secret_name).await {
            Ok(client) => client,
            Err(error) => {
                check.add(Part::Connection, CheckResult::Passed, FIELDS_ONLY);
                check.failed(Part::Secret, &error.into());
                return None;
            }
        };
        let settings = client.settings();
        let seen = format!("client id {} at {}", settings.client_id, settings.base_uri);
        check.add(Part::Secret, CheckResult::Passed, seen);
        match plan::reads(connection, state, &settings) {
            Ok(requests) => {
                check.requests(connection, &requests);
                self.check_read(&requests, &client, check).await;
            }
            Err(error) if error.fault() == Fault::Scope => {
                check.add(Part::Connection, CheckResult::Passed, FIELDS_ONLY);
                check.failed(Part::Scopes, &error);
            }
            Err(error) => check.failed(Part::Connection, &error),
        }
        Some(client)
    }

    async fn check_read(&self, requests: &[Request], client: &Client, check: &mut Check) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let granted = match client.granted_scopes(deadline).await {
            Ok(granted) => granted,
            Err(error) => return check.failed(Part::Token, &error.into()),
        };
        check.add(
            Part::Token,
            CheckResult::Passed,
            "the token endpoint gave a token",
        );
        if check.scopes(requests, granted.as_deref()) == CheckResult::Failed {
            return;
        }
        let Some(first) = requests.first() else {
            let seen = "there is nothing to read this time";
            return check.add(Part::Read, CheckResult::Warned, seen);
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
                check.add(Part::Read, CheckResult::Passed, seen);
            }
            Err(error) => check.failed(Part::Read, &error.into()),
        }
    }

    async fn check_queue(&self, connection: &IncomingConnection, check: &mut Check) {
        let queue = connection.queue.as_deref().unwrap_or(&self.pages_queue);
        let queue = Queue::new(self.sqs.clone(), queue);
        // A run asks the user's own queue for its size limit. The error of that call names the parameter that such
        // queues need.
        let measured = match &connection.queue {
            Some(_) => queue.clone().with_own_size_limit().await.map(|_| ()),
            None => Ok(()),
        };
        let result = match measured {
            Ok(()) => queue.check().await,
            refused => refused,
        };
        match result {
            Ok(()) => {
                let seen = format!("{} takes messages", queue.url());
                check.add(Part::Queue, CheckResult::Passed, seen);
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
        let owner = self.state.other_owner(&key, &connection.name, now).await;
        match owner {
            Ok(None) => {
                let seen = "no other connection has it";
                check.add(Part::Delta, CheckResult::Passed, seen);
            }
            Ok(Some(owner)) => {
                let entity = connection.entity.clone();
                check.failed(Part::Delta, &Error::DeltaOwned { entity, owner });
            }
            Err(error) => check.failed(Part::Delta, &error.into()),
        }
    }
}
