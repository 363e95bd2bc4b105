//! KV: maintenance, and the two transactions that are the points of no return.

use std::time::Duration;

use tokio::time::Instant;

use super::{StepContext, routed};
use crate::consul::txn::{Txn, TxnOp};
use crate::exec::apply::Done;
use crate::exec::context::now;
use crate::exec::error::StepError;
use crate::exec::{standing, store};
use crate::model::deployment::{Deployment, Mark, State};
use crate::model::{HandOver, NodeName, keys};
use crate::records::{NodeInfo, decode, encode, name_of};

/// The proxies follow within 0.2 s; more is trouble.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lets requests wait, or shows the maintenance page if an operator does so already. What an earlier deployment left is
/// taken over, so that it ends with this one. Done when every node's proxies have heard of it: what reaches the app after
/// that would meet a stopped one.
pub(in crate::exec) async fn begin_maintenance(step: &StepContext<'_>) -> Result<Done, StepError> {
    let key = keys::maintenance(&step.app);
    let found = step.ctx.cluster.kv.get(&key).await.map_err(|e| StepError::from_error(&e))?;
    let index = match found {
        None => 0,
        Some(entry) if HandOver::is(&entry.value) => entry.modify_index,
        Some(_) => return Ok(Done::default()),
    };
    let value = encode(&HandOver { deploy_id: step.deployment.id.to_string() });
    let txn = step.ctx.cluster.kv.transact(vec![TxnOp::Cas { key, value, index }]).await;
    if let Txn::Committed(entries) = txn.map_err(|e| StepError::from_error(&e))? {
        let index = entries.first().map_or(0, |entry| entry.modify_index);
        return heard(step, index).await;
    }
    Err(StepError::Lost("the maintenance key was changed at the same moment".to_owned()))
}

/// Waits for the proxies of the nodes that have an agent. One that says nothing holds nobody up for long: it may have
/// other trouble, and is named.
async fn heard(step: &StepContext<'_>, index: u64) -> Result<Done, StepError> {
    let mut done = Done::default();
    if !step.ctx.proxies.tell() {
        return Ok(done);
    }
    let deadline = Instant::now() + HEARD_WITHIN;
    loop {
        let silent = silent(step, index).await?;
        if silent.is_empty() {
            return Ok(done);
        }
        if Instant::now() >= deadline {
            let names = silent.join(", ");
            done.warnings.push(format!(
                "the proxies of {names} did not say that they lead nobody to the app any more"
            ));
            return Ok(done);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The nodes with an agent whose proxies have not taken up the maintenance with this index.
async fn silent(step: &StepContext<'_>, index: u64) -> Result<Vec<String>, StepError> {
    let kv = step.ctx.cluster.kv.as_ref();
    let list = async |prefix: &str| {
        let listing = kv.list(prefix).await.map_err(|e| StepError::from_error(&e))?;
        Ok::<_, StepError>(listing.entries)
    };
    let heard = list(&keys::heard_prefix(&step.app)).await?;
    let nodes = list(keys::NODES).await?;
    let names = nodes.iter().filter_map(|entry| name_of::<NodeInfo>(&entry.key));
    let index = index.to_string();
    let has_heard = |name: &NodeName| {
        let key = format!("{}{name}", keys::heard_prefix(&step.app));
        heard.iter().any(|entry| entry.key == key && entry.value == index.as_bytes())
    };
    Ok(names.filter(|name| !has_heard(name)).map(|name| name.to_string()).collect())
}

/// Ends the maintenance that this deployment began; an operator's stays, unless the app is gone, and has not come anew
/// since. Done when every node
/// serves what was committed.
pub(in crate::exec) async fn end_maintenance(step: &StepContext<'_>) -> Result<Done, StepError> {
    let key = keys::maintenance(&step.app);
    let found = step.ctx.cluster.kv.get(&key).await.map_err(|e| StepError::from_error(&e))?;
    let Some(entry) = found else {
        return routed::wait(step).await;
    };
    let owner = decode::<HandOver>(&entry).ok();
    let ours = owner.is_some_and(|owner| owner.deploy_id == step.deployment.id.as_str());
    let destroyed = step.deployment.committed && step.deployment.placement.is_none();
    let mut stays = None;
    if ours || destroyed && !is_there(step).await? {
        let index = entry.modify_index;
        transact(step, vec![TxnOp::DeleteCas { key, index }]).await?;
    } else if !HandOver::is(&entry.value) {
        stays = Some(format!(
            "the app stays under maintenance, by a key that no deployment has set: consul kv delete {key} ends it"
        ));
    }
    let mut done = routed::wait(step).await?;
    done.warnings.extend(stays);
    Ok(done)
}

/// Whether the app has an entry.
async fn is_there(step: &StepContext<'_>) -> Result<bool, StepError> {
    let entry = step.ctx.cluster.kv.get(&keys::app(&step.app)).await;
    Ok(entry.map_err(|e| StepError::from_error(&e))?.is_some())
}

/// Flips the app's KV entry to this deployment. A first one does not take the place of an entry that was put back.
pub(in crate::exec) async fn commit(step: &StepContext<'_>) -> Result<Done, StepError> {
    let (key, value) = (keys::app(&step.app), encode(step.prepared()?));
    let entry = match step.deployment.former {
        Some(_) => TxnOp::Set { key, value },
        None => TxnOp::Cas { key, value, index: standing::require_new(step).await? },
    };
    // Whatever an operator gave up under this name was another app's.
    let gone = TxnOp::Delete { key: keys::gone(&step.app) };
    let mut changes = vec![entry, gone];
    if step.deployment.former.is_none() {
        // So were the volumes that are known by it.
        changes.push(TxnOp::Delete { key: keys::lines(&step.app) });
    }
    seal(step, changes).await
}

/// Removes the app's KV entry.
pub(in crate::exec) async fn forget(step: &StepContext<'_>) -> Result<Done, StepError> {
    let gone = [keys::app(&step.app), keys::gone(&step.app), keys::lines(&step.app)];
    let gone = gone.map(|key| TxnOp::Delete { key });
    seal(step, gone.into()).await
}

/// One transaction: the lease is held by whom it was held, the record is as it was read and still running, the
/// entry changes, and the record says so. Whoever turned the deployment around in between wins.
async fn seal(step: &StepContext<'_>, changes: Vec<TxnOp>) -> Result<Done, StepError> {
    let kv = step.ctx.cluster.kv.as_ref();
    let id = &step.deployment.id;
    let record = store::load(step.ctx, &step.app, id).await;
    let record = record.map_err(|error| StepError::from_error(&error))?;
    let mut deployment = Deployment::clone(&record.value);
    if deployment.committed {
        return Ok(Done {
            recorded: deployment.steps[step.index].status.is_over(),
            ..Done::default()
        });
    }
    if deployment.state != State::Running {
        return Err(StepError::Lost("the deployment has been turned around".to_owned()));
    }
    let lease_key = keys::lease(&step.app);
    let lease = kv.get(&lease_key).await.map_err(|e| StepError::from_error(&e))?;
    let session = lease
        .and_then(|entry| entry.session)
        .ok_or_else(|| StepError::Lost("nobody holds the app's lease".to_owned()))?;
    deployment.committed = true;
    deployment
        .mark(step.index, Mark::Done(std::collections::BTreeMap::new()), &now())
        .map_err(|error| StepError::from_error(&error))?;
    let mut ops = vec![
        TxnOp::CheckSession { key: lease_key, session },
        TxnOp::Cas {
            key: keys::deployment(&step.app, id),
            value: encode(&deployment),
            index: record.index,
        },
    ];
    ops.extend(changes);
    ops.extend(routed::ask(step));
    if transact(step, ops).await? {
        return Ok(Done { recorded: true, ..Done::default() });
    }
    Err(StepError::Lost(
        "the lease, the record or the app's entry changed during the commit".to_owned(),
    ))
}

async fn transact(step: &StepContext<'_>, ops: Vec<TxnOp>) -> Result<bool, StepError> {
    let txn = step.ctx.cluster.kv.transact(ops).await.map_err(|e| StepError::from_error(&e))?;
    Ok(matches!(txn, Txn::Committed(_)))
}
