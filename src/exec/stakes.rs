//! What may have to be stopped, on this node's disk: an agent that starts while Consul is away knows of a version that was
//! never committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use super::context::Context;
use super::error::{ExecError, StepError};
use super::guard::LOOK;
use super::{fence, store};
use crate::error::chain;
use crate::host::files;
use crate::model::deployment::{Deployment, Step};
use crate::model::{AppRecord, DeployId, keys};
use crate::records::{self, encode};

/// Below the data directory; one file per deployment, with its record.
const FOLDER: &str = "at-stake";

/// Notes a deployment before a step that may start something which others may give up.
pub(super) async fn note(
    ctx: &Context,
    deployment: &Deployment,
    index: usize,
) -> Result<(), StepError> {
    let starts = deployment.steps.get(index).is_some_and(|r| r.step.may_start_version());
    if !starts || !deployment.is_at_stake(&ctx.me) {
        return Ok(());
    }
    let path = path(ctx, &deployment.id);
    let folder = ctx.config.data_dir.join(FOLDER);
    fs::create_dir_all(&folder)
        .map_err(|error| StepError::Failed(format!("cannot make {}: {error}", folder.display())))?;
    let noted = files::write_atomic(&path, encode(deployment), 0o600).await;
    noted.map_err(|error| StepError::from_error(&error))
}

/// The record was seen just now. How long ago that was has to outlast the agent.
pub(super) fn seen(ctx: &Context, id: &DeployId) {
    let file = fs::OpenOptions::new().write(true).open(path(ctx, id));
    // Where that fails, the note only looks older than it is.
    let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Nothing is at stake any more.
pub(super) async fn clear(ctx: &Context, id: &DeployId) {
    if let Err(error) = files::remove(&path(ctx, id)).await {
        warn!(deployment = %id, error = %chain(&error), "looked at once more by the next agent");
    }
}

/// Whether the step is the end of what [`note`] is for.
pub(super) fn ends(step: &Step) -> bool {
    *step == Step::Commit
}

fn path(ctx: &Context, id: &DeployId) -> PathBuf {
    ctx.config.data_dir.join(FOLDER).join(format!("{id}.json"))
}

/// A note that a former agent left.
struct Stake {
    deployment: Deployment,
    /// How long ago the record had been seen when this agent began to look.
    age: Duration,
    stopped: bool,
}

/// Looks after what the former agent on this node had at stake, until Consul tells what became of it. Cut off for half of
/// `node-grace`, the time before this agent included, it stops the version that was never committed.
pub async fn honour(ctx: &Context) {
    let mut stakes = read(&ctx.config.data_dir.join(FOLDER));
    let began = Instant::now();
    while !stakes.is_empty() {
        let mut left = Vec::new();
        for mut stake in stakes {
            let away = stake.age + began.elapsed();
            if !look(ctx, &mut stake, away).await {
                left.push(stake);
            }
        }
        stakes = left;
        tokio::time::sleep(LOOK).await;
    }
}

/// True when there is no more to do for it here.
async fn look(ctx: &Context, stake: &mut Stake, away: Duration) -> bool {
    let deployment = &stake.deployment;
    let (app, id) = (deployment.request.app().name(), deployment.id.clone());
    match store::load(ctx, &app, &id).await {
        Ok(record) if record.value.is_at_stake(&ctx.me) => {
            // From here on it is looked after with the deployment.
            seen(ctx, &id);
            true
        }
        Ok(_) => {
            clear(ctx, &id).await;
            true
        }
        Err(ExecError::Gone(_)) => match entry(ctx, &app).await {
            Ok(entry) => {
                let serves = entry.is_some_and(|entry| entry.deploy_id == id.as_str());
                if !serves && !fence::stop_uncommitted(ctx, deployment).await {
                    return false;
                }
                clear(ctx, &id).await;
                true
            }
            Err(_) => false,
        },
        Err(_) => {
            if !stake.stopped && away >= ctx.config.node_grace / 2 {
                warn!(app = %app, deployment = %id, "never committed, and Consul is away: it is stopped");
                stake.stopped = fence::stop_uncommitted(ctx, deployment).await;
            }
            false
        }
    }
}

async fn entry(ctx: &Context, app: &crate::model::AppName) -> Result<Option<AppRecord>, ExecError> {
    let found = records::read::<AppRecord>(ctx.cluster.kv.as_ref(), &keys::app(app)).await?;
    Ok(found.map(|found| found.value))
}

fn read(folder: &Path) -> Vec<Stake> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut stakes = Vec::new();
    for entry in entries.flatten() {
        let Ok(bytes) = fs::read(entry.path()) else { continue };
        let Ok(deployment) = serde_json::from_slice::<Deployment>(&bytes) else { continue };
        let modified = entry.metadata().and_then(|facts| facts.modified()).ok();
        // A time in the future is a clock that was set back: then it counts from now on.
        let age = modified.and_then(|at| at.elapsed().ok()).unwrap_or_default();
        info!(deployment = %deployment.id, "the former agent had a version here that was not committed");
        stakes.push(Stake { deployment, age, stopped: false });
    }
    stakes
}

/// [`honour`], as a part of the agent: it never ends.
pub async fn honour_for_ever(ctx: Arc<Context>) {
    honour(&ctx).await;
    std::future::pending().await
}
