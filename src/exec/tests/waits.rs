//! Every wait has an end: for the node at the other end of a transfer, for one that can't or does not take part, for a
//! lease that nobody needs, for a Consul that says no.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::apps::{deploy, id};
use super::lab::Lab;
use super::scenarios::{Scenario, TESTED};
use super::seams::{Fault, begins, marks};
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::exec::{Turn, Which, honour, promote, settle, turn};
use crate::host::volume::VolumeError;
use crate::model::deployment::{Deployment, State, Status, Step, StepRecord};
use crate::model::keys;

fn step_of(record: &Deployment, is_it: impl Fn(&Step) -> bool) -> (usize, StepRecord) {
    let found = record.steps.iter().enumerate().find(|(_, planned)| is_it(&planned.step));
    found.map(|(index, step)| (index, step.clone())).unwrap()
}

/// The new master is gone, and the sender's buttervolume does not notice.
async fn receiver_dies_in(is_it: impl Fn(&Step) -> bool) -> (State, Arc<Lab>, Duration) {
    let lab = Arc::new(Scenario::Swap.lab().await);
    let (_, step) = step_of(&Scenario::Swap.accepted(&lab).await, is_it);
    let weak = Arc::downgrade(&lab);
    let died = Arc::new(std::sync::Mutex::new(None));
    let noted = died.clone();
    let dies = move |_: &_| {
        let lab = weak.upgrade().unwrap();
        let hangs =
            VolumeError::Refused { operation: "send", subject: String::new(), why: String::new() };
        lab.node(1).fakes.volumes.fail_next("send hangs", hangs);
        lab.node(2).stays_dead.store(true, Ordering::Relaxed);
        lab.node(2).kv.dies.notify_one();
        *noted.lock().unwrap() = Some(Instant::now());
    };
    lab.node(1).kv.inject(1, Fault::Meanwhile(Arc::new(dies)), begins(&step));
    let state = lab.work(&id(TESTED)).await;
    let died = died.lock().unwrap().unwrap();
    (state, lab, died.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_dies_during_the_last_send_is_given_up_after_the_grace() {
    let (state, lab, took) = receiver_dies_in(|step| matches!(step, Step::Send { .. })).await;
    assert_eq!(state, State::Undone);
    assert!(took < Duration::from_secs(75), "{took:?}");
    let reason = lab.record(&id(TESTED)).await.reason.unwrap();
    assert!(reason.contains("node2 has been away for more than 60 s"), "{reason}");
    assert!(lab.node(1).world(&lab).containers.iter().all(|container| container.2), "it serves");
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(1).as_str());
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_dies_while_the_app_serves_ends_the_deployment_too() {
    let (state, lab, took) = receiver_dies_in(|step| matches!(step, Step::Seed { .. })).await;
    assert_eq!(state, State::Refused);
    assert!(took < Duration::from_secs(75), "{took:?}");
    assert!(lab.node(1).world(&lab).containers.iter().all(|container| container.2), "it serves");
}

/// Nothing can be renamed over a folder: the journal can't be written.
fn block_journal(lab: &Lab, node: usize) -> std::path::PathBuf {
    let path = lab.node(node).dir.path().join("data/epochs.json");
    let _ = std::fs::remove_file(&path);
    std::fs::create_dir_all(path.join("full")).unwrap();
    path
}

#[tokio::test(start_paused = true)]
async fn a_node_that_can_note_nothing_says_so_and_takes_part_when_it_can() {
    for blocked in [1, 2] {
        let lab = Lab::new().await;
        let path = block_journal(&lab, blocked);
        assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Refused);
        let reason = lab.record(&id(1)).await.reason.unwrap();
        let named = format!("node{blocked} can't note that it takes part");
        assert!(reason.contains(&named), "{reason}");
        assert!(lab.worlds().iter().all(|world| *world == World::default()));
        lab.assert_idle("blocked").await;
        std::fs::remove_dir_all(path).unwrap();
        assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed, "{blocked}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_runs_and_does_nothing_is_given_up_and_named() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    lab.node(1).work(&lab, &id(1)).await;
    let record = lab.record(&id(1)).await;
    assert_eq!(record.state, State::Refused, "{record:#?}");
    let reason = record.reason.unwrap();
    assert!(reason.contains("the agent of node2 runs and has not begun this step"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_that_it_waits_for_its_turn_is_not_given_up() {
    let lab = Lab::new().await;
    let context = lab.node(2).context();
    let taken = context.slots.acquire_many(2).await.unwrap();
    lab.accept(&id(1), &deploy(Some(2))).await;
    let frees = async {
        tokio::time::sleep(Duration::from_secs(1200)).await;
        drop(taken);
    };
    let first = id(1);
    let (state, ()) = tokio::join!(lab.work(&first), frees);
    assert_eq!(state, State::Completed);
}

/// Somebody's live session holds the app's lease for a deployment whose record is gone.
async fn leave_a_lease(lab: &Lab) {
    let value = serde_json::json!({"node": "node3", "deployment": id(9).as_str()});
    let lock = TxnOp::Lock {
        key: keys::lease(&lab.app),
        value: value.to_string().into_bytes(),
        session: lab.node(3).session(),
    };
    lab.consul.transact(vec![lock]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_for_the_deployment_that_it_names() {
    let lab = Lab::new().await;
    leave_a_lease(&lab).await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    lab.assert_idle("taken over").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_with_its_record_gives_its_lease_up() {
    let lab = Lab::new().await;
    lab.accept(&id(9), &deploy(Some(2))).await;
    leave_a_lease(&lab).await;
    assert_eq!(lab.accept(&id(1), &deploy(Some(2))).await, State::Waiting);
    let kv: &dyn Kv = &lab.consul;
    kv.delete(&keys::deployment(&lab.app, &id(9))).await.unwrap();
    promote(&lab.node(1).context(), &lab.app).await.unwrap();
    assert_eq!(lab.value(&keys::lease(&lab.app)).await, None);
    assert_eq!(lab.work(&id(1)).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_consul_refuses_to_take_fails_the_step() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    let (index, _) = step_of(&lab.record(&id(1)).await, |step| *step == Step::Check);
    lab.node(1).kv.inject(u32::MAX, Fault::Refuse, marks(index, Status::Done));
    assert_eq!(lab.work(&id(1)).await, State::Refused);
    let reason = lab.record(&id(1)).await.reason.unwrap();
    assert!(reason.contains("its end can't be written down"), "{reason}");
    assert!(lab.worlds().iter().all(|world| *world == World::default()));
}

/// The new master's agent dies while its version is to become healthy, and the next one starts without Consul.
#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_without_consul_stops_what_was_never_committed() {
    let lab = Arc::new(Scenario::Swap.lab().await);
    let record = Scenario::Swap.accepted(&lab).await;
    let (index, _) = step_of(&record, |step| *step == Step::AwaitHealthy);
    let master = lab.node(2);
    master.stays_dead.store(true, Ordering::Relaxed);
    master.kv.inject(1, Fault::DieAfter, marks(index, Status::Running));
    let tested = id(TESTED);
    let restarts = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        master.restart().await;
        lab.consul.set_reachable(&super::apps::node(2), false);
        assert!(runs(&lab, 2), "it was started");
        let context = master.context();
        let honours = tokio::time::timeout(Duration::from_secs(35), honour(&context));
        assert!(honours.await.is_err(), "Consul never told what became of it");
        assert!(!runs(&lab, 2), "stopped before the others bring the former one back");
        lab.node(2).end_session();
        lab.consul.set_reachable(&super::apps::node(2), true);
    };
    let (state, ()) = tokio::join!(lab.work(&tested), restarts);
    assert_eq!(state, State::Undone);
    assert!(runs(&lab, 1) && !runs(&lab, 2));
    // When Consul is back, it tells that nothing is at stake any more.
    tokio::time::timeout(Duration::from_secs(60), honour(&master.context())).await.unwrap();
}

fn runs(lab: &Lab, node: usize) -> bool {
    lab.node(node).world(lab).containers.iter().any(|container| container.2)
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_leaves_no_note() {
    let lab = Scenario::Swap.lab().await;
    Scenario::Swap.accepted(&lab).await;
    assert_eq!(lab.work(&id(TESTED)).await, State::Completed);
    let notes = std::fs::read_dir(lab.node(2).dir.path().join("data/at-stake")).unwrap();
    assert_eq!(notes.count(), 0);
}

/// Consul's leader stops answering in the hand-off, and another one is elected.
#[tokio::test(start_paused = true)]
async fn an_election_is_waited_for() {
    for step in [Step::BeginMaintenance, Step::Commit] {
        let lab = Scenario::Redeploy.lab().await;
        Scenario::Redeploy.accepted(&lab).await;
        let prefix = if step == Step::Commit { keys::APPS } else { keys::MAINTENANCE };
        lab.node(1).kv.inject(20, Fault::Fail, super::seams::changes(prefix));
        assert_eq!(lab.work(&id(TESTED)).await, State::Completed, "{step}");
        assert!(lab.node(1).kv.spent(), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_goes_while_another_deployment_works_elsewhere() {
    let lab = Scenario::Third.lab().await;
    let record = Scenario::Third.accepted(&lab).await;
    let (healthy, _) = step_of(&record, |step| *step == Step::AwaitHealthy);
    let third = lab.node(3);
    third.stays_dead.store(true, Ordering::Relaxed);
    third.kv.inject(1, Fault::DieAfter, marks(healthy, Status::Running));
    assert_eq!(lab.work(&id(TESTED)).await, State::Undone);
    assert!(!third.world(&lab).containers.is_empty(), "it was away");
    third.restart().await;
    assert_eq!(turn(&third.context(), &lab.app).await, Turn::Free);

    assert_eq!(lab.accept(&id(3), &deploy(Some(2))).await, State::Running);
    assert_eq!(turn(&lab.node(1).context(), &lab.app).await, Turn::NotYet);
    assert_eq!(turn(&third.context(), &lab.app).await, Turn::Beside(id(3)));
    settle(&third.context(), &lab.app, Which::Before(&id(3))).await.unwrap();
    assert!(third.world(&lab).containers.is_empty(), "it still runs");
    assert_eq!(third.volume(&lab, "data"), None);
    assert_eq!(lab.work(&id(3)).await, State::Completed);
    lab.assert_idle("beside").await;
}
