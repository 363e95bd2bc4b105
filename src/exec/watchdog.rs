//! What the holder of a lease does about nodes that stay away: everyone else waits for them.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing::warn;

use super::context::{Context, now};
use super::error::ExecError;
use super::store;
use crate::model::deployment::{Deployment, Illegal, Mark, State, Step, StepRecord};
use crate::model::{AppName, NodeName, keys};

/// Remembers since when each awaited node has been without an agent.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    away: BTreeMap<NodeName, Instant>,
}

impl Watchdog {
    /// Looks at the awaited nodes and fails the open steps of one that has been away for too long, unless the app's
    /// only way is through that node.
    pub(super) async fn look(
        &mut self,
        ctx: &Context,
        app: &AppName,
        deployment: &Deployment,
    ) -> Result<(), ExecError> {
        for node in deployment.awaited() {
            if is_waited_for(deployment, node) {
                continue;
            }
            if ctx.cluster.kv.get(&keys::node(node)).await?.is_some() {
                self.away.remove(node);
                continue;
            }
            let since = *self.away.entry(node.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= ctx.config.node_grace {
                warn!(away = %node, "giving up on a node");
                give_up(ctx, app, deployment, node).await?;
                self.away.remove(node);
            }
        }
        Ok(())
    }
}

/// Whether only this node can bring the app to one of its two good ends: the former version runs again where it was
/// stopped, the new one serves where it was started. However long such a node stays away, it goes on when it is back.
fn is_waited_for(deployment: &Deployment, node: &NodeName) -> bool {
    let is_stop = |record: &&StepRecord| record.step == Step::Stop && record.node == *node;
    let stopped =
        deployment.steps.iter().find(is_stop).is_some_and(|stop| stop.started_at.is_some());
    let serves = deployment.placement.as_ref().is_some_and(|pair| pair.master == *node);
    match deployment.committed {
        true => stopped || serves,
        false => stopped && deployment.state == State::Undoing,
    }
}

/// Going forward: the open steps of `node` fail, which turns the deployment around or, after the commit, is a warning.
/// Going backward: a checkout is left to it; anything else is stuck, because containers may come up there again.
async fn give_up(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
    node: &NodeName,
) -> Result<(), ExecError> {
    let at = now();
    let why = format!("{node} has been away for more than {} s", ctx.config.node_grace.as_secs());
    store::update(ctx.cluster.kv.as_ref(), app, &deployment.id, |record| {
        for index in 0..record.steps.len() {
            if record.steps[index].node != *node {
                continue;
            }
            let status = record.steps[index].status;
            if record.state == State::Running && status.is_open() {
                let begun = record.steps[index].started_at.is_some();
                record.mark(index, Mark::Failed(why.clone()), &at)?;
                if !begun && record.state == State::Undoing {
                    // Nothing to undo, so nobody to wait for a second time.
                    leave(record, index, &at)?;
                }
            } else if record.state == State::Undoing && status.is_to_undo() {
                let step = record.steps[index].step.clone();
                if step.is_harmless() {
                    record.warnings.push(format!("{why}: undoing its {step} is left to it"));
                    leave(record, index, &at)?;
                } else {
                    record.mark(index, Mark::Stuck(why.clone()), &at)?;
                }
            }
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

fn leave(record: &mut Deployment, index: usize, at: &str) -> Result<(), Illegal> {
    record.mark(index, Mark::Undoing, at)?;
    record.mark(index, Mark::Undone, at)
}
