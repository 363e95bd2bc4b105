//! Containers of apps whose master is another node: a second copy of an app writes where nobody looks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{Known, still};
use crate::consul::ConsulError;
use crate::error::chain;
use crate::exec::{Context, Findings};
use crate::host::compose::Project;
use crate::host::docker::{Container, DockerError};
use crate::model::deployment::Deployment;
use crate::model::{AppName, DeployId, keys};
use crate::records::decode;

#[derive(Debug, thiserror::Error)]
pub(super) enum StrayError {
    #[error("Docker does not tell")]
    Docker(#[from] DockerError),
    #[error("Consul does not tell")]
    Consul(#[from] ConsulError),
}

/// Reports containers that run here though their app's master is another node. Those of an older deployment than the one
/// that serves there are stopped; anything else may be an operator's work.
pub(super) async fn look(ctx: &Context, known: &[Known]) -> Result<Findings, StrayError> {
    let running = ctx.host.containers.running_projects().await?;
    let here = known.iter().filter(|app| app.record.master == ctx.me);
    let own: BTreeSet<_> = here.map(|app| app.app.project()).collect();
    let mut found = Findings::default();
    for app in known.iter().filter(|app| app.record.master != ctx.me) {
        let project = app.app.project();
        if !running.contains(project.as_str()) || own.contains(&project) {
            continue;
        }
        let _busy = ctx.busy.with(&app.app).await;
        // What the proxies' entries leave out is needed here.
        let Some(record) = still(ctx, app).await else { continue };
        let app = Known { app: app.app.clone(), record };
        let containers = ctx.host.containers.of_project(&project).await?;
        let alive: Vec<_> = containers.into_iter().filter(|c| c.state.is_alive()).collect();
        if !alive.is_empty() {
            let names: Vec<_> = alive.iter().map(|container| container.name.as_str()).collect();
            found.strays.insert(app.app.clone(), names.join(", "));
            found.problems.push(judge(ctx, &app, &alive).await?);
        }
    }
    Ok(found)
}

/// Stops what is proven stale; the line that tells of it.
async fn judge(ctx: &Context, app: &Known, alive: &[Container]) -> Result<String, StrayError> {
    let names: Vec<_> = alive.iter().map(|container| container.name.as_str()).collect();
    let (name, master, names) = (&app.app, &app.record.master, names.join(", "));
    let second = format!("{name}: runs on {}, too ({names}), and its master is {master}", ctx.me);
    if !is_stale(ctx, app, alive).await? {
        return Ok(format!(
            "{second}: stop one of them (docker compose -p {} stop)",
            app.app.project()
        ));
    }
    warn!(app = %name, containers = names, "of an older deployment than the one that serves: stopped");
    match stop(ctx, app, alive).await {
        Ok(()) => {
            Ok(format!("{second}: of an older deployment, and stopped here; its volumes stay"))
        }
        Err(error) => {
            Ok(format!("{second}: of an older deployment, and could not be stopped: {error}"))
        }
    }
}

/// Whether all of these are of a deployment that was committed before the one that serves, on a master that is there. The
/// records tell, not the clocks.
async fn is_stale(ctx: &Context, app: &Known, alive: &[Container]) -> Result<bool, StrayError> {
    let kv = ctx.cluster.kv.as_ref();
    if kv.get(&keys::node(&app.record.master)).await?.is_none() {
        return Ok(false);
    }
    for container in alive {
        let Some(id) = deployment_of(ctx, container, &app.app) else { return Ok(false) };
        if id.as_str() == app.record.deploy_id {
            return Ok(false);
        }
        let is_previous = app.record.previous_deploy_id.as_deref() == Some(id.as_str());
        if !is_previous && !is_older(ctx, app, &id).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn is_older(ctx: &Context, app: &Known, id: &DeployId) -> Result<bool, StrayError> {
    let Ok(serving) = DeployId::parse(&app.record.deploy_id) else { return Ok(false) };
    let older = record(ctx, &app.app, id).await?;
    let newer = record(ctx, &app.app, &serving).await?;
    let epochs = older.zip(newer).map(|(older, newer)| (older.epoch, newer.epoch));
    Ok(epochs.is_some_and(|(older, newer)| older < newer))
}

async fn record(
    ctx: &Context,
    app: &AppName,
    id: &DeployId,
) -> Result<Option<Deployment>, StrayError> {
    let entry = ctx.cluster.kv.get(&keys::deployment(app, id)).await?;
    Ok(entry.and_then(|entry| decode(&entry).ok()))
}

/// The deployment whose checkout a container was made from.
fn deployment_of(ctx: &Context, container: &Container, app: &AppName) -> Option<DeployId> {
    let dir = container.working_dir.as_deref()?;
    // An id may hold dashes, and so may an app's name: the checkout's own path decides.
    let ids = dir.match_indices('-').filter_map(|(at, _)| DeployId::parse(&dir[at + 1..]).ok());
    let mut own = ids.filter(|id| app.checkout(&ctx.config.deploy_dir, id) == Path::new(dir));
    own.next()
}

async fn stop(ctx: &Context, app: &Known, alive: &[Container]) -> Result<(), String> {
    for container in alive {
        let set = ctx.host.containers.set_restart(&container.id, "no").await;
        set.map_err(|error| chain(&error))?;
    }
    let dir = alive.iter().find_map(|container| container.working_dir.as_ref().map(PathBuf::from));
    // Compose finds them by their labels; the checkout may be gone.
    let dir = dir.filter(|dir| dir.is_dir()).unwrap_or_else(|| ctx.config.deploy_dir.clone());
    let project = Project { name: app.app.project(), dir };
    ctx.host.compose.stop(&project, None).await.map_err(|error| chain(&error))
}
