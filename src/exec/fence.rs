//! A new master that is cut off from Consul stops its uncommitted version: when the others have given it up they bring
//! the former one back, and an app does not run twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tracing::warn;

use super::context::Context;
use super::steps::{StepContext, project};
use crate::model::deployment::{Deployment, Step, StepRecord};
use crate::model::{AppName, NodeName};

/// The records as this node last saw them, and when.
#[derive(Debug, Default)]
pub struct LastSeen(Mutex<BTreeMap<AppName, (Deployment, Instant)>>);

impl LastSeen {
    pub(super) fn note(&self, app: &AppName, deployment: &Deployment) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(app.clone(), (deployment.clone(), Instant::now()));
    }

    fn of(&self, app: &AppName) -> Option<(Deployment, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(app).cloned()
    }
}

/// Stops once, each time that this node is cut off while it works on a deployment.
#[derive(Debug, Default)]
pub struct Fence {
    /// When the record had been seen last, at the last stop.
    stopped: Option<Instant>,
}

impl Fence {
    /// To be called whenever Consul did not answer. Stops the new version after half of `node-grace`: the others wait
    /// for all of it before they act.
    pub async fn look(&mut self, ctx: &Context, app: &AppName) {
        let Some((deployment, seen)) = ctx.last_seen.of(app) else { return };
        if self.stopped == Some(seen) || !is_due(ctx, app) {
            return;
        }
        if let Some(up) = uncommitted(&deployment, &ctx.me) {
            warn!(app = %app, deployment = %deployment.id, "cut off before the commit: the new version is stopped");
            if stop(ctx, app, &deployment, up).await {
                self.stopped = Some(seen);
            }
        }
    }
}

/// Whether the record has not been seen for half of `node-grace`. While something is at stake, it is looked at often.
pub(super) fn is_due(ctx: &Context, app: &AppName) -> bool {
    let seen = ctx.last_seen.of(app);
    seen.is_some_and(|(_, seen)| seen.elapsed() >= ctx.config.node_grace / 2)
}

/// Whether a version runs here, or may soon, that others may give up.
pub(super) fn is_at_stake(deployment: &Deployment, me: &NodeName) -> bool {
    uncommitted(deployment, me).is_some()
}

/// The step that started a version here which may yet be given up: what was there before runs elsewhere. A commit that
/// has begun may have happened.
fn uncommitted(deployment: &Deployment, me: &NodeName) -> Option<usize> {
    let begun = |record: &StepRecord| record.started_at.is_some() && record.node == *me;
    let former = deployment.former.as_ref().is_some_and(|former| former.master != *me);
    let commits = deployment.steps.iter().any(|r| r.step == Step::Commit && begun(r));
    if deployment.committed || deployment.state.is_final() || commits || !former {
        return None;
    }
    let up = |r: &StepRecord| r.step == Step::Up && begun(r) && r.status.is_to_undo();
    deployment.steps.iter().position(up)
}

async fn stop(ctx: &Context, app: &AppName, deployment: &Deployment, up: usize) -> bool {
    let _busy = ctx.busy.with(app).await;
    let stopped = match StepContext::new(ctx, deployment, up) {
        Ok(step) => project::hold(&step).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &stopped {
        warn!(app = %app, deployment = %deployment.id, %error, "it could not be stopped yet");
    }
    stopped.is_ok()
}
