//! A compose project is one app's: `tandem/projects/{project}`, written in the transaction that accepts a deployment.
//!
//! Different apps can come to the same project: its name keeps nothing but `[a-z0-9]` of the app's. Of two that are
//! accepted at the same moment on different nodes one finds the key changed, and looks again. A claim counts as long as
//! its app serves, has a deployment that runs or waits, or is owed something: what is left after that is anybody's.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::ExecError;
use crate::consul::txn::TxnOp;
use crate::model::deployment::Deployment;
use crate::model::{AppName, AppRecord, DeployId, Placement, keys};
use crate::records::{self, Claim, Queue, decode, encode, name_of};

/// How an app stands to its project.
pub(super) struct Standing {
    /// Other apps with the same project, each with its pair if it serves.
    pub(super) rivals: BTreeMap<AppName, Option<Placement>>,
    key: String,
    /// The key's index, 0 if it is not there; none: it is another app's.
    free: Option<u64>,
}

impl Standing {
    /// What makes the project the app's, if nobody was faster.
    pub(super) fn claim(&self, app: &AppName, id: &DeployId) -> Option<TxnOp> {
        let value = encode(&Claim { app: app.clone(), deploy_id: id.clone() });
        self.free.map(|index| TxnOp::Cas { key: self.key.clone(), value, index })
    }
}

/// Looks whose the project of an app is.
pub(super) async fn look(ctx: &Context, app: &AppName) -> Result<Standing, ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    let project = app.project();
    let key = keys::project(&project);
    let entry = kv.get(&key).await?;
    let mut rivals = BTreeMap::new();
    for other in kv.list(keys::APPS).await?.entries {
        let name = name_of::<AppRecord>(&other.key);
        if let Some(name) = name.filter(|name| name != app && name.project() == project) {
            let record = decode::<AppRecord>(&other).ok();
            rivals.insert(name, record.map(|record| record.placement()));
        }
    }
    let index = entry.as_ref().map_or(0, |entry| entry.modify_index);
    // A claim that can't be read is somebody's.
    let claim = entry.as_ref().map(decode::<Claim>).transpose()?;
    let owner = claim.map(|claim| claim.app).filter(|owner| owner != app);
    let free = match owner {
        Some(owner) if rivals.contains_key(&owner) => None,
        Some(owner) if !is_gone(ctx, &owner).await? => {
            rivals.insert(owner, None);
            None
        }
        Some(_) | None => Some(index),
    };
    Ok(Standing { rivals, key, free })
}

/// Whether nothing of an app that does not serve runs, waits or is owed any more.
async fn is_gone(ctx: &Context, app: &AppName) -> Result<bool, ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    let queue = records::read::<Queue>(kv, &keys::queue(app)).await?.map(|queue| queue.value);
    if queue.is_some_and(|queue| queue.running.is_some() || queue.waiting.is_some()) {
        return Ok(false);
    }
    Ok(!owes(ctx, app).await?)
}

async fn owes(ctx: &Context, app: &AppName) -> Result<bool, ExecError> {
    let own = format!("/{app}/");
    let listing = ctx.cluster.kv.list(keys::OWED).await?;
    Ok(listing.entries.iter().any(|entry| entry.key.contains(&own)))
}

/// What gives the project back when a deployment ends that leaves no app, and no debt.
pub(super) async fn release(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
) -> Result<Option<TxnOp>, ExecError> {
    let kv = ctx.cluster.kv.as_ref();
    if kv.get(&keys::app(app)).await?.is_some() || owes(ctx, app).await? {
        return Ok(None);
    }
    let key = keys::project(&app.project());
    let Some(entry) = kv.get(&key).await? else { return Ok(None) };
    let claim = decode::<Claim>(&entry).ok();
    let is_ours = claim.is_some_and(|claim| claim.app == *app && claim.deploy_id == deployment.id);
    Ok(is_ours.then_some(TxnOp::DeleteCas { key, index: entry.modify_index }))
}
