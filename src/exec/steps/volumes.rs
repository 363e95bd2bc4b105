//! BTRFS volumes: snapshots that are checked, restores by name, schedules by role.

use std::collections::BTreeSet;

use tracing::warn;

use super::{StepContext, data};
use crate::error::chain;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::exec::{lines, schedules};
use crate::host::volume::{Action, SnapshotName, Verified, VolumeError};
use crate::model::Role;
use crate::model::deployment::Step;
use crate::model::manifest::Manifest;

/// The app's volumes that this node has, of any driver: those that Compose made, and those that the compose file
/// names. A volume that was restored carries no label of Compose's, so neither list alone is enough.
pub(in crate::exec) async fn existing(
    step: &StepContext<'_>,
    manifest: &Manifest,
) -> Result<BTreeSet<String>, StepError> {
    let docker = &step.ctx.host.containers;
    let labelled = docker.volumes_of_project(&step.project).await;
    let mut found: BTreeSet<String> =
        labelled.map_err(|e| StepError::from_error(&e))?.into_iter().collect();
    for volume in manifest.volumes.iter().filter(|volume| !volume.external) {
        // Docker takes buttervolume's word, and that calls a volume unknown which it could not ask about.
        if docker.volume_exists(&volume.name).await.map_err(|e| StepError::from_error(&e))?
            || volume.replicated && data::is_here(step, &volume.name).await?
        {
            found.insert(volume.name.clone());
        }
    }
    Ok(found)
}

/// Removes volumes; no container uses them any more.
pub(in crate::exec) async fn remove(
    step: &StepContext<'_>,
    names: impl IntoIterator<Item = String>,
) -> Result<(), StepError> {
    for name in names {
        let removed = step.ctx.host.containers.remove_volume(&name).await;
        removed.map_err(|e| StepError::from_error(&e))?;
        // Docker takes a volume that buttervolume could not ask about for one that is gone.
        let seam = &step.ctx.host.volumes;
        if seam.find(&name).await.map_err(|e| StepError::from_error(&e))?.is_some() {
            seam.remove_volume(&name).await.map_err(|e| StepError::from_error(&e))?;
        }
    }
    Ok(())
}

/// The BTRFS volumes of the app that are on this node: those of its entry, and any other of its project.
pub(in crate::exec) async fn present(
    step: &StepContext<'_>,
) -> Result<BTreeSet<String>, StepError> {
    let all = step.ctx.host.volumes.list().await.map_err(|e| StepError::from_error(&e))?;
    let own = step.project.volume("");
    let mut found: BTreeSet<String> =
        all.into_iter().filter(|name| name.starts_with(&own)).collect();
    for volume in &step.former()?.volumes {
        if data::is_here(step, volume).await? {
            found.insert(volume.clone());
        }
    }
    Ok(found)
}

/// Takes a snapshot of every BTRFS volume that the app has here, and notes its name. Where the app goes on, it goes on with
/// all of them; what is destroyed may have lost some.
pub(in crate::exec) async fn snapshot(step: &StepContext<'_>) -> Result<Done, StepError> {
    if step.deployment.placement.is_some() {
        data::require_held(step).await?;
    }
    data::require_quiet(step).await?;
    let present = present(step).await?;
    let mut done = Done::default();
    for volume in &present {
        let name = step.ctx.host.volumes.snapshot(volume).await;
        let name = name.map_err(|e| StepError::from_error(&e))?;
        done.output.insert(volume.clone(), name.to_string());
    }
    let missing = step.former()?.volumes.iter().filter(|volume| !present.contains(*volume));
    done.warnings.extend(
        missing.map(|volume| format!("volume {volume} is in the app's entry but not on this node")),
    );
    Ok(done)
}

/// Undo of [`snapshot`]: what the new version may have written is set aside, the volumes are as they were.
pub(in crate::exec) async fn restore(step: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let writes = [Step::Up, Step::Update, Step::Replace, Step::PostMigrate];
    if !writes.iter().any(|writer| step.has_begun_here(writer)) {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    for (volume, snapshot) in &step.record.output {
        let snapshot = SnapshotName::parse(snapshot).map_err(|e| StepError::from_error(&e))?;
        warnings.extend(put(step, &snapshot, volume).await?);
    }
    Ok(warnings)
}

/// Puts what a snapshot holds in the place of a volume that nothing uses; one that is just that already stays. What was there before is kept by buttervolume as
/// a snapshot: that is worth a warning, whoever put it there.
pub(in crate::exec) async fn put(
    step: &StepContext<'_>,
    snapshot: &SnapshotName,
    volume: &str,
) -> Result<Option<String>, StepError> {
    data::require_unused(step, volume).await?;
    let (seam, failed) = (&step.ctx.host.volumes, |e: VolumeError| StepError::from_error(&e));
    let (there, from) =
        (seam.find(volume).await.map_err(failed)?, seam.facts(snapshot).await.map_err(failed)?);
    if there.zip(from).is_some_and(|(there, from)| there.is_untouched_copy_of(&from)) {
        lines::note_restored(step, volume).await;
        return Ok(None);
    }
    let backup = step.ctx.host.volumes.restore(snapshot, volume).await;
    let backup = backup.map_err(|e| StepError::from_error(&e))?;
    lines::note_restored(step, volume).await;
    let me = &step.ctx.me;
    // buttervolume may have been at it still for an agent that was killed: of two restores at once the second one's
    // snapshot lands in the volume that the first one has made.
    let nested = seam.nested(volume).await.map_err(failed)?;
    if !nested.is_empty() {
        return Err(StepError::Failed(format!(
            "volume {volume} on {me} holds {} after it was restored from {snapshot}: two restores met; remove what it holds too much (btrfs subvolume delete) and deploy again",
            nested.join(", ")
        )));
    }
    Ok(backup.map(|backup| {
        format!("volume {volume} on {me} was replaced by {snapshot}; what it held is in {backup}")
    }))
}

/// Nothing is removed before its copy is there: every volume of the app that exists has the snapshot of this
/// deployment.
pub(in crate::exec) async fn require_snapshots(step: &StepContext<'_>) -> Result<(), StepError> {
    let noted = step.output_of(&Step::Snapshot);
    for volume in present(step).await? {
        let snapshot = noted.get(&volume).ok_or_else(|| missing(&volume))?;
        let there = step.ctx.host.volumes.snapshots(&volume).await;
        let there = there.map_err(|e| StepError::from_error(&e))?;
        let name = there.iter().find(|name| name.to_string() == *snapshot);
        let name = name.ok_or_else(|| missing(&volume))?;
        let (found, taken) = origins(step, &volume, name).await?;
        if found.uuid.is_some() && taken.parent_uuid.is_some() && found.uuid != taken.parent_uuid {
            return Err(StepError::Failed(format!(
                "volume {volume} on {} is not the one that {name} was taken of: it is not removed; if nobody needs it: \
                 docker volume rm {volume}",
                step.ctx.me
            )));
        }
    }
    Ok(())
}

/// What was written after the last snapshot was taken is in a snapshot, too, before its volume goes. Nothing uses it now.
/// Where it can't be told whether anything was, that is taken for yes.
pub(in crate::exec) async fn keep_late_writes(
    step: &StepContext<'_>,
    volumes: &BTreeSet<String>,
) -> Result<Vec<String>, StepError> {
    let noted = step.output_of(&Step::Snapshot);
    let mut warnings = Vec::new();
    for volume in volumes {
        data::require_unused(step, volume).await?;
        let Some(snapshot) = noted.get(volume) else { continue };
        let name = SnapshotName::parse(snapshot).map_err(|e| StepError::from_error(&e))?;
        let seam = &step.ctx.host.volumes;
        let change = seam.change_since(volume, &name).await.unwrap_or_else(|error| {
            warn!(app = %step.app, volume, error = %chain(&error), "taken for changed");
            Some("it can't be compared".to_owned())
        });
        let Some(change) = change else { continue };
        let late = seam.snapshot(volume).await;
        let late = late.map_err(|e| StepError::from_error(&e))?;
        warnings.push(format!(
            "volume {volume} on {} may have been written to after {name} ({change}): what it held is in {late}",
            step.ctx.me
        ));
    }
    Ok(warnings)
}

/// What the file system says of a volume and of a snapshot of it; nothing of what is gone.
async fn origins(
    step: &StepContext<'_>,
    volume: &str,
    snapshot: &SnapshotName,
) -> Result<(Verified, Verified), StepError> {
    let seam = &step.ctx.host.volumes;
    let found = seam.find(volume).await.map_err(|e| StepError::from_error(&e))?;
    let taken = seam.facts(snapshot).await.map_err(|e| StepError::from_error(&e))?;
    Ok((found.unwrap_or_default(), taken.unwrap_or_default()))
}

fn missing(volume: &str) -> StepError {
    StepError::Failed(format!(
        "volume {volume} has no snapshot of this deployment; it is not removed"
    ))
}

/// Sets the schedules of the node's new role and removes the others.
pub(in crate::exec) async fn schedule(step: &StepContext<'_>) -> Result<Done, StepError> {
    let prepared = step.prepared()?;
    let wanted = wanted(step).await?;
    let seam = &step.ctx.host.volumes;
    for volume in &prepared.volumes {
        for (action, minutes) in &wanted {
            seam.schedule(volume, action, *minutes).await.map_err(|e| StepError::from_error(&e))?;
        }
    }
    let wanted: Vec<&Action> = wanted.iter().map(|(action, _)| action).collect();
    remove_schedules(step, &volumes_of_both(step), |volume, action| {
        prepared.volumes.contains(volume) && wanted.contains(&action)
    })
    .await?;
    let warnings = super::transfer::mark_common(step).await?;
    Ok(Done { warnings, ..Done::default() })
}

/// Removes every schedule of the app's volumes.
pub(in crate::exec) async fn unschedule(step: &StepContext<'_>) -> Result<Done, StepError> {
    remove_schedules(step, &volumes_of_both(step), |_, _| false).await
}

/// Actions and minutes of this node's new role.
async fn wanted(step: &StepContext<'_>) -> Result<Vec<(Action, u32)>, StepError> {
    let replica = step.deployment.placement.as_ref().and_then(|pair| pair.replica.as_ref());
    let role = step.new_role();
    let address = match replica.filter(|_| role == Role::Master) {
        Some(replica) => Some(step.address_of(replica).await?),
        None => None,
    };
    Ok(schedules::wanted(role, address.as_deref(), &step.ctx.config.volumes))
}

async fn remove_schedules(
    step: &StepContext<'_>,
    volumes: &BTreeSet<String>,
    keep: impl Fn(&String, &Action) -> bool,
) -> Result<Done, StepError> {
    let seam = &step.ctx.host.volumes;
    let schedules = seam.schedules().await.map_err(|e| StepError::from_error(&e))?;
    for schedule in schedules {
        let ours = volumes.contains(&schedule.volume);
        let known = !matches!(schedule.action, Action::Other(_));
        if ours && known && !keep(&schedule.volume, &schedule.action) {
            seam.unschedule(&schedule.volume, &schedule.action)
                .await
                .map_err(|e| StepError::from_error(&e))?;
        }
    }
    Ok(Done::default())
}

fn volumes_of_both(step: &StepContext<'_>) -> BTreeSet<String> {
    let records = step.deployment.former.iter().chain(&step.deployment.prepared);
    records.flat_map(|record| record.volumes.iter().cloned()).collect()
}
