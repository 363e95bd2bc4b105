//! The steps that remove an app and keep its volume snapshots.

use super::transition::transitions;
use super::{Choice, Facts, Plan, Refusal, Steps};
use crate::model::deployment::Step;

pub(super) fn plan(facts: &Facts) -> Result<Plan, Refusal> {
    let app = facts.app.as_ref().ok_or(Refusal::NoSuchApp)?;
    let old = app.placement();
    facts.require(&old.master)?;
    let mut steps = Steps::default();
    for step in [Step::BeginMaintenance, Step::Stop, Step::Snapshot, Step::Forget, Step::Deregister]
    {
        steps.one(&old.master, step);
    }
    steps.stage(old.nodes().map(|node| (node.clone(), Step::Unschedule)));
    steps.one(&old.master, Step::Remove);
    steps.stage(old.nodes().map(|node| (node.clone(), Step::RemoveCheckouts { keep: None })));
    steps.one(&old.master, Step::EndMaintenance);
    Ok(Plan {
        placement: None,
        transitions: transitions(Some(&old), None),
        steps: steps.steps,
        choice: Choice::default(),
    })
}
