//! Does what this node owes: steps of deployments that went on while it was away, or that failed behind their commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::follow::follow;
use super::keeper::is_being_deployed;
use crate::exec::{Context, Which, settle};
use crate::model::{AppName, keys};
use crate::records::{Owed, name_of};

/// How long after a failure it is tried again: twice as long each time, up to an hour.
const RETRY: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(3600);

/// What is known of an app's debts since this agent runs.
#[derive(Debug, Clone, Copy)]
struct Tried {
    failures: u32,
    again: Instant,
}

/// Runs for ever.
pub(super) async fn pay(ctx: Arc<Context>) {
    let prefix = keys::owed_by(&ctx.me);
    let mut entries = follow(ctx.cluster.kv.clone(), prefix.as_str());
    let mut tried: BTreeMap<AppName, Tried> = BTreeMap::new();
    loop {
        let owed: BTreeSet<AppName> = entries
            .borrow_and_update()
            .as_deref()
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| Some(name_of::<Owed>(&entry.key)?.app))
            .collect();
        tried.retain(|app, _| owed.contains(app));
        for app in owed {
            let before = tried.get(&app).copied();
            if before.is_none_or(|before| before.again <= Instant::now())
                && let Some(after) = try_to_pay(&ctx, &app, before).await
            {
                tried.insert(app, after);
            }
        }
        let next = tried.values().map(|tried| tried.again).min();
        tokio::select! {
            biased;
            // A follower that broke off is a bug: the agent starts afresh.
            changed = entries.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// Pays, unless the app is in a deployment's hands, which sees to it itself. None: nothing is left.
async fn try_to_pay(ctx: &Context, app: &AppName, before: Option<Tried>) -> Option<Tried> {
    let failures = before.map_or(0, |before| before.failures);
    if is_being_deployed(ctx.cluster.kv.as_ref(), app).await {
        return Some(Tried { failures, again: Instant::now() + RETRY });
    }
    // An operator who restarts the agent may have done something about it.
    let which = if failures == 0 { Which::All } else { Which::Due };
    let error = settle(ctx, app, which).await.err()?;
    warn!(app = %app, %error, "what was left to this node can't be done yet");
    let pause = RETRY.saturating_mul(1 << failures.min(16)).min(LONGEST);
    Some(Tried { failures: failures + 1, again: Instant::now() + pause })
}
