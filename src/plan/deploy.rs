//! The steps of a deployment where nobody has the app, or where its master stays.

use super::transition::transitions;
use super::{Facts, Plan, Refusal, Steps};
use crate::model::deployment::Step;
use crate::model::{DeployId, NodeName, Placement};

pub(super) fn plan(
    id: &DeployId,
    new: Placement,
    update: bool,
    facts: &Facts,
) -> Result<Plan, Refusal> {
    new.nodes().try_for_each(|node| facts.require(node))?;
    let old = facts.app.as_ref().map(|app| app.placement());
    if let Some(old) = old.as_ref().filter(|old| old.master != new.master) {
        return Err(Refusal::Move(old.master.clone()));
    }
    let mut steps = Steps::default();
    prepare(&mut steps, &new, old.is_some());
    if old.is_some() {
        hand_over(&mut steps, &new.master);
    }
    start(&mut steps, &new.master, update);
    clean(&mut steps, id, &new, old.as_ref());
    Ok(Plan {
        transitions: transitions(old.as_ref(), Some(&new)),
        placement: Some(new),
        steps: steps.steps,
    })
}

/// Everything that can fail while the former version serves.
fn prepare(steps: &mut Steps, new: &Placement, redeploy: bool) {
    let master = || new.master.clone();
    steps.stage(new.nodes().map(|node| (node.clone(), Step::Checkout)));
    steps.stage([(master(), Step::Check)]);
    if redeploy {
        steps.stage([(master(), Step::KeepImages)]);
    }
    steps.stage([(master(), Step::Pull)]);
    steps.stage([(master(), Step::Build)]);
}

/// The former version makes room; its volumes are kept as they are at that moment.
fn hand_over(steps: &mut Steps, master: &NodeName) {
    for step in [Step::BeginMaintenance, Step::Stop, Step::Snapshot] {
        steps.stage([(master.clone(), step)]);
    }
}

fn start(steps: &mut Steps, master: &NodeName, update: bool) {
    let update = update.then_some(Step::Update);
    for step in update.into_iter().chain([Step::Up, Step::AwaitHealthy, Step::Commit]) {
        steps.stage([(master.clone(), step)]);
    }
}

/// What follows the commit, on every node of the old and the new pair.
fn clean(steps: &mut Steps, id: &DeployId, new: &Placement, old: Option<&Placement>) {
    let master = || new.master.clone();
    if old.is_some() {
        steps.stage([(master(), Step::EndMaintenance)]);
    }
    steps.stage([(master(), Step::Register)]);
    steps.stage(new.nodes().map(|node| (node.clone(), Step::Schedule)));
    let Some(old) = old else { return };
    let left = old.nodes().filter(|node| !new.nodes().any(|n| n == *node));
    let left: Vec<NodeName> = left.cloned().collect();
    steps.stage(left.iter().map(|node| (node.clone(), Step::Unschedule)));
    let keep = || Step::RemoveCheckouts { keep: Some(id.clone()) };
    let staying = new.nodes().map(|node| (node.clone(), keep()));
    let leaving = left.iter().map(|node| (node.clone(), Step::RemoveCheckouts { keep: None }));
    steps.stage(staying.chain(leaving));
    steps.stage([(master(), Step::ReleaseImages)]);
}
