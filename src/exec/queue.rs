//! One deployment per app at a time: `tandem/apps/{app}` names the one that runs and the one that waits.

use tracing::{debug, info, warn};

use super::claims;
use super::context::{Context, now};
use super::error::ExecError;
use super::intake::gather;
use super::projects;
use super::retention;
use super::store;
use crate::consul::txn::{Txn, TxnOp};
use crate::error::chain;
use crate::model::deployment::{Deployment, FORMAT, State};
use crate::model::{AppName, DeployId, Request, keys};
use crate::plan;
use crate::records::{self, Queue, Versioned, contend, decode, encode, update};

/// How many requests an app remembers beyond its records: an event that reaches a node late is not taken for new.
const REMEMBERED: usize = 64;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// Written down by this node, in this state.
    Accepted(State),
    /// Another node was faster.
    Known,
}

/// Writes a request down in KV: planned and running, refused, or waiting for the one that runs. One that waits
/// already is superseded in the same transaction.
/// Idempotent: whoever comes second finds the record and leaves it alone.
pub async fn accept(
    ctx: &Context,
    id: &DeployId,
    request: &Request,
) -> Result<Acceptance, ExecError> {
    let app = request.app().name();
    contend(&keys::queue(&app), |_| try_to_accept(ctx, id, request)).await
}

/// None if the queue or a record changed meanwhile.
async fn try_to_accept(
    ctx: &Context,
    id: &DeployId,
    request: &Request,
) -> Result<Option<Acceptance>, ExecError> {
    let app = request.app().name();
    // Whatever it says: an agent that knows its format has written it.
    if ctx.cluster.kv.get(&keys::deployment(&app, id)).await?.is_some() {
        return Ok(Some(Acceptance::Known));
    }
    let queue = read_queue(ctx, &app).await?;
    if queue.value.recent.contains(id) {
        return Ok(Some(Acceptance::Known));
    }
    let before = Queue { waiting: None, ..queue.value.clone() };
    let (deployment, mut after, claim) = if before.running.is_none() {
        begin(ctx, id, request, &before).await?
    } else {
        let waiting = blank(ctx, id, request, before.epoch, State::Waiting);
        (waiting, Queue { waiting: Some(id.clone()), ..before }, None)
    };
    remember(&mut after, id);
    let state = deployment.state;
    let mut ops = vec![record_op(&app, &deployment, 0)];
    ops.extend(claim);
    match &queue.value.waiting {
        // A request that comes to nothing takes nobody's place.
        Some(old) if state.is_final() => after.waiting = Some(old.clone()),
        Some(old) => ops.extend(supersede(ctx, &app, old, id).await?),
        None => {}
    }
    if write(ctx, &app, ops, &after, queue.index).await? {
        info!(app = %app, deployment = %id, %state, "accepted");
        if state.is_final() {
            tidy(ctx, &app).await;
        }
        return Ok(Some(Acceptance::Accepted(state)));
    }
    Ok(None)
}

fn remember(queue: &mut Queue, id: &DeployId) {
    queue.tidied = false;
    queue.recent.push(id.clone());
    let spare = queue.recent.len().saturating_sub(REMEMBERED);
    queue.recent.drain(..spare);
}

/// Begins the waiting deployment of an app if nothing runs. A running one whose record somebody deleted is given up:
/// that is how an operator ends one that waits for a node that will not come back.
pub async fn promote(ctx: &Context, app: &AppName) -> Result<(), ExecError> {
    contend(&keys::queue(app), |_| try_to_promote(ctx, app)).await
}

/// None if the queue or a record changed meanwhile.
async fn try_to_promote(ctx: &Context, app: &AppName) -> Result<Option<()>, ExecError> {
    let mut queue = read_queue(ctx, app).await?;
    let mut given_up = None;
    if let Some(running) = &queue.value.running
        && ctx.cluster.kv.get(&keys::deployment(app, running)).await?.is_none()
    {
        warn!(app = %app, deployment = %running, "its record is gone: given up");
        queue.value.running = None;
        given_up = Some(TxnOp::Delete { key: keys::lease(app) });
    }
    let (None, Some(id)) = (&queue.value.running, &queue.value.waiting) else {
        return Ok(Some(()));
    };
    let record = store::load(ctx, app, id).await?;
    let (mut deployment, mut after, claim) =
        begin(ctx, id, &record.value.request, &queue.value).await?;
    deployment.accepted_at = record.value.accepted_at.clone();
    deployment.accepted_by = record.value.accepted_by.clone();
    after.waiting = None;
    let mut ops = vec![record_op(app, &deployment, record.index)];
    ops.extend(given_up);
    ops.extend(claim);
    if write(ctx, app, ops, &after, queue.index).await? {
        info!(app = %app, deployment = %id, "its turn has come");
        return Ok(Some(()));
    }
    Ok(None)
}

/// Writes the outcome, frees the queue and the lease in one transaction, and begins what waits.
pub(super) async fn finish(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    outcome: State,
) -> Result<(), ExecError> {
    if contend(&keys::queue(app), |_| try_to_finish(ctx, app, id, outcome)).await? {
        tidy(ctx, app).await;
        promote(ctx, app).await?;
    }
    Ok(())
}

/// Whether it was this call that ended it; none if the queue or the record changed meanwhile.
async fn try_to_finish(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
    outcome: State,
) -> Result<Option<bool>, ExecError> {
    let Versioned { value, index } = store::load(ctx, app, id).await?;
    let mut value = Deployment::clone(&value);
    if value.state.is_final() {
        return Ok(Some(false));
    }
    let queue = read_queue(ctx, app).await?;
    value.state = outcome;
    value.finished_at = Some(now());
    let after = Queue {
        running: queue.value.running.clone().filter(|running| running != id),
        ..queue.value.clone()
    };
    let lease = TxnOp::Delete { key: keys::lease(app) };
    let mut ops = vec![record_op(app, &value, index), lease, claims::withdraw(app)];
    ops.extend(projects::release(ctx, app, &value).await?);
    if write(ctx, app, ops, &after, queue.index).await? {
        report(app, &value);
        return Ok(Some(true));
    }
    Ok(None)
}

/// The one place where an outcome is logged.
fn report(app: &AppName, deployment: &Deployment) {
    let reason = deployment.reason.as_deref().unwrap_or_default();
    let (id, state) = (&deployment.id, deployment.state);
    for warning in &deployment.warnings {
        warn!(app = %app, deployment = %id, "{warning}");
    }
    if state == State::Completed {
        info!(app = %app, deployment = %id, outcome = %state, "deployment ended");
    } else {
        warn!(app = %app, deployment = %id, outcome = %state, reason, "deployment ended");
    }
}

/// A deployment planned from the facts of this moment: running, with what claims its project, or refused with the
/// planner's reason.
async fn begin(
    ctx: &Context,
    id: &DeployId,
    request: &Request,
    queue: &Queue,
) -> Result<(Deployment, Queue, Option<TxnOp>), ExecError> {
    let app = request.app().name();
    let mut facts = gather(ctx, request).await?;
    let standing = projects::look(ctx, &app).await?;
    facts.rivals = standing.rivals.clone();
    let epoch = queue.epoch.max(ctx.journal.epoch(&app).await) + 1;
    let mut deployment = blank(ctx, id, request, epoch, State::Running);
    match plan::plan(id, request, &facts) {
        Ok(plan) => {
            deployment.former = facts.app;
            deployment.source = facts.source;
            deployment.placement = plan.placement;
            deployment.transitions = plan.transitions;
            deployment.steps = plan.steps;
            deployment.choice = plan.choice.reason;
            deployment.warnings = plan.choice.warnings;
            let after = Queue { epoch, running: Some(id.clone()), ..queue.clone() };
            Ok((deployment, after, standing.claim(&app, id)))
        }
        Err(refusal) => {
            deployment.state = State::Refused;
            deployment.reason = Some(refusal.to_string());
            deployment.finished_at = Some(now());
            warn!(app = %app, deployment = %id, reason = %refusal, "refused");
            Ok((deployment, Queue { epoch, ..queue.clone() }, None))
        }
    }
}

fn blank(ctx: &Context, id: &DeployId, request: &Request, epoch: u64, state: State) -> Deployment {
    Deployment {
        format: FORMAT,
        id: id.clone(),
        request: request.clone(),
        epoch,
        accepted_at: now(),
        accepted_by: ctx.me.clone(),
        state,
        committed: false,
        reason: None,
        choice: None,
        former: None,
        source: None,
        placement: None,
        prepared: None,
        transitions: std::collections::BTreeMap::new(),
        steps: Vec::new(),
        warnings: Vec::new(),
        finished_at: None,
    }
}

/// The index of an app's queue, if that deployment is the one that runs.
pub(super) async fn index_if_running(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
) -> Result<Option<u64>, ExecError> {
    let queue = read_queue(ctx, app).await?;
    Ok((queue.value.running.as_ref() == Some(id)).then_some(queue.index))
}

/// Makes sure that what is accepted from here on has a higher epoch than that.
pub(super) async fn raise_epoch(ctx: &Context, app: &AppName, seen: u64) -> Result<(), ExecError> {
    let raised = |queue: Option<Queue>| {
        let queue = queue.unwrap_or_default();
        (queue.epoch < seen).then_some(Queue { epoch: seen, ..queue })
    };
    update::<Queue, ExecError>(ctx.cluster.kv.as_ref(), &keys::queue(app), raised).await
}

async fn read_queue(ctx: &Context, app: &AppName) -> Result<Versioned<Queue>, ExecError> {
    let found = records::read(ctx.cluster.kv.as_ref(), &keys::queue(app)).await?;
    Ok(found.unwrap_or(Versioned { value: Queue::default(), index: 0 }))
}

/// A record, if it is as it was read.
fn record_op(app: &AppName, deployment: &Deployment, index: u64) -> TxnOp {
    let key = keys::deployment(app, &deployment.id);
    TxnOp::Cas { key, value: encode(deployment), index }
}

/// Queue and records change together or not at all.
async fn write(
    ctx: &Context,
    app: &AppName,
    mut ops: Vec<TxnOp>,
    after: &Queue,
    index: u64,
) -> Result<bool, ExecError> {
    ops.push(TxnOp::Cas { key: keys::queue(app), value: encode(after), index });
    Ok(matches!(ctx.cluster.kv.transact(ops).await?, Txn::Committed(_)))
}

/// What marks a waiting deployment as superseded.
async fn supersede(
    ctx: &Context,
    app: &AppName,
    old: &DeployId,
    by: &DeployId,
) -> Result<Option<TxnOp>, ExecError> {
    let key = keys::deployment(app, old);
    let kv = ctx.cluster.kv.as_ref();
    let Some(Versioned { mut value, index }) = records::read::<Deployment>(kv, &key).await? else {
        return Ok(None);
    };
    if value.state != State::Waiting {
        return Ok(None);
    }
    value.state = State::Superseded;
    value.reason = Some(format!("{by} came after it while it waited"));
    value.finished_at = Some(now());
    Ok(Some(record_op(app, &value, index)))
}

/// Removes records that nobody needs; what can't be removed now is removed when the next deployment has ended.
async fn tidy(ctx: &Context, app: &AppName) {
    let tidied = async {
        prune(ctx, app).await?;
        match ctx.cluster.kv.get(&keys::app(app)).await? {
            Some(_) => Ok(()),
            None => retention::apply(ctx).await,
        }
    };
    if let Err(error) = tidied.await {
        let error: ExecError = error;
        debug!(app = %app, error = %chain(&error), "older records stay");
    }
}

/// Keeps the newest records of an app.
async fn prune(ctx: &Context, app: &AppName) -> Result<(), ExecError> {
    let prefix = keys::deployments(app);
    let listing = ctx.cluster.kv.list(&prefix).await?;
    // Below an app's name may stand another one's that begins with it.
    let is_own = |key: &str| key.strip_prefix(&prefix).is_some_and(|id| !id.contains('/'));
    let mut ended: Vec<_> = listing
        .entries
        .iter()
        .filter(|entry| is_own(&entry.key))
        .filter(|entry| decode::<Deployment>(entry).is_ok_and(|record| record.state.is_final()))
        .collect();
    ended.sort_by_key(|entry| std::cmp::Reverse(entry.create_index));
    for entry in ended.into_iter().skip(ctx.config.keep_records) {
        let op = TxnOp::DeleteCas { key: entry.key.clone(), index: entry.modify_index };
        ctx.cluster.kv.transact(vec![op]).await?;
    }
    Ok(())
}
