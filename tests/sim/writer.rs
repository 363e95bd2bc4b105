//! The apps' users: they write wherever the proxies lead them, and remember what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tandem::model::{AppRecord, keys};
use tokio::time::{Instant, sleep};

use crate::kv;
use crate::world::World;

/// How far behind a node's proxies may be while Consul answers.
const LAG: Duration = Duration::from_secs(2);

/// Where a node's proxies lead an app's users.
#[derive(Debug, Clone, Default)]
struct View {
    /// The index of the app's entry, and whom it names.
    entry: Option<u64>,
    master: Option<usize>,
    maintenance: bool,
    since: Option<Instant>,
}

/// Writes to all apps until it is dropped.
pub(crate) async fn write(world: Arc<World>) {
    let mut views = vec![vec![View::default(); world.apps.len()]; world.machines.len()];
    loop {
        sleep(world.rng.millis(200..2_000)).await;
        for (app, _) in world.apps.iter().enumerate() {
            let entry = world.rng.index(world.machines.len());
            refresh(&world, &mut views[entry][app], entry, app);
            let Some(target) = views[entry][app].master else { continue };
            refresh(&world, &mut views[target][app], target, app);
            let (first, last) = (&views[entry][app], &views[target][app]);
            let served = last.master == Some(target) && !last.maintenance && !first.maintenance;
            if served && reaches(&world, entry, target) {
                request(&world, target, app);
            }
        }
    }
}

/// A node's proxies follow Consul, if it answers.
fn refresh(world: &World, view: &mut View, node: usize, app: usize) {
    if world.machines[node].state().cut {
        return;
    }
    let is_late = view.since.is_none_or(|since| since.elapsed() > LAG);
    if !is_late && world.rng.percent(30) {
        return;
    }
    let name = &world.apps[app].name;
    let entry = kv::entry(&world.consul, &keys::app(name));
    let index = entry.as_ref().map(|entry| entry.modify_index);
    let master = match entry.filter(|_| index != view.entry) {
        Some(entry) => {
            let record: Option<AppRecord> = serde_json::from_slice(&entry.value).ok();
            record.and_then(|record| world.node(&record.master))
        }
        None => view.master.filter(|_| index.is_some()),
    };
    *view = View {
        entry: index,
        master,
        maintenance: kv::entry(&world.consul, &keys::maintenance(name)).is_some(),
        since: Some(Instant::now()),
    };
}

fn reaches(world: &World, from: usize, to: usize) -> bool {
    let usable = |node: usize| world.machines[node].state().powered;
    let cut = |node: usize| world.machines[node].state().cut;
    usable(from) && usable(to) && (from == to || !cut(from) && !cut(to))
}

/// One request that writes to one of the app's volumes.
fn request(world: &World, node: usize, app: usize) {
    let (machine, app) = (&world.machines[node], &world.apps[app]);
    let prefix = app.project.volume("");
    let mut state = machine.fakes.machine.state();
    let containers = state.containers.get(app.project.as_str());
    if !containers.is_some_and(|all| all.iter().all(|c| c.state.is_alive())) {
        return;
    }
    let own: Vec<String> =
        state.volumes.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
    if own.is_empty() {
        return;
    }
    let volume = world.rng.pick(&own);
    let token = app.promise(volume);
    if let Some(content) = state.volumes.get_mut(volume) {
        content.push_str(&format!("{token};"));
    }
}
