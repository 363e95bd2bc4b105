//! An app whose master is well is not down for long, whatever becomes of the other nodes.

use std::time::Duration;

use tandem::model::{AppRecord, keys};
use tokio::time::Instant;

use crate::kv;
use crate::world::World;

/// Somebody is given up after `node-grace`, and what stops and starts takes its time, a few tries each.
const BOUND: Duration = Duration::from_secs(600);
/// Who was away for a moment may be waited for.
const WELL: Duration = Duration::from_secs(120);

/// Looks at all apps.
pub(crate) fn look(world: &World) {
    let mut outages = world.outages.lock().unwrap();
    for (app, since) in outages.iter_mut().enumerate() {
        if !is_down(world, app) {
            *since = None;
            continue;
        }
        let begun = *since.get_or_insert_with(Instant::now);
        if begun.elapsed() > BOUND {
            let name = &world.apps[app].name;
            world.broken(format!("{name} is down for {BOUND:?}, though its master is well"));
            *since = None;
        }
    }
}

/// Whether an app does not serve on a master that could.
fn is_down(world: &World, app: usize) -> bool {
    let owner = &world.apps[app];
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&owner.name));
    let Some(node) = entry.and_then(|entry| world.node(&entry.master)) else { return false };
    let machine = &world.machines[node];
    if machine.was_away(WELL) || owner.is_hurt() {
        return false;
    }
    let maintained = kv::entry(&world.consul, &keys::maintenance(&owner.name)).is_some();
    maintained || !machine.runs(owner.project.as_str())
}
