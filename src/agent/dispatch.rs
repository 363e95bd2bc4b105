//! Follows `tandem/apps/` and works on every running deployment in which this node has a part, each in a task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::follow::follow;
use crate::error::chain;
use crate::exec::{Context, ExecError, Fence, concerns, drive, promote};
use crate::model::{AppName, DeployId, keys};
use crate::records::{Queue, readable};

const RETRY: Duration = Duration::from_secs(1);
/// A waiting deployment that nobody begins for this long was left behind by a node that died.
const ORPHANED: Duration = Duration::from_secs(10);

/// What was begun here, or looked at and left to others.
type Running = BTreeMap<AppName, DeployId>;

/// Runs until the work on a deployment breaks off, which is a bug.
pub(super) async fn dispatch(ctx: Arc<Context>) {
    let mut entries = follow(ctx.cluster.kv.clone(), keys::QUEUES);
    let mut queues: BTreeMap<AppName, Queue> = BTreeMap::new();
    let mut running = Running::new();
    let mut orphans: BTreeMap<AppName, Instant> = BTreeMap::new();
    let mut tasks: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            changed = entries.changed() => {
                if changed.is_err() {
                    error!("the queues are followed no longer");
                    return;
                }
                queues = read(entries.borrow_and_update().as_deref().unwrap_or_default());
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(()) => {}
                Err(error) => {
                    // A bug: the agent starts afresh and finds in KV where every deployment stands.
                    error!(%error, "the work on a deployment broke off");
                    return;
                }
            },
            () = tokio::time::sleep(ORPHANED / 2) => {}
        }
        // What has ended here stays noted until the queue goes on: it is not begun again.
        running.retain(|app, id| queues.get(app).is_some_and(|q| q.running.as_ref() == Some(id)));
        for (app, queue) in &queues {
            if let Some(id) = queue.running.as_ref().filter(|id| running.get(app) != Some(id)) {
                running.insert(app.clone(), id.clone());
                tasks.spawn(work(ctx.clone(), app.clone(), id.clone()));
            }
        }
        adopt_orphans(&ctx, &queues, &mut orphans).await;
    }
}

fn read(entries: &[Arc<crate::consul::kv::Entry>]) -> BTreeMap<AppName, Queue> {
    entries
        .iter()
        .filter_map(|entry| match readable::<Queue>(entry) {
            Some(queue) => Some((queue.name, queue.value)),
            None => {
                warn!(key = entry.key, "is not a queue; left alone");
                None
            }
        })
        .collect()
}

/// Drives one deployment to its outcome, through every interruption; a node without a part does nothing.
async fn work(ctx: Arc<Context>, app: AppName, id: DeployId) {
    let mut fence = Fence::default();
    loop {
        match concerns(&ctx, &app, &id).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                fence.look(&ctx, &app, &id).await;
                pause(&app, &id, &error).await;
                continue;
            }
        }
        match drive(&ctx, &app, &id).await {
            Ok(state) => {
                info!(app = %app, deployment = %id, outcome = %state, "no more to do here");
                return;
            }
            Err(error @ ExecError::Journal(_)) => {
                warn!(app = %app, deployment = %id, error = %chain(&error), "left alone");
                return;
            }
            Err(error) => {
                fence.look(&ctx, &app, &id).await;
                pause(&app, &id, &error).await;
            }
        }
    }
}

async fn pause(app: &AppName, id: &DeployId, error: &ExecError) {
    warn!(app = %app, deployment = %id, error = %chain(error), "interrupted; trying again");
    tokio::time::sleep(RETRY).await;
}

/// Whether what runs has a record; what can't be told counts as yes.
async fn is_at_work(ctx: &Context, app: &AppName, queue: &Queue) -> bool {
    let Some(running) = &queue.running else { return false };
    let record = ctx.cluster.kv.get(&keys::deployment(app, running)).await;
    !matches!(record, Ok(None))
}

/// Begins what waits behind nothing: the node that should have done so is gone.
async fn adopt_orphans(
    ctx: &Context,
    queues: &BTreeMap<AppName, Queue>,
    orphans: &mut BTreeMap<AppName, Instant>,
) {
    orphans.retain(|app, _| queues.get(app).is_some_and(|queue| queue.waiting.is_some()));
    for (app, queue) in queues {
        if queue.waiting.is_none() || is_at_work(ctx, app, queue).await {
            orphans.remove(app);
            continue;
        }
        let since = *orphans.entry(app.clone()).or_insert_with(Instant::now);
        if since.elapsed() < ORPHANED {
            continue;
        }
        if let Err(error) = promote(ctx, app).await {
            warn!(app = %app, error = %chain(&error), "a waiting deployment can't be begun");
        }
    }
}
