//! The way from one machine's volumes to another's, and buttervolume's own scheduler.

use futures_util::FutureExt;
use tandem::host::volume::{Action, VolumeError, Volumes};

use crate::world::World;

fn broken(why: &str) -> VolumeError {
    VolumeError::Refused { operation: "send", subject: String::new(), why: why.to_owned() }
}

/// Whether a send can begin; it may break off half-way.
pub(crate) fn before_send(world: &World, from: usize, address: &str) -> Result<(), VolumeError> {
    let Some(to) = world.machines.iter().position(|machine| machine.address == address) else {
        return Err(broken("no such host"));
    };
    let usable = |node: usize| {
        let state = world.machines[node].state();
        state.powered && !state.cut
    };
    if !usable(from) || !usable(to) {
        return Err(broken("the host can't be reached"));
    }
    if world.is_wild() && world.rng.percent(world.chances.torn) {
        let volumes = &world.machines[from].fakes.volumes;
        volumes.fail_next("send torn", broken("the connection broke"));
    }
    Ok(())
}

/// The scheduler of a machine has a turn: its snapshots and replications happen now.
pub(crate) fn scheduled(world: &World, node: usize) {
    let machine = &world.machines[node];
    let schedules = machine.fakes.machine.state().schedules.clone();
    for schedule in schedules {
        let to = match &schedule.action {
            Action::Replicate(address) => Some(address),
            Action::Snapshot => None,
            Action::Purge(_) | Action::Other(_) => continue,
        };
        let volumes = &machine.fakes.volumes;
        let taken = volumes.snapshot(&schedule.volume).now_or_never().expect("it is in memory");
        let Ok(snapshot) = taken else { continue };
        if let Some(address) = to
            && before_send(world, node, address).is_ok()
        {
            let sent = volumes.send_once(&snapshot, address);
            let end = if sent.is_ok() { "sent" } else { "sent in part" };
            let name = machine.name.as_str();
            world.trace.line(name, || format!("scheduler: {snapshot} {end} to {address}"));
        }
    }
}
