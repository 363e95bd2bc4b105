//! Does what this node owes: steps of deployments that went on while it was away, or that failed behind their commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::follow::follow;
use crate::exec::{Context, Turn, Which, settle, turn};
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
            if before.is_none_or(|before| before.again <= Instant::now()) {
                let after = try_to_pay(&ctx, &app, before).await;
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

/// Pays, unless the app is in the hands of a deployment that sees to it itself.
async fn try_to_pay(ctx: &Context, app: &AppName, before: Option<Tried>) -> Tried {
    let failures = before.map_or(0, |before| before.failures);
    let later = Tried { failures, again: Instant::now() + RETRY };
    let paid = match turn(ctx, app).await {
        Turn::NotYet => return later,
        Turn::Beside(running) => settle(ctx, app, Which::Before(&running)).await,
        // An operator who restarts the agent may have done something about it.
        Turn::Free if failures == 0 => settle(ctx, app, Which::All).await,
        Turn::Free => settle(ctx, app, Which::Due).await,
    };
    let error = match paid {
        // What is left then, if anything is, waits for its turn or for an operator.
        Ok(()) => return later,
        Err(error) => error,
    };
    warn!(app = %app, %error, "what was left to this node can't be done yet");
    let pause = RETRY.saturating_mul(1 << failures.min(16)).min(LONGEST);
    Tried { failures: failures + 1, again: Instant::now() + pause }
}
