//! What a node that was away still has to do: `tandem/owed/{node}/{app}/{deployment}`, each a copy of the record.
//!
//! A deployment does not wait for a node that it can do without. What that node would have done, or undone, is written
//! down for it; it does so when it is back, before it takes part in anything newer of the app.

use tracing::{info, warn};

use super::context::{Context, now};
use super::error::{ExecError, StepError};
use super::store;
use super::{apply, undo};
use crate::consul::txn::TxnOp;
use crate::model::deployment::{Deployment, Illegal, Mark};
use crate::model::{AppName, DeployId, NodeName, keys};
use crate::records::{self, Owed, Queue, Versioned, encode};

/// So often what is owed is tried before it is left to an operator.
const TRIES: u32 = 10;

/// Which of a node's debts are to be paid.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Those that were not tried too often yet.
    Due,
    /// All: the agent has just started, and what stood in the way may be gone.
    All,
    /// Those that a step of this deployment can't do without: undos of deployments that were given up. What such a
    /// deployment left would be taken for the app's data.
    Before(&'a DeployId),
}

/// Whether it is this node's turn to pay what it owes an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// No deployment has the app in its hands.
    Free,
    /// This one has, in which the node has no part: it does not see to what was given up here, and that may still run.
    Beside(DeployId),
    /// One in which the node has a part, and which sees to its debts itself; or it can't be told.
    NotYet,
}

/// Looks whose turn it is.
pub async fn turn(ctx: &Context, app: &AppName) -> Turn {
    let kv = ctx.cluster.kv.as_ref();
    let running = match records::read::<Queue>(kv, &keys::queue(app)).await {
        Ok(queue) => queue.and_then(|queue| queue.value.running),
        Err(_) => return Turn::NotYet,
    };
    let Some(id) = running else { return Turn::Free };
    match records::read::<Deployment>(kv, &keys::deployment(app, &id)).await {
        Ok(Some(record)) if !record.value.transitions.contains_key(&ctx.me) => Turn::Beside(id),
        Ok(_) | Err(_) => Turn::NotYet,
    }
}

/// Does what this node owes an app, the oldest first.
///
/// # Errors
/// The first thing that can't be done; what is done is noted, and the rest stays owed.
pub async fn settle(ctx: &Context, app: &AppName, which: Which<'_>) -> Result<(), StepError> {
    let _busy = ctx.busy.with(app).await;
    let mut failed = None;
    for (key, note) in notes_of(ctx, app, which).await? {
        let committed = note.value.committed;
        if let Err(error) = pay(ctx, app, &key, note).await {
            let told =
                StepError::Failed(format!("{error} (to give it up: consul kv delete {key})"));
            failed.get_or_insert(told);
            // What a given up deployment left comes first.
            if !committed {
                break;
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Before this node's first step of a deployment what earlier ones owe behind their commit is tried once more; that it
/// can't be done is in nobody's way.
pub(super) async fn settle_before(
    ctx: &Context,
    app: &AppName,
    deployment: &Deployment,
    index: usize,
) -> Result<(), StepError> {
    let own = deployment.steps.iter().enumerate().filter(|(_, step)| step.node == ctx.me);
    let is_first = !own.clone().any(|(other, step)| other != index && step.started_at.is_some());
    if is_first && let Err(error) = settle(ctx, app, Which::Due).await {
        warn!(app = %app, %error, "what earlier deployments left to this node can't be done yet");
    }
    settle(ctx, app, Which::Before(&deployment.id)).await
}

async fn notes_of(
    ctx: &Context,
    app: &AppName,
    which: Which<'_>,
) -> Result<Vec<(String, Versioned<Deployment>)>, StepError> {
    let prefix = keys::owed_to(&ctx.me, app);
    let listing = ctx.cluster.kv.list(&prefix).await.map_err(|e| StepError::from_error(&e))?;
    let mut notes = Vec::new();
    for entry in listing.entries {
        let Owed(value) = records::decode(&entry).map_err(|error| StepError::from_error(&error))?;
        if which.takes(&value, &ctx.me) {
            notes.push((entry.key, Versioned { value, index: entry.modify_index }));
        }
    }
    notes.sort_by_key(|(_, note)| note.value.epoch);
    Ok(notes)
}

impl Which<'_> {
    fn takes(self, note: &Deployment, me: &NodeName) -> bool {
        let next = note.next_debt(me).and_then(|index| note.steps.get(index));
        match self {
            Self::Due => next.is_none_or(|step| step.tries.unwrap_or_default() < TRIES),
            Self::All => true,
            Self::Before(id) => note.id != *id && note.leaves_traces_on(me),
        }
    }
}

/// Does, or undoes, one deployment's owed steps of this node, and removes the note with the last one.
async fn pay(
    ctx: &Context,
    app: &AppName,
    key: &str,
    note: Versioned<Deployment>,
) -> Result<(), StepError> {
    let Versioned { value: mut deployment, mut index } = note;
    while let Some(step) = deployment.next_debt(&ctx.me) {
        let (id, label) = (deployment.id.clone(), deployment.steps[step].step.to_string());
        info!(app = %app, deployment = %id, step = label, "doing what was left to this node");
        let (mark, warnings) = match act(ctx, &deployment, step).await {
            Ok(done) => done,
            Err(error) => {
                // Without Docker no try has a chance, and so none counts.
                if ctx.host.containers.ping().await.is_ok() {
                    let note = Versioned { value: deployment, index };
                    note_try(ctx, app, key, note, step, &error).await;
                }
                return Err(StepError::Failed(format!("{label}: {error}")));
            }
        };
        let at = now();
        deployment.mark(step, mark.clone(), &at).map_err(|e| StepError::from_error(&e))?;
        note_in_record(ctx, app, &id, &warnings, |record| record.mark(step, mark.clone(), &at))
            .await;
        let op = match deployment.next_debt(&ctx.me) {
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

async fn act(
    ctx: &Context,
    deployment: &Deployment,
    step: usize,
) -> Result<(Mark, Vec<String>), StepError> {
    if deployment.committed {
        let done = apply::apply(ctx, deployment, step).await?;
        return Ok((Mark::Done(done.output), done.warnings));
    }
    Ok((Mark::Undone, undo::undo(ctx, deployment, step).await?))
}

/// Notes a try in vain, and in the record the last one that is made.
async fn note_try(
    ctx: &Context,
    app: &AppName,
    key: &str,
    note: Versioned<Deployment>,
    index: usize,
    error: &StepError,
) {
    let Versioned { mut value, index: version } = note;
    let Some(step) = value.steps.get_mut(index) else { return };
    let tries = step.tries.unwrap_or_default().saturating_add(1);
    step.tries = Some(tries);
    step.error = Some(error.to_string());
    let given_up = tries == TRIES;
    let id = value.id.clone();
    let told = task(key, &value, index);
    let op = TxnOp::Cas { key: key.to_owned(), value: encode(&value), index: version };
    // What can't be noted is counted at the next try.
    let noted = ctx.cluster.kv.transact(vec![op]).await.is_ok();
    if let Some(told) = told.filter(|_| noted && given_up) {
        note_in_record(ctx, app, &id, &[told], |_| Ok(())).await;
    }
}

/// What is owed under a key, for whoever looks: the step that is next, and the command that gives it up.
fn task(key: &str, note: &Deployment, index: usize) -> Option<String> {
    let step = note.steps.get(index)?;
    let what = if note.committed { "" } else { "undoing " };
    let why = step.error.as_deref().unwrap_or("it was away");
    let tried = match step.tries.unwrap_or_default() {
        0 => String::new(),
        tries if tries < TRIES => format!(", tried {tries} times"),
        tries => format!(
            ", tried {tries} times and left to you: do it by hand, then run: consul kv delete {key}"
        ),
    };
    Some(format!("{} owes {what}{} of {}: {why}{tried}", step.node, step.step, note.id))
}

/// The same for the next debt of a node's note.
pub fn next_task(key: &str, note: &Deployment) -> Option<String> {
    let debt = records::name_of::<Owed>(key)?;
    task(key, note, note.next_debt(&debt.node)?)
}

/// The record is for those who look at it; it may be gone by now.
async fn note_in_record(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    warnings: &[String],
    change: impl Fn(&mut Deployment) -> Result<(), Illegal>,
) {
    let noted = store::update(ctx, app, id, |record| {
        record.warnings.extend(warnings.iter().cloned());
        change(record)
    });
    match noted.await {
        Ok(_) | Err(ExecError::Gone(_)) => {}
        Err(error) => {
            warn!(app = %app, deployment = %id, error = %crate::error::chain(&error), "the record does not tell what became of a debt");
        }
    }
}
