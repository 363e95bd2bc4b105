//! The way of the data from the old master to the new one: measured, sent, verified by the receiver, restored.

pub(super) mod announced;

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};
use tracing::{info, warn};

pub(super) use self::announced::Announced;
use super::{StepContext, data, volumes};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::exec::standing;
use crate::host::volume::{Sent, SnapshotName, VolumeError};
use crate::model::deployment::Step;
use crate::model::{NodeName, Placement, Role};

/// What has to stay free beside the volumes, in bytes: a full btrfs can't even delete.
const RESERVE: u64 = 128 << 20;
/// Rounds of sending what changed meanwhile: an app that writes faster than the network has to be stopped all the same.
const ROUNDS: u32 = 5;
/// After one round alone, the last send would carry what was written during that, and have the receiver's disk write
/// all that has just arrived: the copy that changes are applied to has to be on the disk first.
const ROUNDS_AT_LEAST: u32 = 2;
/// A round that took no longer left little to send.
const SMALL: Duration = Duration::from_secs(2);
/// Tries of a send: a connection breaks now and then.
const TRIES: u32 = 2;

/// Notes how large each volume is. One that can't be measured is left out: the send will tell. One that is not here, or
/// could not be moved whole, ends the deployment while the app serves.
pub(in crate::exec) async fn measure(step: &StepContext<'_>) -> Result<Done, StepError> {
    data::require_movable(step).await?;
    super::project::read_running(step).await;
    let mut done = Done::default();
    for volume in volumes::present(step).await? {
        match step.ctx.host.volumes.size(&volume).await {
            Ok(bytes) => {
                done.output.insert(volume, bytes.to_string());
            }
            Err(error) => done.warnings.push(crate::error::chain(&error)),
        }
    }
    Ok(done)
}

/// Refuses volumes that don't fit. Of a volume that has a copy here only changes will come.
pub(in crate::exec) async fn room(step: &StepContext<'_>) -> Result<Done, StepError> {
    let mut needed = 0_u64;
    for (volume, bytes) in step.noted(|step| *step == Step::Measure) {
        if newest_copy(step, &volume).await?.is_none() {
            needed = needed.saturating_add(bytes.parse().unwrap_or_default());
        }
    }
    let warnings = require_room(step, needed).await?;
    Ok(Done { warnings, ..Done::default() })
}

/// Refuses so many bytes if there is no room for them. Where that can't be told, the send will tell.
pub(super) async fn require_room(
    step: &StepContext<'_>,
    bytes: u64,
) -> Result<Vec<String>, StepError> {
    let free = match step.ctx.host.resources.disk().await {
        Ok(disk) => disk.free,
        Err(error) => return Ok(vec![crate::error::chain(&error)]),
    };
    let needed = bytes.saturating_add(RESERVE);
    if free >= needed {
        return Ok(Vec::new());
    }
    let (needed, free, me) = (mebibytes(needed), mebibytes(free), &step.ctx.me);
    Err(StepError::Failed(format!(
        "no room on {me}: the volumes need {needed} MiB with the reserve, {free} MiB are free"
    )))
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// The newest whole copy of a volume that this node has.
async fn newest_copy(
    step: &StepContext<'_>,
    volume: &str,
) -> Result<Option<SnapshotName>, StepError> {
    let seam = &step.ctx.host.volumes;
    let names = seam.snapshots(volume).await.map_err(|e| StepError::from_error(&e))?;
    for name in names.into_iter().rev().filter(|name| name.sent_to().is_none()) {
        let facts = seam.facts(&name).await.map_err(|e| StepError::from_error(&e))?;
        if facts.is_some_and(|facts| facts.is_whole_copy()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Sends snapshots of the running app, again and again until a later round is short: the last one, for which the app has
/// to stop, then is short too.
pub(in crate::exec) async fn seed(
    step: &StepContext<'_>,
    to: &NodeName,
) -> Result<Done, StepError> {
    data::require_held(step).await?;
    let address = step.address_of(to).await?;
    let mut done = Done::default();
    for round in 1..=ROUNDS {
        let started = Instant::now();
        let volumes = volumes::present(step).await?;
        if volumes.is_empty() {
            break;
        }
        let told = done.warnings.len();
        for volume in volumes {
            let snapshot = step.ctx.host.volumes.snapshot(&volume).await;
            let snapshot = snapshot.map_err(|e| StepError::from_error(&e))?;
            let delivered = deliver(step, snapshot, to, &address).await?;
            done.output.insert(volume, delivered.announced.to_string());
            done.warnings.extend(delivered.warning);
        }
        let seconds = started.elapsed().as_secs_f32();
        info!(round, seconds, to = %to, "volumes sent ahead");
        // The last send counts from what this round has sent, so that has to be something to count from.
        let is_proven = done.warnings.len() == told;
        if round >= ROUNDS_AT_LEAST && started.elapsed() < SMALL && is_proven {
            break;
        }
    }
    Ok(done)
}

/// Sends the snapshots that were taken when the app had stopped.
pub(in crate::exec) async fn send(
    step: &StepContext<'_>,
    to: &NodeName,
) -> Result<Done, StepError> {
    data::require_quiet(step).await?;
    let address = step.address_of(to).await?;
    let mut done = Done::default();
    for (volume, snapshot) in step.output_of(&Step::Snapshot) {
        let snapshot = SnapshotName::parse(&snapshot).map_err(|e| StepError::from_error(&e))?;
        let delivered = deliver(step, snapshot, to, &address).await?;
        done.output.insert(volume, delivered.announced.to_string());
        done.warnings.extend(delivered.warning);
    }
    Ok(done)
}

/// A snapshot with the id that every copy of it will have.
pub(super) async fn announce(
    step: &StepContext<'_>,
    snapshot: SnapshotName,
) -> Result<Announced, StepError> {
    let facts = step.ctx.host.volumes.facts(&snapshot).await;
    let facts = facts.map_err(|e| StepError::from_error(&e))?;
    let origin = facts.and_then(|facts| facts.origin().map(str::to_owned));
    let origin = origin.ok_or_else(|| StepError::Failed(format!("{snapshot} has no UUID")))?;
    Ok(Announced { snapshot, origin })
}

/// A snapshot that was sent.
pub(super) struct Delivered {
    pub(super) announced: Announced,
    /// That more had to go than the changes since the common snapshot.
    pub(super) warning: Option<String>,
}

/// Sends a snapshot.
pub(super) async fn deliver(
    step: &StepContext<'_>,
    snapshot: SnapshotName,
    to: &NodeName,
    address: &str,
) -> Result<Delivered, StepError> {
    let announced = announce(step, snapshot).await?;
    let snapshot = &announced.snapshot;
    let mut tried = 0;
    loop {
        tried += 1;
        match step.ctx.host.volumes.send(snapshot, address).await {
            Ok(sent) => {
                let warning = more_than_changes(step, snapshot.volume(), to, &sent);
                return Ok(Delivered { announced, warning });
            }
            // A scheduled replication at the same moment removes the same old mark: that is told without sense.
            Err(error @ (VolumeError::Refused { .. } | VolumeError::Answer { .. }))
                if tried < TRIES =>
            {
                warn!(%snapshot, error = %crate::error::chain(&error), "not sent; trying again");
            }
            Err(error) => return Err(StepError::from_error(&error)),
        }
    }
}

/// What there is to tell of a send that could not begin where it should have.
fn more_than_changes(
    step: &StepContext<'_>,
    volume: &str,
    to: &NodeName,
    sent: &Sent,
) -> Option<String> {
    let why = sent.refused.iter().map(|refused| format!("{} ({})", refused.base, refused.why));
    let why: Vec<_> = why.collect();
    if why.is_empty() {
        return None;
    }
    let went = match (&sent.base, measured(step, volume)) {
        (Some(base), _) => format!("the changes since {base} were sent"),
        (None, Some(bytes)) => format!("all of it was sent, {bytes} bytes"),
        (None, None) => "all of it was sent".to_owned(),
    };
    let why = why.join(", nor to ");
    Some(format!("volume {volume}: {to} could not apply changes to {why}; {went}"))
}

/// How large a volume was when it was measured: by *measure* by its name, by *offer* after it.
fn measured(step: &StepContext<'_>, volume: &str) -> Option<u64> {
    let own = step.noted(|step| *step == Step::Measure).remove(volume);
    let offered = step.noted(|step| *step == Step::Offer);
    let of_source =
        || offered.values().find_map(|text| text.strip_prefix(volume)?.strip_prefix(' '));
    own.as_deref().or_else(of_source)?.parse().ok()
}

/// What the sender announced, by volume.
fn announced(step: &StepContext<'_>) -> Result<Vec<(String, Announced)>, StepError> {
    let receives = &step.record.step;
    let noted = step.noted(|sends| {
        matches!(
            (sends, receives),
            (Step::Seed { .. }, Step::ReceiveSeed)
                | (Step::Copy { .. }, Step::ReceiveCopy)
                | (Step::Send { .. }, Step::Receive)
        )
    });
    let parsed = noted.into_iter().map(|(volume, text)| Some((volume, Announced::parse(&text)?)));
    parsed.collect::<Option<_>>().ok_or_else(|| {
        StepError::Lost("the record does not say which snapshots were sent".to_owned())
    })
}

/// Verifies what was announced: by name and origin, read-only, received whole. "The newest" is nothing to rely on.
pub(in crate::exec) async fn receive(step: &StepContext<'_>) -> Result<Done, StepError> {
    let mut output = BTreeMap::new();
    for (volume, announced) in announced(step)? {
        let facts = step.ctx.host.volumes.facts(&announced.snapshot).await;
        let facts = facts.map_err(|e| StepError::from_error(&e))?;
        // What a migration took on this very node was never sent.
        let taken_here = step.deployment.source.as_ref().is_some_and(|s| s.master == step.ctx.me);
        let verified = match taken_here {
            true => announced.verify_own(facts.as_ref()),
            false => announced.verify(facts.as_ref()),
        };
        verified.map_err(|why| {
            let (snapshot, me) = (&announced.snapshot, &step.ctx.me);
            StepError::Failed(format!("{snapshot} on {me} is not the copy that was sent: {why}"))
        })?;
        output.insert(volume, announced.to_string());
    }
    Ok(Done { output, ..Done::default() })
}

/// Undo of [`receive`]: what arrived in part only is of no use to anyone.
pub(in crate::exec) async fn drop_torn(step: &StepContext<'_>) -> Result<(), StepError> {
    let seam = &step.ctx.host.volumes;
    for (_, announced) in announced(step).unwrap_or_default() {
        let facts = seam.facts(&announced.snapshot).await.map_err(|e| StepError::from_error(&e))?;
        if facts.is_some_and(|facts| !facts.is_whole_copy()) {
            let removed = seam.remove_snapshot(&announced.snapshot).await;
            removed.map_err(|e| StepError::from_error(&e))?;
        }
    }
    Ok(())
}

/// On a node that the app is new to, nobody else looks after what a send that broke off has left.
pub(in crate::exec) async fn drop_torn_of_strangers(
    step: &StepContext<'_>,
) -> Result<(), StepError> {
    let Some(former) = &step.deployment.former else { return Ok(()) };
    if Placement::role_of(Some(&former.placement()), &step.ctx.me) != Role::Bystander {
        return Ok(());
    }
    let seam = &step.ctx.host.volumes;
    for volume in &former.volumes {
        let names = seam.snapshots(volume).await.map_err(|e| StepError::from_error(&e))?;
        for name in names {
            let facts = seam.facts(&name).await.map_err(|e| StepError::from_error(&e))?;
            if facts.is_some_and(|facts| !facts.read_only) {
                seam.remove_snapshot(&name).await.map_err(|e| StepError::from_error(&e))?;
            }
        }
    }
    Ok(())
}

/// What this node has verified to begin from: what was sent, or the copies that it held.
fn verified(step: &StepContext<'_>) -> BTreeMap<String, String> {
    let mut verified = step.output_of(&Step::Receive);
    verified.extend(step.output_of(&Step::Recall));
    verified
}

/// Makes volumes of the verified snapshots.
pub(in crate::exec) async fn restore(step: &StepContext<'_>) -> Result<Done, StepError> {
    standing::require_planned(step).await?;
    let mut done = Done::default();
    for (volume, text) in verified(step) {
        let announced = Announced::parse(&text)
            .ok_or_else(|| StepError::Lost(format!("{text:?} names no snapshot")))?;
        done.warnings.extend(volumes::put(step, &announced.snapshot, &volume).await?);
        done.output.insert(volume, announced.snapshot.to_string());
    }
    Ok(done)
}

/// The old master has what the new one began with: what goes back one day, to a slave or to a master, are changes only.
/// Without such a mark everything goes, so that there is none is worth a warning.
pub(super) async fn mark_common(step: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let Ok(former) = step.former() else { return Ok(Vec::new()) };
    let received = step.output_of(&Step::Receive);
    if received.is_empty() {
        return Ok(Vec::new());
    }
    let address = step.address_of(&former.master).await?;
    let mut warnings = Vec::new();
    for announced in received.values().filter_map(|text| Announced::parse(text)) {
        if let Err(error) = step.ctx.host.volumes.mark(&announced.snapshot, &address).await {
            warnings.push(crate::error::chain(&error));
        }
    }
    Ok(warnings)
}

/// Undo of [`restore`]: no volume is left that was not here before. The old master has the data.
pub(in crate::exec) async fn take_back(step: &StepContext<'_>) -> Result<(), StepError> {
    let before = step.output_of(&Step::Check);
    let restored = verified(step).into_keys();
    let new = restored.filter(|volume| !before.contains_key(&format!("volume {volume}")));
    volumes::remove(step, new).await
}

/// Nothing is removed on the old master whose copy the new one has not verified.
pub(in crate::exec) fn require_received(step: &StepContext<'_>) -> Result<(), StepError> {
    let received = step.noted(|step| *step == Step::Receive);
    for (volume, snapshot) in step.output_of(&Step::Snapshot) {
        let copy = received.get(&volume).and_then(|text| Announced::parse(text));
        if copy.is_none_or(|copy| copy.snapshot.as_str() != snapshot) {
            return Err(StepError::Failed(format!(
                "volume {volume} has no verified copy of {snapshot}; it is not removed"
            )));
        }
    }
    Ok(())
}
