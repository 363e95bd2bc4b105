//! Deployment records in KV: every change is a check-and-set against what was read.

use std::sync::Arc;

use super::context::Context;
use super::error::ExecError;
use super::mend;
use super::records::Seen;
use crate::consul::txn::{Txn, TxnOp};
use crate::model::deployment::{Deployment, Illegal};
use crate::model::{AppName, DeployId, keys};
use crate::records::{RecordError, Versioned, contend, decode, encode};

/// Reads a deployment's record.
pub(super) async fn load(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
) -> Result<Versioned<Arc<Deployment>>, ExecError> {
    let found = look(ctx, app, id).await?;
    let found = found.ok_or_else(|| ExecError::Gone(keys::deployment(app, id)))?;
    ctx.records.note(&found.value, found.index);
    Ok(found)
}

/// Reads a deployment's record, if there is one, without remembering it. One that can't be read is put back, if this node
/// knows what it said.
pub(super) async fn look(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
) -> Result<Option<Versioned<Arc<Deployment>>>, ExecError> {
    let key = keys::deployment(app, id);
    let mut looked_again = false;
    loop {
        let Some(entry) = ctx.cluster.kv.get(&key).await? else { return Ok(None) };
        let index = entry.modify_index;
        if let Some(value) = ctx.records.decoded(id, index) {
            return Ok(Some(Versioned { value, index }));
        }
        let error = match decode::<Deployment>(&entry) {
            Ok(value) => return Ok(Some(Versioned { value: Arc::new(value), index })),
            Err(newer @ RecordError::Newer { .. }) => return Err(newer.into()),
            Err(error @ RecordError::Unreadable { .. }) => error,
        };
        // Boxed: it is rare, and every read would carry its room.
        match Box::pin(mend::put_back(ctx, app, id, &entry)).await? {
            Some(record) => return Ok(Some(record)),
            // Another node may have been faster.
            None if !looked_again => looked_again = true,
            None => return Err(error.into()),
        }
    }
}

/// Whether there is something to do for a deployment here.
pub async fn concerns(ctx: &Context, app: &AppName, id: &DeployId) -> Result<bool, ExecError> {
    let found = look(ctx, app, id).await?;
    Ok(found.is_some_and(|record| record.value.concerns(&ctx.me)))
}

/// Changes a record by check-and-set, beginning with what was seen last and reading it anew as long as others are faster.
/// What a node comes to owe is noted
/// for it in the same transaction.
pub(super) async fn update(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    change: impl Fn(&mut Deployment) -> Result<(), Illegal>,
) -> Result<Arc<Deployment>, ExecError> {
    contend(&keys::deployment(app, id), |before| {
        // What was seen last is tried once.
        let known = if before == 0 { ctx.records.of(id) } else { None };
        try_to_update(ctx, app, id, known, &change)
    })
    .await
}

/// None if others were faster.
async fn try_to_update(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    known: Option<Seen>,
    change: impl Fn(&mut Deployment) -> Result<(), Illegal>,
) -> Result<Option<Arc<Deployment>>, ExecError> {
    let key = keys::deployment(app, id);
    let is_old = known.is_some();
    let Versioned { value, index } = match known {
        Some(seen) => Versioned { value: seen.record, index: seen.index },
        None => load(ctx, app, id).await?,
    };
    let before = value.debts();
    let mut changed = Deployment::clone(&value);
    match change(&mut changed) {
        Err(_) if is_old => return Ok(None),
        result => result?,
    }
    let mut ops = vec![TxnOp::Cas { key: key.clone(), value: encode(&changed), index }];
    ops.extend(
        changed
            .new_debtors(&before)
            .into_iter()
            .map(|node| TxnOp::Set { key: keys::owed(node, app, id), value: encode(&changed) }),
    );
    if let Txn::Committed(entries) = ctx.cluster.kv.transact(ops).await? {
        let changed = Arc::new(changed);
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            ctx.records.note(&changed, entry.modify_index);
        }
        return Ok(Some(changed));
    }
    Ok(None)
}
