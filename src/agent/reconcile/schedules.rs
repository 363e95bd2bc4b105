//! The scheduler's table: what a power cut, a full disk or a hand has taken from it is put back.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{debug, info, warn};

use super::{Known, still};
use crate::error::chain;
use crate::exec::{Changes, Context, changes, wanted};
use crate::host::volume::VolumeError;
use crate::model::{NodeName, Placement, Role};

/// Mends the schedules of all apps' volumes; tells what can't be scheduled, and whether all could be looked at and mended.
pub(super) async fn mend(
    ctx: &Context,
    known: &[Known],
    addresses: &BTreeMap<NodeName, String>,
) -> (Vec<String>, bool) {
    let found = match ctx.host.volumes.schedules().await {
        Ok(found) => found,
        Err(error) => {
            debug!(error = %chain(&error), "the schedules can't be looked at");
            return (Vec::new(), false);
        }
    };
    let role = |known: &Known| Placement::role_of(Some(&known.record.placement()), &ctx.me);
    let ours = known.iter().filter(|known| role(known) != Role::Bystander);
    let own: BTreeSet<&String> = ours.flat_map(|known| &known.record.volumes).collect();
    let (mut told, mut are_right) = (Vec::new(), true);
    for app in known {
        let role = role(app);
        let slave = app.record.slave.as_ref();
        let address = slave.and_then(|slave| addresses.get(slave));
        if slave.is_some() && address.is_none() && role == Role::Master {
            // A node that Consul does not know has no address to send to.
            continue;
        }
        if let Some(address) = address.filter(|address| address.contains(':'))
            && role == Role::Master
        {
            told.push(format!(
                "{}: buttervolume can't replicate to the IPv6 address {address} of its slave",
                app.app
            ));
            continue;
        }
        let wanted = wanted(role, address.map(String::as_str), &ctx.config.volumes);
        let volumes: Vec<String> = match role {
            // A volume of that name may be another app's here.
            Role::Bystander => {
                app.record.volumes.iter().filter(|volume| !own.contains(volume)).cloned().collect()
            }
            Role::Master | Role::Replica => app.record.volumes.clone(),
        };
        let changes = changes(&volumes, &wanted, &found);
        if !changes.is_empty()
            && let Err(error) = apply(ctx, app, &changes).await
        {
            warn!(app = %app.app, error = %chain(&error), "its schedules can't be mended");
            told.push(format!("{}: its schedules can't be mended: {}", app.app, chain(&error)));
            are_right = false;
        }
    }
    (told, are_right)
}

async fn apply(ctx: &Context, app: &Known, changes: &Changes) -> Result<(), VolumeError> {
    let _busy = ctx.busy.with(&app.app).await;
    if still(ctx, app).await.is_none() {
        return Ok(());
    }
    for (volume, action, minutes) in &changes.set {
        info!(app = %app.app, volume, %action, minutes, "put back into the schedule");
        ctx.host.volumes.schedule(volume, action, *minutes).await?;
    }
    for (volume, action) in &changes.unset {
        info!(app = %app.app, volume, %action, "taken off the schedule");
        ctx.host.volumes.unschedule(volume, action).await?;
    }
    Ok(())
}
