//! The volumes of one app into another: what both have, copied, verified, put in place of the target's.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use super::transfer::{self, Announced};
use super::{StepContext, volumes};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::exec::standing;
use crate::host::compose::Project;
use crate::host::volume::SnapshotName;
use crate::model::deployment::{Deployment, Step, StepRecord};
use crate::model::manifest::{Manifest, Volume};
use crate::model::{AppId, AppRecord, DeployId, NodeName, keys};
use crate::records::{self, Queue};

/// How long a migration waits for a source that is being deployed.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_secs(1);

/// Notes the source's volumes that may leave it: key in the compose file → volume, and how large it is.
pub(in crate::exec) async fn offer(step: &StepContext<'_>) -> Result<Done, StepError> {
    let (app, record) = source(step)?;
    let id = DeployId::parse(&record.deploy_id).map_err(|e| StepError::from_error(&e))?;
    let name = app.name();
    let project = Project { name: name.project(), dir: step.ctx.checkout(&name, &id) };
    let manifest = step.manifest(&project).await?;
    let there = step.ctx.host.volumes.list().await.map_err(|e| StepError::from_error(&e))?;
    let mut done = Done::default();
    for volume in movable(&manifest) {
        if there.contains(&volume.name) {
            let bytes = match step.ctx.host.volumes.size(&volume.name).await {
                Ok(bytes) => bytes,
                // As in `measure`: the send will tell.
                Err(error) => {
                    done.warnings.push(crate::error::chain(&error));
                    0
                }
            };
            done.output.insert(volume.key.clone(), format!("{} {bytes}", volume.name));
        }
    }
    Ok(done)
}

/// Notes which of them the target has too: the source's volume → the target's. They have to fit beside the target's.
pub(in crate::exec) async fn match_volumes(step: &StepContext<'_>) -> Result<Done, StepError> {
    let unrunnable = super::check::unrunnable(step);
    if !unrunnable.is_empty() {
        return Err(StepError::Refused(unrunnable));
    }
    let offered = step.noted(|step| *step == Step::Offer);
    let manifest = step.manifest(&step.new_project()).await?;
    let (mut output, mut needed) = (BTreeMap::new(), 0_u64);
    for volume in movable(&manifest) {
        if let Some((name, bytes)) = offered.get(&volume.key).and_then(|o| o.split_once(' ')) {
            output.insert(name.to_owned(), volume.name.clone());
            needed = needed.saturating_add(bytes.parse().unwrap_or_default());
        }
    }
    if output.is_empty() {
        let keys: Vec<&str> = offered.keys().map(String::as_str).collect();
        return Err(StepError::Failed(format!(
            "the apps have no BTRFS volume of the same name that may be migrated (the source has: {})",
            if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
        )));
    }
    let (_, record) = source(step)?;
    let warnings = match record.master == step.ctx.me {
        // On one disk a copy takes no room of its own.
        true => Vec::new(),
        false => transfer::require_room(step, needed).await?,
    };
    let prepared = Some(step.former()?.clone());
    Ok(Done { output, prepared, warnings, recorded: false })
}

fn movable(manifest: &Manifest) -> impl Iterator<Item = &Volume> {
    manifest.replicated_volumes().filter(|volume| volume.migratable)
}

/// Takes a snapshot of each matched volume of the source, which runs on: they should be of the same moment, so nothing is
/// sent in between. What a deployment of the source may still take back is not taken.
pub(in crate::exec) async fn snapshot_source(step: &StepContext<'_>) -> Result<Done, StepError> {
    let end = Instant::now() + PATIENCE;
    loop {
        if is_settled(step).await? {
            let mut output = BTreeMap::new();
            for volume in step.noted(|step| *step == Step::Match).into_keys() {
                let snapshot = step.ctx.host.volumes.snapshot(&volume).await;
                let snapshot = snapshot.map_err(|e| StepError::from_error(&e))?;
                output.insert(volume, transfer::announce(step, snapshot).await?.to_string());
            }
            // Nothing began meanwhile.
            if is_settled(step).await? {
                return Ok(Done { output, ..Done::default() });
            }
        }
        if Instant::now() >= end {
            let (app, _) = source(step)?;
            let (name, seconds) = (app.name(), PATIENCE.as_secs());
            return Err(StepError::Failed(format!(
                "{name} was being deployed for more than {seconds} s; migrate from it when that is over"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the source's volumes hold what its entry stands for: it is the version that this migration knows, and no
/// deployment has taken it in hand.
async fn is_settled(step: &StepContext<'_>) -> Result<bool, StepError> {
    let (app, known) = source(step)?;
    let (kv, name) = (step.ctx.cluster.kv.as_ref(), app.name());
    let entry = records::read::<AppRecord>(kv, &keys::app(&name)).await;
    let entry = entry.map_err(|e| StepError::from_error(&e))?.map(|entry| entry.value);
    let same =
        |entry: &AppRecord| entry.master == known.master && entry.deploy_id == known.deploy_id;
    if !entry.as_ref().is_some_and(same) {
        return Err(StepError::Failed(format!("{name} was deployed or destroyed meanwhile")));
    }
    let queue = records::read::<Queue>(kv, &keys::queue(&name)).await;
    let queue = queue.map_err(|e| StepError::from_error(&e))?;
    let Some(running) = queue.and_then(|queue| queue.value.running) else { return Ok(true) };
    let record = records::read::<Deployment>(kv, &keys::deployment(&name, &running)).await;
    let record = record.map_err(|e| StepError::from_error(&e))?;
    let in_hand = |record: &StepRecord| !record.step.is_harmless() && record.started_at.is_some();
    Ok(!record.is_some_and(|record| record.value.steps.iter().any(in_hand)))
}

/// Sends the snapshots where the target is.
pub(in crate::exec) async fn copy(
    step: &StepContext<'_>,
    to: &NodeName,
) -> Result<Done, StepError> {
    let address = step.address_of(to).await?;
    let mut done = Done::default();
    for (volume, text) in step.output_of(&Step::SnapshotSource) {
        let announced = Announced::parse(&text)
            .ok_or_else(|| StepError::Lost(format!("{text:?} names no snapshot")))?;
        // A send to the node itself would remove the snapshot.
        if *to != step.ctx.me {
            let sent = transfer::deliver(step, announced.snapshot, to, &address).await?;
            done.warnings.extend(sent.warning);
        }
        done.output.insert(volume, text);
    }
    Ok(done)
}

/// Puts the verified copies in place of the target's volumes; those have their snapshots.
pub(in crate::exec) async fn replace(step: &StepContext<'_>) -> Result<Done, StepError> {
    standing::require_planned(step).await?;
    let targets = step.output_of(&Step::Match);
    let kept = step.output_of(&Step::Snapshot);
    let (mut output, mut warnings) = (BTreeMap::new(), Vec::new());
    for (volume, text) in step.output_of(&Step::ReceiveCopy) {
        let copy = Announced::parse(&text)
            .ok_or_else(|| StepError::Lost(format!("{text:?} names no snapshot")))?;
        let target = targets
            .get(&volume)
            .ok_or_else(|| StepError::Lost(format!("no volume of the target for {volume}")))?;
        if !kept.contains_key(target) {
            return Err(StepError::Failed(format!(
                "volume {target} has no snapshot of this migration; it is not replaced"
            )));
        }
        warnings.extend(volumes::put(step, &copy.snapshot, target).await?);
        output.insert(target.clone(), copy.snapshot.to_string());
    }
    Ok(Done { output, warnings, ..Done::default() })
}

/// Runs the target's `post_migrate.sh`, if it has one.
pub(in crate::exec) async fn post_migrate(step: &StepContext<'_>) -> Result<Done, StepError> {
    let ((from, _), to) = (source(step)?, step.deployment.request.app());
    let args = [
        "-R",
        from.repo.as_str(),
        "-B",
        from.branch.as_str(),
        "-r",
        to.repo.as_str(),
        "-b",
        to.branch.as_str(),
    ]
    .map(str::to_owned);
    let compose = &step.ctx.host.compose;
    let ran = compose.script(&step.new_project(), "post_migrate.sh", &args).await;
    ran.map_err(|e| StepError::from_error(&e))?;
    Ok(Done::default())
}

/// Removes the copies that came for this migration. A node that holds copies of the source anyway keeps those that
/// are whole, and the source keeps its snapshot; the mark that it was sent goes where no more will be sent.
pub(in crate::exec) async fn drop_copies(step: &StepContext<'_>) -> Result<Done, StepError> {
    let (_, record) = source(step)?;
    let target = &step.former()?.master;
    let of_pair = record.placement().nodes().any(|node| node == target);
    let is_source = step.ctx.me == record.master;
    if of_pair && is_source {
        return Ok(Done::default());
    }
    let seam = &step.ctx.host.volumes;
    for text in step.noted(|step| *step == Step::SnapshotSource).into_values() {
        let Some(copy) = Announced::parse(&text) else { continue };
        if is_source {
            let address = step.address_of(target).await?;
            let mark = SnapshotName::parse(&format!("{}@{address}", copy.snapshot));
            let mark = mark.map_err(|e| StepError::from_error(&e))?;
            seam.remove_snapshot(&mark).await.map_err(|e| StepError::from_error(&e))?;
            continue;
        }
        let facts = seam.facts(&copy.snapshot).await.map_err(|e| StepError::from_error(&e))?;
        if facts.is_some_and(|facts| !of_pair || facts.is_torn()) {
            let removed = seam.remove_snapshot(&copy.snapshot).await;
            removed.map_err(|e| StepError::from_error(&e))?;
        }
    }
    Ok(Done::default())
}

/// The app that the volumes come from, and its entry when the migration began.
fn source<'a>(step: &StepContext<'a>) -> Result<(&'a AppId, &'a AppRecord), StepError> {
    let lost = || StepError::Lost("the record names no source".to_owned());
    let app = step.deployment.request.source().ok_or_else(lost)?;
    Ok((app, step.deployment.source.as_ref().ok_or_else(lost)?))
}
