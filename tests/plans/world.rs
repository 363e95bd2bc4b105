//! A cluster, as far as one app is concerned.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tandem::model::{DeployId, NodeName, Placement};
use tandem::plan::Facts;

/// A version of the app's code.
pub(crate) type Code = u32;

/// Why something must not be.
pub(crate) type Wrong = String;

/// What a volume or a volume snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Data {
    /// The number of the last row that a client was told to be kept; all before it are there too.
    pub(crate) rows: u32,
    /// The last version that may have written.
    pub(crate) touched: Code,
    /// The epoch of the migration that brought it here; 0: it began empty.
    pub(crate) root: u64,
}

/// Which snapshot of a deployment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Taken {
    /// Of the app that runs.
    Ahead,
    /// When the app had stopped.
    Last,
    /// Of the app that a migration copies from.
    Source,
}

/// A volume snapshot, taken here or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) data: Data,
    /// Whether it was taken here, or found whole after it arrived.
    pub(crate) verified: bool,
}

/// What the scheduler does with the volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Schedule {
    Replicate(NodeName),
    Snapshot,
    Purge,
}

/// What a node has of the app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) running: Option<Code>,
    pub(crate) volume: Option<Data>,
    pub(crate) snapshots: BTreeMap<(DeployId, Taken), Snapshot>,
    pub(crate) checkouts: BTreeMap<DeployId, Code>,
    /// The version whose image has the tag that Compose looks for.
    pub(crate) image: Option<Code>,
    /// The version whose image is kept under a name of its own.
    pub(crate) kept: Option<Code>,
    pub(crate) schedules: BTreeSet<Schedule>,
    pub(crate) registered: bool,
    /// A probe that arrived.
    pub(crate) probe: bool,
}

/// The app's entry in KV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) pair: Placement,
    pub(crate) id: DeployId,
    pub(crate) code: Code,
}

/// The nodes and KV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) entry: Option<Entry>,
    pub(crate) maintenance: bool,
    /// The number of the last row that a client was told to be kept.
    pub(crate) rows: u32,
    /// What the repository holds.
    pub(crate) head: Code,
    /// The [`Data::root`] that the app's clients expect.
    pub(crate) root: u64,
    /// The master of another app, which has a volume of the same name.
    pub(crate) source: Option<NodeName>,
    /// From where to where copies are known to go.
    pub(crate) ways: BTreeSet<(NodeName, NodeName)>,
}

pub(crate) fn need(fact: bool, wrong: impl FnOnce() -> Wrong) -> Result<(), Wrong> {
    if fact { Ok(()) } else { Err(wrong()) }
}

pub(crate) fn name(number: usize) -> NodeName {
    NodeName::parse(&format!("node{number}")).unwrap()
}

impl World {
    /// So many nodes that have never heard of the app.
    pub(crate) fn new(nodes: usize) -> Self {
        let nodes = (1..=nodes).map(|number| (name(number), Node::default())).collect();
        Self {
            nodes,
            entry: None,
            maintenance: false,
            rows: 0,
            head: 1,
            root: 0,
            source: None,
            ways: BTreeSet::new(),
        }
    }

    pub(crate) fn node(&mut self, name: &NodeName) -> &mut Node {
        self.nodes.get_mut(name).unwrap()
    }

    /// What a node that accepts an event knows.
    pub(crate) fn facts(&self, away: &BTreeSet<NodeName>) -> Facts {
        let fact = |name: &NodeName| {
            let there = !away.contains(name);
            (name.to_string(), json!({"address": "10.0.0.1", "alive": there, "agent": there}))
        };
        let nodes: serde_json::Map<_, _> = self.nodes.keys().map(fact).collect();
        let (app, source) = (self.record(), self.source_record());
        serde_json::from_value(json!({"nodes": nodes, "app": app, "source": source})).unwrap()
    }

    /// The other app's entry.
    pub(crate) fn source_record(&self) -> Option<Value> {
        let master = self.source.as_ref()?;
        Some(json!({
            "repo_url": "git://h/app", "branch": "other", "deploy_id": "d", "master": master, "slave": null,
        }))
    }

    /// The entry as KV holds it.
    pub(crate) fn record(&self) -> Option<Value> {
        let Entry { pair, id, .. } = self.entry.as_ref()?;
        Some(json!({
            "repo_url": "git://h/app", "branch": "main", "deploy_id": id,
            "master": pair.master, "slave": pair.replica,
        }))
    }

    /// A client adds a row, where one can, and everything is looked at that must hold at any moment.
    pub(crate) fn tick(&mut self) -> Result<(), Wrong> {
        let running = self.nodes.iter().filter(|(_, node)| node.running.is_some());
        let running: Vec<&NodeName> = running.map(|(name, _)| name).collect();
        need(running.len() <= 1, || format!("the app runs on {running:?}"))?;
        self.serve()?;
        let (rows, root) = (self.rows, self.root);
        let holds = |node: &Node| {
            let copies = node.snapshots.values().filter(|copy| copy.verified);
            let mut all = copies.map(|copy| copy.data).chain(node.volume);
            all.any(|data| (data.rows, data.root) == (rows, root))
        };
        need(rows == 0 || self.nodes.values().any(holds), || {
            format!("no volume and no verified snapshot holds all {rows} rows")
        })
    }

    /// What the proxies do: requests go to the master in the entry, but for an app under maintenance.
    fn serve(&mut self) -> Result<(), Wrong> {
        let Some(entry) = self.entry.clone().filter(|_| !self.maintenance) else { return Ok(()) };
        let (rows, root) = (self.rows, self.root);
        let node = self.node(&entry.pair.master);
        need(node.running == Some(entry.code), || {
            format!("{entry:?} is down, and there is no maintenance page")
        })?;
        let data = node.volume.as_mut().ok_or("the app runs without its volume")?;
        need(*data == Data { rows, touched: entry.code, root }, || {
            format!("the app has {data:?}, its clients expect {rows} rows upon {root}: {entry:?}")
        })?;
        data.rows += 1;
        self.rows += 1;
        Ok(())
    }

    /// Whether everything of `before` that can be removed is still there.
    pub(crate) fn keeps(&self, before: &World) -> Result<(), Wrong> {
        need(self.entry == before.entry, || "the entry has changed".to_owned())?;
        for (name, old) in &before.nodes {
            let new = &self.nodes[name];
            let kept = old.snapshots.keys().all(|key| new.snapshots.contains_key(key))
                && old.checkouts.iter().all(|(id, code)| new.checkouts.get(id) == Some(code))
                && new.volume.is_some() >= old.volume.is_some()
                && (&new.schedules, new.registered) == (&old.schedules, old.registered);
            need(kept, || format!("{name} was {old:#?}, and before the commit is {new:#?}"))?;
        }
        Ok(())
    }

    /// The same but for what may be left of an attempt: rows that were written meanwhile, copies, and what is known.
    pub(crate) fn essence(&self) -> Self {
        let mut essence = Self { rows: 0, ways: BTreeSet::new(), ..self.clone() };
        for node in essence.nodes.values_mut() {
            node.snapshots.clear();
            node.volume = node.volume.map(|data| Data { rows: 0, ..data });
        }
        essence
    }
}
