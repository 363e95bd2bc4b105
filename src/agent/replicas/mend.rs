//! Removes the marks that stop replication for good, on the master.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::warn;

use super::duty::Duty;
use super::looker::{LookError, Surveys};
use super::publish::Published;
use crate::agent::keeper::is_being_deployed;
use crate::clock;
use crate::consul::ConsulError;
use crate::exec::Context;
use crate::host::volume::SnapshotName;
use crate::model::{NodeName, Role, keys};
use crate::records::{NodeInfo, decode};
use crate::replication::{dead_marks, unheld_marks};

/// How many intervals after something changed the slave's word takes it into account.
const INTERVALS: i32 = 3;

/// Removes the marks of this node's volumes that name a snapshot which one end does not have.
pub(super) async fn mend(
    ctx: &Context,
    duties: &[Duty],
    surveys: &Surveys,
    addresses: &BTreeMap<NodeName, String>,
    published: &Published,
) -> Result<(), LookError> {
    for duty in duties.iter().filter(|duty| duty.role == Role::Master) {
        let mut useless = dead(duty, surveys);
        useless.extend(unheld(ctx, duty, surveys, addresses, published).await?);
        if useless.is_empty() || is_being_deployed(ctx.cluster.kv.as_ref(), &duty.app).await {
            continue;
        }
        for mark in useless {
            ctx.host.volumes.remove_snapshot(&mark).await?;
            warn!(app = %duty.app, %mark, "one end has lost this snapshot: the next replication sends everything");
        }
    }
    Ok(())
}

fn dead(duty: &Duty, surveys: &Surveys) -> Vec<SnapshotName> {
    let surveys = duty.record.volumes.iter().filter_map(|volume| surveys.get(volume));
    surveys.flat_map(dead_marks).collect()
}

/// The marks that the slave knows nothing of, if its word can be believed: while its agent is away, it is an old one.
async fn unheld(
    ctx: &Context,
    duty: &Duty,
    surveys: &Surveys,
    addresses: &BTreeMap<NodeName, String>,
    published: &Published,
) -> Result<Vec<SnapshotName>, ConsulError> {
    let Some(slave) = duty.other() else { return Ok(Vec::new()) };
    let Some(Some(word)) = published.get(&(duty.app.clone(), slave.clone())) else {
        return Ok(Vec::new());
    };
    let Some(host) = addresses.get(slave) else { return Ok(Vec::new()) };
    let interval = TimeDelta::from_std(ctx.config.volumes.replica_interval).unwrap_or_default();
    let settled = clock::now() - interval * INTERVALS;
    let mut unheld = Vec::new();
    for volume in duty.record.volumes.iter().filter(|volume| word.late.contains(*volume)) {
        if let Some(survey) = surveys.get(volume) {
            unheld.extend(unheld_marks(word, volume, host, survey, settled));
        }
    }
    if unheld.is_empty() || began(ctx, slave).await?.is_none_or(|began| began > settled) {
        return Ok(Vec::new());
    }
    Ok(unheld)
}

/// Since when the node's agent runs; none if it is away. One that has just come back may not have looked yet.
async fn began(ctx: &Context, node: &NodeName) -> Result<Option<DateTime<Utc>>, ConsulError> {
    let entry = ctx.cluster.kv.get(&keys::node(node)).await?;
    let info = entry.and_then(|entry| decode::<NodeInfo>(&entry).ok());
    let since = info.and_then(|info| DateTime::parse_from_rfc3339(&info.since).ok());
    Ok(since.map(|since| since.with_timezone(&Utc)))
}
