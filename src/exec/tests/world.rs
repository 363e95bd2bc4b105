//! What there is on the machines and in KV, to compare.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::lab::{Lab, Node};
use crate::model::keys;

/// What an app leaves on one node; ids of containers and times are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct World {
    /// Containers: name, image and whether it runs.
    pub(super) containers: BTreeSet<(String, String, bool)>,
    /// BTRFS volumes with their content.
    pub(super) volumes: BTreeMap<String, String>,
    /// Volumes with Compose's label.
    pub(super) labelled: BTreeSet<String>,
    /// Volume, action, minutes.
    pub(super) schedules: BTreeSet<(String, String, u32)>,
    /// Image by reference.
    pub(super) images: BTreeMap<String, String>,
    /// Names below the deploy folder.
    pub(super) checkouts: BTreeSet<String>,
    /// Services of the Consul agent.
    pub(super) services: BTreeMap<String, Value>,
}

impl Node {
    pub(super) fn world(&self, lab: &Lab) -> World {
        let state = self.fakes.machine.state().clone();
        let containers = state.containers.values().flatten();
        let deploy = std::fs::read_dir(self.dir.path().join("deploy")).unwrap();
        World {
            containers: containers
                .map(|c| (c.name.clone(), c.image_id.clone(), c.state.is_alive()))
                .collect(),
            volumes: state.volumes,
            labelled: state.project_volumes.into_values().flatten().collect(),
            schedules: state
                .schedules
                .into_iter()
                .map(|s| (s.volume, s.action.to_string(), s.minutes))
                .collect(),
            images: state.images,
            checkouts: deploy
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect(),
            services: lab.consul.registrations(&self.name),
        }
    }

    /// The contents of the snapshots of a volume of the app, oldest first.
    pub(super) fn snapshots(&self, lab: &Lab, volume: &str) -> Vec<String> {
        let name = lab.app.project().volume(volume);
        let state = self.fakes.machine.state();
        let own = state.snapshots.iter().filter(|(snapshot, _)| snapshot.volume() == name);
        own.map(|(_, found)| found.content.clone()).collect()
    }

    /// The content of a BTRFS volume of the app.
    pub(super) fn volume(&self, lab: &Lab, volume: &str) -> Option<String> {
        let name = lab.app.project().volume(volume);
        self.fakes.machine.state().volumes.get(&name).cloned()
    }
}

impl Lab {
    pub(super) fn worlds(&self) -> Vec<World> {
        self.nodes.iter().map(|node| node.world(self)).collect()
    }

    /// Nothing of a deployment that is over is in the way of the next one.
    pub(super) async fn assert_idle(&self, what: &str) {
        assert_eq!(self.value(&keys::lease(&self.app)).await, None, "{what}: lease");
        assert_eq!(self.value(&keys::maintenance(&self.app)).await, None, "{what}: maintenance");
        let queue = self.queue().await;
        assert_eq!((queue.running, queue.waiting), (None, None), "{what}: queue");
        for node in &self.nodes {
            let world = node.world(self);
            let kept: Vec<_> =
                world.images.keys().filter(|tag| tag.starts_with("tandem-kept/")).collect();
            assert!(kept.is_empty(), "{what}: {kept:?} on {}", node.name);
        }
    }
}
