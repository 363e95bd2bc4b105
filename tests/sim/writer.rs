//! The apps' users: they write wherever the proxies lead them, and remember what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tandem::model::{AppRecord, keys};
use tokio::time::{Instant, sleep};

use crate::faults::strangers;
use crate::kv;
use crate::outage;
use crate::world::World;

/// How far behind a node's proxies may be while Consul answers.
const LAG: Duration = Duration::from_millis(300);

/// Where a node's proxies lead an app's users.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The index of the app's entry, and whom it names.
    entry: Option<u64>,
    master: Option<usize>,
    maintenance: bool,
    since: Option<Instant>,
}

/// The views of all nodes, by node and app.
pub(crate) type Views = Vec<Vec<View>>;

/// Writes to all apps until it is dropped.
pub(crate) async fn write(world: Arc<World>) {
    loop {
        sleep(world.rng.millis(200..2_000)).await;
        for node in 0..world.machines.len() {
            follow(&world, node);
        }
        outage::look(&world);
        strangers::write(&world);
        for (app, _) in world.apps.iter().enumerate() {
            let entry = world.rng.index(world.machines.len());
            if let Some(target) = served(&world, entry, app).filter(|t| reaches(&world, entry, *t))
            {
                request(&world, target, app);
            }
        }
    }
}

/// Where a request that enters the cluster at a node ends, if the proxies let it.
fn served(world: &World, entry: usize, app: usize) -> Option<usize> {
    let views = world.views.lock().unwrap();
    let first = &views[entry][app];
    let target = first.master.filter(|_| !first.maintenance)?;
    let last = &views[target][app];
    (last.master == Some(target) && !last.maintenance).then_some(target)
}

/// A node's proxies follow Consul, if it answers.
pub(crate) fn follow(world: &World, node: usize) {
    if world.machines[node].state().cut {
        return;
    }
    let mut views = world.views.lock().unwrap();
    for (app, view) in views[node].iter_mut().enumerate() {
        let is_late = view.since.is_none_or(|since| since.elapsed() > LAG);
        if is_late || !world.rng.percent(30) {
            refresh(world, view, app);
        }
    }
}

fn refresh(world: &World, view: &mut View, app: usize) {
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
    // Who is led by an edited entry to what the app was before it began anew writes to that.
    let token = app.promise_there(node, volume);
    if let Some(content) = state.volumes.get_mut(volume) {
        content.push_str(&format!("{token};"));
    }
}
