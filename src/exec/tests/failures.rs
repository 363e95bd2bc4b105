//! Every step fails in turn: before the commit all is as it was, after it the new version serves.

use super::apps::{deploy, destroy, id};
use super::lab::Lab;
use super::scenarios::{ALL, Scenario, TESTED, When};
use super::world::World;
use crate::exec::driver::FORWARD_TRIES;
use crate::host::compose::ComposeError;
use crate::model::deployment::{Deployment, State, Step, StepRecord};
use crate::model::keys;

fn is_point_of_no_return(step: &StepRecord) -> bool {
    matches!(step.step, Step::Commit | Step::Forget)
}

/// What the data is after an undo: that of the moment of the stop, if there was one, and what the former version wrote
/// when it started again.
fn content_after_undo(accepted: &Deployment, failed: usize, when: When) -> &'static str {
    let stop = accepted.steps.iter().position(|step| step.step == Step::Stop);
    let stopped = stop.is_some_and(|stop| failed > stop || failed == stop && when == When::After);
    if stopped { "v1;last;v1;" } else { "v1;" }
}

/// Without the images that may stay: what was pulled for an app that is new, and what was built for a service that the
/// former version does not have.
fn without_spare_images(mut world: World, former: &World, lab: &Lab) -> World {
    let mut spare = vec!["registry:5000/db:1".to_owned()];
    if !former.images.is_empty() {
        spare.push(format!("{}_worker:latest", lab.app.project()));
    }
    spare.retain(|tag| !former.images.contains_key(tag));
    world.images.retain(|tag, _| !spare.contains(tag));
    world
}

async fn assert_undone(lab: &Lab, before: &[World], failed: usize, when: When, what: &str) {
    let record = lab.record(&id(TESTED)).await;
    let step = &record.steps[failed];
    let harmless = step.step.is_harmless();
    let expected = if harmless { State::Refused } else { State::Undone };
    assert_eq!(record.state, expected, "{what}: {record:#?}");
    assert!(!record.committed, "{what}");
    let reason = record.reason.clone().unwrap();
    assert!(reason.starts_with(&format!("{} on {}: ", step.step, step.node)), "{what}: {reason}");
    lab.assert_idle(what).await;
    for (node, former) in lab.nodes.iter().zip(before) {
        let mut expected = former.clone();
        for content in expected.volumes.values_mut() {
            *content = content_after_undo(&record, failed, when).to_owned();
        }
        let now = without_spare_images(node.world(lab), former, lab);
        assert_eq!(now, expected, "{what}: {}", node.name);
    }
}

async fn fail_at(scenario: Scenario, failed: usize, when: When) -> bool {
    let lab = scenario.lab().await;
    let before = lab.worlds();
    let entry = lab.value(&keys::app(&lab.app)).await;
    let accepted = scenario.accepted(&lab).await;
    let Some(step) = accepted.steps.get(failed) else {
        return false;
    };
    let what = format!("{scenario:?}, {} on {} fails, {when:?}", step.step, step.node);
    let point = accepted.steps.iter().position(is_point_of_no_return).unwrap();
    lab.fail(step, if failed > point { FORWARD_TRIES } else { 1 }, when);
    lab.work(&id(TESTED)).await;
    if failed <= point {
        assert_undone(&lab, &before, failed, when, &what).await;
        assert_eq!(lab.value(&keys::app(&lab.app)).await, entry, "{what}");
    } else {
        let record = lab.record(&id(TESTED)).await;
        assert_eq!(record.state, State::Completed, "{what}");
        assert!(record.committed && record.reason.is_none(), "{what}");
        let warning = record.warnings.join("; ");
        let label = format!("{} on {} is left to it: ", step.step, step.node);
        assert!(warning.contains(&label), "{what}: {warning}");
        assert!(lab.owes(step).await, "{what}");
        assert_eq!(lab.value(&keys::lease(&lab.app)).await, None, "{what}");
    }
    lab.mend();
    lab.settle().await;
    assert!(!lab.owes(step).await, "{what}");
    assert_next_succeeds(&lab, scenario, failed > point, &what).await;
    true
}

/// The deployment after the failed one works, and what it leaves has no trace of the failure.
async fn assert_next_succeeds(lab: &Lab, scenario: Scenario, committed: bool, what: &str) {
    if scenario == Scenario::Destroy && committed {
        return;
    }
    let state = lab.run(&id(3), &deploy(Some(2))).await;
    assert_eq!(state, State::Completed, "{what}: {:#?}", lab.record(&id(3)).await);
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(3).as_str(), "{what}");
    assert_eq!(lab.node(1).world(lab).containers.len(), 3, "{what}");
    for (node, checkouts) in lab.nodes.iter().zip([1, 1, 0]) {
        assert_eq!(node.world(lab).checkouts.len(), checkouts, "{what}: {}", node.name);
    }
    assert_eq!(lab.run(&id(4), &destroy()).await, State::Completed, "{what}");
    lab.assert_idle(what).await;
    for node in &lab.nodes {
        assert_eq!(node.world(lab), World { images: node.world(lab).images, ..World::default() });
    }
}

async fn fail_everywhere(scenario: Scenario, when: When) {
    let mut failed = 0;
    while fail_at(scenario, failed, when).await {
        failed += 1;
    }
    assert!(failed > 7, "{scenario:?} has {failed} steps only");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_before_it_acts() {
    for scenario in ALL {
        fail_everywhere(scenario, When::Before).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_fails_after_it_acted() {
    for scenario in ALL {
        fail_everywhere(scenario, When::After).await;
    }
}

/// A node that lost its power in the middle of a clone.
#[tokio::test(start_paused = true)]
async fn half_a_clone_goes_with_its_deployment() {
    let lab = Lab::new().await;
    let half = |number: u32| {
        let name = format!(".{}-{}.Ab12.partial", lab.app, id(number));
        lab.node(1).dir.path().join("deploy").join(name)
    };
    for number in [1, 2] {
        std::fs::create_dir_all(half(number).join("deep")).unwrap();
    }
    let error = ComposeError::Invalid { why: "made to fail".to_owned() };
    lab.node(1).fakes.compose.fail_next("pull", error);
    assert_eq!(lab.run(&id(1), &deploy(None)).await, State::Refused);
    assert!(!half(1).exists() && half(2).exists());
}
