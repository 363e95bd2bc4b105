//! The steps of a deployment: where nobody has the app, where its master stays, and where it moves with its data.

use super::transition::transitions;
use super::{Choice, Facts, Plan, Refusal, Steps};
use crate::model::deployment::Step;
use crate::model::{DeployId, NodeName, Placement};

pub(super) fn plan(
    id: &DeployId,
    new: Placement,
    update: bool,
    facts: &Facts,
) -> Result<Plan, Refusal> {
    let old = facts.app.as_ref().map(|app| app.placement());
    // Asked first: that the data is there is the better reason, also where this node is to be the slave.
    if let Some(old) = old.as_ref().filter(|old| old.master != new.master) {
        facts.require(&old.master).map_err(|_| Refusal::MasterAway(old.master.clone()))?;
    }
    new.nodes().try_for_each(|node| facts.require(node))?;
    let mut steps = Steps::default();
    match &old {
        None => {
            prepare(&mut steps, &new, None);
            start(&mut steps, &new.master, update);
        }
        Some(old) if old.master == new.master => {
            prepare(&mut steps, &new, Some(old));
            replace(&mut steps, &new.master, update);
            start(&mut steps, &new.master, update);
        }
        Some(old) => {
            prepare(&mut steps, &new, Some(old));
            hand_over(&mut steps, &old.master, &new.master);
            start(&mut steps, &new.master, update);
        }
    }
    clean(&mut steps, id, &new, old.as_ref());
    Ok(Plan {
        transitions: transitions(old.as_ref(), Some(&new)),
        placement: Some(new),
        steps: steps.steps,
        choice: Choice::default(),
    })
}

/// The app begins on a node that holds copies, because its master has lost its volumes: nothing stops, for nothing runs.
pub(super) fn from_replica(
    id: &DeployId,
    new: Placement,
    update: bool,
    facts: &Facts,
) -> Result<Plan, Refusal> {
    let old = facts.app.as_ref().ok_or(Refusal::NoSuchApp)?.placement();
    let known = || match facts.copies.is_empty() {
        true => "nobody".to_owned(),
        false => facts.copies.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", "),
    };
    let master = new.master.clone();
    if old.master == master {
        return Err(Refusal::CopiesElsewhere(master, known()));
    }
    if !facts.copies.contains(&master) {
        return Err(Refusal::NoCopies { master, known: known() });
    }
    facts.require(&old.master).map_err(|_| Refusal::MasterAway(old.master.clone()))?;
    new.nodes().try_for_each(|node| facts.require(node))?;
    let mut steps = Steps::default();
    steps.stage(new.nodes().map(|node| (node.clone(), Step::Checkout)));
    steps.one(&master, Step::Check);
    probe(&mut steps, &new, Some(&old));
    steps.one(&old.master, Step::ConfirmLoss);
    for step in [Step::Recall, Step::Pull, Step::Build, Step::BeginMaintenance, Step::Restore] {
        steps.one(&master, step);
    }
    start(&mut steps, &master, update);
    clean(&mut steps, id, &new, Some(&old));
    Ok(Plan {
        transitions: transitions(Some(&old), Some(&new)),
        placement: Some(new),
        steps: steps.steps,
        choice: Choice::default(),
    })
}

/// Copies have gone this way before where the pair is the same.
fn probe(steps: &mut Steps, new: &Placement, old: Option<&Placement>) {
    if let Some(to) = new.replica.clone().filter(|_| old != Some(new)) {
        steps.one(&new.master, Step::Probe { to: to.clone() });
        steps.one(&to, Step::ReceiveProbe);
    }
}

/// Everything that can fail while the former version serves.
fn prepare(steps: &mut Steps, new: &Placement, old: Option<&Placement>) {
    let master = &new.master;
    steps.stage(new.nodes().map(|node| (node.clone(), Step::Checkout)));
    steps.one(master, Step::Check);
    probe(steps, new, old);
    let leaves = old.map(|old| &old.master).filter(|from| *from != master);
    match leaves {
        Some(from) => {
            steps.one(from, Step::Measure);
            steps.one(master, Step::Room);
        }
        None if old.is_some() => steps.one(master, Step::KeepImages),
        None => {}
    }
    steps.one(master, Step::Pull);
    steps.one(master, Step::Build);
    if let Some(from) = leaves {
        steps.one(from, Step::Seed { to: master.clone() });
        steps.one(master, Step::ReceiveSeed);
    }
}

/// The former version makes room on the same node; its volumes are kept as they are at that moment.
fn replace(steps: &mut Steps, master: &NodeName, update: bool) {
    if !update {
        steps.one(master, Step::Compare);
    }
    for step in [Step::BeginMaintenance, Step::Stop, Step::Snapshot] {
        steps.one(master, step);
    }
}

/// The former version stops, and its data goes to the new master: what a request waits for.
fn hand_over(steps: &mut Steps, from: &NodeName, to: &NodeName) {
    for step in [Step::BeginMaintenance, Step::Stop, Step::Snapshot, Step::Send { to: to.clone() }]
    {
        steps.one(from, step);
    }
    for step in [Step::Receive, Step::Restore] {
        steps.one(to, step);
    }
}

fn start(steps: &mut Steps, master: &NodeName, update: bool) {
    let update = update.then_some(Step::Update);
    for step in update.into_iter().chain([Step::Up, Step::AwaitHealthy, Step::Commit]) {
        steps.one(master, step);
    }
}

/// What follows the commit, on every node of the old and the new pair.
fn clean(steps: &mut Steps, id: &DeployId, new: &Placement, old: Option<&Placement>) {
    let master = &new.master;
    if old.is_some() {
        steps.one(master, Step::EndMaintenance);
    }
    let left_master = old.map(|old| &old.master).filter(|from| *from != master);
    if left_master.is_some() {
        steps.one(master, Step::KeepRunning);
    }
    steps.one(master, Step::Register);
    if let Some(from) = left_master {
        steps.one(from, Step::Deregister);
    }
    steps.stage(new.nodes().map(|node| (node.clone(), Step::Schedule)));
    let former = old.into_iter().flat_map(Placement::nodes);
    let left: Vec<NodeName> =
        former.filter(|node| !new.nodes().any(|stays| stays == *node)).cloned().collect();
    steps.stage(left.iter().map(|node| (node.clone(), Step::Unschedule)));
    if let Some(from) = left_master {
        steps.one(from, Step::Leave);
    }
    let keep = || Step::RemoveCheckouts { keep: Some(id.clone()) };
    let staying = new.nodes().map(|node| (node.clone(), keep()));
    let leaving = left.iter().map(|node| (node.clone(), Step::RemoveCheckouts { keep: None }));
    steps.stage(staying.chain(leaving));
    if old.is_some() && left_master.is_none() {
        steps.one(master, Step::ReleaseImages);
    }
}
