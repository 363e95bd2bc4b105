//! A running deployment's record that was replaced by something nobody can read: whoever worked on it still knows what it
//! said, and writes that back. Until then nothing acts, and the app would stay in maintenance.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::context::Context;
use super::error::ExecError;
use super::queue;
use crate::consul::kv::Entry;
use crate::consul::txn::{Txn, TxnOp};
use crate::model::deployment::{Deployment, State};
use crate::model::{AppName, AppRecord, DeployId, keys};
use crate::records::{self, Versioned, encode};

/// Who works on a deployment looks at its record every two seconds. Who has not for so long may have missed something.
const FRESH: Duration = Duration::from_secs(10);

/// Writes back what this node saw last. `None` where it does not know, or may have missed the end of it, or where the
/// app's queue does not name the deployment any more.
pub(super) async fn put_back(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    found: &Entry,
) -> Result<Option<Versioned<Arc<Deployment>>>, ExecError> {
    let Some(seen) = ctx.records.of(id).filter(|seen| seen.at.elapsed() < FRESH) else {
        return Ok(None);
    };
    let Some(queue) = queue::index_if_running(ctx, app, id).await? else { return Ok(None) };
    if !seen.record.committed && is_decided(ctx, app, &seen.record).await? {
        return Ok(None);
    }
    let mut record = Deployment::clone(&seen.record);
    record.warnings.push(format!(
        "something that nobody can read was written over this record; {} has put it back as it was",
        ctx.me
    ));
    let record_key = keys::deployment(app, id);
    let (key, value, index) = (record_key.clone(), encode(&record), found.modify_index);
    let ops = vec![
        TxnOp::CheckIndex { key: keys::queue(app), index: queue },
        TxnOp::Cas { key, value, index },
    ];
    let Txn::Committed(entries) = ctx.cluster.kv.transact(ops).await? else { return Ok(None) };
    let Some(entry) = entries.iter().find(|entry| entry.key == record_key) else { return Ok(None) };
    warn!(app = %app, deployment = %id, "its record could not be read: put back as it was seen last");
    let (value, index) = (Arc::new(record), entry.modify_index);
    ctx.records.note(&value, index);
    Ok(Some(Versioned { value, index }))
}

/// Whether the deployment has passed its point of no return, which this node's copy does not know of.
async fn is_decided(ctx: &Context, app: &AppName, record: &Deployment) -> Result<bool, ExecError> {
    if record.state != State::Running {
        return Ok(false);
    }
    let entry = records::read::<AppRecord>(ctx.cluster.kv.as_ref(), &keys::app(app)).await?;
    Ok(match entry {
        Some(entry) => entry.value.deploy_id == record.id.as_str(),
        None => record.former.is_some(),
    })
}
