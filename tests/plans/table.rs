//! What a deployment must leave behind on each node, by its old and its new role.
//!
//! | | → master | → slave | → nothing |
//! |---|---|---|---|
//! | **master →** | the new version; a snapshot from before | no app, no volume, the snapshot, the new checkout | nothing but the snapshot |
//! | **slave →** | the data of the old master's last snapshot | the new checkout | no checkout, its snapshots |
//! | **nothing →** | as a slave; at first an empty volume | the new checkout | unchanged |
//!
//! A migration leaves everything as it was but the data of the master's volume.

use tandem::model::deployment::{Deployment, Status, Step, Transition};
use tandem::model::{NodeName, Request, Role};

use crate::meaning::schedules;
use crate::run::Run;
use crate::world::{Data, Entry, Node, Taken, Wrong, need};

/// Holds the table, and the entry in KV, against a deployment that has completed; nodes that still owe something aside.
pub(crate) fn check(run: &Run) -> Result<(), Wrong> {
    let Run { world, deployment, before } = run;
    let in_debt: Vec<&NodeName> =
        run.owed().into_iter().map(|index| &deployment.steps[index].node).collect();
    for (name, node) in world.nodes.iter().filter(|(name, _)| !in_debt.contains(name)) {
        let was = &before.nodes[name];
        let expected = match deployment.transitions.get(name) {
            Some(transition) if is_migration(deployment) => migrated(run, was, *transition, node),
            Some(transition) => {
                snapshots(deployment, *transition, node).map_err(|why| format!("{name}: {why}"))?;
                Node { snapshots: node.snapshots.clone(), ..left(run, name, transition.to) }
            }
            None => was.clone(),
        };
        need(*node == expected, || format!("{name} is {node:#?}, not {expected:#?}"))?;
        let kept = was.snapshots.keys().all(|key| node.snapshots.contains_key(key));
        need(kept, || format!("{name} has lost a snapshot"))?;
    }
    let (id, code) = (deployment.id.clone(), world.head);
    let entry = match is_migration(deployment) {
        true => before.entry.clone(),
        false => deployment.placement.clone().map(|pair| Entry { pair, id, code }),
    };
    need(world.entry == entry, || format!("the entry is {:?}, not {entry:?}", world.entry))?;
    need(in_debt.contains(&master(run)) || !world.maintenance, || "under maintenance".to_owned())
}

/// Everything but snapshots.
fn left(run: &Run, name: &NodeName, role: Role) -> Node {
    let Run { world, deployment, .. } = run;
    let checkout = [(deployment.id.clone(), world.head)].into();
    let schedules = schedules(deployment, name);
    match role {
        Role::Master => Node {
            running: Some(world.head),
            volume: Some(Data { rows: world.rows, touched: world.head, root: world.root }),
            image: Some(world.head),
            registered: true,
            checkouts: checkout,
            schedules,
            ..Node::default()
        },
        Role::Replica => Node { checkouts: checkout, schedules, ..Node::default() },
        Role::Bystander => Node::default(),
    }
}

fn is_migration(deployment: &Deployment) -> bool {
    matches!(deployment.request, Request::Migrate { .. })
}

fn migrated(run: &Run, was: &Node, transition: Transition, node: &Node) -> Node {
    let root = run.deployment.epoch;
    let volume = match transition.to {
        Role::Master => was.volume.map(|data| Data { rows: run.world.rows, root, ..data }),
        Role::Replica | Role::Bystander => was.volume,
    };
    let mut snapshots = node.snapshots.clone();
    snapshots.remove(&(run.deployment.id.clone(), Taken::Source));
    Node { volume, snapshots, ..was.clone() }
}

/// Who had the data has its last snapshot, and so has who got it; but for an app that went on running.
fn snapshots(deployment: &Deployment, transition: Transition, node: &Node) -> Result<(), Wrong> {
    let spared = |step: &Step| {
        deployment.steps.iter().any(|s| s.step == *step && s.status == Status::Skipped)
    };
    let had = transition.from == Role::Master;
    let gets = transition.to == Role::Master && deployment.former.is_some();
    if !(had || gets) || spared(&Step::Snapshot) {
        return Ok(());
    }
    let last = node.snapshots.get(&(deployment.id.clone(), Taken::Last));
    need(last.is_some_and(|copy| copy.verified), || format!("its last snapshot is {last:?}"))
}

/// The master to be, or the last one of an app that goes.
fn master(run: &Run) -> &NodeName {
    let commit = run.deployment.steps.iter().find(|step| crate::run::is_commit(&step.step));
    &commit.unwrap().node
}
