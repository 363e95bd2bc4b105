//! Brings this node's apps back when Docker returns: a Docker that died without a word ends the containers that lived
//! on when it starts again, and takes those with `restart: unless-stopped` for stopped by hand.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::consul::kv::Kv;
use crate::error::chain;
use crate::exec::{Context, Queue};
use crate::host::compose::Project;
use crate::host::files;
use crate::model::{AppName, AppRecord, DeployId, keys};

const RETRY: Duration = Duration::from_secs(1);
/// A Docker that just returned goes on ending what outlived it for a moment: one look is not enough.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);
/// The file that tells the next agent on this node that Docker was gone and its apps have not been brought back yet.
const MARK: &str = "docker-gone";

/// Looks after Docker for ever. What is stopped while Docker runs was stopped by somebody, and is left alone.
pub(super) async fn keep(ctx: Arc<Context>) {
    let containers = &ctx.host.containers;
    let mark = ctx.config.data_dir.join(MARK);
    loop {
        if !matches!(files::read_optional(&mark).await, Ok(Some(_))) {
            containers.until_gone().await;
            warn!("Docker is gone");
            if let Err(error) = files::write_atomic(&mark, "", 0o600).await {
                warn!(error = %chain(&error), "an agent that starts now will not know of it");
            }
        }
        while containers.ping().await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        info!("Docker is back");
        for _ in 0..LOOKS {
            bring_back(&ctx).await;
            tokio::time::sleep(BETWEEN).await;
        }
        // What a deployment is at work on may have to be started when that has ended.
        while !bring_back(&ctx).await {
            tokio::time::sleep(BETWEEN).await;
        }
        if let Err(error) = files::remove(&mark).await {
            warn!(error = %chain(&error), "Docker is taken for gone once more");
        }
    }
}

/// Starts the containers of every app whose master this node is and that no deployment is working on. False if one may
/// have to be looked at again: it is being worked on, or Consul does not tell.
async fn bring_back(ctx: &Context) -> bool {
    let entries = match ctx.cluster.kv.list(keys::APPS).await {
        Ok(listing) => listing.entries,
        Err(error) => {
            warn!(error = %chain(&error), "Consul does not tell which apps run here");
            return false;
        }
    };
    let mut settled = true;
    for entry in entries {
        let name = entry.key.strip_prefix(keys::APPS).and_then(|name| AppName::parse(name).ok());
        let record = serde_json::from_slice::<AppRecord>(&entry.value).ok();
        if let (Some(app), Some(record)) = (name, record)
            && record.master == ctx.me
        {
            settled &= start(ctx, &app, &record).await;
        }
    }
    settled
}

/// False if a deployment is in the way.
async fn start(ctx: &Context, app: &AppName, record: &AppRecord) -> bool {
    let Ok(id) = DeployId::parse(&record.deploy_id) else { return true };
    let project = Project { name: app.project(), dir: app.checkout(&ctx.config.deploy_dir, &id) };
    // No step of a deployment that is accepted from here on meets this.
    let _busy = ctx.busy.with(app).await;
    if is_being_deployed(ctx.cluster.kv.as_ref(), app).await {
        return false;
    }
    let Ok(containers) = ctx.host.containers.of_project(&project.name).await else { return true };
    if containers.iter().all(|container| container.state.is_alive()) {
        return true;
    }
    match ctx.host.compose.start(&project).await {
        Ok(()) => info!(app = %app, "started again after Docker's return"),
        Err(error) => warn!(app = %app, error = %chain(&error), "could not be started again"),
    }
    true
}

/// Whether a deployment may be at work; what can't be told counts as yes, because whoever asks would work against it:
/// starting what it just stopped would write to volumes behind its snapshot.
pub(super) async fn is_being_deployed(kv: &dyn Kv, app: &AppName) -> bool {
    match kv.get(&keys::queue(app)).await {
        Ok(None) => false,
        Ok(Some(entry)) => serde_json::from_slice::<Queue>(&entry.value)
            .map_or(true, |queue| queue.running.is_some()),
        Err(_) => true,
    }
}
