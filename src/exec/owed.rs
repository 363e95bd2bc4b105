//! What a node that was away still has to do: `tandem/owed/{node}/{app}/{deployment}`, each a copy of the record.
//!
//! A deployment does not wait for a node that it can do without. What that node would have done, or undone, is written
//! down for it; it does so when it is back, before it takes part in anything newer of the app.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::context::{Context, now};
use super::error::{ExecError, StepError};
use super::store::{self, Versioned, decode, encode};
use super::{apply, undo};
use crate::consul::txn::TxnOp;
use crate::model::deployment::{Deployment, Mark, Status};
use crate::model::{AppName, DeployId, NodeName, keys};

/// The steps that are owed, by index.
pub(super) fn debts(deployment: &Deployment) -> BTreeSet<usize> {
    let owed = deployment.steps.iter().enumerate().filter(|(_, step)| step.status == Status::Owed);
    owed.map(|(index, _)| index).collect()
}

/// What notes debts that were not there `before`, for each node that has one.
pub(super) fn notes(
    app: &AppName,
    deployment: &Deployment,
    before: &BTreeSet<usize>,
) -> Vec<TxnOp> {
    let new = debts(deployment);
    let nodes: BTreeSet<&NodeName> = new
        .difference(before)
        .filter_map(|index| Some(&deployment.steps.get(*index)?.node))
        .collect();
    let note = |node: &NodeName| TxnOp::Set {
        key: keys::owed(node, app, &deployment.id),
        value: encode(deployment),
    };
    nodes.into_iter().map(note).collect()
}

/// Does all that this node owes an app, the oldest first, but for a deployment that is still being worked on here.
///
/// # Errors
/// The first thing that can't be done; what is done is noted, and the rest stays owed.
pub async fn settle(ctx: &Context, app: &AppName, but: Option<&DeployId>) -> Result<(), StepError> {
    let _busy = ctx.busy.with(app).await;
    let kv = ctx.cluster.kv.as_ref();
    let prefix = keys::owed_to(&ctx.me, app);
    let listing = kv.list(&prefix).await.map_err(|error| StepError::from_error(&error))?;
    let mut notes = Vec::new();
    for entry in listing.entries {
        let note: Versioned<Deployment> =
            decode(&entry).map_err(|error| StepError::from_error(&error))?;
        if but != Some(&note.value.id) {
            notes.push((entry.key, note));
        }
    }
    notes.sort_by_key(|(_, note)| note.value.epoch);
    for (key, note) in notes {
        pay(ctx, app, &key, note).await?;
    }
    Ok(())
}

/// Does, or undoes, one deployment's owed steps of this node, and removes the note with the last one.
async fn pay(
    ctx: &Context,
    app: &AppName,
    key: &str,
    note: Versioned<Deployment>,
) -> Result<(), StepError> {
    let Versioned { value: mut deployment, mut index } = note;
    while let Some(step) = next(&deployment, &ctx.me) {
        let (id, label) = (deployment.id.clone(), deployment.steps[step].step.to_string());
        info!(app = %app, deployment = %id, step = label, "doing what was left to this node");
        let mark = if deployment.committed {
            Mark::Done(apply::apply(ctx, &deployment, step).await?.output)
        } else {
            undo::undo(ctx, &deployment, step).await?;
            Mark::Undone
        };
        let at = now();
        deployment.mark(step, mark.clone(), &at).map_err(|e| StepError::from_error(&e))?;
        note_in_record(ctx, app, &id, step, &mark, &at).await;
        let op = match next(&deployment, &ctx.me) {
            Some(_) => TxnOp::Cas { key: key.to_owned(), value: encode(&deployment), index },
            None => TxnOp::DeleteCas { key: key.to_owned(), index },
        };
        let written = ctx.cluster.kv.transact(vec![op]).await;
        match written.map_err(|error| StepError::from_error(&error))? {
            crate::consul::txn::Txn::Committed(entries) => {
                index = entries.first().map_or(index, |entry| entry.modify_index);
            }
            crate::consul::txn::Txn::Refused(_) => {
                return Err(StepError::Lost(format!("{key} was changed at the same moment")));
            }
        }
    }
    Ok(())
}

/// After the commit the steps' own order, before it the order of an undo.
fn next(deployment: &Deployment, me: &NodeName) -> Option<usize> {
    let is_mine = |index: &usize| deployment.steps.get(*index).is_some_and(|step| step.node == *me);
    let mut mine = debts(deployment).into_iter().filter(is_mine);
    if deployment.committed { mine.next() } else { mine.next_back() }
}

/// The record is for those who look at it; it may be gone by now.
async fn note_in_record(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    index: usize,
    mark: &Mark,
    at: &str,
) {
    let noted = store::update(ctx, app, id, |record| record.mark(index, mark.clone(), at)).await;
    match noted {
        Ok(_) | Err(ExecError::Gone(_)) => {}
        Err(error) => {
            warn!(app = %app, deployment = %id, error = %crate::error::chain(&error), "the record does not tell that a debt was paid");
        }
    }
}
