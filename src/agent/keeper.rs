//! Brings this node's apps back when Docker returns: a Docker that died without a word ends the containers that lived
//! on when it starts again, and takes those with `restart: unless-stopped` for stopped by hand.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::consul::kv::Kv;
use crate::error::chain;
use crate::exec::{Context, Queue};
use crate::host::compose::Project;
use crate::model::{AppName, AppRecord, DeployId, keys};

const RETRY: Duration = Duration::from_secs(1);
/// A Docker that just returned goes on ending what outlived it for a moment: one look is not enough.
const LOOKS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);

/// Looks after Docker for ever. What is stopped while Docker runs was stopped by somebody, and is left alone.
pub(super) async fn keep(ctx: Arc<Context>) {
    let containers = &ctx.host.containers;
    loop {
        containers.until_gone().await;
        warn!("Docker is gone");
        while containers.ping().await.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        info!("Docker is back");
        for _ in 0..LOOKS {
            bring_back(&ctx).await;
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

/// Starts the containers of every app whose master this node is and that no deployment is working on.
async fn bring_back(ctx: &Context) {
    let entries = match ctx.cluster.kv.list(keys::APPS).await {
        Ok(listing) => listing.entries,
        Err(error) => {
            warn!(error = %chain(&error), "Consul does not tell which apps run here");
            return;
        }
    };
    for entry in entries {
        let name = entry.key.strip_prefix(keys::APPS).and_then(|name| AppName::parse(name).ok());
        let record = serde_json::from_slice::<AppRecord>(&entry.value).ok();
        if let (Some(app), Some(record)) = (name, record)
            && record.master == ctx.me
        {
            start(ctx, &app, &record).await;
        }
    }
}

async fn start(ctx: &Context, app: &AppName, record: &AppRecord) {
    let Ok(id) = DeployId::parse(&record.deploy_id) else { return };
    let project = Project { name: app.project(), dir: app.checkout(&ctx.config.deploy_dir, &id) };
    let Ok(containers) = ctx.host.containers.of_project(&project.name).await else { return };
    let all_run = containers.iter().all(|container| container.state.is_alive());
    if all_run || is_being_deployed(ctx.cluster.kv.as_ref(), app).await {
        return;
    }
    match ctx.host.compose.start(&project).await {
        Ok(()) => info!(app = %app, "started again after Docker's return"),
        Err(error) => warn!(app = %app, error = %chain(&error), "could not be started again"),
    }
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
