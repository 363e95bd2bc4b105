//! Containers that are none of the app's: a `docker compose run`, an import, somebody's shell. They mount a volume and
//! write to it, whatever becomes of the app.

use std::collections::BTreeMap;
use std::time::Duration;

use tandem::host::docker::VolumeUser;
use tandem::model::{AppRecord, keys};

use super::Fault;
use crate::apps::App;
use crate::director::{Action, Director};
use crate::kv;
use crate::world::World;

/// A container starts on the app's master. Once users are kept away from the app for a hand-over, nobody starts one.
pub(super) fn start(director: &mut Director, app: usize, time: Duration) {
    let world = director.world.clone();
    let owner = &world.apps[app];
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&owner.name));
    let Some(entry) = entry.filter(|_| !owner.is_hurt()) else { return };
    let is_maintained = kv::entry(&world.consul, &keys::maintenance(&owner.name)).is_some();
    let Some(node) = world.node(&entry.master).filter(|_| !is_maintained) else { return };
    let machine = &world.machines[node];
    if !director.is_whole(node) || !machine.runs(owner.project.as_str()) {
        return;
    }
    let mut state = machine.fakes.machine.state();
    let own: Vec<String> =
        entry.volumes.iter().filter(|name| state.volumes.contains_key(*name)).cloned().collect();
    if own.is_empty() {
        return;
    }
    let volume = world.rng.pick(&own).clone();
    let stranger = VolumeUser { name: "import".to_owned(), writes: true };
    state.strangers.insert(volume.clone(), vec![stranger]);
    drop(state);
    world.trace.line(machine.name.as_str(), || format!("a stranger mounts {volume}"));
    director.after(time, Action::Fault(Fault::StrangerEnds(node)));
}

/// The strangers of a machine end.
pub(crate) fn end(world: &World, node: usize) {
    let machine = &world.machines[node];
    let strangers = std::mem::take(&mut machine.fakes.machine.state().strangers);
    if !strangers.is_empty() {
        world.trace.line(machine.name.as_str(), || "the strangers end".to_owned());
    }
}

/// The nodes but one on which somebody writes to an app's volumes, or would: strangers, and what runs of the app.
pub(crate) fn beside(world: &World, app: &App, master: usize) -> Vec<usize> {
    let prefix = app.project.volume("");
    let writes = |node: &usize| {
        let state = world.machines[*node].fakes.machine.state();
        let runs = state.containers.get(app.project.as_str()).is_some_and(|all| !all.is_empty());
        runs || state.strangers.keys().any(|volume| volume.starts_with(&prefix))
    };
    (0..world.machines.len()).filter(|node| *node != master && writes(node)).collect()
}

/// All strangers write, and what they write is as good as acknowledged.
pub(crate) fn write(world: &World) {
    let machines = world.machines.iter().enumerate();
    for (node, machine) in machines.filter(|(_, machine)| machine.state().docker) {
        let mut state = machine.fakes.machine.state();
        let mounted: Vec<String> = state.strangers.keys().cloned().collect();
        for volume in mounted {
            let owner = world.apps.iter().find(|app| volume.starts_with(&app.project.volume("")));
            if let (Some(app), Some(content)) = (owner, state.volumes.get_mut(&volume)) {
                content.push_str(&format!("{};", app.promise_there(node, &volume)));
            }
        }
    }
}

/// Docker removes no volume that a container has mounted.
pub(crate) fn has(world: &World, node: usize, volume: &str) -> bool {
    world.machines[node].fakes.machine.state().strangers.contains_key(volume)
}

/// What the volumes hold that strangers have mounted.
pub(crate) fn mounted(world: &World, node: usize) -> BTreeMap<String, String> {
    let state = world.machines[node].fakes.machine.state();
    let held = state.strangers.keys();
    held.filter_map(|name| Some((name.clone(), state.volumes.get(name)?.clone()))).collect()
}

/// What strangers have mounted stays, whoever removes it; whether somebody did.
pub(crate) fn hold(world: &World, node: usize, mounted: BTreeMap<String, String>) -> bool {
    let mut state = world.machines[node].fakes.machine.state();
    let before = state.volumes.len();
    for (name, content) in mounted {
        state.volumes.entry(name).or_insert(content);
    }
    state.volumes.len() > before
}
