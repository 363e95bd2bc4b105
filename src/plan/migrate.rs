//! The steps that bring the volumes of one app into another. The source is never stopped.

use super::pick::Choice;
use super::transition::transitions;
use super::{Facts, Plan, Refusal, Steps};
use crate::model::AppId;
use crate::model::deployment::{Step, Transition};
use crate::model::placement::Role;

pub(super) fn plan(source: &AppId, update: bool, facts: &Facts) -> Result<Plan, Refusal> {
    let target = facts.app.as_ref().ok_or(Refusal::NoSuchApp)?;
    let from = facts.source.as_ref().ok_or_else(|| Refusal::NoSuchSource(source.name()))?;
    let (pair, from, to) = (target.placement(), &from.master, &target.master);
    facts.require(to)?;
    facts.require(from)?;
    let mut steps = Steps::default();
    steps.one(from, Step::Offer);
    steps.one(to, Step::Match);
    steps.one(from, Step::SnapshotSource);
    steps.one(from, Step::Copy { to: to.clone() });
    steps.one(to, Step::ReceiveCopy);
    for step in [Step::BeginMaintenance, Step::Stop, Step::Snapshot, Step::Replace] {
        steps.one(to, step);
    }
    steps.one(to, Step::PostMigrate);
    if update {
        steps.one(to, Step::Update);
    }
    for step in [Step::Up, Step::AwaitHealthy, Step::Commit, Step::EndMaintenance] {
        steps.one(to, step);
    }
    steps.one(to, Step::DropCopies);
    if from != to {
        steps.one(from, Step::DropCopies);
    }
    let mut transitions = transitions(Some(&pair), Some(&pair));
    let bystander = Transition { from: Role::Bystander, to: Role::Bystander };
    transitions.entry(from.clone()).or_insert(bystander);
    Ok(Plan { placement: Some(pair), transitions, steps: steps.steps, choice: Choice::default() })
}
