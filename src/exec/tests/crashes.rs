//! The agent dies around every step and comes back: the end is that of an undisturbed deployment.

use super::apps::{deploy, id};
use super::lab::Lab;
use super::scenarios::{ALL, Scenario, TESTED, When};
use super::seams::{Fault, marks};
use super::world::World;
use crate::model::deployment::{State, Status, Step};
use crate::model::keys;

/// What is compared: everything but the ids of images that were built.
fn comparable(lab: &Lab) -> Vec<World> {
    let mut worlds = lab.worlds();
    for world in &mut worlds {
        let built =
            |image: &String| image.starts_with("image-web") || image.starts_with("image-worker");
        world.images.values_mut().filter(|id| built(id)).for_each(|id| *id = "built".to_owned());
        let containers = std::mem::take(&mut world.containers);
        let plain =
            |(name, image, up)| (name, if built(&image) { "built".to_owned() } else { image }, up);
        world.containers = containers.into_iter().map(plain).collect();
    }
    worlds
}

/// The worlds and the warnings of an undisturbed deployment.
async fn undisturbed(scenario: Scenario) -> (Vec<World>, Vec<String>) {
    let lab = scenario.lab().await;
    scenario.accepted(&lab).await;
    assert_eq!(lab.work(&id(TESTED)).await, State::Completed);
    (comparable(&lab), warnings(&lab).await)
}

/// The warnings, without the times of snapshots.
async fn warnings(lab: &Lab) -> Vec<String> {
    let warnings = lab.record(&id(TESTED)).await.warnings.into_iter();
    warnings.map(|text| text.split('@').next().unwrap_or_default().to_owned()).collect()
}

/// The agent of the step's node dies where a transaction gives the step a status. False if there is no such step.
async fn die_at(
    scenario: Scenario,
    index: usize,
    fault: Fault,
    status: Status,
    (worlds, warnings): &(Vec<World>, Vec<String>),
) -> bool {
    let lab = scenario.lab().await;
    let accepted = scenario.accepted(&lab).await;
    let Some(step) = accepted.steps.get(index) else {
        return false;
    };
    let what = format!("{scenario:?}, around {status} of {} on {}", step.step, step.node);
    let node = lab.node_of(step);
    node.kv.inject(1, fault, marks(index, status));
    assert_eq!(lab.work(&id(TESTED)).await, State::Completed, "{what}");
    assert!(node.kv.spent(), "{what}: the agent did not die");
    assert_eq!(comparable(&lab), *worlds, "{what}");
    let content = lab.node(scenario.master()).volume(&lab, "data");
    assert_eq!(content, scenario.content(), "{what}");
    assert_eq!(self::warnings(&lab).await, *warnings, "{what}");
    lab.assert_idle(&what).await;
    true
}

async fn die_everywhere(fault: Fault, status: Status) {
    for scenario in ALL {
        let end = undisturbed(scenario).await;
        let mut index = 0;
        while die_at(scenario, index, fault.clone(), status, &end).await {
            index += 1;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_step_is_announced() {
    die_everywhere(Fault::DieAfter, Status::Running).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_step_acted_and_before_it_is_noted() {
    die_everywhere(Fault::DieBefore, Status::Done).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_step_is_noted() {
    die_everywhere(Fault::DieAfter, Status::Done).await;
}

/// A deployment fails late, and the agent dies around every undo.
async fn die_undoing(scenario: Scenario, index: usize, fault: Fault, status: Status) -> bool {
    let lab = scenario.lab().await;
    let before = lab.worlds();
    let entry = lab.value(&keys::app(&lab.app)).await;
    let accepted = scenario.accepted(&lab).await;
    let fails = accepted.steps.iter().position(|step| step.step == Step::AwaitHealthy).unwrap();
    if index > fails {
        return false;
    }
    let step = &accepted.steps[index];
    let what = format!("{scenario:?}, around {status} of {} on {}", step.step, step.node);
    lab.fail(&accepted.steps[fails], 1, When::Before);
    let node = lab.node_of(step);
    node.kv.inject(1, fault, marks(index, status));
    assert_eq!(lab.work(&id(TESTED)).await, State::Undone, "{what}");
    assert!(node.kv.spent(), "{what}: the agent did not die");
    lab.assert_idle(&what).await;
    assert_eq!(lab.value(&keys::app(&lab.app)).await, entry, "{what}");
    for (node, before) in lab.nodes.iter().zip(before) {
        let mut now = node.world(&lab);
        now.images.retain(|tag, _| before.images.contains_key(tag));
        now.volumes = now
            .volumes
            .into_iter()
            .map(|(name, text)| (name, text.replace("last;v1;", "")))
            .collect();
        assert_eq!(now, before, "{what}");
    }
    lab.mend();
    assert_eq!(lab.run(&id(3), &deploy(Some(2))).await, State::Completed, "{what}");
    true
}

#[tokio::test(start_paused = true)]
async fn around_every_undo() {
    for (fault, status) in [
        (Fault::DieAfter, Status::Undoing),
        (Fault::DieBefore, Status::Undone),
        (Fault::DieAfter, Status::Undone),
    ] {
        for scenario in [
            Scenario::First,
            Scenario::Redeploy,
            Scenario::Update,
            Scenario::Swap,
            Scenario::Third,
            Scenario::Rotate,
        ] {
            let mut index = 0;
            while die_undoing(scenario, index, fault.clone(), status).await {
                index += 1;
            }
        }
    }
}
