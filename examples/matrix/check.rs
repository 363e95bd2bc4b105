//! Whether everything is as the roles say: what is wrong, one line each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::app::{App, Which};
use crate::case::Pair;
use crate::consul::Consul;
use crate::state::{self, NodeState};
use crate::support::blog::Blog;
use crate::support::{Lab, NODES, get};
use crate::writer::Ledger;

const PURGE: &str = "purge:1h:1d:1w:4w:1y,1440";

/// The app as it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stand {
    pub(crate) pair: Pair,
    /// The deployment that serves.
    pub(crate) id: String,
    /// What the app says at /version.
    pub(crate) version: String,
}

/// What is looked at.
pub(crate) struct Check<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) consul: &'a Consul<'a>,
    pub(crate) app: &'a App,
    /// None: there is no app.
    pub(crate) stand: Option<&'a Stand>,
    /// The rows that have to be there; while they are being written, none.
    pub(crate) ledger: &'a Ledger,
}

impl Check<'_> {
    /// Everything that is not as it should be.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.check_keys(&mut found);
        self.check_entry(&mut found);
        for (node, state) in state::of_nodes(self.lab, self.app) {
            let told = |what: String| format!("{node}: {what}");
            found.extend(self.check_node(node, &state).into_iter().map(told));
        }
        if let Some(stand) = self.stand {
            self.check_answers(stand, &mut found);
        }
        found
    }

    /// Nothing is held, waits or is owed.
    fn check_keys(&self, found: &mut Vec<String>) {
        let name = &self.app.name;
        let prefixes = ["tandem/leases/", "maintenance/", "tandem/owed/"];
        for prefix in prefixes {
            match self.consul.known_keys(prefix) {
                None => found.push(format!("Consul does not tell {prefix}")),
                Some(keys) => {
                    let left = keys.into_iter().filter(|key| key.contains(name.as_str()));
                    found.extend(left.map(|key| format!("the key {key} is left")));
                }
            }
        }
        let queue = self.consul.value(&format!("tandem/apps/{name}")).unwrap_or_default();
        for place in ["running", "waiting"] {
            if queue[place] != Value::Null {
                found.push(format!("the queue is not idle: {place} {}", queue[place]));
            }
        }
        let agents = self.consul.keys("tandem/nodes/").len();
        if agents != NODES.len() {
            found.push(format!("{agents} agents are there"));
        }
    }

    fn check_entry(&self, found: &mut Vec<String>) {
        let entry = self.consul.value(&format!("app/{}", self.app.name));
        match (entry, self.stand) {
            (None, None) => {}
            (Some(_), None) => found.push("the app's entry is left".to_owned()),
            (None, Some(_)) => found.push("the app has no entry".to_owned()),
            (Some(entry), Some(stand)) => {
                let slave = stand.pair.slave.map_or(Value::Null, Value::from);
                let wanted = [
                    ("master", Value::from(stand.pair.master)),
                    ("slave", slave),
                    ("deploy_id", Value::from(stand.id.as_str())),
                    ("ip", Value::from(self.lab.ip(stand.pair.master))),
                ];
                let wrong = wanted.into_iter().filter(|(key, value)| entry[*key] != *value);
                found.extend(wrong.map(|(key, value)| {
                    format!("the app's entry has {key} {}, not {value}", entry[key])
                }));
            }
        }
    }

    fn check_node(&self, node: &str, state: &NodeState) -> Vec<String> {
        let mut found: Vec<_> = state.get("error").to_vec();
        let role = self.stand.map_or("nothing", |stand| stand.pair.role(node));
        for (kind, wanted) in self.wanted(role) {
            let there: BTreeSet<_> = state.get(kind).iter().map(String::as_str).collect();
            let wanted: BTreeSet<_> = wanted.iter().map(String::as_str).collect();
            let extra = there.difference(&wanted).map(|item| format!("{kind} {item} is left"));
            found.extend(extra);
            let missing = wanted.difference(&there).map(|item| format!("no {kind} {item}"));
            found.extend(missing);
        }
        found.extend(self.check_containers(role, state.get("container")));
        let torn = state.get("snapshot").iter().filter(|line| !line.ends_with("ro=true"));
        found.extend(torn.map(|line| format!("a torn copy: {line}")));
        found
    }

    /// What a node of that role has, by kind.
    fn wanted(&self, role: &str) -> BTreeMap<&'static str, Vec<String>> {
        let (project, which) = (&self.app.project, self.app.site.which);
        let replicated = which.replicated();
        let volume = |name: &str| format!("{project}_{name}");
        let mut wanted: BTreeMap<&'static str, Vec<String>> =
            ["volume", "subvolume", "network", "kept", "checkout", "schedule", "service"]
                .map(|kind| (kind, Vec::new()))
                .into();
        let Some(stand) = self.stand.filter(|_| role != "nothing") else {
            return wanted;
        };
        wanted.insert("checkout", vec![format!("{}-{}", self.app.name, stand.id)]);
        let mut actions = vec![PURGE.to_owned()];
        if role == "master" {
            wanted.insert(
                "volume",
                replicated.into_iter().chain(which.local()).map(volume).collect(),
            );
            wanted.insert("subvolume", replicated.map(volume).into());
            wanted.insert("network", vec![volume("default")]);
            wanted.insert("service", vec![self.app.name.clone()]);
            let slave = stand.pair.slave.map(|slave| self.lab.ip(slave));
            let copies = slave.map(|ip| format!("replicate:{ip},60"));
            actions.push(copies.unwrap_or_else(|| "snapshot,60".to_owned()));
        }
        let of_volume = |name: &str| {
            let volume = volume(name);
            actions.iter().map(|action| format!("{volume},{action}")).collect::<Vec<_>>()
        };
        wanted.insert("schedule", replicated.iter().flat_map(|name| of_volume(name)).collect());
        wanted
    }

    fn check_containers(&self, role: &str, lines: &[String]) -> Vec<String> {
        if role != "master" {
            return lines.iter().map(|line| format!("container {line} is left")).collect();
        }
        let mut found = Vec::new();
        for service in self.app.site.which.services() {
            let name = format!("{}_{service}_1 ", self.app.project);
            match lines.iter().find(|line| line.starts_with(&name)) {
                None => found.push(format!("no container {name}")),
                Some(line) if line.contains(" running ") && line.contains("(healthy)") => {}
                Some(line) => found.push(format!("container {line}")),
            }
        }
        if lines.len() > 2 {
            found.push(format!("{} containers", lines.len()));
        }
        found
    }

    /// Through every node's HAProxy: the version that should serve, and the rows that were promised.
    fn check_answers(&self, stand: &Stand, found: &mut Vec<String>) {
        for node in NODES {
            let ip = self.lab.ip(node);
            match get(&ip, self.app.site.host, "/version") {
                Ok(reply) if reply.status == 200 && reply.body.trim() == stand.version => {}
                Ok(reply) => found.push(format!(
                    "through {node}: {} {:?} for version {:?}",
                    reply.status,
                    reply.body.chars().take(40).collect::<String>(),
                    stand.version
                )),
                Err(error) => found.push(format!("through {node}: {error}")),
            }
        }
        let (ip, host) = (self.lab.ip(stand.pair.master), self.app.site.host);
        match self.app.site.which {
            Which::Guestbook | Which::Branch => found.extend(lost(&ip, host, self.ledger)),
            Which::Blog => {
                let blog = Blog { ip, host: host.to_owned() };
                found.extend(blog.lost(&self.ledger.blog));
            }
        }
    }
}

/// Acknowledged rows, and attachments of rows, that are not there.
fn lost(ip: &str, host: &str, ledger: &Ledger) -> Option<String> {
    let rows = match get(ip, host, "/api/rows") {
        Ok(reply) if reply.status == 200 => serde_json::from_str::<Vec<Value>>(&reply.body),
        Ok(reply) => return Some(format!("rows: status {}", reply.status)),
        Err(error) => return Some(format!("rows: {error}")),
    };
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return Some(format!("rows: {error}")),
    };
    let there: BTreeSet<i64> = rows.iter().filter_map(|row| row["n"].as_i64()).collect();
    let lost: Vec<_> = ledger.acknowledged.difference(&there).collect();
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        return Some(format!("{} acknowledged rows are lost: {first} to {last}", lost.len()));
    }
    let promised =
        |row: &&Value| row["n"].as_i64().is_some_and(|n| ledger.acknowledged.contains(&n));
    let rows = rows.iter().filter(promised);
    let mut named: Vec<_> = rows.filter_map(|row| row["attachment"].as_str()).collect();
    // The newest: those that a hand-off could have lost.
    let newest = named.split_off(named.len().saturating_sub(10));
    let missing = newest.into_iter().find(|name| {
        !get(ip, host, &format!("/attachments/{name}")).is_ok_and(|reply| reply.status == 200)
    });
    missing.map(|name| format!("the attachment {name} is lost"))
}
