//! What befalls machines, disks and keys, beside the deaths of agents and nodes.

mod clocks;
pub(crate) mod copies;
mod disks;
mod doubles;
mod hands;
pub(crate) mod strangers;

pub(crate) use disks::Wounds;
pub(crate) use hands::Hands;

use std::time::Duration;

use crate::director::{Action, Director};
use crate::world::World;

/// Something that goes wrong, or that somebody does.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A machine's wall clock jumps by so many seconds.
    ClockJumps(usize, i64),
    /// A volume of an app vanishes from a machine, maybe with its snapshots there.
    VolumeLost { node: usize, app: usize, snapshots: bool },
    /// A machine loses its power, and comes back with empty disks.
    Reinstalled(usize, Duration),
    /// Somebody goes on with the copies of an app whose master has lost volumes.
    GoesOn(usize),
    /// Somebody changes an app's entry.
    EntryEdited(usize, hands::Edit),
    /// Somebody puts an app's entry back as it was.
    EntryPutBack(usize),
    /// Somebody deletes all keys that begin with this.
    KvEmptied(&'static str),
    /// A container that is not the app's writes to one of its volumes, for so long.
    StrangerStarts(usize, Duration),
    /// The strangers of a machine end.
    StrangerEnds(usize),
    /// A second agent goes by a node's name, for so long.
    SecondAgent(usize, doubles::Double, Duration),
    /// Somebody puts the apps' entries back that are gone.
    KvPutBack,
}

/// Draws one of the faults with a chance of its own.
pub(crate) fn draw(world: &World, kind: usize) -> Option<(Action, Duration)> {
    let (rng, chances) = (&world.rng, &world.chances);
    let node = |world: &World| world.rng.index(world.machines.len());
    let app = |world: &World| world.rng.index(world.apps.len());
    let fault = match kind {
        0 if rng.percent(chances.clock_jumps) => clocks::draw(rng, node(world)),
        1 if rng.percent(chances.volume_lost) => {
            Fault::VolumeLost { node: node(world), app: app(world), snapshots: rng.percent(50) }
        }
        2 if rng.percent(chances.reinstalled) => {
            Fault::Reinstalled(node(world), rng.millis(20_000..240_000))
        }
        3 if rng.percent(chances.entry_edited) => Fault::EntryEdited(app(world), hands::draw(rng)),
        4 if rng.percent(chances.kv_emptied) => {
            Fault::KvEmptied(if rng.percent(50) { "app/" } else { "" })
        }
        5 if rng.percent(chances.foreign_writer) => {
            Fault::StrangerStarts(app(world), rng.millis(5_000..180_000))
        }
        6 if rng.percent(chances.second_agent) => {
            let double = doubles::draw(rng);
            Fault::SecondAgent(node(world), double, rng.millis(1_000..120_000))
        }
        _ => return None,
    };
    Some((Action::Fault(fault), rng.millis(0..30_000)))
}

/// How many kinds [`draw`] knows.
pub(crate) const KINDS: usize = 7;

/// Lets a fault happen.
pub(crate) fn happen(director: &mut Director, fault: Fault) {
    match fault {
        Fault::ClockJumps(node, by) => clocks::jump(&director.world, node, by),
        Fault::VolumeLost { node, app, snapshots } => {
            disks::lose(director, node, app, snapshots);
        }
        Fault::GoesOn(app) if director.world.is_wild() => copies::go_on(director, app),
        Fault::GoesOn(_) => {}
        Fault::Reinstalled(node, time) => disks::reinstall(director, node, time),
        Fault::EntryEdited(app, edit) => hands::edit(director, app, edit),
        Fault::EntryPutBack(app) => hands::put_back(&director.world, app),
        Fault::KvEmptied(prefix) => hands::empty(director, prefix),
        Fault::StrangerStarts(app, time) => strangers::start(director, app, time),
        Fault::StrangerEnds(node) => strangers::end(&director.world, node),
        Fault::SecondAgent(node, double, time) => doubles::start(director, node, double, time),
        Fault::KvPutBack => hands::put_all_back(&director.world),
    }
}

/// Who starts apps now goes by the entries as they are: of one that somebody has changed or removed the node may know nothing.
pub(crate) fn mislead(world: &World) {
    for app in &world.apps {
        app.hands.lock().unwrap().mislead();
    }
}

/// What somebody changed is put right in the end.
pub(crate) fn calm(world: &World) {
    hands::put_all_back(world);
    for node in 0..world.machines.len() {
        strangers::end(world, node);
    }
    for app in 0..world.apps.len() {
        hands::put_back(world, app);
    }
}
