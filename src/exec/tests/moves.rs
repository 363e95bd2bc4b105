//! Apps change masters, and take their data along.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::apps::{V2, deploy, destroy, id, node, to};
use super::lab::Lab;
use super::scenarios::{Scenario, TESTED, When};
use super::seams::{Fault, marks};
use super::world::World;
use crate::consul::memory::MemoryConsul;
use crate::exec::driver::FORWARD_TRIES;
use crate::host::compose::ComposeError;
use crate::host::docker::{Health, State as Run};
use crate::host::volume::VolumeError;
use crate::model::deployment::{Deployment, State, Status, Step};
use crate::model::{Amount, DeployId, keys};

fn schedules(world: &World) -> BTreeSet<String> {
    world.schedules.iter().map(|(_, action, _)| action.clone()).collect()
}

/// The restart policies of a node's containers.
fn restarts(lab: &Lab, number: usize) -> BTreeSet<String> {
    let state = lab.node(number).fakes.machine.state();
    state.containers.values().flatten().map(|container| container.restart.clone()).collect()
}

fn position(record: &Deployment, wanted: impl Fn(&Step) -> bool) -> usize {
    record.steps.iter().position(|step| wanted(&step.step)).unwrap()
}

/// buttervolume went on restoring for an agent that was killed, and then once more for the next one.
#[tokio::test(start_paused = true)]
async fn a_volume_in_which_two_restores_met_is_not_started_on() {
    let lab = Scenario::Swap.lab().await;
    let volume = lab.app.project().volume("data");
    let nested = vec![format!("{volume}@2026-01-01")];
    lab.node(2).fakes.machine.state().nested.insert(volume, nested);
    assert_eq!(lab.run(&id(TESTED), &to(2, Some(1))).await, State::Undone);
    let reason = lab.record(&id(TESTED)).await.reason.unwrap();
    assert!(reason.contains("two restores met"), "{reason}");
    assert_eq!(lab.entry().await.unwrap().master, node(1));
}

#[tokio::test(start_paused = true)]
async fn slave_and_master_change_places() {
    let lab = Scenario::Swap.lab().await;
    assert_eq!(lab.run(&id(TESTED), &to(2, Some(1))).await, State::Completed);
    let (old, new) = (lab.node(1).world(&lab), lab.node(2).world(&lab));
    assert_eq!(lab.node(2).volume(&lab, "data").as_deref(), Some("v1;last;v2;"));
    assert!(old.volumes.is_empty() && old.containers.is_empty(), "{old:#?}");
    assert!(new.containers.iter().all(|(_, _, up)| *up) && new.containers.len() == 3);
    let snapshots = lab.node(1).snapshots(&lab, "data");
    assert!(snapshots.contains(&"v1;last;".to_owned()), "{snapshots:?}");
    assert_eq!(old.checkouts, new.checkouts);
    assert_eq!(old.checkouts.len(), 1);
    assert_eq!((old.services.len(), new.services.len()), (0, 1));
    let purge = "purge:1h:1d:1w:4w:1y".to_owned();
    assert_eq!(schedules(&old), [purge.clone()].into());
    assert_eq!(schedules(&new), [purge, "replicate:10.77.0.1".to_owned()].into());
    let entry = lab.entry().await.unwrap();
    assert_eq!((entry.master, entry.slave), (node(2), Some(node(1))));
    // What goes back are changes to what both have.
    let snapshots = lab.node(2).fakes.machine.state().snapshots.clone();
    let mark = snapshots.iter().find(|(name, _)| name.sent_to() == Some("10.77.0.1"));
    assert_eq!(mark.map(|(_, common)| common.content.as_str()), Some("v1;last;"));
    assert_eq!(restarts(&lab, 2), ["always".to_owned(), "unless-stopped".to_owned()].into());
    lab.assert_idle("swap").await;
}

#[tokio::test(start_paused = true)]
async fn to_a_third_node_alone() {
    let lab = Scenario::Third.lab().await;
    assert_eq!(lab.run(&id(TESTED), &to(3, None)).await, State::Completed);
    assert_eq!(lab.node(3).volume(&lab, "data").as_deref(), Some("v1;last;v2;"));
    for left in [1, 2] {
        let world = lab.node(left).world(&lab);
        let images = world.images.clone();
        assert_eq!(world, World { images, ..World::default() });
    }
    // A local volume is not replicated: what it held is kept as a snapshot where it was.
    let warnings = lab.record(&id(TESTED)).await.warnings;
    let kept = format!("tandem-kept-{}", lab.app.project().volume("scratch"));
    assert!(warnings.iter().any(|warning| warning.contains(&kept)), "{warnings:?}");
    let state = lab.node(1).fakes.machine.state();
    let copy = state.snapshots.iter().find(|(name, _)| name.volume() == kept);
    assert!(copy.unwrap().1.content.contains("scratch"));
}

/// Files that clone from the common snapshot: where the receiver took that itself, it finds nothing to clone from.
#[tokio::test(start_paused = true)]
async fn a_pair_whose_changes_are_refused_moves_again_and_again() {
    let lab = Lab::new().await;
    lab.wire.send_clones();
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let mut expected = "v1;".to_owned();
    for round in 2..8 {
        let (master, slave) = if round % 2 == 0 { (2, 1) } else { (1, 2) };
        let version = format!("w{round}");
        lab.push(&version, V2);
        expected += &format!("last;{version};");
        let calls = lab.node(slave).fakes.machine.calls().len();
        assert_eq!(lab.run(&id(round), &to(master, Some(slave))).await, State::Completed);
        assert_eq!(lab.node(master).volume(&lab, "data"), Some(expected.clone()));
        let record = lab.record(&id(round)).await;
        let told = record.warnings.iter().any(|text| text.contains("did not find source subvol"));
        assert_eq!(told, round > 2, "{:?}", record.warnings);
        // The app was never stopped for it.
        let calls = lab.node(slave).fakes.machine.calls().split_off(calls);
        for last in record.steps.iter().filter(|s| matches!(s.step, Step::Send { .. })) {
            assert!(!last.output.is_empty());
            for announced in last.output.values() {
                let name = announced.split_whitespace().next().unwrap();
                let sends = calls.iter().filter(|call| call.starts_with(&format!("send {name}")));
                assert_eq!(sends.count(), 1, "{calls:#?}");
            }
        }
    }
}

/// Every pair after every other: the data has seen each version once, in order.
#[tokio::test(start_paused = true)]
async fn round_and_round() {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    let pairs = [(2, Some(1)), (3, Some(2)), (3, None), (1, Some(3)), (2, Some(3)), (1, None)];
    let mut expected = "v1;".to_owned();
    for (number, (master, replica)) in pairs.into_iter().enumerate() {
        let version = format!("w{number}");
        lab.push(&version, V2);
        let id = id(10 + u32::try_from(number).unwrap());
        let state = lab.run(&id, &to(master, replica)).await;
        assert_eq!(state, State::Completed, "{:#?}", lab.record(&id).await);
        expected.push_str(&format!("last;{version};"));
        assert_eq!(lab.node(master).volume(&lab, "data"), Some(expected.clone()), "{number}");
        let running = (1..=3).filter(|n| !lab.node(*n).world(&lab).containers.is_empty());
        assert_eq!(running.collect::<Vec<_>>(), [master], "{number}");
        lab.assert_idle(&version).await;
    }
    assert_eq!(lab.run(&id(99), &destroy()).await, State::Completed);
    assert!(lab.nodes.iter().all(|node| node.world(&lab).volumes.is_empty()));
}

/// A send that breaks off leaves half a snapshot under the announced name: it is never restored, and it goes.
#[tokio::test(start_paused = true)]
async fn a_torn_copy_is_not_a_copy() {
    let lab = Scenario::Swap.lab().await;
    Scenario::Swap.accepted(&lab).await;
    let why = || VolumeError::SchedulerPaused;
    lab.node(1).fakes.volumes.fail_next("send torn", why());
    assert_eq!(lab.work(&id(TESTED)).await, State::Refused);
    assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;"));
    assert!(lab.node(1).world(&lab).containers.iter().all(|(_, _, up)| *up));
    assert!(lab.node(2).world(&lab).volumes.is_empty());
}

/// The receiver dies for good when the app has stopped: the former version serves again without waiting for it, and
/// what is left on the dead node goes when it is back.
#[tokio::test(start_paused = true)]
async fn a_new_master_that_dies_in_the_hand_off_is_not_waited_for() {
    for step in [Step::Receive, Step::Restore, Step::Up, Step::AwaitHealthy, Step::Commit] {
        let lab = Scenario::Swap.lab().await;
        let before = lab.node(2).world(&lab);
        let record = Scenario::Swap.accepted(&lab).await;
        let receiver = lab.node(2);
        receiver.stays_dead.store(true, Ordering::Relaxed);
        let index = position(&record, |other| *other == step);
        receiver.kv.inject(1, Fault::DieAfter, marks(index, Status::Running));
        assert_eq!(lab.work(&id(TESTED)).await, State::Undone, "{step}");
        lab.assert_idle(&format!("{step}")).await;
        assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;last;v1;"), "{step}");
        assert_eq!(lab.entry().await.unwrap().deploy_id, id(1).as_str(), "{step}");
        receiver.restart().await;
        lab.settle().await;
        let mut after = receiver.world(&lab);
        after.images.clone_from(&before.images);
        assert_eq!(after, before, "{step}");
        assert_eq!(lab.run(&id(3), &to(2, Some(1))).await, State::Completed, "{step}");
    }
}

/// An undo that fails is left to its node with everything that comes before it there: it needs what that left behind.
#[tokio::test(start_paused = true)]
async fn an_undo_that_fails_is_made_up_for_in_order() {
    let lab = Scenario::Swap.lab().await;
    let before = lab.node(2).world(&lab);
    let record = Scenario::Swap.accepted(&lab).await;
    lab.fail(&record.steps[position(&record, |step| *step == Step::AwaitHealthy)], 1, When::Before);
    for _ in 0..FORWARD_TRIES {
        let why = "Docker does not answer".to_owned();
        lab.node(2).fakes.compose.fail_next("down", ComposeError::Invalid { why });
    }
    assert_eq!(lab.work(&id(TESTED)).await, State::Undone);
    assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;last;v1;"));
    lab.settle().await;
    let mut after = lab.node(2).world(&lab);
    after.images.clone_from(&before.images);
    assert_eq!(after, before);
    lab.assert_idle("made up for").await;
}

/// The old master dies for good behind the commit: the deployment ends without it, and what it has of the app goes when
/// it is back, before it takes part in anything newer.
#[tokio::test(start_paused = true)]
async fn an_old_master_that_dies_behind_the_commit_cleans_up_when_it_is_back() {
    for newer in [false, true] {
        let lab = Scenario::Swap.lab().await;
        let record = Scenario::Swap.accepted(&lab).await;
        let old = lab.node(1);
        old.stays_dead.store(true, Ordering::Relaxed);
        let index = position(&record, |step| *step == Step::Deregister);
        old.kv.inject(1, Fault::DieAfter, marks(index, Status::Running));
        assert_eq!(lab.work(&id(TESTED)).await, State::Completed);
        assert_eq!(lab.entry().await.unwrap().master, node(2));
        assert!(!old.world(&lab).volumes.is_empty());
        old.restart().await;
        if newer {
            assert_eq!(lab.run(&id(3), &to(1, Some(2))).await, State::Completed);
            assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;last;v2;last;v2;"));
        } else {
            lab.settle().await;
            assert!(old.world(&lab).volumes.is_empty() && old.world(&lab).containers.is_empty());
        }
        let owed = lab.value(&keys::owed(&node(1), &lab.app, &id(TESTED))).await;
        assert_eq!(owed, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_without_room_is_refused_while_the_app_serves() {
    let lab = Scenario::Third.lab().await;
    let little = Amount { free: 1 << 20, total: 1 << 30 };
    lab.node(3).fakes.resources.set(Some((little, little)));
    let before = lab.worlds();
    assert_eq!(lab.run(&id(TESTED), &to(3, None)).await, State::Refused);
    let reason = lab.record(&id(TESTED)).await.reason.unwrap();
    assert!(reason.contains("no room on node3"), "{reason}");
    let after = lab.worlds();
    for (before, after) in before.iter().zip(after) {
        assert_eq!(before.containers, after.containers);
        assert_eq!(before.checkouts, after.checkouts);
    }
}

/// An app that is deployed as it is goes on running.
#[tokio::test(start_paused = true)]
async fn what_has_not_changed_is_not_touched() {
    let lab = Lab::new().await;
    const PLAIN: &str = "services:\n  db: {image: \"registry:5000/db:1\"}\n";
    lab.push("v1", PLAIN);
    assert_eq!(lab.run(&id(1), &deploy(None)).await, State::Completed);
    let before = lab.node(1).world(&lab).containers;
    assert_eq!(lab.run(&id(2), &deploy(None)).await, State::Completed);
    let record = lab.record(&id(2)).await;
    let skipped = record.steps.iter().filter(|step| step.status == Status::Skipped);
    let skipped: Vec<_> = skipped.map(|step| step.step.to_string()).collect();
    assert_eq!(skipped, ["begin maintenance", "stop", "snapshot", "up", "end maintenance"]);
    assert_eq!(lab.node(1).world(&lab).containers, before);
    assert!(!lab.node(1).fakes.machine.calls().iter().any(|call| call.starts_with("stop")));
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(2).as_str());
}

fn runs(lab: &Lab, number: usize) -> bool {
    lab.node(number).world(lab).containers.iter().any(|(_, _, up)| *up)
}

/// Until the deployment is undone the app runs on one node at most; then node 2 can be reached again.
async fn never_twice(lab: &Lab, tested: &DeployId) {
    while lab.record(tested).await.state != State::Undone {
        assert!(!(runs(lab, 1) && runs(lab, 2)), "it runs twice");
        sleep(Duration::from_millis(100)).await;
    }
    lab.consul.set_reachable(&node(2), true);
}

/// The new master is cut off with its version up: it stops that before the former one is brought back.
#[tokio::test(start_paused = true)]
async fn a_new_master_that_is_cut_off_does_not_run_on() {
    cut_off_at(Step::AwaitHealthy, Status::Running).await;
}

/// It can't know whether the commit that it asked for has happened, and the others know that it has not.
#[tokio::test(start_paused = true)]
async fn a_new_master_that_is_cut_off_as_it_commits_does_not_run_on() {
    cut_off_at(Step::Commit, Status::Done).await;
}

/// It is cut off as it is about to write that the step has this status.
async fn cut_off_at(last: Step, status: Status) {
    let lab = Scenario::Swap.lab().await;
    let record = Scenario::Swap.accepted(&lab).await;
    let index = position(&record, |step| *step == last);
    let (name, session) = (node(2), lab.node(2).session());
    let cut = move |consul: &MemoryConsul| {
        consul.set_reachable(&name, false);
        consul.expire_session(&session);
    };
    lab.node(2).kv.inject(1, Fault::Meanwhile(Arc::new(cut)), marks(index, status));
    let tested = id(TESTED);
    let (state, ()) = tokio::join!(lab.work(&tested), never_twice(&lab, &tested));
    assert_eq!(state, State::Undone);
    assert!(runs(&lab, 1));
    lab.node(2).restart().await;
    lab.settle().await;
    assert!(lab.node(2).world(&lab).containers.is_empty());
    lab.assert_idle("cut off").await;
}

/// The commit has happened, and its answer is lost with the node's way to Consul: the version is stopped, as it may have
/// been given up, and serves again when the node can be reached.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_committed_as_its_node_was_cut_off_serves_again() {
    let lab = Scenario::Swap.lab().await;
    let record = Scenario::Swap.accepted(&lab).await;
    let commits = position(&record, |step| *step == Step::Commit);
    let name = node(2);
    let cut = move |consul: &MemoryConsul| consul.set_reachable(&name, false);
    lab.node(2).kv.inject(1, Fault::LostThen(Arc::new(cut)), marks(commits, Status::Done));
    let tested = id(TESTED);
    let watch = async {
        while !lab.record(&tested).await.committed || runs(&lab, 2) {
            sleep(Duration::from_millis(100)).await;
        }
        lab.consul.set_reachable(&node(2), true);
    };
    let (state, ()) = tokio::join!(lab.work(&tested), watch);
    assert_eq!(state, State::Completed);
    assert!(runs(&lab, 2) && !runs(&lab, 1));
}

/// The same in the middle of a wait that asks Consul for nothing.
#[tokio::test(start_paused = true)]
async fn a_new_master_that_is_cut_off_while_it_waits_does_not_run_on() {
    let lab = Scenario::Swap.lab().await;
    lab.node(2).fakes.compose.set_outcome("web", Run::Running, Health::Starting);
    let record = Scenario::Swap.accepted(&lab).await;
    let waits = position(&record, |step| *step == Step::AwaitHealthy);
    let tested = id(TESTED);
    let watch = async {
        while lab.record(&tested).await.steps[waits].status != Status::Running {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(runs(&lab, 2));
        assert_eq!(restarts(&lab, 2), ["no".to_owned()].into(), "a node that boots would start it");
        lab.consul.set_reachable(&node(2), false);
        lab.consul.expire_session(&lab.node(2).session());
        never_twice(&lab, &tested).await;
    };
    let (state, ()) = tokio::join!(lab.work(&tested), watch);
    assert_eq!(state, State::Undone);
    assert!(runs(&lab, 1) && !runs(&lab, 2));
}
