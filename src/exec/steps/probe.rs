//! Whether copies will reach the node that is to hold them: an empty volume goes ahead, the way that all will go.

use super::{StepContext, transfer};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::volume::SnapshotName;
use crate::model::NodeName;
use crate::model::deployment::Step;

const SNAPSHOT: &str = "snapshot";

/// Sends an empty volume, and leaves nothing of it here.
pub(in crate::exec) async fn send(
    step: &StepContext<'_>,
    to: &NodeName,
) -> Result<Done, StepError> {
    let address = step.address_of(to).await?;
    let volume = volume_of(step);
    clear(step, &volume).await?;
    let sent = send_to(step, &volume, to, &address).await;
    clear(step, &volume).await?;
    let snapshot = sent.map_err(|error| {
        StepError::Failed(format!("volumes can't be sent to {to} ({address}): {error}"))
    })?;
    let output = [(SNAPSHOT.to_owned(), snapshot.to_string())].into();
    Ok(Done { output, ..Done::default() })
}

async fn send_to(
    step: &StepContext<'_>,
    volume: &str,
    to: &NodeName,
    address: &str,
) -> Result<SnapshotName, StepError> {
    let volumes = &step.ctx.host.volumes;
    volumes.create(volume).await.map_err(|e| StepError::from_error(&e))?;
    let snapshot = volumes.snapshot(volume).await.map_err(|e| StepError::from_error(&e))?;
    Ok(transfer::deliver(step, snapshot, to, address).await?.announced.snapshot)
}

/// Looks whether it arrived. It goes with the checkouts: a step that is resumed would not find what it removed.
pub(in crate::exec) async fn receive(step: &StepContext<'_>) -> Result<Done, StepError> {
    let noted = step.noted(|step| matches!(step, Step::Probe { .. }));
    let name = noted.get(SNAPSHOT).map(String::as_str).unwrap_or_default();
    let snapshot = SnapshotName::parse(name).map_err(|e| StepError::from_error(&e))?;
    let facts = step.ctx.host.volumes.facts(&snapshot).await;
    let arrived = facts.map_err(|e| StepError::from_error(&e))?;
    if arrived.is_some_and(|facts| facts.is_whole_copy()) {
        return Ok(Done::default());
    }
    let me = &step.ctx.me;
    Err(StepError::Failed(format!("the probe {snapshot} did not arrive whole on {me}")))
}

/// One name per app: its deployments run one at a time.
fn volume_of(step: &StepContext<'_>) -> String {
    format!("tandem-probe-{}", step.project)
}

/// Removes the probe's volume and every snapshot of it.
async fn clear(step: &StepContext<'_>, volume: &str) -> Result<(), StepError> {
    let removed = step.ctx.host.volumes.remove_volume(volume).await;
    removed.map_err(|e| StepError::from_error(&e))?;
    drop_received(step).await
}

/// Removes what arrived of the app's probes, of those that broke off too.
pub(in crate::exec) async fn drop_received(step: &StepContext<'_>) -> Result<(), StepError> {
    let (volumes, volume) = (&step.ctx.host.volumes, &volume_of(step));
    for snapshot in volumes.snapshots(volume).await.map_err(|e| StepError::from_error(&e))? {
        volumes.remove_snapshot(&snapshot).await.map_err(|e| StepError::from_error(&e))?;
    }
    Ok(())
}
