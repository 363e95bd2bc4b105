//! One reconciler per node: compares what the entries of all apps ask of this node with what there is. Schedules and
//! registrations are mended; containers that should not run are reported, and stopped where the records prove them stale;
//! volumes and containers that should be here and are not, or the other way round, are reported with who has what.

mod held;
mod schedules;
mod services;
mod strays;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};

use super::follow::Entries;
use super::keeper::is_being_deployed;
use crate::error::chain;
use crate::exec::{Context, Findings};
use crate::model::{AppName, AppRecord, NodeName, keys};
use crate::proxy::view::Item;
use crate::records;

/// After a deployment its own steps come first.
const GATHER: Duration = Duration::from_secs(5);
/// A look that Docker, buttervolume or Consul did not let be made whole is made once more after this.
const AGAIN: Duration = Duration::from_secs(10);

/// Looks for ever, as often as the copies are looked at and when an app's entry changes; tells what it can't mend.
pub(super) async fn reconcile(
    ctx: Arc<Context>,
    mut apps: Entries<Item>,
    findings: watch::Sender<Findings>,
) {
    let interval = ctx.config.volumes.replica_interval;
    let mut pause = interval;
    loop {
        tokio::select! {
            biased;
            changed = apps.changed() => match changed {
                Ok(()) => tokio::time::sleep(GATHER).await,
                // A follower that broke off is a bug: the agent starts afresh.
                Err(_) => return,
            },
            () = tokio::time::sleep(pause) => {}
        }
        let entries = apps.borrow_and_update().clone();
        if let Some(entries) = entries {
            let (told, is_whole) = look(&ctx, &entries).await;
            pause = if is_whole { interval } else { AGAIN.min(interval) };
            findings.send_if_modified(|before| {
                let changed = *before != told;
                *before = told;
                changed
            });
        }
    }
}

/// An app as its entry has it.
#[derive(Debug, Clone)]
struct Known {
    app: AppName,
    record: AppRecord,
}

/// One look at everything: what is left to an operator, and whether everything could be looked at and mended.
async fn look(ctx: &Context, entries: &[Arc<Item>]) -> (Findings, bool) {
    let known: Vec<Known> = entries
        .iter()
        .filter_map(|entry| match entry.app() {
            Some((app, Some(record))) => Some(Known { app, record: record.clone() }),
            Some((_, None)) | None => None,
        })
        .collect();
    let (mut findings, mut is_whole) = (Findings::default(), true);
    let told = &mut findings.problems;
    match ctx.cluster.catalog.members().await {
        Ok(members) => {
            let addresses: BTreeMap<NodeName, String> =
                members.into_iter().map(|member| (member.name, member.address)).collect();
            told.extend(moved_address(ctx, &addresses));
            let (problems, are_right) = schedules::mend(ctx, &known, &addresses).await;
            told.extend(problems);
            is_whole &= are_right;
        }
        Err(error) => {
            debug!(error = %chain(&error), "nothing is scheduled without addresses");
            is_whole = false;
        }
    }
    if let Err(error) = services::mend(ctx, &known).await {
        debug!(error = %chain(&error), "registrations can't be looked at");
        is_whole = false;
    }
    match strays::look(ctx, &known).await {
        Ok(found) => {
            told.extend(found.problems);
            findings.strays = found.strays;
        }
        Err(error) => {
            debug!(error = %chain(&error), "what runs here can't be looked at");
            is_whole = false;
        }
    }
    findings.problems.extend(held::look(ctx, &known).await);
    (findings, is_whole)
}

/// An agent learns its address when it starts.
fn moved_address(ctx: &Context, addresses: &BTreeMap<NodeName, String>) -> Option<String> {
    let now = addresses.get(&ctx.me).filter(|address| **address != ctx.address)?;
    Some(format!(
        "Consul has {now} for {}, its agent began with {}: restart the agent, and deploy the apps of this node again",
        ctx.me, ctx.address
    ))
}

/// The app's entry, if what was planned for it may be done now: no deployment works on it, and its entry still says the
/// same. To be asked with the app's permission to work in hand.
async fn still(ctx: &Context, known: &Known) -> Option<AppRecord> {
    let kv = ctx.cluster.kv.as_ref();
    if is_being_deployed(kv, &known.app).await {
        return None;
    }
    let now = match records::read::<AppRecord>(kv, &keys::app(&known.app)).await {
        Ok(entry) => entry?.value,
        Err(error) => {
            warn!(app = %known.app, error = %chain(&error), "left as it is");
            return None;
        }
    };
    let of =
        |record: &AppRecord| (record.deploy_id.clone(), record.placement(), record.volumes.clone());
    (of(&now) == of(&known.record)).then_some(now)
}
