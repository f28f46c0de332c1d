//! How a run fails.

use std::time::Duration;

use connector::store::{Chains, Checkpoint, Ending, Failure, LoadKind, RunStatus};
use protime::Effort;

use super::Run;
use super::end::not_before;
use crate::Error;

/// Longest error message in the history, in characters.
const LONGEST_MESSAGE: usize = 1_000;

impl Run<'_> {
    /// Releases the lease after a failure, and stores the error.
    pub(super) async fn fail(&mut self, error: &Error) {
        let wait = error.retry_after().max(self.wait);
        let Err(error) = self.record_failure(error, wait).await else {
            return;
        };
        tracing::warn!(%error, "the failure is not stored in the history; the lease is released without it");
        // The stored state stays, but the lease is still released.
        let now = self.invocation.clock.now();
        let ending = Ending {
            now,
            not_before: not_before(now, wait),
            progressed: false,
        };
        let table = &self.subscriber.state;
        if let Err(error) = table.release(&self.lease, None, ending, None).await {
            tracing::warn!(%error, "the lease is not released; it expires by itself");
        }
    }

    async fn record_failure(&mut self, error: &Error, wait: Option<Duration>) -> Result<(), Error> {
        let failure = Failure {
            kind: error.kind().name().to_owned(),
            message: error.to_string().chars().take(LONGEST_MESSAGE).collect(),
        };
        let table = &self.subscriber.state;
        let now = self.invocation.clock.now();
        let is_begun = self.state.checkpoint.is_some();
        let failed = self.state.checkpoint.clone().unwrap_or_else(|| Checkpoint {
            run: self.connection.run.clone(),
            scheduled: self.connection.scheduled,
            fingerprint: self.connection.fingerprint(),
            started: Some(now),
            event: None,
            load: LoadKind::Full,
            source: String::new(),
            request: None,
            chains: Chains::default(),
            effort: Effort::default(),
            handed_over: false,
        });
        self.record(&failed, RunStatus::Failed, Some(failure))
            .await?;
        if is_begun && error.ends_run() {
            // Consumers have part of a load that nobody continues.
            self.state.resync_is_due |=
                failed.load == LoadKind::Initial && failed.chains.counts().messages > 0;
            self.state.checkpoint = None;
            self.release(None).await?;
            self.begin_due().await;
            return Ok(());
        }
        // No new checkpoint was stored, so the dropped one is restored.
        if !is_begun && let Some(before) = self.before_drop.take() {
            self.state = before;
        }
        let ending = Ending {
            now,
            not_before: not_before(now, wait),
            progressed: self.tally.counts.pages > 0,
        };
        // Until somebody acts, a due run with this error cannot begin. So it is no longer due.
        let is_over = !is_begun && error.needs_operator();
        let due = Some(self.connection.run.as_str()).filter(|_| is_over);
        table
            .release(&self.lease, Some(&self.state), ending, due)
            .await?;
        self.is_released = true;
        if is_over && self.state.checkpoint.is_none() {
            self.begin_due().await;
        }
        Ok(())
    }
}
