//! The way from one machine's volumes to another's, and buttervolume's own scheduler.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tandem::host::volume::{Action as Task, Sent, SnapshotName, VolumeError, Volumes};
use tandem::model::keys;
use tandem::records::Queue;
use tokio::time::{Instant, sleep};

use crate::apps::App;
use crate::director::Action;
use crate::kv;
use crate::world::World;

fn broken(why: &str) -> VolumeError {
    VolumeError::Refused { operation: "send", subject: String::new(), why: why.to_owned() }
}

/// Whether a send can begin; it may break off half-way.
fn before_send(world: &World, from: usize, address: &str) -> Result<(), VolumeError> {
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

/// How long TCP waits for another end that says nothing.
const TCP: Duration = Duration::from_secs(15 * 60);
const LOOK: Duration = Duration::from_secs(1);

/// A send: it breaks off, or hangs because the other end is lost while it runs.
pub(crate) async fn send(
    world: Arc<World>,
    from: usize,
    snapshot: SnapshotName,
    address: String,
) -> Result<Sent, VolumeError> {
    before_send(&world, from, &address)?;
    let to = world.machines.iter().position(|machine| machine.address == address);
    if let Some(to) = to.filter(|_| partner_dies(&world, snapshot.volume())) {
        let lost = world.rng.millis(
            world.rng.pick(&[5_000..60_000, 60_000..300_000, 1_200_000..1_800_000]).clone(),
        );
        let lose = if world.rng.percent(50) { Action::PowerOff } else { Action::Cut };
        let _ = world.orders.send(lose(to, lost));
        // buttervolume waits, whether somebody waits for it or not.
        let hangs = tokio::spawn(hang(world, (from, to), snapshot, address));
        return hangs.await.expect("it does not panic");
    }
    let volumes = &world.machines[from].fakes.volumes;
    volumes.send(&snapshot, &address).await
}

/// Rather where an app waits for it.
fn partner_dies(world: &World, volume: &str) -> bool {
    let app = world.apps.iter().find(|app| volume.starts_with(&app.project.volume("")));
    let waits =
        app.is_some_and(|app| kv::entry(&world.consul, &keys::maintenance(&app.name)).is_some());
    let share = if waits { world.chances.partner_dies * 2 } else { world.chances.partner_dies / 4 };
    world.rng.percent(share) && world.spend(&world.spent.partners)
}

/// The connection goes on when the cable is back, breaks when the other end has booted, and in the end by itself.
async fn hang(
    world: Arc<World>,
    (from, to): (usize, usize),
    snapshot: SnapshotName,
    address: String,
) -> Result<Sent, VolumeError> {
    let boots = [from, to].map(|node| world.machines[node].state().boots);
    let begun = Instant::now();
    world.under_way.fetch_add(1, Ordering::Relaxed);
    world.trace.line(world.machines[from].name.as_str(), || format!("send {snapshot} hangs"));
    let is_away = || {
        let state = world.machines[to].state();
        !state.powered || state.cut
    };
    sleep(LOOK).await;
    while is_away() && begun.elapsed() < TCP {
        sleep(LOOK).await;
    }
    let volumes = &world.machines[from].fakes.volumes;
    let same = boots == [from, to].map(|node| world.machines[node].state().boots);
    let breaks = is_away() || !same;
    let sent = match breaks && !is_to_send(&world, from, &snapshot, &address) {
        true => Err(broken("the connection timed out")),
        false => {
            if breaks {
                volumes.fail_next("send torn", broken("the connection timed out"));
            }
            volumes.send(&snapshot, &address).await
        }
    };
    world.under_way.fetch_sub(1, Ordering::Relaxed);
    sent
}

/// Whether there is something left to send: somebody may have removed the snapshot meanwhile, or sent it.
fn is_to_send(world: &World, from: usize, snapshot: &SnapshotName, address: &str) -> bool {
    let state = world.machines[from].fakes.machine.state();
    let mark = SnapshotName::parse(&format!("{snapshot}@{address}"));
    let is_sent = mark.is_ok_and(|mark| state.snapshots.contains_key(&mark));
    state.snapshots.contains_key(snapshot) && !is_sent
}

/// The scheduler of a machine has a turn: its snapshots and replications happen now.
pub(crate) fn scheduled(world: &World, node: usize) {
    let machine = &world.machines[node];
    let schedules = machine.fakes.machine.state().schedules.clone();
    for schedule in schedules {
        let to = match &schedule.action {
            Task::Replicate(address) => Some(address),
            Task::Snapshot => None,
            Task::Purge(_) | Task::Other(_) => continue,
        };
        let volumes = &machine.fakes.volumes;
        let taken = volumes.snapshot(&schedule.volume).now_or_never().expect("it is in memory");
        let Ok(snapshot) = taken else { continue };
        if let Some(address) = to
            && before_send(world, node, address).is_ok()
        {
            let sent = volumes.send_once(&snapshot, address);
            catch(world, &snapshot);
            let end = if sent.is_ok() { "sent" } else { "sent in part" };
            let name = machine.name.as_str();
            world.trace.line(name, || format!("scheduler: {snapshot} {end} to {address}"));
        }
    }
}

/// The scheduler does not ask whether a deployment has the app in its hands.
fn catch(world: &World, snapshot: &SnapshotName) {
    let is_own = |app: &&App| snapshot.volume().starts_with(&app.project.volume(""));
    let Some(app) = world.apps.iter().find(is_own) else { return };
    let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
    if let Some(running) = queue.and_then(|queue| queue.running) {
        app.catch(&snapshot.to_string(), running);
    }
}
