//! What has to be true of an app's volumes before anything is done to them, looked at on the disk and in Docker in that
//! moment. What is not there is never taken for nothing to do, and what can't be told is neither there nor gone.

use std::collections::BTreeSet;

use super::{StepContext, volumes};
use crate::error::chain;
use crate::exec::copies::{self, Sought};
use crate::exec::error::StepError;
use crate::exec::lines;
use crate::host::docker::VolumeUser;

/// While the app serves: every volume of its entry is here, can be copied whole, and nothing but the app's own services
/// writes there.
pub(in crate::exec) async fn require_movable(step: &StepContext<'_>) -> Result<(), StepError> {
    require_held(step).await?;
    require_plain(step).await?;
    let own = step.ctx.host.containers.of_project(&step.project).await;
    let own: BTreeSet<String> =
        own.map_err(|e| StepError::from_error(&e))?.into_iter().map(|c| c.name).collect();
    refuse_users(step, |user| user.writes && !own.contains(&user.name)).await
}

/// Every volume that the app's entry names is on this node, and the app's own.
pub(in crate::exec) async fn require_held(step: &StepContext<'_>) -> Result<(), StepError> {
    let former = step.former()?;
    let mut missing = Vec::new();
    for volume in &former.volumes {
        if !is_here(step, volume).await? {
            missing.push(volume.as_str());
        }
    }
    match missing.is_empty() {
        true => lines::require_own(step).await,
        false => {
            let id = step.deployment.request.app();
            let sought =
                Sought { app: &step.app, repo: id.repo.as_str(), branch: id.branch.as_str() };
            Err(StepError::Refused(copies::tell(step.ctx, sought, &missing).await))
        }
    }
}

/// On a node that is not the app's master nothing of the app runs: whose data would be right, if both did?
pub(in crate::exec) async fn require_idle(step: &StepContext<'_>) -> Result<(), StepError> {
    let (me, Some(former)) = (&step.ctx.me, &step.deployment.former) else { return Ok(()) };
    if former.master == *me {
        return Ok(());
    }
    let own = step.ctx.host.containers.of_project(&step.project).await;
    let own = own.map_err(|e| StepError::from_error(&e))?;
    let names: Vec<String> =
        own.into_iter().filter(|c| c.state.is_alive()).map(|c| c.name).collect();
    if names.is_empty() {
        return Ok(());
    }
    let (names, master, app, project) =
        (names.join(", "), &former.master, &step.app, &step.project);
    Err(StepError::Refused(vec![format!(
        "{names} runs on {me}, but the app's entry names {master} as its master: if the data of {me} is what counts, make {me} the master in app/{app}; if not, stop what runs here (docker compose --project-name {project} down)"
    )]))
}

/// Whether that very volume is on this node.
pub(in crate::exec) async fn is_here(
    step: &StepContext<'_>,
    volume: &str,
) -> Result<bool, StepError> {
    let found = step.ctx.host.volumes.find(volume).await;
    found.map(|found| found.is_some()).map_err(|error| {
        let why = chain(&error);
        StepError::Failed(format!(
            "whether {} has volume {volume} can't be told: {why}",
            step.ctx.me
        ))
    })
}

/// No volume of the app holds subvolumes: a snapshot would lack what they hold, and no volume with some can be removed.
pub(in crate::exec) async fn require_plain(step: &StepContext<'_>) -> Result<(), StepError> {
    let mut found = Vec::new();
    for volume in volumes::present(step).await? {
        let nested = step.ctx.host.volumes.nested(&volume).await;
        let nested = nested.map_err(|e| StepError::from_error(&e))?;
        if !nested.is_empty() {
            let (paths, me) = (nested.join(", "), &step.ctx.me);
            found.push(format!(
                "volume {volume} on {me} holds subvolumes ({paths}), which no snapshot of it would hold: make \
                 directories of them, or remove them (btrfs subvolume delete)"
            ));
        }
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(StepError::Refused(found)),
    }
}

/// After the stop: nothing writes to the app's volumes any more. What it wrote would be in no snapshot.
pub(in crate::exec) async fn require_quiet(step: &StepContext<'_>) -> Result<(), StepError> {
    refuse_users(step, |user| user.writes).await
}

async fn refuse_users(
    step: &StepContext<'_>,
    matters: impl Fn(&VolumeUser) -> bool,
) -> Result<(), StepError> {
    for volume in volumes::present(step).await? {
        let names = users(step, &volume, &matters).await?;
        if !names.is_empty() {
            return Err(StepError::Refused(vec![format!(
                "{names} on {} writes to volume {volume} and is no service of the app: what it writes would be lost; \
                 let it end, or stop it",
                step.ctx.me
            )]));
        }
    }
    Ok(())
}

/// Nothing that runs has the volume mounted: it would go on with a deleted one.
pub(in crate::exec) async fn require_unused(
    step: &StepContext<'_>,
    volume: &str,
) -> Result<(), StepError> {
    let names = users(step, volume, |_| true).await?;
    if names.is_empty() {
        return Ok(());
    }
    Err(StepError::Failed(format!(
        "volume {volume} is not replaced: {names} runs on {} and has it mounted",
        step.ctx.me
    )))
}

async fn users(
    step: &StepContext<'_>,
    volume: &str,
    matters: impl Fn(&VolumeUser) -> bool,
) -> Result<String, StepError> {
    let users = step.ctx.host.containers.users_of_volume(volume).await;
    let users = users.map_err(|e| StepError::from_error(&e))?;
    let names: Vec<String> =
        users.into_iter().filter(|user| matters(user)).map(|user| user.name).collect();
    Ok(names.join(", "))
}
