//! The lease of a connection, and every update that needs it.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;

use super::due::{Due, due_of};
use super::item::{Item, count_of, number, refused_item, string_of, text, time, time_of};
use super::{ConnectionState, KIND, StateError, StateTable, VERSION, connection_id};

/// One attempt at a run.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// Lambda's request id, which Lambda's retries share. A retry may take the lease from its attempt that died.
    pub request_id: &'a str,
    /// The run's id, which begins the id of each message.
    pub run: &'a str,
    /// The connection's fingerprint. None where it is known only from what is stored.
    pub fingerprint: Option<String>,
    token: String,
}

impl<'a> Attempt<'a> {
    /// Creates an attempt with a token that no other has.
    pub fn new(request_id: &'a str, run: &'a str) -> Self {
        Self {
            request_id,
            run,
            fingerprint: None,
            token: format!("{request_id}/{:016x}", fastrand::u64(..)),
        }
    }

    /// The same attempt at the run of a connection with this fingerprint.
    #[must_use]
    pub fn of_connection(self, fingerprint: String) -> Self {
        Self {
            fingerprint: Some(fingerprint),
            ..self
        }
    }
}

/// The right to run a connection, until it is released or expires.
#[derive(Debug, Clone, PartialEq)]
pub struct Lease {
    incoming: String,
    token: String,
    generation: u64,
}

impl Lease {
    /// The name of the leased connection.
    pub fn incoming(&self) -> &str {
        &self.incoming
    }

    /// The generation that the next continuation has to name.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

/// A lease, with the stored state of its connection.
#[derive(Debug)]
pub struct Leased {
    /// The lease that the attempt now holds.
    pub lease: Lease,
    /// The state that earlier runs left.
    pub state: ConnectionState,
    /// Runs that came due while another run was in progress.
    pub due: Vec<Due>,
    /// Protime must not be asked before this time. None without such a limit.
    pub not_before: Option<Timestamp>,
    /// How often the watch resumed the unfinished run without progress.
    pub rescues: u64,
}

/// The result of asking for a lease.
#[derive(Debug)]
pub enum Acquired {
    /// The attempt holds the lease.
    Leased(Box<Leased>),
    /// Another run holds the lease.
    Busy {
        /// When the lease expires at the latest.
        until: Timestamp,
        /// The id of the run that holds the lease.
        run: String,
        /// The fingerprint of that run's connection. None if it is not known.
        fingerprint: Option<String>,
    },
    /// An operator has paused the connection until this time.
    Paused(Timestamp),
    /// The continuation's run has gone on without it, or has ended.
    Stale,
}

/// What an update changes besides the state.
#[derive(Debug, Clone, Copy, Default)]
struct Effect<'a> {
    /// Makes earlier continuations stale.
    raises_generation: bool,
    /// Releases the lease at this time.
    frees: Option<Timestamp>,
    not_before: Option<Timestamp>,
    /// The run made progress, so rescues are counted from 0 again.
    progressed: bool,
    /// The id of a run that is no longer due, because it has begun or need not begin.
    removes_due: Option<&'a str>,
}

/// How an attempt leaves the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The time of the ending, from which idle time counts.
    pub now: Timestamp,
    /// Until when Protime asked not to be called. None if it did not.
    pub not_before: Option<Timestamp>,
    /// Whether SQS accepted pages, or the run has ended.
    pub progressed: bool,
}

impl StateTable {
    /// Takes the lease of a connection until `until`, unless an attempt with another request id holds it.
    ///
    /// With a `generation`, the lease is only taken in that generation. Continuations name one.
    pub async fn acquire(
        &self,
        incoming: &str,
        attempt: &Attempt<'_>,
        now: Timestamp,
        until: Timestamp,
        generation: Option<u64>,
    ) -> Result<Acquired, StateError> {
        let mut condition = "(attribute_not_exists(lease_until) OR lease_until < :now OR lease_request = :request) AND (attribute_not_exists(paused_until) OR paused_until <= :now)".to_owned();
        let fingerprint = attempt.fingerprint.clone().map(AttributeValue::S);
        let fingerprint = fingerprint.unwrap_or(AttributeValue::Null(true));
        let mut update = self
            .update(&connection_id(incoming))
            .expression_attribute_values(":fingerprint", fingerprint)
            .update_expression("SET lease_owner = :token, lease_request = :request, lease_run = :run, lease_fingerprint = :fingerprint, lease_until = :until, generation = if_not_exists(generation, :zero), first_seen = if_not_exists(first_seen, :now), due = if_not_exists(due, :none), #kind = :kind, version = :version")
            .expression_attribute_names("#kind", "kind")
            .expression_attribute_values(":kind", text(KIND))
            .expression_attribute_values(":version", number(VERSION))
            .expression_attribute_values(":token", text(&attempt.token))
            .expression_attribute_values(":request", text(attempt.request_id))
            .expression_attribute_values(":run", text(attempt.run))
            .expression_attribute_values(":until", time(until))
            .expression_attribute_values(":now", time(now))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":none", AttributeValue::M(HashMap::new()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(generation) = generation {
            condition += " AND generation = :generation";
            update = update.expression_attribute_values(":generation", count(generation));
        }
        let item = match update.condition_expression(condition).send().await {
            Ok(UpdateItemOutput { attributes, .. }) => attributes.unwrap_or_default(),
            Err(error) => {
                let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
                // The SDK retried after a lost response: this attempt already holds the lease.
                if string_of(&item, "lease_owner") != Some(&attempt.token) {
                    return Ok(refused(&item, now, generation));
                }
                item
            }
        };
        let lease = Lease {
            incoming: incoming.to_owned(),
            token: attempt.token.clone(),
            generation: count_of(&item, "generation"),
        };
        self.leased(lease, &item, now).await
    }

    /// Reads the item of a lease that was just taken. If the item is malformed, the lease is released.
    async fn leased(
        &self,
        lease: Lease,
        item: &Item,
        now: Timestamp,
    ) -> Result<Acquired, StateError> {
        let not_before = time_of(item, "not_before");
        let rescues = count_of(item, "rescues");
        match ConnectionState::of(item, &lease.incoming) {
            Ok(state) => Ok(Acquired::Leased(Box::new(Leased {
                lease,
                state,
                due: due_of(item),
                not_before,
                rescues,
            }))),
            Err(error) => {
                let ending = Ending {
                    now,
                    not_before,
                    progressed: false,
                };
                self.release(&lease, None, ending, None).await?;
                Err(error)
            }
        }
    }

    /// Stores how far the run has come. `progressed` says whether SQS has accepted pages since the last time.
    pub async fn save(
        &self,
        lease: &Lease,
        state: &ConnectionState,
        progressed: bool,
    ) -> Result<(), StateError> {
        let effect = Effect {
            progressed,
            ..Effect::default()
        };
        self.write(&mut lease.clone(), Some(state), effect).await
    }

    /// Stores the first checkpoint of a run, which is then no longer due.
    pub async fn begin(
        &self,
        lease: &mut Lease,
        state: &ConnectionState,
        run: &str,
    ) -> Result<(), StateError> {
        let effect = Effect {
            raises_generation: true,
            progressed: true,
            removes_due: Some(run),
            ..Effect::default()
        };
        self.write(lease, Some(state), effect).await
    }

    /// Stores the state after a run has ended. The lease is kept for the next run.
    pub async fn end_run(
        &self,
        lease: &mut Lease,
        state: &ConnectionState,
    ) -> Result<(), StateError> {
        let effect = Effect {
            raises_generation: true,
            progressed: true,
            ..Effect::default()
        };
        self.write(lease, Some(state), effect).await
    }

    /// Stores the state and releases the lease. Earlier continuations become stale.
    pub async fn hand_over(
        &self,
        lease: &mut Lease,
        state: &ConnectionState,
        ending: Ending,
    ) -> Result<(), StateError> {
        let effect = Effect {
            raises_generation: true,
            frees: Some(ending.now),
            not_before: ending.not_before,
            progressed: ending.progressed,
            removes_due: None,
        };
        self.write(lease, Some(state), effect).await
    }

    /// Releases the lease after a failure. The continuation that led here stays valid. Without `state`, the stored
    /// state stays. `due` names a run that need not begin any more.
    pub async fn release(
        &self,
        lease: &Lease,
        state: Option<&ConnectionState>,
        ending: Ending,
        due: Option<&str>,
    ) -> Result<(), StateError> {
        let effect = Effect {
            raises_generation: false,
            frees: Some(ending.now),
            not_before: ending.not_before,
            progressed: ending.progressed,
            removes_due: due,
        };
        self.write(&mut lease.clone(), state, effect).await
    }

    /// Whether the attempt still holds the lease.
    pub(super) async fn is_held(&self, lease: &Lease) -> Result<bool, StateError> {
        let id = connection_id(&lease.incoming);
        let item = self.read(&id, Some("lease_owner")).await?;
        Ok(string_of(&item, "lease_owner") == Some(&lease.token))
    }

    async fn write(
        &self,
        lease: &mut Lease,
        state: Option<&ConnectionState>,
        effect: Effect<'_>,
    ) -> Result<(), StateError> {
        let next = lease.generation + u64::from(effect.raises_generation);
        let (mut set, mut remove) = (vec!["generation = :next"], Vec::new());
        let mut update = self
            .update(&connection_id(&lease.incoming))
            .condition_expression("lease_owner = :token AND generation = :held")
            .expression_attribute_values(":token", text(&lease.token))
            .expression_attribute_values(":held", count(lease.generation))
            .expression_attribute_values(":next", count(next))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(state) = state {
            set.push("#state = :state");
            update = update
                .expression_attribute_names("#state", "state")
                .expression_attribute_values(":state", text(&state.to_json()));
        }
        if let Some(now) = effect.frees {
            set.extend(["idle_since = :now", "released_by = :token"]);
            remove.extend([
                "lease_owner",
                "lease_request",
                "lease_run",
                "lease_fingerprint",
                "lease_until",
            ]);
            update = update.expression_attribute_values(":now", time(now));
        }
        match effect.not_before {
            Some(not_before) => {
                set.push("not_before = :not_before");
                update = update.expression_attribute_values(":not_before", time(not_before));
            }
            None => remove.push("not_before"),
        }
        if effect.progressed {
            remove.push("rescues");
        }
        if let Some(run) = effect.removes_due {
            remove.push("due.#run");
            update = update.expression_attribute_names("#run", run);
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression = format!("{expression} REMOVE {}", remove.join(", "));
        }
        if let Err(error) = update.update_expression(expression).send().await {
            let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
            // The SDK retried after a lost response: the update was applied already.
            let is_done = count_of(&item, "generation") == next
                && match effect.frees {
                    Some(_) => string_of(&item, "released_by") == Some(&lease.token),
                    None => string_of(&item, "lease_owner") == Some(&lease.token),
                };
            if !is_done {
                return Err(StateError::LeaseLost(lease.incoming.clone()));
            }
        }
        lease.generation = next;
        Ok(())
    }
}

/// Why the lease was refused, given the current item.
fn refused(item: &Item, now: Timestamp, generation: Option<u64>) -> Acquired {
    // Without an item, the connection was forgotten.
    let is_stale = |generation| item.is_empty() || generation != count_of(item, "generation");
    if generation.is_some_and(is_stale) {
        return Acquired::Stale;
    }
    match time_of(item, "paused_until") {
        Some(until) if until > now => Acquired::Paused(until),
        _ => Acquired::Busy {
            until: time_of(item, "lease_until").unwrap_or(now),
            run: string_of(item, "lease_run").unwrap_or_default().to_owned(),
            fingerprint: fingerprint_of_holder(item),
        },
    }
}

/// The fingerprint of the run that holds the lease. A continuation takes the lease without it, but its run has a
/// checkpoint.
fn fingerprint_of_holder(item: &Item) -> Option<String> {
    if let Some(fingerprint) = string_of(item, "lease_fingerprint") {
        return Some(fingerprint.to_owned());
    }
    let checkpoint = ConnectionState::of(item, "").ok()?.checkpoint?;
    let is_holder = string_of(item, "lease_run") == Some(&checkpoint.run);
    is_holder.then_some(checkpoint.fingerprint)
}

fn count(value: u64) -> AttributeValue {
    number(i64::try_from(value).unwrap_or(i64::MAX))
}
