//! Volumes that vanish, and machines that come back with empty disks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::FutureExt;
use tandem::consul::catalog::Catalog;
use tandem::host::fake::MachineState;
use tandem::model::deployment::{Deployment, Status, Step, StepRecord};
use tandem::model::keys;
use tandem::records::Queue;

use super::Fault;
use crate::apps::{App, number};
use crate::director::{Action, Director};
use crate::kv;
use crate::world::{Machine, World};

/// The nodes on which an app has lost something that no deployment since has seen to, with how many events had been
/// fired by then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wounds {
    open: BTreeMap<usize, u64>,
    /// Where volumes stayed as they were when the app went on with copies.
    stay: BTreeSet<usize>,
}

impl Wounds {
    fn add(&mut self, world: &World, node: usize) {
        self.open.insert(node, world.gossip.all().len() as u64);
    }

    /// Whether there have been any.
    pub(crate) fn are_some(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a node has ever had one.
    pub(crate) fn are_on(&self, node: usize) -> bool {
        self.open.contains_key(&node)
    }

    /// Whether a node's is open: no deployment that was asked for later has been committed.
    pub(crate) fn is_open(&self, node: usize, records: &[Deployment]) -> bool {
        let committed = records.iter().filter(|record| record.committed);
        let newest = committed.map(|record| number(record.id.as_str())).max().unwrap_or(0);
        self.open.get(&node).is_some_and(|since| newest <= *since)
    }

    /// Whether a node lacks its checkout since its disks were lost: only a deployment of the app's own version makes one. A
    /// migration does nothing on the slave, and a slave's copies need none.
    pub(crate) fn lack_checkout(&self, node: usize, records: &[Deployment]) -> bool {
        let own = |record: &&Deployment| record.request.source().is_none();
        let own: Vec<Deployment> = records.iter().filter(own).cloned().collect();
        self.is_open(node, &own)
    }

    /// What a node has of the app's volumes stays there.
    pub(super) fn stays(&mut self, node: usize) {
        self.stay.insert(node);
    }

    /// Whether volumes may have stayed on a node.
    pub(crate) fn may_stay(&self, node: usize) -> bool {
        self.stay.contains(&node)
    }

    /// The nodes on which some may have, of which none do from now on.
    pub(super) fn end_stay(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.stay)
    }
}

/// Whether a migration may be at work: what it has sent is no copy to rely on, it goes with the migration.
fn may_migrate(world: &World) -> bool {
    let is_busy = |app: &App| {
        let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
        queue.is_some_and(|queue| queue.running.is_some())
    };
    world.apps.len() > 1 && world.apps.iter().any(is_busy)
}

/// Whether containers of an app are just being made: nobody can look at a volume in the moment in which Compose mounts it.
fn is_coming_up(world: &World, app: &App) -> bool {
    let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
    let Some(id) = queue.and_then(|queue| queue.running) else { return false };
    let record: Option<Deployment> = kv::read(&world.consul, &keys::deployment(&app.name, &id));
    let is_up = |step: &StepRecord| step.step == Step::Up && step.status == Status::Running;
    record.is_some_and(|record| record.steps.iter().any(is_up))
}

/// A volume vanishes from a machine that runs. What is promised from now on is what the newest copy holds.
pub(super) fn lose(director: &mut Director, node: usize, number: usize, snapshots: bool) {
    let world = director.world.clone();
    let (machine, app) = (&world.machines[node], &world.apps[number]);
    if !machine.state().powered || may_migrate(&world) || is_coming_up(&world, app) {
        return;
    }
    let prefix = app.project.volume("");
    let mut state = machine.fakes.machine.state();
    let live = state.volumes.keys().filter(|name| name.starts_with(&prefix));
    let copied = state.snapshots.keys().map(|name| name.volume());
    let copied = copied.filter(|name| snapshots && name.starts_with(&prefix));
    let all: Vec<String> = live.map(String::as_str).chain(copied).map(str::to_owned).collect();
    if all.is_empty() {
        return;
    }
    let volume = world.rng.pick(&all);
    let lived = state.volumes.remove(volume).is_some();
    for own in state.project_volumes.values_mut() {
        own.remove(volume);
    }
    if snapshots {
        state.snapshots.retain(|name, _| name.volume() != volume);
        state.kept.retain(|name| name.volume() != volume);
    }
    drop(state);
    world.trace.line(machine.name.as_str(), || {
        format!("{volume} vanishes{}", if snapshots { " with its snapshots" } else { "" })
    });
    if lived {
        app.wounds.lock().unwrap().add(&world, node);
        somebody_goes_on(director, number, Duration::ZERO);
    }
    app.keep_what_is_left(|volume, tokens| best_copy(&world, volume, tokens));
}

/// Somebody who notices goes on with the copies.
fn somebody_goes_on(director: &mut Director, app: usize, after: Duration) {
    let rng = &director.world.rng;
    if rng.percent(50) {
        let delay = after + rng.millis(20_000..150_000);
        director.after(delay, Action::Fault(Fault::GoesOn(app)));
    }
}

/// A machine loses its power and its disks.
pub(super) fn reinstall(director: &mut Director, node: usize, time: Duration) {
    if !director.is_whole(node) || may_migrate(&director.world) {
        return;
    }
    let world = director.world.clone();
    let machine = &world.machines[node];
    forget_services(&world, machine);
    director.power_off(node);
    wipe(machine);
    world.gossip.begin_anew(node);
    world.trace.line(machine.name.as_str(), || "power off; its disks are replaced".to_owned());
    for app in &world.apps {
        app.wounds.lock().unwrap().add(&world, node);
        app.keep_what_is_left(|volume, tokens| best_copy(&world, volume, tokens));
    }
    director.after(time, Action::PowerOn(node));
    let app = world.rng.index(world.apps.len());
    somebody_goes_on(director, app, time);
}

/// Its Consul agent begins anew, too.
fn forget_services(world: &World, machine: &Machine) {
    let client = world.consul.client(&machine.name);
    for id in world.consul.registrations(&machine.name).into_keys() {
        let _ = client.deregister_service(&id).now_or_never();
    }
}

fn wipe(machine: &Machine) {
    let mut state = machine.fakes.machine.state();
    let (clock, counter) = (state.clock.clone(), state.counter);
    *state = MachineState { clock, counter, ..MachineState::default() };
    drop(state);
    let mut state = machine.state();
    state.versions.clear();
    state.started_under.clear();
    std::fs::remove_dir_all(&machine.dir).expect("the folder of a machine");
    std::fs::create_dir_all(machine.deploy_dir()).expect("a folder");
}

/// What the copy of a volume that holds the most of what was promised holds of it, wherever it is.
fn best_copy(world: &World, volume: &str, tokens: &[String]) -> Vec<String> {
    let mut best = Vec::new();
    let mut look = |content: &str| {
        let held = held(content, tokens);
        if held.len() > best.len() {
            best = held;
        }
    };
    for machine in &world.machines {
        let state = machine.fakes.machine.state();
        state.volumes.get(volume).into_iter().for_each(|content| look(content));
        let own = state.snapshots.iter().filter(|(name, _)| name.volume() == volume);
        own.filter(|(_, found)| !found.torn).for_each(|(_, found)| look(&found.content));
    }
    best
}

/// The tokens that a content holds, in their order.
pub(super) fn held(content: &str, tokens: &[String]) -> Vec<String> {
    let mut missing = tokens.iter();
    let mut held = Vec::new();
    for token in content.split(';') {
        let mut rest = missing.clone();
        if let Some(found) = rest.find(|next| *next == token) {
            held.push(found.clone());
            missing = rest;
        }
    }
    held
}

impl App {
    /// Whether a disk has failed it, or somebody's hands.
    pub(crate) fn is_hurt(&self) -> bool {
        self.wounds.lock().unwrap().are_some() || self.hands.lock().unwrap().are_felt()
    }
}
