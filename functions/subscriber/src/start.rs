//! From an event to a run under a lease.

use connector::contract::connection::{IncomingConnection, Sync};
use connector::store::{Acquired, Attempt, Due, Leased, Remembered, StateError};
use jiff::Timestamp;

use crate::continuation::Continuation;
use crate::report::{Identity, Tally};
use crate::run::Run;
use crate::{Error, Invocation, Outcome, Subscriber};

/// A lease that was held when asked for and free a moment later is asked for again so often.
const LEASE_ATTEMPTS: u32 = 3;

/// What came of asking for the lease of a run.
enum Start {
    Leased(Box<Leased>),
    /// With the reason.
    Skipped(String),
}

impl Subscriber {
    /// Runs the incoming connection in `event`.
    pub async fn run(&self, event: &str, invocation: &Invocation) -> Result<Outcome, Error> {
        let now = invocation.clock.now();
        let connection = IncomingConnection::from_event(event, &invocation.request_id, now)
            .map_err(Error::from)
            .inspect_err(|error| self.report_failure(&Identity::of_event(event), error))?;
        tracing::info!(
            incoming = connection.incoming,
            run = connection.run,
            entity = connection.entity,
            "run started"
        );
        let result = match self.start(&connection, event, invocation).await {
            Ok(Start::Leased(leased)) => {
                let run = Run::new(self, &connection, event, invocation, *leased);
                return self.execute(run).await;
            }
            Ok(Start::Skipped(reason)) => Ok(Outcome::skipped(&connection, reason)),
            Err(error) => Err(error),
        };
        self.report(&connection, &result, Tally::default());
        result
    }

    /// The lease of a connection. A run that meets another one is remembered as due.
    async fn start(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
    ) -> Result<Start, Error> {
        let IncomingConnection { incoming, run, .. } = connection;
        for _ in 0..LEASE_ATTEMPTS {
            let now = invocation.clock.now();
            let attempt = Attempt::new(&invocation.request_id, run);
            let (until, other) = match self
                .state
                .acquire(incoming, &attempt, now, invocation.ends, None)
                .await?
            {
                Acquired::Leased(leased) => {
                    let until = leased.not_before.filter(|until| *until > now);
                    let unfinished = leased.state.checkpoint.as_ref();
                    return match (until, unfinished) {
                        (Some(until), Some(unfinished)) => {
                            let unfinished = unfinished.run.clone();
                            self.wait(connection, event, &unfinished, &leased, until, invocation)
                                .await
                        }
                        _ => Ok(Start::Leased(leased)),
                    };
                }
                Acquired::Paused(until) => {
                    let reason = format!("the connection is paused until {until:.0}");
                    return Ok(Start::Skipped(reason));
                }
                Acquired::Busy { until, run } => (until, run),
                // Only continuations name a generation.
                Acquired::Stale => continue,
            };
            if other == *run {
                let reason = format!(
                    "this run is under way in another invocation, until {until:.0} at the latest"
                );
                return Ok(Start::Skipped(reason));
            }
            match self.remember(connection, event, invocation).await? {
                Remembered::Due => {
                    let reason = format!(
                        "another run of this connection is under way, until {until:.0} at the latest; this one follows it"
                    );
                    return Ok(Start::Skipped(reason));
                }
                Remembered::TooMany => return Err(Error::TooManyDue(incoming.clone())),
                Remembered::Free => {}
            }
        }
        Err(Error::Contended(incoming.clone()))
    }

    /// Leaves Protime alone for as long as it asked: an unfinished run goes on then, and the one that was asked for follows.
    async fn wait(
        &self,
        connection: &IncomingConnection,
        event: &str,
        unfinished: &str,
        leased: &Leased,
        until: Timestamp,
        invocation: &Invocation,
    ) -> Result<Start, Error> {
        let incoming = &connection.incoming;
        let is_own = unfinished == connection.run;
        let remembered = if is_own {
            Ok(Remembered::Due)
        } else {
            self.remember(connection, event, invocation).await
        };
        self.give_back(leased, None, invocation).await;
        if remembered? == Remembered::TooMany {
            return Err(Error::TooManyDue(incoming.clone()));
        }
        let continuation = Continuation::new(incoming, unfinished, leased.lease.generation());
        self.send_continuation(&continuation, until, invocation)
            .await?;
        let which = if is_own {
            "this run"
        } else {
            "an unfinished run, and then this one,"
        };
        let reason =
            format!("Protime asked to be left alone until {until:.0}; {which} goes on afterwards");
        Ok(Start::Skipped(reason))
    }

    /// Remembers a run as due. Of a delta only the newest is, since every poll asks the same.
    pub(crate) async fn remember(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
    ) -> Result<Remembered, StateError> {
        let event = self.state.keep_text(&connection.incoming, event).await?;
        let due = Due {
            run: connection.run.clone(),
            scheduled: connection.scheduled,
            event,
        };
        let only_newest = connection.sync == Sync::Delta;
        let now = invocation.clock.now();
        self.state
            .remember_due(&connection.incoming, &due, only_newest, now)
            .await
    }

    /// Executes a run, and tells what came of it. Every line that is logged meanwhile names the connection.
    #[tracing::instrument(
        level = "error",
        skip_all,
        fields(incoming = run.connection.incoming, run = run.connection.run)
    )]
    pub(crate) async fn execute(&self, mut run: Run<'_>) -> Result<Outcome, Error> {
        let connection = run.connection;
        let result = match Box::pin(run.execute()).await {
            // Whoever has the lease goes on; this attempt sends nothing more.
            Err(Error::State(error @ StateError::LeaseLost(_))) => {
                Ok(Outcome::skipped(connection, error.to_string()))
            }
            result => result,
        };
        self.report(connection, &result, run.tally);
        result
    }
}
