//! Does what this node owes: steps of deployments that went on while it was away, or that failed behind their commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::follow::follow;
use crate::exec::{Context, settle};
use crate::model::{AppName, keys};

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(20);

/// Runs for ever.
pub(super) async fn pay(ctx: Arc<Context>) {
    let prefix = keys::owed_by(&ctx.me);
    let mut entries = follow(ctx.cluster.kv.clone(), prefix.as_str());
    loop {
        let owed: BTreeSet<AppName> = entries
            .borrow_and_update()
            .as_deref()
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| creditor(&entry.key, &prefix))
            .collect();
        let mut failed = false;
        for app in &owed {
            if let Err(error) = settle(&ctx, app, None).await {
                warn!(app = %app, %error, "what was left to this node can't be done yet");
                failed = true;
            }
        }
        tokio::select! {
            biased;
            Ok(()) = entries.changed() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// `{prefix}{app}/{deployment}`: an app's name may hold a slash.
fn creditor(key: &str, prefix: &str) -> Option<AppName> {
    let (app, _) = key.strip_prefix(prefix)?.rsplit_once('/')?;
    AppName::parse(app).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_is_read_from_the_key() {
        let app = creditor("tandem/owed/node1/a_b/c.12345/id", "tandem/owed/node1/").unwrap();
        assert_eq!(app.as_str(), "a_b/c.12345");
        assert_eq!(creditor("tandem/owed/node1/id", "tandem/owed/node1/"), None);
    }
}
