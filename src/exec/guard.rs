//! What goes on beside a step that works: who answers for the deployment, and whether the step is still wanted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::context::Context;
use super::error::ExecError;
use super::lease::{self, Lease};
use super::watchdog::Watchdog;
use super::{fence, stakes, store};
use crate::model::deployment::{Deployment, State, Status};
use crate::model::{AppName, DeployId};

/// How long one look at the record waits for a change: bounds how late a lost lease is noticed.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// How long the preferred node has to take a free lease before another one does.
const HEAD_START: Duration = Duration::from_secs(4);

/// Why an attempt is dropped while it works.
#[derive(Debug, thiserror::Error)]
pub(super) enum Dropped {
    /// The deployment was turned around, or its record deleted.
    #[error("the deployment has been turned around")]
    Turned,
    /// This node has been cut off for so long that what it started has to be stopped.
    #[error("Consul has been away for too long")]
    CutOff,
}

/// Looks after one deployment while its steps work, and between them.
pub(super) struct Guard<'a> {
    ctx: &'a Context,
    app: &'a AppName,
    id: &'a DeployId,
    watchdog: Watchdog,
    free_since: Option<Instant>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(ctx: &'a Context, app: &'a AppName, id: &'a DeployId) -> Self {
        Self { ctx, app, id, watchdog: Watchdog::default(), free_since: None }
    }

    /// Sees who holds the lease, and takes a free one when it is this node's turn.
    pub(super) async fn hold_lease(&mut self, deployment: &Deployment) -> Result<Lease, ExecError> {
        let lease = lease::look(self.ctx, self.app, self.id).await?;
        if lease != Lease::Free {
            self.free_since = None;
            return Ok(lease);
        }
        let since = *self.free_since.get_or_insert_with(Instant::now);
        let first = deployment.preferred() == Some(&self.ctx.me);
        if !first && since.elapsed() < HEAD_START {
            return Ok(Lease::Free);
        }
        if lease::take(self.ctx, self.app, deployment).await? {
            info!("lease taken");
            return Ok(Lease::Mine);
        }
        lease::look(self.ctx, self.app, self.id).await
    }

    /// What the holder of the lease does about the nodes that everyone waits for.
    pub(super) async fn watch_over(
        &mut self,
        deployment: &Deployment,
        held: &Lease,
    ) -> Result<(), ExecError> {
        if *held == Lease::Mine {
            self.watchdog.look(self.ctx, self.app, deployment).await?;
        }
        Ok(())
    }

    /// Ends when the attempt at a step is to be dropped. Until then it looks at the record now and then, and gives up on
    /// nodes that stay away: the one at the other end of a transfer may be gone while this one works.
    pub(super) async fn until_dropped(&mut self, deployment: &Deployment, index: usize) -> Dropped {
        let at_stake = deployment.is_at_stake(&self.ctx.me);
        let may_be_dropped = !deployment.committed
            && deployment.steps.get(index).is_some_and(|step| step.step.may_be_dropped());
        loop {
            if at_stake && fence::is_due(self.ctx, self.id) {
                return Dropped::CutOff;
            }
            tokio::time::sleep(LOOK).await;
            match self.look_again().await {
                Ok(record) if may_be_dropped && !is_wanted(&record, index) => {
                    return Dropped::Turned;
                }
                Err(ExecError::Gone(_)) if may_be_dropped => return Dropped::Turned,
                Ok(_) if at_stake => stakes::seen(self.ctx, self.id),
                // Whether Consul answers is seen by when the record was seen last.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The record, after this node has done what the holder of the lease has to do, if it is that.
    async fn look_again(&mut self) -> Result<Arc<Deployment>, ExecError> {
        let record = store::load(self.ctx, self.app, self.id).await?.value;
        let held = self.hold_lease(&record).await?;
        self.watch_over(&record, &held).await?;
        Ok(store::load(self.ctx, self.app, self.id).await?.value)
    }
}

fn is_wanted(record: &Deployment, index: usize) -> bool {
    let step = record.steps.get(index);
    record.state == State::Running && step.is_some_and(|step| step.status == Status::Running)
}
