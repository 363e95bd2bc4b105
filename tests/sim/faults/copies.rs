//! The way on from a master that has lost volumes: a deployment that begins from another node's copies.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use tandem::host::volume::Volumes;
use tandem::model::deployment::{Deployment, Step};
use tandem::model::{AppRecord, keys};
use tandem::replication::ReplicaState;

use super::disks::held;
use crate::apps::{App, Flaw};
use crate::director::Director;
use crate::kv;
use crate::world::World;

/// Somebody goes on with the copies of an app, on a node that has told of some.
pub(super) fn go_on(director: &mut Director, app: usize) {
    let world = director.world.clone();
    let owner = &world.apps[app];
    let Some(entry) = kv::read::<AppRecord>(&world.consul, &keys::app(&owner.name)) else { return };
    let holders: Vec<usize> = (0..world.machines.len())
        .filter(|node| world.machines[*node].name != entry.master && has_told(&world, app, *node))
        .collect();
    if holders.is_empty() {
        return;
    }
    let master = &world.machines[*world.rng.pick(&holders)].name;
    let slave = world.rng.percent(70).then_some(entry.master.as_str());
    let mut text: serde_json::Value =
        serde_json::from_str(&owner.deploy(master.as_str(), slave, world.rng.percent(30)))
            .expect("an event");
    text["from_replica"] = true.into();
    ask(director, app, &text.to_string());
}

fn has_told(world: &World, app: usize, node: usize) -> bool {
    let key = keys::replica(&world.apps[app].name, &world.machines[node].name);
    let told: Option<ReplicaState> = kv::read(&world.consul, &key);
    told.is_some_and(|told| told.volumes.values().any(Option::is_some))
}

/// Fires the event that goes on with copies, as a refusal told it; what still runs without its volumes is taken down
/// first, as it tells too.
pub(crate) fn ask(director: &mut Director, app: usize, text: &str) {
    let world = director.world.clone();
    take_down(&world, app);
    let version = world.apps[app].push(Flaw::None, false);
    director.publish(app, version);
    director.fire("deploy", text);
}

/// The event in a refusal.
pub(crate) fn way_on(why: &str) -> Option<&str> {
    let (_, rest) = why.split_once("consul event -name=deploy '")?;
    rest.split_once('\'').map(|(event, _)| event)
}

/// `docker compose down` by hand, on a master that has lost volumes.
fn take_down(world: &World, app: usize) {
    let owner = &world.apps[app];
    let Some(entry) = kv::read::<AppRecord>(&world.consul, &keys::app(&owner.name)) else { return };
    let Some(node) = world.node(&entry.master) else { return };
    let machine = &world.machines[node];
    let is_there = machine.state().powered && machine.state().docker;
    let mut state = machine.fakes.machine.state();
    let is_whole = entry.volumes.iter().all(|volume| state.volumes.contains_key(volume));
    if is_there && !is_whole && state.containers.remove(owner.project.as_str()).is_some() {
        world.trace.line(machine.name.as_str(), || format!("{} is taken down", owner.project));
    }
}

/// A deployment that began from copies was committed: each volume begins with just the copy that the record names, what
/// that lacks is in what is left elsewhere, and what the former master still has stays there.
pub(crate) fn committed(world: &World, app: &App, record: &Deployment) {
    let (Some(former), Some(pair)) = (&record.former, &record.placement) else { return };
    let Some(node) = world.node(&pair.master) else { return };
    let recalled = record.steps.iter().find(|step| step.step == Step::Recall);
    let recalled = recalled.map(|step| step.output.clone()).unwrap_or_default();
    let (live, snapshots) = {
        let state = world.machines[node].fakes.machine.state();
        (state.volumes.clone(), state.snapshots.clone())
    };
    for (volume, told) in &recalled {
        let name = told.split(' ').next().unwrap_or_default();
        app.inherit(volume, name);
        let copy = snapshots.iter().find(|(snapshot, _)| snapshot.to_string() == name);
        let content = live.get(volume).map(String::as_str).unwrap_or_default();
        if copy.is_none_or(|(_, copy)| copy.torn || !content.starts_with(&copy.content)) {
            world.broken(format!("{volume} of {} does not begin with {told}", app.name));
        }
    }
    app.go_on_with(&record.id, |volume, tokens| {
        live.get(volume).map(|content| held(content, tokens)).unwrap_or_default()
    });
    if let Some(left) = world.node(&former.master) {
        app.wounds.lock().unwrap().stays(left);
    }
}

/// Somebody puts aside what volumes stayed where an app no longer is: it is in snapshots from then on.
pub(crate) fn put_aside(world: &World, app: usize) {
    let owner = &world.apps[app];
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&owner.name));
    let prefix = owner.project.volume("");
    for node in owner.wounds.lock().unwrap().end_stay() {
        let machine = &world.machines[node];
        if entry.as_ref().is_some_and(|entry| entry.master == machine.name) {
            continue;
        }
        let volumes: BTreeMap<String, String> = machine.fakes.machine.state().volumes.clone();
        for volume in volumes.keys().filter(|name| name.starts_with(&prefix)) {
            let taken = machine.fakes.volumes.snapshot(volume).now_or_never();
            taken.expect("it is in memory").expect("a snapshot");
            let mut state = machine.fakes.machine.state();
            state.volumes.remove(volume);
            state.project_volumes.values_mut().for_each(|own| {
                own.remove(volume);
            });
            drop(state);
            world.trace.line(machine.name.as_str(), || format!("{volume} is put aside"));
        }
    }
}
