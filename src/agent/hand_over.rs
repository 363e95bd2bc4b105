//! What this node's proxies do while a deployment hands an app over: requests wait, for a time, and the deployment is
//! told once they do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::consul::ConsulError;
use crate::consul::kv::Entry;
use crate::consul::txn::{MAX_OPS, TxnOp};
use crate::error::chain;
use crate::exec::Context;
use crate::model::{AppName, Routing, keys};
use crate::proxy::view::Item;
use crate::proxy::{Applied, ClusterView};
use crate::records::{Stored, readable};

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

/// What this node has said of apps, each in a key of its own: what its proxies have taken up.
#[derive(Debug)]
pub(super) struct Said {
    prefix: &'static str,
    /// None before it is known what an earlier agent of this node has said.
    said: Option<BTreeMap<AppName, String>>,
}

impl Said {
    /// Says it below this prefix: `PREFIX/app/node`.
    pub(super) fn below(prefix: &'static str) -> Self {
        Self { prefix, said: None }
    }

    /// Says what is new, and takes back what is over. False if Consul did not take it.
    pub(super) async fn tell(&mut self, ctx: &Context, now: BTreeMap<AppName, String>) -> bool {
        let key = |app: &AppName| format!("{}{app}/{}", self.prefix, ctx.me);
        let said = match self.said.take() {
            Some(said) => said,
            None => match self.left(ctx).await {
                Ok(left) => left,
                Err(error) => {
                    warn!(error = %chain(&error), "Consul does not tell what the proxies had taken up");
                    return false;
                }
            },
        };
        let said = &*self.said.insert(said);
        let new = now.iter().filter(|(app, value)| said.get(app) != Some(value));
        let new = new.map(|(app, value)| TxnOp::Set { key: key(app), value: value.clone().into() });
        let over = said.keys().filter(|app| !now.contains_key(app));
        let over = over.map(|app| TxnOp::Delete { key: key(app) });
        let ops: Vec<TxnOp> = new.chain(over).collect();
        for part in ops.chunks(MAX_OPS) {
            if let Err(error) = ctx.cluster.kv.transact(part.to_vec()).await {
                warn!(error = %chain(&error), "Consul does not hear what the proxies have taken up");
                return false;
            }
        }
        self.said = Some(now);
        true
    }

    /// What an agent that ended in the middle of it has left.
    async fn left(&self, ctx: &Context) -> Result<BTreeMap<AppName, String>, ConsulError> {
        let left = ctx.cluster.kv.list(self.prefix).await?.entries.into_iter();
        let own = left.filter_map(|entry| {
            let (app, node) = entry.key.strip_prefix(self.prefix)?.rsplit_once('/')?;
            let is_own = node == ctx.me.as_str();
            let value = String::from_utf8_lossy(&entry.value).into_owned();
            is_own.then(|| AppName::parse(app).ok()).flatten().map(|app| (app, value))
        });
        Ok(own.collect())
    }
}

/// The apps under maintenance, with the index of each key.
pub(super) fn heard(maintenance: &[Arc<Item>]) -> BTreeMap<AppName, String> {
    let named = maintenance.iter().filter_map(|entry| {
        let name = entry.key.strip_prefix(keys::MAINTENANCE)?;
        Some((AppName::parse(name).ok()?, entry.modify_index.to_string()))
    });
    named.collect()
}

/// Of the deployments that wait for it, those whose outcome this node's proxies serve.
pub(super) fn routed(
    asked: &[Arc<Entry>],
    view: &ClusterView,
    handed_over: &BTreeSet<AppName>,
    applied: &Applied,
) -> BTreeMap<AppName, String> {
    let of = |entry: &Arc<Entry>| {
        let Stored { name: app, value: asked, .. } = readable::<Routing>(entry)?;
        let is_served = match view.apps.get(&app) {
            None => asked.is_gone,
            Some(record) => {
                !asked.is_gone
                    && record.deploy_id == asked.deploy_id
                    && !applied.lacks(&app, record, &view.me)
            }
        };
        (is_served && !handed_over.contains(&app)).then_some((app, asked.deploy_id))
    };
    asked.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{self, Made};
    use crate::consul::kv::Kv;
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
        let other = |key: &str| TxnOp::Set { key: key.into(), value: b"3".to_vec() };
        let left = ["a/node1", "x_y.12345/node1", "x_y.12345/node2"]
            .map(|name| other(&format!("tandem/heard/{name}")));
        consul.transact(left.into()).await.unwrap();
        let mut has_heard = Said::below(keys::HEARD);
        assert!(has_heard.tell(&context, heard(&[item(7)])).await);
        assert_eq!(said().await.as_deref(), Some("7"));
        assert!(has_heard.tell(&context, heard(&[item(9)])).await);
        assert_eq!(said().await.as_deref(), Some("9"));
        assert!(has_heard.tell(&context, heard(&[])).await);
        assert_eq!(said().await, None);
        let listed = consul.list(keys::HEARD).await.unwrap().entries;
        let others: Vec<_> = listed.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(others, ["tandem/heard/x_y.12345/node2"], "what an earlier agent left is gone");
    }

    fn asked(name: &str, id: &str, is_gone: bool) -> Arc<Entry> {
        let routing = Routing { deploy_id: id.into(), is_gone };
        Arc::new(Entry {
            key: keys::routing(&app(name)),
            value: serde_json::to_vec(&routing).unwrap(),
            create_index: 1,
            modify_index: 1,
            lock_index: 0,
            session: None,
        })
    }

    #[test]
    fn a_deployment_is_served_when_its_entry_is_and_all_that_it_takes_is_in_place() {
        let text = br#"{"repo_url":"https://h/a","branch":"b","deploy_id":"2","master":"node1","haproxy":{"a":{}}}"#;
        let me = NodeName::parse("node1").unwrap();
        let entries = [("app/a_b.12345", text.as_slice())];
        let (view, _) = ClusterView::from_entries(me, BTreeMap::new(), entries);
        let fine = Applied { is_routed: true, ..Applied::default() };
        let (name, nobody) = (app("a_b.12345"), BTreeSet::new());
        let is_served = |asked: &Arc<Entry>, held: &BTreeSet<AppName>, applied: &Applied| {
            !routed(std::slice::from_ref(asked), &view, held, applied).is_empty()
        };
        let deployed = asked("a_b.12345", "2", false);
        assert!(is_served(&deployed, &nobody, &fine));
        assert!(is_served(&asked("c_d.12345", "7", true), &nobody, &fine), "destroyed");
        for not in [
            asked("a_b.12345", "1", false),
            asked("a_b.12345", "2", true),
            asked("c_d.12345", "7", false),
        ] {
            assert!(!is_served(&not, &nobody, &fine), "{not:?}");
        }
        assert!(!is_served(&deployed, &[name.clone()].into(), &fine), "its requests wait");
        for not in [
            Applied { behind: [name].into(), ..fine.clone() },
            Applied { haproxy_is_behind: true, ..fine.clone() },
            Applied { caddy_is_down: true, ..fine.clone() },
            Applied::default(),
        ] {
            assert!(!is_served(&deployed, &nobody, &not), "{not:?}");
        }
    }
}
