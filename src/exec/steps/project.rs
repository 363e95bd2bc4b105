//! The compose project: pull, build, stop, up, healthy, down.

use std::time::Duration;

use tokio::time::Instant;

use super::{StepContext, complaints, data, local, mounts, volumes};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::exec::health;
use crate::host::compose::Project;
use crate::host::docker::{Container, DockerError, State};
use crate::model::deployment::Step;
use crate::model::manifest::{Ends, Manifest};

/// So long answers to what the app has been asked already are waited for before it is stopped: much less than requests wait.
const DRAIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So long, and so often, Docker is asked to change a container that may be ending.
const UPDATED_WITHIN: Duration = Duration::from_secs(5);
const UPDATE_AGAIN: Duration = Duration::from_millis(100);

/// Pulls the images of the new version.
pub(in crate::exec) async fn pull(step: &StepContext<'_>) -> Result<Done, StepError> {
    step.ctx.host.compose.pull(&step.new_project()).await.map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// Builds the images of the new version.
pub(in crate::exec) async fn build(step: &StepContext<'_>) -> Result<Done, StepError> {
    step.ctx
        .host
        .compose
        .build(&step.new_project())
        .await
        .map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// Stops the version that runs, honouring its `stop_grace_period`. A node that restarts does not start it again: from
/// here on its data may be on its way to another one.
pub(in crate::exec) async fn stop(step: &StepContext<'_>) -> Result<Done, StepError> {
    let project = running_project(step);
    data::require_plain(step).await?;
    never_restart(step).await?;
    drain(step).await;
    step.ctx
        .host
        .compose
        .stop(&project, stop_grace(step, &project).await)
        .await
        .map_err(|e| StepError::from_error(&e))?;
    let left = containers(step).await?;
    let running: Vec<_> =
        left.iter().filter(|c| c.state.is_alive()).map(|c| c.name.as_str()).collect();
    if running.is_empty() {
        data::require_quiet(step).await?;
        return Ok(Done::default());
    }
    Err(StepError::Failed(format!("still running after the stop: {}", running.join(", "))))
}

/// Waits for the answers to what the app has been asked before the proxies heard: many apps, told to stop, end in the
/// middle of them. What takes longer, a download or an upgraded connection, is for the app to end.
async fn drain(step: &StepContext<'_>) {
    let drained = async {
        // Twice none: one may have been on its way from HAProxy.
        let mut was_quiet = false;
        loop {
            let is_quiet = step.ctx.proxies.requests(&step.app).await == 0;
            if is_quiet && was_quiet {
                break;
            }
            was_quiet = is_quiet;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    // What is left then is no reason to go on.
    let _ = tokio::time::timeout(DRAIN, drained).await;
}

/// Stops the new version where it was started, until it is clear which version is to run.
pub(in crate::exec) async fn hold(step: &StepContext<'_>) -> Result<(), StepError> {
    never_restart(step).await?;
    let project = step.new_project();
    let grace = stop_grace(step, &project).await;
    let stopped = step.ctx.host.compose.stop(&project, grace).await;
    stopped.map_err(|e| StepError::from_error(&e))
}

/// Undo of [`stop`]: the former version runs again, from the images that it had.
pub(in crate::exec) async fn start_former(step: &StepContext<'_>) -> Result<(), StepError> {
    let Some(project) = step.former_project() else {
        return Ok(());
    };
    // Started without one of them, it would begin with an empty one.
    data::require_held(step).await?;
    super::images::restore(step).await?;
    let mut manifest = start(step, &project).await?;
    set_restarts(step, &manifest).await?;
    // A job does its work once more; how that ends says nothing of whether the version serves.
    manifest.services.retain(|_, service| service.ends != Ends::Done);
    health::await_healthy(step.ctx, &step.project, &manifest, false).await?;
    // Containers of the new version may have had them until now.
    remove_brought(step, &manifest).await
}

/// Runs `update.sh` if the repository has one.
pub(in crate::exec) async fn update(step: &StepContext<'_>) -> Result<Done, StepError> {
    let app = step.deployment.request.app();
    let args = ["-r", app.repo.as_str(), "-b", app.branch.as_str()].map(str::to_owned);
    let compose = &step.ctx.host.compose;
    let ran = compose
        .script(&step.new_project(), "update.sh", &args)
        .await
        .map_err(|e| StepError::from_error(&e))?;
    let warnings = if ran { Vec::new() } else { vec!["there is no update.sh to run".to_owned()] };
    Ok(Done { warnings, ..Done::default() })
}

/// Creates and starts the containers of the new version. Where it may be given up for one that runs on another node, a
/// node that boots must not start it: Docker does so only after [`keep_running`].
pub(in crate::exec) async fn up(step: &StepContext<'_>) -> Result<Done, StepError> {
    require_former_volumes(step).await?;
    let manifest = start(step, &step.new_project()).await?;
    let former = step.deployment.former.as_ref();
    if former.is_some_and(|former| former.master != step.ctx.me) {
        never_restart(step).await?;
    } else {
        // Those that `stop` stopped may be among them.
        set_restarts(step, &manifest).await?;
    }
    Ok(Done::default())
}

/// A volume that the former version had and the new one has is here by now: restored, or as it was. Compose would make an
/// empty one.
async fn require_former_volumes(step: &StepContext<'_>) -> Result<(), StepError> {
    let (Ok(former), Ok(prepared)) = (step.former(), step.prepared()) else { return Ok(()) };
    for volume in former.volumes.iter().filter(|volume| prepared.volumes.contains(volume)) {
        if !data::is_here(step, volume).await? {
            return Err(StepError::Failed(format!(
                "volume {volume} is gone from {}: it would begin empty",
                step.ctx.me
            )));
        }
    }
    Ok(())
}

/// Lets Docker start the containers as the compose file says, and starts those that ended since the version was found
/// healthy.
pub(in crate::exec) async fn keep_running(step: &StepContext<'_>) -> Result<Done, StepError> {
    let project = step.new_project();
    let manifest = step.known_manifest(&project).await?;
    set_restarts(step, &manifest).await?;
    let has_ended = |container: &Container| {
        let service = manifest.services.get(&container.service);
        let is_meant_to = |service| super::compare::has_done(service, container);
        !container.state.is_alive() && !service.is_some_and(is_meant_to)
    };
    if containers(step).await?.iter().any(has_ended) {
        start(step, &project).await?;
    }
    Ok(Done::default())
}

/// Brings a version up.
async fn start(step: &StepContext<'_>, project: &Project) -> Result<Manifest, StepError> {
    let up = async {
        match step.ctx.host.compose.up(project).await {
            Ok(()) => Ok(()),
            Err(error) => Err(complaints::explained(step, &error).await),
        }
    };
    if !runs_scripts(step) {
        up.await?;
        return step.known_manifest(project).await;
    }
    // Read anew: a script may have changed it.
    let (up, manifest) = tokio::join!(up, step.manifest(project));
    up?;
    manifest
}

/// Whether the deployment runs a program of the repository's.
fn runs_scripts(step: &StepContext<'_>) -> bool {
    let scripts = [Step::Update, Step::PostMigrate];
    step.deployment.steps.iter().any(|record| scripts.contains(&record.step))
}

/// What Docker does with containers that end is what the compose file says.
async fn set_restarts(step: &StepContext<'_>, manifest: &Manifest) -> Result<(), StepError> {
    for container in containers(step).await? {
        if let Some(service) = manifest.services.get(&container.service) {
            set_restart(step, &container, &service.restart).await?;
        }
    }
    Ok(())
}

/// Docker leaves the containers alone that end.
async fn never_restart(step: &StepContext<'_>) -> Result<(), StepError> {
    for container in containers(step).await? {
        set_restart(step, &container, "no").await?;
    }
    Ok(())
}

async fn containers(step: &StepContext<'_>) -> Result<Vec<Container>, StepError> {
    let found = step.ctx.host.containers.of_project(&step.project).await;
    found.map_err(|e| StepError::from_error(&e))
}

async fn set_restart(
    step: &StepContext<'_>,
    container: &Container,
    policy: &str,
) -> Result<(), StepError> {
    if container.restart == policy {
        return Ok(());
    }
    let end = Instant::now() + UPDATED_WITHIN;
    loop {
        match step.ctx.host.containers.set_restart(&container.id, policy).await {
            Ok(()) => return Ok(()),
            // One that ends in this very moment can't be changed; when it has ended, it can.
            Err(DockerError::Failed { .. }) if Instant::now() < end => {
                tokio::time::sleep(UPDATE_AGAIN).await;
            }
            Err(error) => return Err(StepError::from_error(&error)),
        }
    }
}

/// Undo of [`up`] and [`update`]: no container of the new version is left, and no volume that it brought along.
///
/// Where the former version ran here with volumes without a name, the containers stay until [`start_former`] makes the
/// former ones of them: Compose hands such volumes on from container to container of a service, and to no others.
pub(in crate::exec) async fn take_down(step: &StepContext<'_>) -> Result<(), StepError> {
    let ran_here = step.deployment.former.as_ref().is_some_and(|f| f.master == step.ctx.me);
    let unnamed = mounts::unnamed_here(step).await?;
    if ran_here && !unnamed.is_empty() {
        return hold(step).await;
    }
    let project = step.new_project();
    let grace = stop_grace(step, &project).await;
    let compose = &step.ctx.host.compose;
    compose.down(&project, false, grace).await.map_err(|e| StepError::from_error(&e))?;
    volumes::remove(step, unnamed).await?;
    remove_brought(step, &Manifest::default()).await
}

/// Removes the volumes that the new version brought along, but those of a version that runs.
async fn remove_brought(step: &StepContext<'_>, runs: &Manifest) -> Result<(), StepError> {
    let has_begun = [Step::Up, Step::Update].iter().any(|starts| step.has_begun_here(starts));
    if step.deployment.request.source().is_some() || !has_begun {
        // The target of a migration had all its volumes before.
        return Ok(());
    }
    let before = step.output_of(&Step::Check);
    // Without its checkout, as on a node that lost its disks, only Compose's labels tell what there is of it.
    let project = step.new_project();
    let manifest =
        if project.dir.is_dir() { step.manifest(&project).await? } else { Manifest::default() };
    let existing = volumes::existing(step, &manifest).await?;
    let brought = |volume: &String| {
        let is_used = runs.volumes.iter().any(|used| used.name == *volume);
        !is_used && !before.contains_key(&format!("volume {volume}"))
    };
    volumes::remove(step, existing.into_iter().filter(brought)).await
}

/// Waits until the new version is healthy and stays so for the settle time.
pub(in crate::exec) async fn await_healthy(step: &StepContext<'_>) -> Result<Done, StepError> {
    let manifest = step.known_manifest(&step.new_project()).await?;
    let is_new = step.deployment.former.is_none();
    health::await_healthy(step.ctx, &step.project, &manifest, is_new).await?;
    let ended = containers(step).await?.into_iter().filter(|container| {
        let service = manifest.services.get(&container.service);
        container.state == State::Exited(0) && service.is_some_and(|s| s.ends == Ends::Maybe)
    });
    let warnings = ended.map(|container| maybe_meant(&container.service)).collect();
    Ok(Done { warnings, ..Done::default() })
}

/// Said of a service that ended with 0 while nothing says that it is to.
fn maybe_meant(service: &str) -> String {
    format!(
        "service {service} has ended with code 0: write restart: \"no\" or on-failure if it is to end, unless-stopped if it is to run"
    )
}

/// Removes containers, networks, images built here and volumes: the BTRFS ones have snapshots by now.
pub(in crate::exec) async fn remove(step: &StepContext<'_>) -> Result<Done, StepError> {
    volumes::require_snapshots(step).await?;
    let project = running_project(step);
    let grace = stop_grace(step, &project).await;
    let compose = &step.ctx.host.compose;
    let unnamed = mounts::unnamed_here(step).await?;
    compose.down(&project, false, grace).await.map_err(|e| StepError::from_error(&e))?;
    volumes::remove(step, unnamed).await?;
    let present = volumes::present(step).await?;
    let warnings = volumes::keep_late_writes(step, &present).await?;
    let output = local::keep_aside(step, &project).await?;
    compose.down(&project, true, grace).await.map_err(|e| StepError::from_error(&e))?;
    super::images::remove_built(step).await?;
    let manifest = step.manifest(&project).await.unwrap_or_default();
    let mut left = volumes::existing(step, &manifest).await?;
    left.extend(step.former()?.volumes.iter().cloned());
    volumes::remove(step, left).await?;
    Ok(Done { output, warnings, ..Done::default() })
}

/// Removes what the old master has of an app that now serves elsewhere. Its BTRFS volumes go where the new master has
/// verified their last snapshot, which stays here too; local ones go when a snapshot of their files is there. Volumes of
/// other drivers can't be copied, and stay.
pub(in crate::exec) async fn leave(step: &StepContext<'_>) -> Result<Done, StepError> {
    // Of an app that went on from copies, what its former master has left of its volumes has no copy: it stays.
    let recalled = step.deployment.request.is_from_replica();
    if !recalled {
        volumes::require_snapshots(step).await?;
        super::transfer::require_received(step)?;
    }
    let project = running_project(step);
    let grace = stop_grace(step, &project).await;
    let compose = &step.ctx.host.compose;
    let unnamed = mounts::unnamed_here(step).await?;
    compose.down(&project, false, grace).await.map_err(|e| StepError::from_error(&e))?;
    volumes::remove(step, unnamed).await?;
    super::images::remove_built(step).await?;
    let replicated = if recalled { Default::default() } else { volumes::present(step).await? };
    let mut warnings = volumes::keep_late_writes(step, &replicated).await?;
    let output = local::keep_aside(step, &project).await?;
    volumes::remove(step, replicated.into_iter().chain(output.keys().cloned())).await?;
    let manifest = step.manifest(&project).await.unwrap_or_default();
    let left = volumes::existing(step, &manifest).await?;
    let me = &step.ctx.me;
    let gone = output.iter().map(|(volume, kept)| {
        format!("volume {volume} is a local one and began empty; what it held is on {me} in {kept}")
    });
    let stays = left
        .iter()
        .map(|volume| format!("volume {volume} can't be copied and began empty; it stays on {me}"));
    warnings.extend(gone.chain(stays));
    Ok(Done { output, warnings, ..Done::default() })
}

/// The project whose containers run now: the former version's checkout, or the new one if that is gone.
fn running_project(step: &StepContext<'_>) -> Project {
    step.former_project().filter(|former| former.dir.is_dir()).unwrap_or_else(|| step.new_project())
}

/// Reads what the stop will need to know while the app still serves.
pub(super) async fn read_running(step: &StepContext<'_>) {
    // What can't be read will be told by what can't do without it.
    let _ = step.known_manifest(&running_project(step)).await;
}

/// The longest time that the app's services take to stop; unknown if the compose file can't be read any more.
async fn stop_grace(step: &StepContext<'_>, project: &Project) -> Option<Duration> {
    step.known_manifest(project).await.ok().and_then(|manifest| manifest.stop_grace())
}
