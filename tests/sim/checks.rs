//! The rules that hold at every moment, looked at where they could be broken.

use std::collections::BTreeMap;
use std::time::Duration;

use tandem::consul::txn::TxnOp;
use tandem::model::deployment::{Deployment, Status, Step, StepRecord};
use tandem::model::{AppId, AppName, AppRecord, DeployId, keys};
use tandem::records::Queue;

use crate::apps::{App, first_missing, holds};
use crate::faults::{copies, strangers};
use crate::kv;
use crate::world::World;

/// For how long a node that was away may still run what the others have given up on.
const RETURN: Duration = Duration::from_secs(120);

/// What a transaction is about to change, as it was.
#[derive(Default)]
pub(crate) struct Before {
    /// Queues with their epochs.
    epochs: Vec<(String, u64)>,
    /// Apps whose entry is written.
    committed: Vec<AppName>,
    /// Apps whose entry is deleted.
    forgotten: Vec<AppName>,
    /// Migrations as they are to be.
    migrations: Vec<Deployment>,
}

pub(crate) fn before(world: &World, ops: &[TxnOp]) -> Before {
    let mut before = Before::default();
    for op in ops {
        match op {
            TxnOp::Cas { key, .. } if key.starts_with(keys::QUEUES) => {
                let queue: Option<Queue> = kv::read(&world.consul, key);
                before.epochs.push((key.clone(), queue.map_or(0, |queue| queue.epoch)));
            }
            TxnOp::Cas { key, value, .. } if key.starts_with(keys::DEPLOYMENTS) => {
                if world.apps.len() > 1 {
                    before.migrations.extend(migration(value));
                }
            }
            TxnOp::Delete { key } if key.starts_with(keys::APPS) => {
                before.forgotten.extend(AppName::parse(&key[keys::APPS.len()..]).ok());
            }
            TxnOp::Set { key, .. } | TxnOp::Cas { key, .. } if key.starts_with(keys::APPS) => {
                before.committed.extend(AppName::parse(&key[keys::APPS.len()..]).ok());
            }
            TxnOp::Set { .. }
            | TxnOp::Cas { .. }
            | TxnOp::Delete { .. }
            | TxnOp::DeleteTree { .. }
            | TxnOp::DeleteCas { .. }
            | TxnOp::CheckIndex { .. }
            | TxnOp::CheckSession { .. }
            | TxnOp::CheckNotExists { .. }
            | TxnOp::Lock { .. }
            | TxnOp::Unlock { .. } => {}
        }
    }
    before
}

/// The transaction was done.
pub(crate) fn after(world: &World, before: &Before) {
    for (key, epoch) in &before.epochs {
        let now = kv::read::<Queue>(&world.consul, key).map_or(0, |queue| queue.epoch);
        if now < *epoch {
            world.broken(format!("the epoch of {key} went down from {epoch} to {now}"));
        }
    }
    for name in &before.forgotten {
        if let Some(app) = world.apps.iter().find(|app| app.name == *name) {
            app.archive();
        }
    }
    for record in &before.migrations {
        let named = |id: &AppId| world.apps.iter().find(|app| app.id == *id);
        let target = named(record.request.app());
        let source = record.request.source().and_then(named);
        let (Some(target), Some(source)) = (target, source) else { continue };
        target.expect(&record.id, source);
        let commits = |step: &&StepRecord| step.step == Step::Commit && step.status == Status::Done;
        if record.steps.iter().any(|step| commits(&step)) && target.settles(&record.id) {
            let matched = record.steps.iter().find(|step| step.step == Step::Match);
            let live = live(world, record);
            target.take_over(&record.id, source, &matched.expect("a step").output, &live);
        }
    }
    for name in &before.committed {
        if let Some(app) = world.apps.iter().find(|app| app.name == *name) {
            committed(world, app);
        }
    }
}

/// A deployment of an app was committed: its master has what was promised. Where somebody had taken the entry away it is
/// an app that nobody knows, and what it had stays where it is.
fn committed(world: &World, app: &App) {
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&app.name));
    let Some(entry) = entry else { return };
    let Some(node) = world.node(&entry.master) else { return };
    if entry.previous_deploy_id.is_none() && app.hands.lock().unwrap().are_felt() {
        return app.begin_anew(&strangers::beside(world, app, node));
    }
    app.goes_on_at(node);
    let id = DeployId::parse(&entry.deploy_id).expect("an id");
    let record: Option<Deployment> = kv::read(&world.consul, &keys::deployment(&app.name, &id));
    if let Some(record) = record.filter(|record| record.request.is_from_replica()) {
        copies::committed(world, app, &record);
    }
    let live = world.machines[node].fakes.machine.state().volumes.clone();
    let (is_hurt, is_torn) = (app.is_hurt(), app.hands.lock().unwrap().have_torn());
    for (volume, tokens) in &app.promises.lock().unwrap().written {
        // One that vanishes in that very moment is not an emptied one.
        if is_hurt && !live.contains_key(volume) {
            continue;
        }
        let content = live.get(volume).map(String::as_str).unwrap_or_default();
        let is_there = holds(content, tokens) || is_torn && is_held(world, app, volume, tokens);
        if !is_there {
            let missing = first_missing(content, tokens);
            world.broken(format!("{} was committed without {missing:?} in {volume}", app.name));
        }
    }
}

/// What the volumes of the deployment's master hold.
fn live(world: &World, record: &Deployment) -> BTreeMap<String, String> {
    let master = record.placement.as_ref().and_then(|pair| world.node(&pair.master));
    let content = |node: usize| world.machines[node].fakes.machine.state().volumes.clone();
    master.map(content).unwrap_or_default()
}

/// A record that is a migration's.
fn migration(value: &[u8]) -> Option<Deployment> {
    let mark = b"\"event\":\"migrate\"";
    if !value.windows(mark.len()).any(|bytes| bytes == mark) {
        return None;
    }
    serde_json::from_slice(value).ok()
}

/// The BTRFS volumes of a project on a machine.
pub(crate) fn volumes(world: &World, node: usize, project: &str) -> Vec<String> {
    let prefix = format!("{project}_");
    let state = world.machines[node].fakes.machine.state();
    state.volumes.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
}

/// A volume was removed from a machine: what was promised of it has to be somewhere.
pub(crate) fn removed(world: &World, node: usize, volume: &str) {
    if world.machines[node].fakes.machine.state().volumes.contains_key(volume) {
        return;
    }
    let owner = world.apps.iter().find(|app| volume.starts_with(&app.project.volume("")));
    let Some(app) = owner else { return };
    let promises = app.promises.lock().unwrap();
    let Some(tokens) = promises.written.get(volume) else { return };
    if !is_held(world, app, volume, tokens) {
        let name = &world.machines[node].name;
        world.broken(format!("{volume} was removed from {name}, and no whole copy is anywhere"));
    }
}

/// Whether what was acknowledged is in some copy of a volume: all of it in one, or, where keys went while a deployment was
/// half-way, each of it in some.
pub(crate) fn is_held(world: &World, app: &App, volume: &str, tokens: &[String]) -> bool {
    if app.hands.lock().unwrap().have_torn() {
        return tokens.iter().all(|token| is_anywhere(world, volume, std::slice::from_ref(token)));
    }
    tokens.is_empty() || is_anywhere(world, volume, tokens)
}

/// Whether a volume or a whole snapshot of it on any machine holds all tokens.
fn is_anywhere(world: &World, volume: &str, tokens: &[String]) -> bool {
    world.machines.iter().any(|machine| {
        let state = machine.fakes.machine.state();
        let live = state.volumes.get(volume).is_some_and(|content| holds(content, tokens));
        let mut own = state.snapshots.iter().filter(|(name, _)| name.volume() == volume);
        live || own.any(|(_, found)| !found.torn && holds(&found.content, tokens))
    })
}

/// Containers of a project were started on a machine: nowhere else may it run, but on a node that can't be told.
pub(crate) fn started(world: &World, node: usize, project: &str) {
    // Who had its entry taken away, or another one given, is not where that says.
    if world.app_of(project).is_some_and(|app| app.hands.lock().unwrap().are_felt()) {
        return;
    }
    for (index, machine) in world.machines.iter().enumerate() {
        if index != node && machine.runs(project) && !machine.was_away(RETURN) {
            let here = &world.machines[node].name;
            world.broken(format!(
                "{project} was started on {here} while it ran on {}",
                machine.name
            ));
        }
    }
}
