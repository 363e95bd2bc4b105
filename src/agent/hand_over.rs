//! What this node's proxies do while a deployment hands an app over: requests wait, for a time, and the deployment is
//! told once they do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::consul::txn::{MAX_OPS, TxnOp};
use crate::error::chain;
use crate::exec::Context;
use crate::model::{AppName, keys};
use crate::proxy::ClusterView;
use crate::proxy::view::Item;

/// Since when requests for each app wait.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<AppName, Instant>);

impl Waits {
    /// Shows the maintenance page for those that have waited for `limit`; returns when the next one's time is over.
    pub(super) fn limit(
        &mut self,
        view: &mut ClusterView,
        limit: Duration,
        now: Instant,
    ) -> Option<Duration> {
        self.0.retain(|app, _| view.held.contains(app));
        for app in &view.held {
            self.0.entry(app.clone()).or_insert(now);
        }
        let over = |since: &Instant| limit.saturating_sub(now.duration_since(*since));
        view.held.retain(|app| self.0.get(app).is_some_and(|since| !over(since).is_zero()));
        self.0.values().map(over).filter(|left| !left.is_zero()).min()
    }
}

/// What this node has said of each app under maintenance: the index of its key.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<AppName, u64>);

impl Heard {
    /// Says that the node's proxies have taken up the maintenance of these keys, and takes back what is over. False if
    /// Consul did not take it.
    pub(super) async fn tell(&mut self, ctx: &Context, maintenance: &[Arc<Item>]) -> bool {
        let now: BTreeMap<AppName, u64> = maintenance
            .iter()
            .filter_map(|entry| {
                let name = entry.key.strip_prefix(keys::MAINTENANCE)?;
                Some((AppName::parse(name).ok()?, entry.modify_index))
            })
            .collect();
        let new =
            now.iter().filter(|(app, index)| self.0.get(app) != Some(index)).map(|(app, index)| {
                TxnOp::Set { key: keys::heard(app, &ctx.me), value: index.to_string().into_bytes() }
            });
        let over = self.0.keys().filter(|app| !now.contains_key(app));
        let over = over.map(|app| TxnOp::Delete { key: keys::heard(app, &ctx.me) });
        let ops: Vec<TxnOp> = new.chain(over).collect();
        for part in ops.chunks(MAX_OPS) {
            if let Err(error) = ctx.cluster.kv.transact(part.to_vec()).await {
                warn!(error = %chain(&error), "Consul does not hear what the proxies have taken up");
                return false;
            }
        }
        self.0 = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{self, Made};
    use crate::consul::kv::{Entry, Kv};
    use crate::model::NodeName;

    fn app(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    fn view(held: &[&str]) -> ClusterView {
        let me = NodeName::parse("node1").unwrap();
        let (mut view, _) = ClusterView::from_entries(me, BTreeMap::new(), []);
        view.held = held.iter().map(|name| app(name)).collect();
        view
    }

    #[test]
    fn each_app_waits_for_its_own_time_and_anew_the_next_time() {
        let (limit, start) = (Duration::from_secs(10), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waits = Waits::default();
        let mut seen = |held: &[&str], seconds| {
            let mut view = view(held);
            let over = waits.limit(&mut view, limit, at(seconds));
            (view.held.len(), over.map(|over| over.as_secs()))
        };
        assert_eq!(seen(&["a_b.12345"], 0), (1, Some(10)));
        assert_eq!(seen(&["a_b.12345", "c_d.12345"], 4), (2, Some(6)));
        assert_eq!(seen(&["a_b.12345", "c_d.12345"], 10), (1, Some(4)));
        assert_eq!(seen(&["a_b.12345"], 14), (0, None));
        assert_eq!(seen(&[], 15), (0, None));
        assert_eq!(seen(&["a_b.12345"], 16), (1, Some(10)));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut view = view(&["a_b.12345"]);
        assert_eq!(Waits::default().limit(&mut view, Duration::ZERO, Instant::now()), None);
        assert!(view.held.is_empty());
    }

    #[tokio::test]
    async fn what_was_taken_up_is_said_once_and_taken_back() {
        let Made { consul, context, .. } = testing::context("node1").await;
        let item = |index| {
            let entry = Entry {
                key: "maintenance/a_b.12345".into(),
                value: Vec::new(),
                create_index: 1,
                modify_index: index,
                lock_index: 0,
                session: None,
            };
            Arc::new(Item::read(entry))
        };
        let said = async || {
            let entry = consul.get("tandem/heard/a_b.12345/node1").await.unwrap()?;
            Some(String::from_utf8(entry.value).unwrap())
        };
        let mut heard = Heard::default();
        assert!(heard.tell(&context, &[item(7)]).await);
        assert_eq!(said().await.as_deref(), Some("7"));
        assert!(heard.tell(&context, &[item(9)]).await);
        assert_eq!(said().await.as_deref(), Some("9"));
        assert!(heard.tell(&context, &[]).await);
        assert_eq!(said().await, None);
    }
}
