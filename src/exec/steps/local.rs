//! Volumes of the driver `local`: they are not replicated, but their files are not thrown away either.

use std::collections::BTreeMap;

use super::{StepContext, volumes};
use crate::exec::error::StepError;
use crate::host::compose::Project;
use crate::model::manifest::Manifest;

/// Takes a BTRFS snapshot of the files of each local volume of the app, which no container uses any more. Returns the
/// snapshots' names by volume; an empty volume has nothing to keep, and is among them all the same.
pub(super) async fn keep_aside(
    step: &StepContext<'_>,
    project: &Project,
) -> Result<BTreeMap<String, String>, StepError> {
    let manifest = step.manifest(project).await.unwrap_or_default();
    let mut kept = already_gone(step, &manifest).await?;
    for volume in volumes::existing(step, &manifest).await? {
        let directory = step.ctx.host.containers.local_volume(&volume).await;
        let Some(directory) = directory.map_err(|e| StepError::from_error(&e))? else { continue };
        let copy = copy_of(&volume);
        let seam = &step.ctx.host.volumes;
        // What an earlier try left is begun anew.
        seam.remove_volume(&copy).await.map_err(|e| StepError::from_error(&e))?;
        seam.create(&copy).await.map_err(|e| StepError::from_error(&e))?;
        seam.fill(&copy, &directory).await.map_err(|e| StepError::from_error(&e))?;
        let snapshot = seam.snapshot(&copy).await.map_err(|e| StepError::from_error(&e))?;
        seam.remove_volume(&copy).await.map_err(|e| StepError::from_error(&e))?;
        kept.insert(volume, snapshot.to_string());
    }
    Ok(kept)
}

/// What a step that is resumed kept and removed before it broke off: the app had the volume until then.
async fn already_gone(
    step: &StepContext<'_>,
    manifest: &Manifest,
) -> Result<BTreeMap<String, String>, StepError> {
    let mut kept = BTreeMap::new();
    let existing = volumes::existing(step, manifest).await?;
    let gone = manifest.volumes.iter().filter(|v| !v.external && !v.replicated);
    for volume in gone.filter(|volume| !existing.contains(&volume.name)) {
        let snapshots = step.ctx.host.volumes.snapshots(&copy_of(&volume.name)).await;
        if let Some(newest) = snapshots.map_err(|e| StepError::from_error(&e))?.last() {
            kept.insert(volume.name.clone(), newest.to_string());
        }
    }
    Ok(kept)
}

fn copy_of(volume: &str) -> String {
    format!("tandem-kept-{volume}")
}
