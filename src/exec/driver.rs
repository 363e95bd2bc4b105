//! One deployment on one node: watches the record, carries out or undoes this node's next step, and, where
//! this node holds the lease, ends what is over and gives up on nodes that stay away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument, info, info_span, warn};

use super::context::{Context, now};
use super::error::{ExecError, StepError};
use super::lease::{self, Lease};
use super::watchdog::Watchdog;
use super::{apply, fence, owed, queue, store, undo};
use crate::error::chain;
use crate::model::deployment::{Deployment, Mark, Next, State, Status, Step, StepRecord};
use crate::model::{AppName, DeployId, keys};

/// How long one look at the record waits for a change: bounds how late a lost lease is noticed.
const LOOK: Duration = Duration::from_secs(2);
/// A look that ends sooner than this without a change was not woken by one.
const SPURIOUS: Duration = Duration::from_millis(250);
/// How long the preferred node has to take a free lease before another one does.
const HEAD_START: Duration = Duration::from_secs(4);
/// A heavy step that has been at work for so long may be stuck: what waits for its slot does so no longer.
pub(super) const COUNTED: Duration = Duration::from_secs(300);
/// Tries of a step behind the commit, and of an undo that nobody waits for, before it is left for later.
pub(super) const FORWARD_TRIES: u32 = 3;
/// Tries of an undo that the former version needs to serve again: some two minutes with a Docker that answers.
pub(super) const UNDO_TRIES: u32 = 15;
const UNDO_PAUSE: Duration = Duration::from_secs(10);

/// Works on a deployment until its outcome is written. Safe to call again after any interruption.
pub async fn drive(ctx: &Context, app: &AppName, id: &DeployId) -> Result<State, ExecError> {
    let span = info_span!("deployment", app = %app, deployment = %id, node = %ctx.me);
    Driver { ctx, app, id, watchdog: Watchdog::default(), free_since: None, announced: None }
        .run()
        .instrument(span)
        .await
}

/// Works on a step, which gives its slot back if that takes long.
pub(super) async fn within<T>(
    slot: &mut Option<SemaphorePermit<'_>>,
    step: &Step,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(COUNTED), if slot.is_some() => {}
    }
    info!(%step, "goes on, and other deployments' steps wait for it no longer");
    *slot = None;
    work.await
}

/// Whether the former version serves again only when this has been undone: it runs on that node.
fn brings_back(deployment: &Deployment, index: usize) -> bool {
    let former = deployment.former.as_ref().map(|former| &former.master);
    deployment.steps.get(index).is_some_and(|step| Some(&step.node) == former)
}

struct Driver<'a> {
    ctx: &'a Context,
    app: &'a AppName,
    id: &'a DeployId,
    watchdog: Watchdog,
    free_since: Option<Instant>,
    /// The step that was marked as running together with the end of the one before it.
    announced: Option<usize>,
}

impl<'a> Driver<'a> {
    async fn run(mut self) -> Result<State, ExecError> {
        loop {
            let record = store::load(self.ctx, self.app, self.id).await?;
            let deployment = record.value;
            if deployment.state.is_final() {
                return Ok(deployment.state);
            }
            self.ctx.journal.raise_epoch(self.app, deployment.epoch).await?;
            let held = self.hold_lease(&deployment).await?;
            let next = deployment.next(&self.ctx.me);
            match (next, &held) {
                (Next::Over, _) => return Ok(deployment.state),
                // Without a lease nobody answers for the deployment: nothing acts.
                (Next::Run(_) | Next::Undo(_) | Next::Finish(_), Lease::Free) => {
                    self.pause(record.index).await?
                }
                (Next::Run(index), _) => self.run_step(&deployment, index).await?,
                (Next::Undo(index), _) => self.undo_step(&deployment, index).await?,
                (Next::Finish(outcome), Lease::Mine) => {
                    queue::finish(self.ctx, self.app, self.id, outcome).await?;
                }
                (Next::Finish(_) | Next::Wait, _) => {
                    if held == Lease::Mine {
                        self.watchdog.look(self.ctx, self.app, &deployment).await?;
                    }
                    self.pause(record.index).await?;
                }
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

    /// Sees who holds the lease, and takes a free one when it is this node's turn.
    async fn hold_lease(&mut self, deployment: &Deployment) -> Result<Lease, ExecError> {
        let lease = lease::look(self.ctx, self.app).await?;
        if lease != Lease::Free {
            self.free_since = None;
            return Ok(lease);
        }
        let since = *self.free_since.get_or_insert_with(Instant::now);
        let first = lease::preferred(deployment).as_ref() == Some(&self.ctx.me);
        if !first && since.elapsed() < HEAD_START {
            return Ok(Lease::Free);
        }
        if lease::take(self.ctx, self.app, deployment).await? {
            info!("lease taken");
            return Ok(Lease::Mine);
        }
        lease::look(self.ctx, self.app).await
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

    /// Ends when this node has been cut off for so long that what it started has to be stopped. Until then it looks at
    /// the record now and then: a step may take long without asking Consul for anything.
    async fn cut_off(&self) {
        while !fence::is_due(self.ctx, self.id) {
            tokio::time::sleep(LOOK).await;
            // Whether it succeeds is seen by when the record was seen last.
            let _ = store::load(self.ctx, self.app, self.id).await;
        }
    }

    async fn run_step(
        &mut self,
        deployment: &Arc<Deployment>,
        index: usize,
    ) -> Result<(), ExecError> {
        let Some(planned) = deployment.steps.get(index) else {
            return Ok(());
        };
        let step = planned.step.clone();
        // Kept until the record says that the step has ended.
        let mut slot = self.slot(&step).await;
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
            if !fence::is_at_stake(&deployment, &self.ctx.me) {
                return self.attempt(&deployment, index).await;
            }
            tokio::select! {
                result = self.attempt(&deployment, index) => result,
                () = self.cut_off() => Err(StepError::Lost("Consul has been away for too long".to_owned())),
            }
        };
        match within(&mut slot, &step, attempt).await {
            Ok(done) => {
                info!(%step, seconds = started.elapsed().as_secs_f32(), "step done");
                self.record_done(index, done).await
            }
            Err(error) => {
                let reason = error.to_string();
                warn!(%step, reason, "step failed");
                // Behind the commit nothing is given up: it is tried again later.
                let mark = match deployment.committed {
                    true => Mark::Owed(reason),
                    false => Mark::Failed(reason),
                };
                self.mark(index, mark).await.map(|_| ())
            }
        }
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
            let result = self.attempt_once(deployment, index).await;
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

    async fn attempt_once(
        &self,
        deployment: &Deployment,
        index: usize,
    ) -> Result<apply::Done, StepError> {
        let owed = owed::settle_before(self.ctx, self.app, deployment, index).await;
        owed.map_err(|error| {
            StepError::Failed(format!("left from an earlier deployment: {error}"))
        })?;
        let _busy = self.ctx.busy.with(self.app).await;
        apply::apply(self.ctx, deployment, index).await
    }

    /// Heavy steps take a slot, so that twenty deployments at once don't build twenty images at once. Taken before the
    /// step is marked as running: its times are those of its work.
    async fn slot(&self, step: &Step) -> Option<SemaphorePermit<'a>> {
        if !step.is_heavy() {
            return None;
        }
        if let Ok(slot) = self.ctx.slots.try_acquire() {
            return Some(slot);
        }
        info!(%step, "waits for other deployments' steps on this node");
        // What else is at work on the app here, an older debt for instance, is not waited for with a slot in hand.
        drop(self.ctx.busy.with(self.app).await);
        self.ctx.slots.acquire().await.ok()
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
            match self.goes_on_with(deployment) {
                Some(next) => deployment.mark(next, Mark::Running, &at),
                None => Ok(()),
            }
        })
        .await?;
        self.announced = self.goes_on_with(&marked);
        Ok(())
    }

    /// The step that this node can begin at once.
    fn goes_on_with(&self, deployment: &Deployment) -> Option<usize> {
        match deployment.next(&self.ctx.me) {
            Next::Run(next) => (!deployment.steps.get(next)?.step.is_heavy()).then_some(next),
            Next::Undo(_) | Next::Finish(_) | Next::Wait | Next::Over => None,
        }
    }

    async fn undo_step(&self, deployment: &Deployment, index: usize) -> Result<(), ExecError> {
        let Some(planned) = deployment.steps.get(index) else {
            return Ok(());
        };
        let step = planned.step.clone();
        let deployment = self.mark(index, Mark::Undoing).await?;
        info!(%step, "undo begins");
        let needed = brings_back(&deployment, index);
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
