//! What the proxies are rendered from: the cluster as KV and the catalog show it, with what can't be read left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Policies, Problem};
use crate::model::{AppName, AppRecord, HandOver, NodeName, keys};

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
    pub apps: BTreeMap<AppName, AppRecord>,
    /// `maintenance/`.
    pub maintenance: BTreeSet<AppName>,
    /// Those of them that a deployment hands over just now: requests for them wait.
    pub held: BTreeSet<AppName>,
    /// `swarm/`, by the rest of the key.
    pub swarm: BTreeMap<String, Value>,
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
        let mut view = Self {
            me,
            nodes,
            apps: BTreeMap::new(),
            maintenance: BTreeSet::new(),
            held: BTreeSet::new(),
            swarm: BTreeMap::new(),
            policies: Policies::default(),
        };
        let mut problems = Vec::new();
        let mut policies = Vec::new();
        for (key, value) in entries {
            if key.starts_with(keys::POLICIES) {
                policies.push((key, value));
            } else if let Err(what) = view.take(key, value) {
                problems.push(Problem::new(key, what));
            }
        }
        let (policies, wrong) = Policies::from_entries(policies);
        problems.extend(wrong);
        (Self { policies, ..view }, problems)
    }

    fn take(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let Some((prefix, rest)) = key.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
            return Ok(());
        };
        match prefix {
            "app" => {
                let name = app_name(rest)?;
                let record = serde_json::from_slice(value)
                    .map_err(|error| format!("is not an app's record: {error}"))?;
                self.apps.insert(name, record);
            }
            "maintenance" => {
                let app = app_name(rest)?;
                if HandOver::is(value) {
                    self.held.insert(app.clone());
                }
                self.maintenance.insert(app);
            }
            "swarm" => {
                let value = serde_json::from_slice(value)
                    .map_err(|error| format!("is not JSON: {error}"))?;
                self.swarm.insert(rest.to_owned(), value);
            }
            _ => {}
        }
        Ok(())
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

fn app_name(text: &str) -> Result<AppName, String> {
    AppName::parse(text).map_err(|error| error.to_string())
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
