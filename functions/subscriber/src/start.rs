//! From an event to a run that holds the lease.

use connector::contract::connection::{IncomingConnection, SyncMode};
use connector::store::{
    Acquired, Attempt, Checkpoint, Due, DueOutcome, Leased, RunStatus, StateError,
};
use jiff::Timestamp;

use crate::continuation::Continuation;
use crate::report::{Identity, Tally};
use crate::run::Run;
use crate::{Error, Invocation, Outcome, Subscriber};

/// How many times to ask for a lease that was held, but became free a moment later.
const LEASE_ATTEMPTS: u32 = 3;
/// The reason for skipping a run that has completed.
const DONE_BEFORE: &str = "this run has completed before";

/// The result of asking for the lease of a run.
enum Start {
    Leased(Box<Leased>),
    /// The reason, for the outcome.
    Skipped(String),
}

/// Why a run that holds the lease does not begin yet.
struct Postponement<'a> {
    /// The unfinished run that goes first.
    unfinished: &'a Checkpoint,
    /// When the unfinished run can go on.
    until: Timestamp,
    because: String,
}

/// Whether an unfinished run goes first. It does while Protime's `Retry-After` lasts. It also does if it was handed
/// over and asks for something else than the new run.
fn postponement<'a>(
    connection: &IncomingConnection,
    leased: &'a Leased,
    now: Timestamp,
) -> Option<Postponement<'a>> {
    let unfinished = leased.state.checkpoint.as_ref()?;
    if let Some(until) = leased.not_before.filter(|until| *until > now) {
        let because = format!("Protime's `Retry-After` lasts until {until:.0}");
        return Some(Postponement {
            unfinished,
            until,
            because,
        });
    }
    let is_continued = unfinished.handed_over && leased.rescues == 0;
    let is_other = unfinished.fingerprint != connection.fingerprint()
        && connection.unused_takeover(&leased.state).is_none();
    (is_continued && is_other).then(|| Postponement {
        unfinished,
        until: now,
        because: "an unfinished run asks for something else than this one".to_owned(),
    })
}

/// Two connections share a name, and so their runs share an id.
pub(crate) fn run_of_another(connection: &IncomingConnection) -> Error {
    Error::RunOfAnother {
        incoming: connection.name.clone(),
        run: connection.run.clone(),
    }
}

impl Subscriber {
    /// Runs the incoming connection in `event`.
    pub async fn run(&self, event: &str, invocation: &Invocation) -> Result<Outcome, Error> {
        let now = invocation.clock.now();
        let connection = IncomingConnection::from_event(event, &invocation.request_id, now)
            .map_err(Error::from)
            .inspect_err(|error| self.report_failure(&Identity::of_event(event), error))?;
        tracing::info!(
            incoming = connection.name,
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

    /// Takes the lease of a connection. If another run holds it, this run is stored as due.
    async fn start(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
    ) -> Result<Start, Error> {
        let IncomingConnection {
            name: incoming,
            run,
            ..
        } = connection;
        for _ in 0..LEASE_ATTEMPTS {
            let now = invocation.clock.now();
            let attempt = Attempt::new(&invocation.request_id, run);
            let attempt = attempt.of_connection(connection.fingerprint());
            let (until, other, fingerprint) = match self
                .state
                .acquire(incoming, &attempt, now, invocation.ends, None)
                .await?
            {
                Acquired::Leased(leased) => {
                    return match postponement(connection, &leased, now) {
                        Some(postponement) => {
                            self.postpone(connection, event, postponement, &leased, invocation)
                                .await
                        }
                        None => Ok(Start::Leased(leased)),
                    };
                }
                Acquired::Paused(until) => {
                    let reason = format!("the connection is paused until {until:.0}");
                    return Ok(Start::Skipped(reason));
                }
                Acquired::Busy {
                    until,
                    run,
                    fingerprint,
                } => (until, run, fingerprint),
                // Only a continuation names a generation, so a new run is never stale.
                Acquired::Stale => continue,
            };
            if other == *run {
                if fingerprint.is_some_and(|holder| holder != connection.fingerprint()) {
                    return Err(run_of_another(connection));
                }
                let reason = format!(
                    "this run is under way in another invocation, until {until:.0} at the latest"
                );
                return Ok(Start::Skipped(reason));
            }
            if self.is_done(connection).await? {
                return Ok(Start::Skipped(DONE_BEFORE.to_owned()));
            }
            match self.store_as_due(connection, event, invocation).await? {
                DueOutcome::Due => {
                    let reason = format!(
                        "another run of this connection is under way, until {until:.0} at the latest; this one follows it"
                    );
                    return Ok(Start::Skipped(reason));
                }
                DueOutcome::TooMany => return Err(Error::TooManyDue(incoming.clone())),
                DueOutcome::OfAnother => return Err(run_of_another(connection)),
                DueOutcome::Free => {}
            }
        }
        Err(Error::Contended(incoming.clone()))
    }

    /// Sends the unfinished run's continuation, delayed until the run can go on. The new run follows it.
    async fn postpone(
        &self,
        connection: &IncomingConnection,
        event: &str,
        Postponement {
            unfinished,
            until,
            because,
        }: Postponement<'_>,
        leased: &Leased,
        invocation: &Invocation,
    ) -> Result<Start, Error> {
        let incoming = &connection.name;
        let is_own =
            unfinished.run == connection.run && unfinished.fingerprint == connection.fingerprint();
        let unfinished = &unfinished.run;
        let order = if is_own {
            Ok("this run goes on afterwards".to_owned())
        } else {
            self.follow(unfinished, connection, event, invocation).await
        };
        self.release_lease(leased, None, invocation).await;
        let order = order?;
        let continuation = Continuation::new(incoming, unfinished, leased.lease.generation());
        self.send_continuation(&continuation, until, invocation)
            .await?;
        Ok(Start::Skipped(format!("{because}; {order}")))
    }

    /// Stores a run as due behind an unfinished one, unless it has completed. Returns what becomes of it.
    async fn follow(
        &self,
        unfinished: &str,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
    ) -> Result<String, Error> {
        if self.is_done(connection).await? {
            return Ok(DONE_BEFORE.to_owned());
        }
        match self.store_as_due(connection, event, invocation).await? {
            DueOutcome::Due => Ok(format!(
                "run `{unfinished}` goes on first, and this one follows it"
            )),
            DueOutcome::TooMany => Err(Error::TooManyDue(connection.name.clone())),
            DueOutcome::OfAnother => Err(run_of_another(connection)),
            // The lease has expired meanwhile, so nobody would start the stored run.
            DueOutcome::Free => Err(Error::Contended(connection.name.clone())),
        }
    }

    /// Whether the run has completed. It must not become due again: it could replace a ring's run, and would then be
    /// skipped.
    async fn is_done(&self, connection: &IncomingConnection) -> Result<bool, Error> {
        if connection.has_takeover() {
            return Ok(false);
        }
        let history = self.state.history(&connection.name).await?;
        let known = history.run(&connection.run);
        match known.filter(|known| known.status == RunStatus::Completed) {
            None => Ok(false),
            Some(known) if known.fingerprint != connection.fingerprint() => {
                Err(run_of_another(connection))
            }
            Some(_) => Ok(true),
        }
    }

    /// Stores a run as due. For a delta only the newest is kept, since every poll asks the same.
    pub(crate) async fn store_as_due(
        &self,
        connection: &IncomingConnection,
        event: &str,
        invocation: &Invocation,
    ) -> Result<DueOutcome, StateError> {
        let event = self.state.store_text(&connection.name, event).await?;
        let due = Due {
            run: connection.run.clone(),
            scheduled: connection.scheduled,
            event,
            fingerprint: Some(connection.fingerprint()),
            is_ring: false,
        };
        let only_newest = connection.sync == SyncMode::Delta;
        let now = invocation.clock.now();
        self.state
            .remember_due(&connection.name, &due, only_newest, now)
            .await
    }

    /// Executes a run and reports its outcome. Every log line meanwhile names the connection.
    #[tracing::instrument(
        level = "error",
        skip_all,
        fields(incoming = run.connection.name, run = run.connection.run)
    )]
    pub(crate) async fn execute(&self, mut run: Run<'_>) -> Result<Outcome, Error> {
        let connection = run.connection;
        let result = match Box::pin(run.execute()).await {
            // The attempt that holds the lease now goes on; this one sends nothing more.
            Err(Error::State(error @ StateError::LeaseLost(_))) => {
                Ok(Outcome::skipped(connection, error.to_string()))
            }
            result => result,
        };
        self.report(connection, &result, run.tally);
        result
    }
}
