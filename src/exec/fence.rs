//! A new master that is cut off from Consul stops its uncommitted version: when the others have given it up they bring
//! the former one back, and an app does not run twice.

use tokio::time::Instant;
use tracing::warn;

use super::context::Context;
use super::steps::{StepContext, project};
use crate::model::deployment::Deployment;
use crate::model::{AppName, DeployId};

/// Stops once, each time that this node is cut off while it works on a deployment.
#[derive(Debug, Default)]
pub struct Fence {
    /// When the record had been seen last, at the last stop.
    stopped: Option<Instant>,
}

impl Fence {
    /// To be called whenever Consul did not answer. Stops the new version after half of `node-grace`: the others wait
    /// for all of it before they act.
    pub async fn look(&mut self, ctx: &Context, app: &AppName, id: &DeployId) {
        let Some(seen) = ctx.records.of(id) else { return };
        let deployment = seen.record.as_ref();
        if self.stopped == Some(seen.at) || !is_due(ctx, id) {
            return;
        }
        if deployment.is_at_stake(&ctx.me) {
            warn!(app = %app, deployment = %id, "cut off before the commit: the new version is stopped");
            if stop_uncommitted(ctx, deployment).await {
                self.stopped = Some(seen.at);
            }
        }
    }
}

/// Whether the record has not been seen for half of `node-grace`. While something is at stake, it is looked at often.
pub(super) fn is_due(ctx: &Context, id: &DeployId) -> bool {
    let seen = ctx.records.of(id);
    seen.is_some_and(|seen| seen.at.elapsed() >= ctx.config.node_grace / 2)
}

/// Stops the version that was never committed; true if nothing of it runs any more.
pub(super) async fn stop_uncommitted(ctx: &Context, deployment: &Deployment) -> bool {
    let app = deployment.request.app().name();
    let Some(started) = deployment.uncommitted_start(&ctx.me) else { return true };
    let _busy = ctx.busy.with(&app).await;
    let stopped = match StepContext::new(ctx, deployment, started) {
        Ok(step) => project::hold(&step).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &stopped {
        warn!(app = %app, deployment = %deployment.id, %error, "it could not be stopped yet");
    }
    stopped.is_ok()
}
