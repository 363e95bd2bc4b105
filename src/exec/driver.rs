//! One deployment on one node: watches the record, carries out or undoes this node's next step, and, where
//! this node holds the lease, ends what is over and gives up on nodes that stay away.

pub(super) mod attempt;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Instrument, info, info_span, warn};

use self::attempt::within;
use super::context::{Context, now};
use super::error::{ExecError, StepError};
use super::guard::{Dropped, Guard, LOOK};
use super::lease::Lease;
use super::{apply, decline, queue, stakes, store, undo};
use crate::error::chain;
use crate::model::deployment::{Deployment, Mark, Next, State, Status, StepRecord};
use crate::model::{AppName, DeployId, keys};

/// A look that ends sooner than this without a change was not woken by one.
const SPURIOUS: Duration = Duration::from_millis(250);
/// Tries of a step behind the commit, and of an undo that nobody waits for, before it is left for later.
pub(super) const FORWARD_TRIES: u32 = 3;
/// Tries of an undo that the former version needs to serve again: some two minutes with a Docker that answers.
pub(super) const UNDO_TRIES: u32 = 15;
const UNDO_PAUSE: Duration = Duration::from_secs(10);

/// Works on a deployment until its outcome is written. Safe to call again after any interruption.
pub async fn drive(ctx: &Context, app: &AppName, id: &DeployId) -> Result<State, ExecError> {
    let span = info_span!("deployment", app = %app, deployment = %id, node = %ctx.me);
    let state = Driver { ctx, app, id, announced: None }
        .run(&mut Guard::new(ctx, app, id))
        .instrument(span)
        .await?;
    stakes::clear(ctx, id).await;
    Ok(state)
}

/// Behind the commit nothing is given up: it is tried again later.
fn failed(deployment: &Deployment, reason: String) -> Mark {
    match deployment.committed {
        true => Mark::Owed(reason),
        false => Mark::Failed(reason),
    }
}

/// Why an attempt ended without success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Step(StepError),
    #[error("{0}")]
    Dropped(Dropped),
}

struct Driver<'a> {
    ctx: &'a Context,
    app: &'a AppName,
    id: &'a DeployId,
    /// The step that was marked as running together with the end of the one before it.
    announced: Option<usize>,
}

impl Driver<'_> {
    async fn run(mut self, guard: &mut Guard<'_>) -> Result<State, ExecError> {
        loop {
            let record = store::load(self.ctx, self.app, self.id).await?;
            let deployment = record.value;
            if deployment.state.is_final() {
                return Ok(deployment.state);
            }
            let takes_part = self.takes_part(&deployment).await?;
            let held = guard.hold_lease(&deployment).await?;
            let next = deployment.next(&self.ctx.me);
            match (next, &held) {
                (Next::Over, _) => return Ok(deployment.state),
                // Without a lease nobody answers for the deployment: nothing acts.
                (Next::Run(_) | Next::Undo(_) | Next::Finish(_), Lease::Free) => {
                    self.pause(record.index).await?
                }
                (Next::Run(index), _) if takes_part => {
                    self.run_step(&deployment, index, guard).await?
                }
                (Next::Undo(index), _) if takes_part => self.undo_step(&deployment, index).await?,
                (Next::Finish(outcome), Lease::Mine) => {
                    queue::finish(self.ctx, self.app, self.id, outcome).await?;
                }
                (Next::Run(_) | Next::Undo(_) | Next::Finish(_) | Next::Wait, _) => {
                    guard.watch_over(&deployment, &held).await?;
                    self.pause(record.index).await?;
                }
            }
        }
    }

    /// Notes the deployment's epoch. Where that can't be, this node says so, and answers only for what others do.
    async fn takes_part(&self, deployment: &Deployment) -> Result<bool, ExecError> {
        match self.ctx.journal.raise_epoch(self.app, deployment.epoch).await {
            Ok(()) => Ok(true),
            Err(error) => {
                decline::decline(self.ctx, self.app, deployment, error).await.map(|()| false)
            }
        }
    }

    fn kv(&self) -> &dyn crate::consul::kv::Kv {
        self.ctx.cluster.kv.as_ref()
    }

    /// Waits for the record to change, for a bounded time.
    async fn pause(&self, index: u64) -> Result<(), ExecError> {
        let key = keys::deployment(self.app, self.id);
        let started = Instant::now();
        let listing = self.kv().watch(&key, Some(index), LOOK).await?;
        let changed = listing.entries.iter().any(|entry| entry.modify_index != index);
        if !changed && started.elapsed() < SPURIOUS {
            // The prefix's index can be ahead of the record's: don't turn that into a busy loop.
            tokio::time::sleep(SPURIOUS).await;
        }
        Ok(())
    }

    async fn mark(&self, index: usize, mark: Mark) -> Result<Arc<Deployment>, ExecError> {
        let at = now();
        store::update(self.ctx, self.app, self.id, |deployment| {
            deployment.mark(index, mark.clone(), &at)
        })
        .await
    }

    /// Marks a step as running, unless the deployment has been turned around, or even ended, since it was looked at.
    async fn announce(&self, index: usize) -> Result<Arc<Deployment>, ExecError> {
        let at = now();
        store::update(self.ctx, self.app, self.id, |deployment| {
            let is_open = deployment.steps.get(index).is_some_and(|step| step.status.is_open());
            match deployment.state == State::Running && is_open {
                true => deployment.mark(index, Mark::Running, &at),
                false => Ok(()),
            }
        })
        .await
    }

    async fn run_step(
        &mut self,
        deployment: &Arc<Deployment>,
        index: usize,
        guard: &mut Guard<'_>,
    ) -> Result<(), ExecError> {
        let Some(planned) = deployment.steps.get(index) else {
            return Ok(());
        };
        let step = planned.step.clone();
        // Kept until the record says that the step has ended.
        let mut slot = self.slot(index, &step).await?;
        let deployment = match self.announced.take() {
            Some(announced) if announced == index => deployment.clone(),
            Some(_) | None => self.announce(index).await?,
        };
        let is_running = |record: &StepRecord| record.status == Status::Running;
        if deployment.state != State::Running
            || !deployment.steps.get(index).is_some_and(is_running)
        {
            return Ok(());
        }
        info!(%step, "step begins");
        let started = Instant::now();
        let attempt = async {
            tokio::select! {
                biased;
                result = self.attempt_noted(&deployment, index) => result.map_err(Failure::Step),
                dropped = guard.until_dropped(&deployment, index) => Err(Failure::Dropped(dropped)),
            }
        };
        match within(&mut slot, &step, attempt).await {
            Ok(done) => {
                info!(%step, seconds = started.elapsed().as_secs_f32(), "step done");
                self.record_end(&deployment, index, done).await
            }
            // What is to be done now is in the record.
            Err(Failure::Dropped(Dropped::Turned)) => {
                warn!(%step, "the step is dropped: the deployment has been turned around");
                Ok(())
            }
            Err(error) => {
                let reason = error.to_string();
                warn!(%step, reason, "step failed");
                self.mark(index, failed(&deployment, reason)).await.map(|_| ())
            }
        }
    }

    /// Notes the end of a step. What Consul refuses to take for good is a failure of the step, and told as one.
    async fn record_end(
        &mut self,
        deployment: &Deployment,
        index: usize,
        done: apply::Done,
    ) -> Result<(), ExecError> {
        match self.record_done(index, done).await {
            Err(ExecError::Consul(error)) if !error.is_transient() => {
                let reason = format!("its end can't be written down: {}", chain(&error));
                warn!(index, reason, "step failed");
                self.mark(index, failed(deployment, reason)).await.map(|_| ())
            }
            result => result,
        }
    }

    /// Marks the step as done and, in the same write, the one that this node goes on with as running, unless that has
    /// to wait for a slot.
    async fn record_done(&mut self, index: usize, done: apply::Done) -> Result<(), ExecError> {
        if done.recorded {
            return Ok(());
        }
        let at = now();
        let marked = store::update(self.ctx, self.app, self.id, |deployment| {
            if let Some(prepared) = &done.prepared {
                deployment.prepared = Some(prepared.clone());
            }
            deployment.warnings.extend(done.warnings.iter().cloned());
            deployment.mark(index, Mark::Done(done.output.clone()), &at)?;
            match deployment.goes_on_with(&self.ctx.me) {
                Some(next) => deployment.mark(next, Mark::Running, &at),
                None => Ok(()),
            }
        })
        .await?;
        self.announced = marked.goes_on_with(&self.ctx.me);
        Ok(())
    }

    async fn undo_step(&self, deployment: &Deployment, index: usize) -> Result<(), ExecError> {
        let Some(planned) = deployment.steps.get(index) else {
            return Ok(());
        };
        let step = planned.step.clone();
        let deployment = self.mark(index, Mark::Undoing).await?;
        info!(%step, "undo begins");
        let needed = deployment.brings_back(index);
        let tries = if needed { UNDO_TRIES } else { FORWARD_TRIES };
        let mut last = String::new();
        for attempt in 1..=tries {
            if needed {
                self.docker_answers().await;
            }
            let undone = {
                let _busy = self.ctx.busy.with(self.app).await;
                undo::undo(self.ctx, &deployment, index).await
            };
            match undone {
                Ok(warnings) => return self.record_undone(index, warnings).await,
                Err(error) => last = error.to_string(),
            }
            warn!(%step, attempt, reason = last, "undo failed");
            tokio::time::sleep(UNDO_PAUSE.min(Duration::from_secs(attempt.into()))).await;
        }
        if needed {
            return self.mark(index, Mark::Stuck(last)).await.map(|_| ());
        }
        let at = now();
        store::update(self.ctx, self.app, self.id, |deployment| {
            deployment.leave_undoing(&self.ctx.me, &last, &at)
        })
        .await
        .map(|_| ())
    }

    async fn record_undone(&self, index: usize, warnings: Vec<String>) -> Result<(), ExecError> {
        let at = now();
        store::update(self.ctx, self.app, self.id, |deployment| {
            deployment.warnings.extend(warnings.iter().cloned());
            deployment.mark(index, Mark::Undone, &at)
        })
        .await
        .map(|_| ())
    }

    /// Waits for Docker as long as it takes: without it no try has a chance, and so none counts.
    async fn docker_answers(&self) {
        while let Err(error) = self.ctx.host.containers.ping().await {
            warn!(error = %chain(&error), "the former version can't be brought back without Docker");
            tokio::time::sleep(UNDO_PAUSE).await;
        }
    }
}
