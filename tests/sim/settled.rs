//! The rules that hold when everything is over.

use std::collections::BTreeSet;

use tandem::model::deployment::{Deployment, State, Status};
use tandem::model::{AppRecord, DeployId, Placement, Role, keys};
use tandem::records::Queue;

use crate::apps::{App, first_missing, holds, mark};
use crate::checks::is_held;
use crate::kv;
use crate::world::{Machine, World};

/// Whether nothing is under way any more.
pub(crate) fn is_idle(world: &World) -> bool {
    let quiet = world.under_way.load(std::sync::atomic::Ordering::Relaxed) == 0;
    let idle = |app: &App| {
        let queue: Queue = kv::read(&world.consul, &keys::queue(&app.name)).unwrap_or_default();
        queue.running.is_none() && queue.waiting.is_none()
    };
    let agents = world.machines.iter().all(|machine| machine.state().agent);
    let debts = owed(world);
    quiet && agents && debts.is_empty() && !world.gossip.is_pending() && world.apps.iter().all(idle)
}

/// The debts that have to be paid. Left to an operator by design are those
/// - of a machine that has lost something of the app: what a step looks at before it removes anything (the snapshot of the
///   deployment, a whole volume) may be gone with it;
/// - of an app whose keys all went: its epochs began anew, and a node that remembers later ones does nothing for them.
fn owed(world: &World) -> Vec<String> {
    let debts = kv::list(&world.consul, keys::OWED).into_iter().map(|entry| entry.key);
    debts.filter(|key| !is_left(world, key)).collect()
}

/// Whether `tandem/owed/NODE/APP/ID` is left to an operator.
fn is_left(world: &World, key: &str) -> bool {
    let node = key.strip_prefix(keys::OWED).and_then(|rest| rest.split('/').next());
    let node = world.machines.iter().position(|machine| Some(machine.name.as_str()) == node);
    let app = world.apps.iter().find(|app| key.contains(app.name.as_str()));
    let (Some(node), Some(app)) = (node, app) else { return false };
    app.wounds.lock().unwrap().are_on(node) || app.hands.lock().unwrap().have_begun_anew()
}

/// Finds everything that is not as it should be.
pub(crate) fn check(world: &World, when: &str) {
    for app in &world.apps {
        for problem in problems(world, app) {
            world.broken(format!("{when}: {}: {problem}", app.name));
        }
    }
    for event in world.gossip.to_be_known() {
        let Ok(id) = DeployId::parse(&event.id) else { continue };
        let known = world.apps.iter().any(|app| {
            let queue: Queue = kv::read(&world.consul, &keys::queue(&app.name)).unwrap_or_default();
            queue.recent.contains(&id)
        });
        if !known {
            world.broken(format!("{when}: the event {} was never written down", mark(&id)));
        }
    }
    for key in owed(world) {
        world.broken(format!("{when}: {key} is still there"));
    }
}

fn problems(world: &World, app: &App) -> Vec<String> {
    let mut found = Vec::new();
    let records = records(world, app);
    let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&app.name));
    found.extend(left_in_kv(world, app));
    let is_hurt = app.is_hurt();
    let excused = |record: &&Deployment| is_hurt && record.state == State::Stuck;
    found.extend(records.iter().filter(|r| !excused(r)).filter_map(unexplained));
    // Who deploys by what somebody else made of the entry gets what that says; no data is lost.
    if app.hands.lock().unwrap().are_felt() {
        found.extend(data_is_held(world, app));
        return found;
    }
    found.extend(entry_is_committed(&records, entry.as_ref()));
    // A deployment that changes nothing leaves the containers of the one before.
    let spared = |record: &Deployment| record.steps.iter().any(|s| s.status == Status::Skipped);
    let own =
        |record: &&Deployment| entry.as_ref().is_some_and(|e| e.deploy_id == record.id.as_str());
    let is_as_before = records.iter().find(own).is_some_and(spared);
    let wounds = app.wounds.lock().unwrap().clone();
    for (node, machine) in world.machines.iter().enumerate() {
        if wounds.is_open(node, &records) {
            continue;
        }
        let spared = Spared {
            is_as_before,
            stays: wounds.may_stay(node),
            lacks_checkout: wounds.lack_checkout(node, &records),
        };
        let own = on_machine(world, app, machine, entry.as_ref(), spared);
        found.extend(own.into_iter().map(|what| format!("{}: {what}", machine.name)));
    }
    found.extend(promises(world, app, entry.as_ref(), &records));
    found
}

fn records(world: &World, app: &App) -> Vec<Deployment> {
    let entries = kv::list(&world.consul, &keys::deployments(&app.name));
    entries.iter().map(|entry| serde_json::from_slice(&entry.value).expect("a record")).collect()
}

fn left_in_kv(world: &World, app: &App) -> Vec<String> {
    let mut found = Vec::new();
    let queue: Queue = kv::read(&world.consul, &keys::queue(&app.name)).unwrap_or_default();
    if queue.running.is_some() || queue.waiting.is_some() {
        let names = [&queue.running, &queue.waiting].map(|id| id.as_ref().map(mark));
        found.push(format!("the queue is not empty: {names:?}"));
    }
    // Begun once more by a step that did not hear that all keys went: its deployment is over, and an operator's to end.
    let may_stay = app.hands.lock().unwrap().have_torn();
    for (key, may_stay) in
        [(keys::lease(&app.name), false), (keys::maintenance(&app.name), may_stay)]
    {
        if kv::entry(&world.consul, &key).is_some() && !may_stay {
            found.push(format!("{key} is still there"));
        }
    }
    found
}

fn unexplained(record: &Deployment) -> Option<String> {
    let (name, state) = (mark(&record.id), record.state);
    match state {
        State::Completed => None,
        State::Refused | State::Undone | State::Superseded if record.reason.is_some() => None,
        State::Refused | State::Undone | State::Superseded => {
            Some(format!("{name} is {state} without a reason"))
        }
        State::Stuck => Some(format!("{name} is stuck: {:?} {:?}", record.reason, record.warnings)),
        State::Waiting | State::Running | State::Undoing => Some(format!("{name} is {state}")),
    }
}

/// The newest deployment that committed is the one that KV names; a migration leaves the entry as it is.
fn entry_is_committed(records: &[Deployment], entry: Option<&AppRecord>) -> Option<String> {
    let counts = |record: &&Deployment| record.committed && record.request.source().is_none();
    let newest = records.iter().filter(counts).max_by_key(|record| record.epoch);
    let expected = newest.filter(|record| record.placement.is_some()).map(|r| r.id.to_string());
    let found = entry.map(|entry| entry.deploy_id.clone());
    (expected != found).then(|| format!("KV names {found:?}, and {expected:?} was committed last"))
}

/// What is not looked at on a machine.
#[derive(Debug, Clone, Copy)]
struct Spared {
    /// The containers are those of the version before.
    is_as_before: bool,
    /// Volumes may have stayed where the app no longer is.
    stays: bool,
    /// The checkout went with the disks.
    lacks_checkout: bool,
}

/// What a machine holds of an app beside what its role says.
fn on_machine(
    world: &World,
    app: &App,
    machine: &Machine,
    entry: Option<&AppRecord>,
    spared: Spared,
) -> Vec<String> {
    let pair = entry.map(AppRecord::placement);
    let role = Placement::role_of(pair.as_ref(), &machine.name);
    let mut found = Vec::new();
    let mut compare = |what: &str, is: BTreeSet<String>, should: BTreeSet<String>| {
        if is != should {
            found.push(format!("{role}: {what}: {is:?} instead of {should:?}"));
        }
    };
    let serves = entry.filter(|_| role == Role::Master);
    let state = machine.fakes.machine.state().clone();
    let project = app.project.as_str();
    let own = state.containers.get(project).cloned().unwrap_or_default();
    let running = own.iter().map(|c| format!("{} {}", c.service, c.state)).collect();
    let both = ["db running", "web running"].map(str::to_owned);
    compare("containers", running, serves.map(|_| both.into()).unwrap_or_default());
    if let Some(entry) = serves.filter(|_| !spared.is_as_before) {
        let version = machine.state().versions.get(project).cloned();
        compare("version", version.into_iter().collect(), [entry.deploy_id.clone()].into());
    }
    let prefix = app.project.volume("");
    let volumes = state.volumes.keys().filter(|name| name.starts_with(&prefix)).cloned();
    let named = serves.map(|entry| entry.volumes.iter().cloned().collect());
    // Where the app went on with copies, what its former master had left stays there.
    if !spared.stays || serves.is_some() {
        compare("volumes", volumes.collect(), named.unwrap_or_default());
    }
    if serves.is_none() {
        let images = state.images.keys().filter(|image| image.starts_with(project)).cloned();
        compare("images", images.collect(), BTreeSet::new());
    }
    let own = format!("tandem-kept/{project}:");
    let kept = state.images.keys().filter(|image| image.starts_with(&own)).cloned();
    compare("kept images", kept.collect(), BTreeSet::new());
    let should = entry.filter(|_| role != Role::Bystander);
    let checkout = should.map(|entry| format!("{}-{}", app.name, entry.deploy_id));
    if role != Role::Replica || !spared.lacks_checkout {
        compare("checkouts", checkouts(app, machine), checkout.into_iter().collect());
    }
    let schedules = state.schedules.iter().filter(|s| s.volume.starts_with(&prefix));
    let schedules = schedules.map(|s| format!("{} {}", s.volume, s.action)).collect();
    compare("schedules", schedules, expected_schedules(world, entry, role));
    let services = world.consul.registrations(&machine.name);
    let services = services.into_keys().filter(|id| *id == app.name.as_str()).collect();
    compare("services", services, serves.map(|_| app.name.to_string()).into_iter().collect());
    found
}

fn checkouts(app: &App, machine: &Machine) -> BTreeSet<String> {
    let entries = std::fs::read_dir(machine.deploy_dir()).expect("the folder of checkouts");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("a plain name"));
    names.filter(|name| name.starts_with(app.name.as_str())).collect()
}

fn expected_schedules(world: &World, entry: Option<&AppRecord>, role: Role) -> BTreeSet<String> {
    let Some(entry) = entry else { return BTreeSet::new() };
    let slave = entry.slave.as_ref().and_then(|name| world.node(name));
    let first = match (role, slave) {
        (Role::Master, Some(slave)) => Some(format!("replicate:{}", world.machines[slave].address)),
        (Role::Master, None) => Some("snapshot".to_owned()),
        (Role::Replica | Role::Bystander, _) => None,
    };
    if role == Role::Bystander {
        return BTreeSet::new();
    }
    let actions: Vec<String> =
        first.into_iter().chain(["purge:1h:1d:1w:4w:1y".to_owned()]).collect();
    let each =
        |volume: &String| actions.iter().map(|a| format!("{volume} {a}")).collect::<Vec<_>>();
    entry.volumes.iter().flat_map(each).collect()
}

/// What was acknowledged is somewhere.
fn data_is_held(world: &World, app: &App) -> Vec<String> {
    let mut found = Vec::new();
    let promises = app.promises.lock().unwrap();
    for (volume, tokens) in promises.archived.iter().flatten() {
        if !is_held(world, app, volume, tokens) {
            found.push(format!("no snapshot of {volume} holds what the destroyed app wrote"));
        }
    }
    for (volume, tokens) in &promises.written {
        if !is_held(world, app, volume, tokens) {
            found.push(format!("what was written to {volume} is nowhere"));
        }
    }
    found
}

/// What was acknowledged is there, and nothing that a version wrote which was given up.
fn promises(
    world: &World,
    app: &App,
    entry: Option<&AppRecord>,
    records: &[Deployment],
) -> Vec<String> {
    let mut found = data_is_held(world, app);
    let promises = app.promises.lock().unwrap().clone();
    let wounds = app.wounds.lock().unwrap().clone();
    for (volume, tokens) in &promises.written {
        let master = entry.filter(|entry| entry.volumes.contains(volume));
        let node = master.and_then(|entry| world.node(&entry.master));
        let Some(node) = node.filter(|node| !wounds.is_open(*node, records)) else {
            continue;
        };
        let state = world.machines[node].fakes.machine.state();
        let content = state.volumes.get(volume).cloned().unwrap_or_default();
        if !holds(&content, tokens) {
            let missing = first_missing(&content, tokens);
            found.push(format!("{volume} lost {missing:?} of {}: {content}", tokens.len()));
        }
        let given_up = records.iter().filter(|record| !record.committed);
        for record in given_up.filter(|record| !promises.has_inherited(volume, &record.id)) {
            let (up, update) = (mark(&record.id), format!("{}u", mark(&record.id)));
            if content.split(';').any(|token| token == up || token == update) {
                found
                    .push(format!("{volume} holds what {up} wrote, which was given up: {content}"));
            }
        }
    }
    found
}
