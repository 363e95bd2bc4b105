//! What the proxies are rendered from: the cluster as KV and the catalog show it, with what can't be read left out.

mod item;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::{Policies, Problem};
use crate::model::{AppName, AppRecord, NodeName};
use item::What;

pub use item::Item;

/// Targets of the map files that are no nodes.
const RESERVED: [&str; 5] = ["hold", "maint", "page", "swarm", "unknown"];

/// One node's view of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterView {
    /// The node whose proxies are rendered.
    pub me: NodeName,
    /// Every node and its address.
    pub nodes: BTreeMap<NodeName, String>,
    /// `app/`.
    pub apps: BTreeMap<AppName, Arc<AppRecord>>,
    /// `maintenance/`.
    pub maintenance: BTreeSet<AppName>,
    /// Those of them that a deployment hands over just now: requests for them wait.
    pub held: BTreeSet<AppName>,
    /// `swarm/`, by the rest of the key.
    pub swarm: BTreeMap<String, Arc<Value>>,
    /// `tandem/policy/`.
    pub policies: Policies,
}

impl ClusterView {
    /// Reads KV entries (full key, raw value); keys of other prefixes are passed over, values that make no sense are
    /// left out and reported.
    pub fn from_entries<'a>(
        me: NodeName,
        nodes: BTreeMap<NodeName, String>,
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> (Self, Vec<Problem>) {
        let items: Vec<Item> =
            entries.into_iter().map(|(key, value)| Item::of(key, value)).collect();
        Self::from_items(me, nodes, &items)
    }

    /// As [`ClusterView::from_entries`], of entries that were read. What they say is shared, not copied.
    pub fn from_items<'a>(
        me: NodeName,
        nodes: BTreeMap<NodeName, String>,
        items: impl IntoIterator<Item = &'a Item>,
    ) -> (Self, Vec<Problem>) {
        let mut view = Self { nodes, ..Self::empty(me) };
        let mut problems = Vec::new();
        let mut policies = Vec::new();
        for item in items {
            match &item.what {
                Ok(What::App(name, record)) => {
                    view.apps.insert(name.clone(), record.clone());
                }
                Ok(What::Maintenance { app, is_held }) => {
                    view.maintenance.insert(app.clone());
                    if *is_held {
                        view.held.insert(app.clone());
                    }
                }
                Ok(What::Swarm(key, value)) => {
                    view.swarm.insert(key.to_string(), value.clone());
                }
                Ok(What::Policy(text)) => policies.push((item.key.as_ref(), text.as_ref())),
                Ok(What::Other) => {}
                Err(what) => problems.push(Problem::new(item.key.as_ref(), what.as_str())),
            }
        }
        let (policies, wrong) = Policies::from_entries(policies);
        problems.extend(wrong);
        (Self { policies, ..view }, problems)
    }

    /// A cluster of which nothing is known.
    pub fn empty(me: NodeName) -> Self {
        Self {
            me,
            nodes: BTreeMap::new(),
            apps: BTreeMap::new(),
            maintenance: BTreeSet::new(),
            held: BTreeSet::new(),
            swarm: BTreeMap::new(),
            policies: Policies::default(),
        }
    }

    /// A node's address: the catalog's, or the one that its apps' records hold while the catalog lacks it.
    pub(crate) fn addresses(&self) -> (BTreeMap<NodeName, std::net::IpAddr>, Vec<Problem>) {
        let mut addresses = BTreeMap::new();
        let mut problems = Vec::new();
        for (node, text) in &self.nodes {
            if RESERVED.contains(&node.as_str()) {
                let what = "has a name that the proxies use themselves";
                problems.push(Problem::new(format!("node/{node}"), what));
                continue;
            }
            match text.parse() {
                Ok(ip) => {
                    addresses.insert(node.clone(), ip);
                }
                Err(_) => problems.push(Problem::new(
                    format!("node/{node}"),
                    format!("has the address {text:?}, which is no IP address"),
                )),
            }
        }
        for record in self.apps.values() {
            let is_known = addresses.contains_key(&record.master)
                || RESERVED.contains(&record.master.as_str());
            if let (false, Ok(ip)) = (is_known, record.ip.parse()) {
                addresses.insert(record.master.clone(), ip);
            }
        }
        (addresses, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_left_out_alone() {
        let good = br#"{"repo_url":"https://h/a","branch":"b","deploy_id":"1","master":"n1"}"#;
        let entries: [(&str, &[u8]); 9] = [
            ("app/a_b.12345", good),
            ("app/bad", b"{"),
            ("app/-x", good),
            ("maintenance/a_b.12345", b""),
            ("maintenance/c_d.12345", br#"{"deploy_id":"1"}"#),
            ("swarm/x", b"[nothing"),
            ("tandem/leases/x", b"?"),
            ("tandem/policy/x", br#"{"repo":"https://h/a","ports":[22]}"#),
            ("tandem/policy/y", b"{"),
        ];
        let me = NodeName::parse("n1").unwrap();
        let (view, problems) = ClusterView::from_entries(me, BTreeMap::new(), entries);
        assert_eq!((view.apps.len(), view.maintenance.len()), (1, 2));
        assert_eq!(view.held.iter().map(AppName::as_str).collect::<Vec<_>>(), ["c_d.12345"]);
        let sources: Vec<_> = problems.iter().map(|p| p.source.as_str()).collect();
        assert_eq!(sources, ["app/bad", "app/-x", "swarm/x", "tandem/policy/y"]);
        assert!(view.apps.values().all(|record| view.policies.of(record).may_bind(22)));
    }
}
