//! Steps that only runs of a delta need.

use connector::contract::connection::SyncMode;
use connector::store::LoadKind;
use protime::{Client, RefusalKind};

use super::Run;
use crate::{Error, plan};

impl Run<'_> {
    /// Drops the unfinished run when a new `takeover` restarts the connection's own delta.
    pub(super) fn drop_taken_over(&mut self) {
        if self.connection.sync == SyncMode::Delta
            && self.connection.unused_takeover(&self.state).is_some()
        {
            self.drop_checkpoint("an unfinished run of the delta is dropped");
        }
    }

    fn is_poll(&self) -> bool {
        let checkpoint = self.state.checkpoint.as_ref();
        checkpoint.is_some_and(|checkpoint| checkpoint.load == LoadKind::Delta)
    }

    /// Whether Protime has forgotten the polled delta.
    pub(super) fn has_expired(&self, error: &Error) -> bool {
        self.is_poll() && error.refusal_kind() == Some(RefusalKind::Gone)
    }

    /// Names the way out when Protime refuses a delta link. The refusal lasts until the delta expires or somebody
    /// restarts it.
    pub(super) fn with_way_out(&self, error: Error) -> Error {
        let is_refused = error.refusal_kind() == Some(RefusalKind::Invalid);
        match error {
            Error::Protime(source)
                if self.is_poll() && (is_refused || matches!(source, protime::Error::Link(_))) =>
            {
                Error::DeltaRefused {
                    incoming: self.connection.name.clone(),
                    source,
                }
            }
            Error::OversizedRecord(source) if self.is_poll() => Error::OversizedChange {
                incoming: self.connection.name.clone(),
                source,
            },
            other => other,
        }
    }

    /// Starts the load that replaces an expired delta.
    pub(super) async fn load_anew(&mut self, client: &Client) -> Result<(), Error> {
        tracing::warn!("the delta has expired; everything is loaded anew");
        let settings = client.settings();
        // Another connection may have ended it, and have a delta of its own by now.
        let (table, now) = (&self.subscriber.state, self.invocation.clock.now());
        plan::claim(self.connection, &settings, table, now, false).await?;
        let initial = plan::initial(
            self.connection,
            &settings,
            &self.state,
            &self.subscriber.state,
        )
        .await?;
        let Some(checkpoint) = &mut self.state.checkpoint else {
            return Ok(());
        };
        checkpoint.load = initial.load;
        checkpoint.chains = initial.chains;
        checkpoint.request = initial.request;
        self.state.resync_is_due = true;
        self.state.delta = None;
        let table = &self.subscriber.state;
        table.save(&self.lease, &self.state, false).await?;
        Ok(())
    }
}
