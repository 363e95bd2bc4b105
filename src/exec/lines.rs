//! Whose volumes are an app's own: what a deployment restores is noted, and what somebody made anew is not gone on with.

use tracing::warn;

use super::copies;
use super::error::{ExecError, StepError};
use super::steps::StepContext;
use crate::error::chain;
use crate::host::volume::VolumeError;
use crate::model::keys;
use crate::records::{read, update};
use crate::replication::{Held, Line, Lines, Survey};

/// Notes the volume that this node has just restored. Where that can't be done, its agent sees what it was made of.
pub(super) async fn note_restored(step: &StepContext<'_>, volume: &str) {
    let found = step.ctx.host.volumes.find(volume).await;
    let Some(uuid) = found.ok().flatten().and_then(|facts| facts.uuid) else { return };
    if let Err(error) = note(step, volume, &uuid).await {
        warn!(app = %step.app, volume, error = %chain(&error), "that it was restored can't be noted");
    }
}

async fn note(step: &StepContext<'_>, volume: &str, uuid: &str) -> Result<(), ExecError> {
    let (kv, key) = (step.ctx.cluster.kv.as_ref(), keys::lines(&step.app));
    let noted = |lines: Option<Lines>| {
        let mut lines = lines?;
        // Of what nobody has noted the first yet, the master's agent will.
        let line = lines.get_mut(volume).filter(|line| !line.made.is_empty())?;
        if line.made.last().is_some_and(|last| last == uuid) {
            return None;
        }
        line.note(uuid);
        Some(lines)
    };
    update::<Lines, ExecError>(kv, &key, noted).await
}

/// The volumes of the app's entry that are on this node are its own.
pub(super) async fn require_own(step: &StepContext<'_>) -> Result<(), StepError> {
    let (kv, key) = (step.ctx.cluster.kv.as_ref(), keys::lines(&step.app));
    let lines = read::<Lines>(kv, &key).await.map_err(|e| StepError::from_error(&e))?;
    let Some(lines) = lines else { return Ok(()) };
    let mut told = Vec::new();
    for volume in &step.former()?.volumes {
        let Some(line) = lines.value.get(volume) else { continue };
        if !is_own(step, line, volume).await.map_err(|e| StepError::from_error(&e))? {
            let copy = copies::newest(step.ctx, &step.app, volume).await;
            told.push(format!(
                "volume {volume} on {} was made anew, and not by a deployment; the newest copy of what it was: {copy}. If \
                 what it holds now is right: consul kv delete {key}; if not, stop the app, remove the volume (docker \
                 volume rm {volume}), and deploy with from_replica",
                step.ctx.me
            ));
        }
    }
    match told.is_empty() {
        true => Ok(()),
        false => Err(StepError::Refused(told)),
    }
}

async fn is_own(step: &StepContext<'_>, line: &Line, volume: &str) -> Result<bool, VolumeError> {
    let seam = step.ctx.host.volumes.as_ref();
    let Some(facts) = seam.find(volume).await? else { return Ok(true) };
    let mut survey = Survey::default();
    if line.is_own(&facts, &survey) {
        return Ok(true);
    }
    for name in seam.snapshots(volume).await? {
        if name.sent_to().is_none()
            && let Some(facts) = seam.facts(&name).await?
        {
            survey.held.push(Held { name, facts });
        }
    }
    Ok(line.is_own(&facts, &survey))
}
