//! The metrics of a batch.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use connector::metrics::{Line, Metric};
use jiff::SignedDuration;

use crate::{Deferral, Kind, Publisher};

/// Counts the messages of a batch by what happened to them.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    written: u64,
    settled: u64,
    deferred: BTreeMap<&'static str, u64>,
    rejected: u64,
    errors: u64,
    parked: BTreeMap<&'static str, u64>,
    /// How long each message waited in the queue, in seconds.
    waits: Vec<f64>,
    /// Age of the oldest deferred message, in seconds.
    oldest_deferred: f64,
}

/// How a message ended, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Written,
    Settled,
    Parked(&'static str),
}

impl Tally {
    pub(crate) fn ended(&self, ended: Counted, waited: SignedDuration) {
        let mut counts = self.lock();
        match ended {
            Counted::Written => counts.written += 1,
            Counted::Settled => {
                counts.written += 1;
                counts.settled += 1;
            }
            Counted::Parked(reason) => *counts.parked.entry(reason).or_default() += 1,
        }
        counts.waits.push(waited.as_secs_f64().max(0.0));
    }

    /// Counts a deferred message, which was sent `age` ago.
    pub(crate) fn deferred(&self, deferral: &Deferral, age: SignedDuration) {
        let mut counts = self.lock();
        counts.oldest_deferred = counts.oldest_deferred.max(age.as_secs_f64());
        *counts.deferred.entry(deferral.kind.name()).or_default() += 1;
        counts.rejected += u64::from(deferral.kind == Kind::ClientRejected);
        counts.errors += u64::from(deferral.kind.needs_operator());
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher {
    /// Writes one line for the batch, and one for each reason that parked messages have.
    pub(crate) fn report(&self, tally: Tally) {
        let counts = tally.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut line = Line::new()
            .value(Metric::Written, counts.written)
            .value(Metric::Settled, counts.settled)
            .value(Metric::Deferred, counts.deferred.values().sum::<u64>())
            .value(Metric::DeferredAge, counts.oldest_deferred)
            .value(Metric::ClientRejected, counts.rejected)
            .value(Metric::PublisherErrors, counts.errors);
        if !counts.waits.is_empty() {
            line = line.value(Metric::QueueWait, counts.waits);
        }
        for (kind, count) in counts.deferred {
            line = line.property(&format!("deferred{kind}"), count);
        }
        self.metrics.write_with_requests(line);
        for (reason, count) in counts.parked {
            let line = Line::new().value(Metric::Parked, count);
            self.metrics.write(line.property("reason", reason));
        }
    }
}
