//! Leases: the agent's Consul session, and the lock on an app's deployment that it holds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::context::Context;
use super::error::ExecError;
use super::queue;
use super::store;
use crate::consul::ConsulError;
use crate::consul::kv::Entry;
use crate::consul::session::Sessions;
use crate::consul::txn::{Txn, TxnOp};
use crate::host::files;
use crate::model::deployment::Deployment;
use crate::model::{AppName, DeployId, NodeName, keys};
use crate::records::{LeaseInfo, decode, encode};

/// Consul reads 0 as its default of 15 s; epochs and check-and-set are the fence, so waiting gains nothing.
const LOCK_DELAY: Duration = Duration::from_millis(1);

/// Keeps one session alive for the agent; whoever waits on the channel sees it change and vanish.
pub struct SessionKeeper {
    sessions: Arc<dyn Sessions>,
    name: String,
    ttl: Duration,
    memory: PathBuf,
    publish: watch::Sender<Option<String>>,
}

impl SessionKeeper {
    /// A keeper; `memory` is the file that tells the next agent on this node which session to end.
    pub fn new(
        sessions: Arc<dyn Sessions>,
        node: &NodeName,
        ttl: Duration,
        memory: PathBuf,
    ) -> (Self, watch::Receiver<Option<String>>) {
        let (publish, receiver) = watch::channel(None);
        (Self { sessions, name: format!("tandem agent on {node}"), ttl, memory, publish }, receiver)
    }

    /// Runs for ever: creates a session, renews it three times per TTL, begins anew when it is gone.
    pub async fn run(self) {
        self.end_former().await;
        loop {
            match self.begin().await {
                Ok(id) => self.keep(&id).await,
                Err(error) => {
                    warn!(error = %crate::error::chain(&error), "no Consul session; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// What the former agent of this node held is free at once, without waiting for its TTL.
    async fn end_former(&self) {
        let Ok(former) = std::fs::read_to_string(&self.memory) else {
            return;
        };
        if let Err(error) = self.sessions.destroy(former.trim()).await {
            warn!(error = %crate::error::chain(&error), "the former agent's session stays until its TTL");
        }
    }

    async fn begin(&self) -> Result<String, ConsulError> {
        let id = self.sessions.create(&self.name, self.ttl, LOCK_DELAY).await?;
        if let Err(error) = files::write_atomic(&self.memory, id.clone(), 0o600).await {
            warn!(%error, "the session's id could not be noted");
        }
        info!(session = %id, "Consul session begun");
        self.publish.send_replace(Some(id.clone()));
        Ok(id)
    }

    async fn keep(&self, id: &str) {
        let mut missed = Duration::ZERO;
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            match self.sessions.renew(id).await {
                Ok(true) => missed = Duration::ZERO,
                Ok(false) => break,
                Err(_) if missed < self.ttl => missed += self.ttl / 3,
                Err(_) => break,
            }
        }
        warn!(session = %id, "Consul session lost");
        self.publish.send_replace(None);
    }
}

/// Who holds an app's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lease {
    /// This agent.
    Mine,
    /// The agent with this session.
    Other(String),
    /// Nobody.
    Free,
}

/// Looks at who answers for a deployment. A lease that names another one, given up with its record, counts for nothing.
pub(super) async fn look(ctx: &Context, app: &AppName, id: &DeployId) -> Result<Lease, ExecError> {
    let session = ctx.session.borrow().clone();
    let entry = ctx.cluster.kv.get(&keys::lease(app)).await?;
    Ok(match entry.and_then(|entry| holder(&entry, id)) {
        None => Lease::Free,
        Some(holder) if session.as_deref() == Some(&holder) => Lease::Mine,
        Some(holder) => Lease::Other(holder),
    })
}

/// The session that holds the lease for just this deployment. Of a lease that can't be read nobody knows that it is for
/// another one: it counts for as long as it is held.
fn holder(entry: &Entry, id: &DeployId) -> Option<String> {
    let is_for_another = |info: LeaseInfo| info.deployment != *id;
    if decode(entry).is_ok_and(is_for_another) {
        return None;
    }
    entry.session.clone()
}

/// Takes a free lease for a deployment; false if another node was faster or this agent has no session.
pub(super) async fn take(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
) -> Result<bool, ExecError> {
    let Some(session) = ctx.session.borrow().clone() else {
        return Ok(false);
    };
    let info = LeaseInfo { node: ctx.me.clone(), deployment: deployment.id.clone() };
    // Only while the deployment runs: a node that is late must not lock an app that nothing happens to.
    let record = store::load(ctx, app, &deployment.id).await?;
    if record.value.state.is_final() {
        return Ok(false);
    }
    let key = keys::lease(app);
    let mut ops =
        vec![TxnOp::CheckIndex { key: keys::deployment(app, &deployment.id), index: record.index }];
    let held = ctx.cluster.kv.get(&key).await?.filter(|entry| entry.session.is_some());
    if let Some(entry) = held {
        // Another deployment's: taken from it only while the app's queue names this one.
        let Some(queue) = queue::index_if_running(ctx, app, &deployment.id).await? else {
            return Ok(false);
        };
        if holder(&entry, &deployment.id).is_some() {
            return Ok(false);
        }
        info!(app = %app, deployment = %deployment.id, "the lease of a deployment that was given up is taken over");
        ops.push(TxnOp::CheckIndex { key: keys::queue(app), index: queue });
        ops.push(TxnOp::DeleteCas { key: key.clone(), index: entry.modify_index });
    }
    ops.push(TxnOp::Lock { key, value: encode(&info), session });
    Ok(matches!(ctx.cluster.kv.transact(ops).await?, Txn::Committed(_)))
}
