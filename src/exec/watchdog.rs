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

/// Whether only this node can bring the app to a good end: the former version was stopped there, and has to run again
/// there. However long such a node stays away, it goes on when it is back.
fn is_waited_for(deployment: &Deployment, node: &NodeName) -> bool {
    let is_stop = |record: &&StepRecord| record.step == Step::Stop && record.node == *node;
    let stop = deployment.steps.iter().find(is_stop);
    deployment.state == State::Undoing && stop.is_some_and(|stop| stop.status.is_to_undo())
}

/// Before the commit, going forward, the open step of `node` fails: that turns the deployment around. What it would have
/// had to undo, or to do after the commit, it owes.
async fn give_up(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
    node: &NodeName,
) -> Result<(), ExecError> {
    let at = now();
    let why = format!("{node} has been away for more than {} s", ctx.config.node_grace.as_secs());
    store::update(ctx, app, &deployment.id, |record| {
        for index in open_steps(record, node) {
            match record.committed {
                true => record.mark(index, Mark::Owed(why.clone()), &at)?,
                // Nothing of a pending step needs to be undone.
                false if record.state == State::Running => fail_open(record, index, &why, &at)?,
                false => {}
            }
        }
        if record.state == State::Undoing && !is_waited_for(record, node) {
            record.leave_undoing(node, &why, &at)?;
        }
        Ok(())
    })
    .await
    .map(|_| ())
}

fn open_steps(record: &Deployment, node: &NodeName) -> Vec<usize> {
    let own = record.steps.iter().enumerate().filter(|(_, step)| step.node == *node);
    own.filter(|(_, step)| step.status.is_open()).map(|(index, _)| index).collect()
}

/// A step that never began leaves nothing to undo, and nobody to wait for a second time.
fn fail_open(record: &mut Deployment, index: usize, why: &str, at: &str) -> Result<(), Illegal> {
    let begun = record.steps[index].started_at.is_some();
    record.mark(index, Mark::Failed(why.to_owned()), at)?;
    if !begun {
        record.mark(index, Mark::Undoing, at)?;
        record.mark(index, Mark::Undone, at)?;
    }
    Ok(())
}
