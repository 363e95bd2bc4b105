//! Looks after the copies of volumes on this node: verifies and publishes them where it is a slave, keeps what both ends
//! of a pair have from purges, removes what transfers left torn, and replicates what the schedule did not.

mod clear;
mod duty;
mod lines;
mod looker;
mod memory;
mod mend;
mod publish;
mod resend;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::follow::Entries;
use crate::exec::Context;
use crate::proxy::view::Item;
use looker::Looker;

/// Deployments that end together are looked at together.
const GATHER: Duration = Duration::from_secs(1);

/// Looks for ever: every `replica-interval`, and when an app's entry changes. Without Consul, the entries that were known
/// last count.
pub(super) async fn look_after(ctx: Arc<Context>, mut apps: Entries<Item>) {
    let interval = ctx.config.volumes.replica_interval;
    let mut looker = Looker::new(ctx);
    loop {
        tokio::select! {
            biased;
            changed = apps.changed() => match changed {
                Ok(()) => tokio::time::sleep(GATHER).await,
                // A follower that broke off is a bug: the agent starts afresh.
                Err(_) => return,
            },
            () = tokio::time::sleep(interval) => {}
        }
        let entries = apps.borrow_and_update().clone();
        if let Some(entries) = entries {
            looker.look(&entries).await;
        }
    }
}
