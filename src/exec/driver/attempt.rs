//! A try of a step: with a slot if it is heavy, noted on the disk, again where Consul was away.

use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Driver, FORWARD_TRIES};
use crate::exec::context::now;
use crate::exec::error::{ExecError, StepError};
use crate::exec::{apply, owed, stakes, store};
use crate::model::deployment::{Deployment, Step};

/// A heavy step that has been at work for so long may be stuck: what waits for its slot does so no longer.
pub(in crate::exec) const COUNTED: Duration = Duration::from_secs(300);
/// How long a step waits for a Consul that does not answer.
const ELECTION: Duration = Duration::from_secs(60);

/// Works on a step, which gives its slot back if that takes long.
pub(in crate::exec) async fn within<T>(
    slot: &mut Option<SemaphorePermit<'_>>,
    step: &Step,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(COUNTED), if slot.is_some() => {}
    }
    info!(%step, "goes on, and other deployments' steps wait for it no longer");
    *slot = None;
    work.await
}

impl<'a> Driver<'a> {
    /// An attempt, with a note on the disk of what it may leave running.
    pub(super) async fn attempt_noted(
        &self,
        deployment: &Deployment,
        index: usize,
    ) -> Result<apply::Done, StepError> {
        stakes::note(self.ctx, deployment, index).await?;
        let done = self.attempt(deployment, index).await?;
        if deployment.steps.get(index).is_some_and(|record| stakes::ends(&record.step)) {
            stakes::clear(self.ctx, self.id).await;
        }
        Ok(done)
    }

    /// One try before the commit, a few after it: from there only forward is left.
    async fn attempt(
        &self,
        deployment: &Deployment,
        index: usize,
    ) -> Result<apply::Done, StepError> {
        let tries = if deployment.committed { FORWARD_TRIES } else { 1 };
        let mut last = None;
        for attempt in 1..=tries {
            let result = self.attempt_patiently(deployment, index).await;
            match result {
                Ok(done) => return Ok(done),
                Err(error) => last = Some(error),
            }
            if attempt < tries {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Err(last.unwrap_or_else(|| StepError::Lost("no try was made".to_owned())))
    }

    /// An election of Consul is waited for: the step is carried out again, as after a restart of the agent. Undoing it
    /// would have to wait as well.
    async fn attempt_patiently(
        &self,
        deployment: &Deployment,
        index: usize,
    ) -> Result<apply::Done, StepError> {
        let mut since = None;
        loop {
            match self.attempt_once(deployment, index).await {
                Err(StepError::Away(why))
                    if since.get_or_insert_with(Instant::now).elapsed() < ELECTION =>
                {
                    warn!(why, "Consul is away; the step is tried again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                result => return result,
            }
        }
    }

    async fn attempt_once(
        &self,
        deployment: &Deployment,
        index: usize,
    ) -> Result<apply::Done, StepError> {
        let owed = owed::settle_before(self.ctx, self.app, deployment, index).await;
        owed.map_err(|error| {
            let text = format!("left from an earlier deployment: {error}");
            if matches!(error, StepError::Away(_)) {
                StepError::Away(text)
            } else {
                StepError::Failed(text)
            }
        })?;
        let _busy = self.ctx.busy.with(self.app).await;
        apply::apply(self.ctx, deployment, index).await
    }

    /// Heavy steps take a slot, so that twenty deployments at once don't build twenty images at once. Taken before the
    /// step is marked as running: its times are those of its work. A node that has to wait says so.
    pub(super) async fn slot(
        &self,
        index: usize,
        step: &Step,
    ) -> Result<Option<SemaphorePermit<'a>>, ExecError> {
        if !step.is_heavy() {
            return Ok(None);
        }
        if let Ok(slot) = self.ctx.slots.try_acquire() {
            return Ok(Some(slot));
        }
        info!(%step, "waits for other deployments' steps on this node");
        let at = now();
        store::update(self.ctx, self.app, self.id, |deployment| {
            if let Some(record) = deployment.steps.get_mut(index) {
                record.queued_at.get_or_insert_with(|| at.clone());
            }
            Ok(())
        })
        .await?;
        // What else is at work on the app here, an older debt for instance, is not waited for with a slot in hand.
        drop(self.ctx.busy.with(self.app).await);
        Ok(self.ctx.slots.acquire().await.ok())
    }
}
