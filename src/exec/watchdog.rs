//! What the holder of a lease does about nodes that stay away: everyone else waits for them.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing::warn;

use super::context::{Context, now};
use super::error::ExecError;
use super::store;
use crate::model::deployment::{Deployment, Mark, State};
use crate::model::{AppName, NodeName, keys};

/// How many times `node-grace` a node that is there may take to announce its step: one that works on other deployments
/// says so.
const SILENCE: u32 = 5;

/// Remembers since when each awaited node has been without an agent, and since when which of its steps is missed.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    away: BTreeMap<NodeName, Instant>,
    missed: BTreeMap<NodeName, (usize, Instant)>,
}

impl Watchdog {
    /// Looks at the awaited nodes and fails the open steps of one that has been away for too long, or that is there and
    /// takes no part, unless the app's only way is through that node.
    pub(super) async fn look(
        &mut self,
        ctx: &Context,
        app: &AppName,
        deployment: &Deployment,
    ) -> Result<(), ExecError> {
        for node in deployment.awaited() {
            if deployment.is_waited_for(node) {
                continue;
            }
            if ctx.cluster.kv.get(&keys::node(node)).await?.is_some() {
                self.away.remove(node);
                self.look_for_silence(ctx, app, deployment, node).await?;
                continue;
            }
            self.missed.remove(node);
            let since = *self.away.entry(node.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= ctx.config.node_grace {
                let grace = ctx.config.node_grace.as_secs();
                let why = format!("{node} has been away for more than {grace} s");
                warn!(away = %node, "giving up on a node");
                give_up(ctx, app, deployment, node, &why).await?;
                self.away.remove(node);
            }
        }
        Ok(())
    }

    /// An agent that runs and does not begin what it could begin takes no part, for whatever reason.
    async fn look_for_silence(
        &mut self,
        ctx: &Context,
        app: &AppName,
        deployment: &Deployment,
        node: &NodeName,
    ) -> Result<(), ExecError> {
        let Some(index) = deployment.unannounced(node) else {
            self.missed.remove(node);
            return Ok(());
        };
        let missed = self.missed.entry(node.clone()).or_insert_with(|| (index, Instant::now()));
        if missed.0 != index {
            *missed = (index, Instant::now());
        }
        let patience = ctx.config.node_grace * SILENCE;
        if missed.1.elapsed() < patience {
            return Ok(());
        }
        let seconds = patience.as_secs();
        let why = format!(
            "the agent of {node} runs and has not begun this step for {seconds} s; its log may tell why"
        );
        warn!(silent = %node, "giving up on a node that takes no part");
        give_up(ctx, app, deployment, node, &why).await?;
        self.missed.remove(node);
        Ok(())
    }
}

/// Before the commit, going forward, the open step of `node` fails: that turns the deployment around. What it would have
/// had to undo, or to do after the commit, it owes.
async fn give_up(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
    node: &NodeName,
    why: &str,
) -> Result<(), ExecError> {
    let at = now();
    store::update(ctx, app, &deployment.id, |record| {
        for index in record.open_steps(node) {
            match record.committed {
                true => record.mark(index, Mark::Owed(why.to_owned()), &at)?,
                // Nothing of a pending step needs to be undone.
                false if record.state == State::Running => record.fail_open(index, why, &at)?,
                false => {}
            }
        }
        if record.state == State::Undoing && !record.is_waited_for(node) {
            record.leave_undoing(node, why, &at)?;
        }
        Ok(())
    })
    .await
    .map(|_| ())
}
