//! Who answers for a deployment when agents die, and what a former holder can still do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;

use super::apps::{deploy, id, node};
use super::lab::Lab;
use super::scenarios::{Scenario, TESTED};
use super::seams::{Fault, changes, marks};
use super::world::World;
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::txn::TxnOp;
use crate::exec::{ExecError, JournalError, drive};
use crate::model::deployment::{Deployment, State, Status, Step};
use crate::model::keys;

fn position(record: &Deployment, step: &Step) -> usize {
    record.steps.iter().position(|planned| planned.step == *step).unwrap()
}

impl Lab {
    async fn holder(&self) -> Option<String> {
        let value = self.value(&keys::lease(&self.app)).await?;
        let value: serde_json::Value = serde_json::from_str(&value).unwrap();
        Some(value["node"].as_str().unwrap().to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn the_slave_answers_while_the_master_restarts() {
    let lab = Scenario::Redeploy.lab().await;
    let record = Scenario::Redeploy.accepted(&lab).await;
    let master = lab.node(1);
    master.stays_dead.store(true, Ordering::Relaxed);
    master.kv.inject(1, Fault::DieAfter, marks(position(&record, &Step::Build), Status::Running));
    let comes_back = async {
        sleep(Duration::from_secs(30)).await;
        assert_eq!(lab.holder().await.as_deref(), Some("node2"));
        master.restart().await;
        master.work(&lab, &id(TESTED)).await;
    };
    let tested = id(TESTED);
    let (state, ()) = tokio::join!(lab.work(&tested), comes_back);
    assert_eq!(state, State::Completed);
    assert_eq!(lab.node(1).volume(&lab, "data"), Scenario::Redeploy.content());
    lab.assert_idle("restart").await;
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_never_comes_is_given_up_and_nothing_has_happened() {
    let lab = Lab::new().await;
    lab.node(2).end_session();
    lab.node(2).kv.inject(u32::MAX, Fault::Fail, |_| true);
    let first = id(1);
    lab.accept(&first, &deploy(Some(2))).await;
    let work = lab.node(1).work(&lab, &first);
    tokio::time::timeout(Duration::from_secs(600), work).await.unwrap();
    let record = lab.record(&id(1)).await;
    assert_eq!(record.state, State::Refused, "{record:#?}");
    let reason = record.reason.unwrap();
    assert!(reason.contains("node2 has been away for more than 60 s"), "{reason}");
    assert!(lab.worlds().iter().all(|world| world.checkouts.is_empty()));
    lab.assert_idle("away").await;
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_dies_after_the_commit_is_a_warning() {
    let lab = Scenario::Redeploy.lab().await;
    let record = Scenario::Redeploy.accepted(&lab).await;
    let slave = lab.node(2);
    slave.stays_dead.store(true, Ordering::Relaxed);
    let schedule =
        record.steps.iter().position(|s| s.step == Step::Schedule && s.node == node(2)).unwrap();
    slave.kv.inject(1, Fault::DieAfter, marks(schedule, Status::Running));
    assert_eq!(lab.work(&id(TESTED)).await, State::Completed);
    let record = lab.record(&id(TESTED)).await;
    assert!(record.warnings.iter().all(|w| w.contains("node2 has been away")), "{record:#?}");
    assert_eq!(record.warnings.len(), 2, "{:?}", record.warnings);
    lab.assert_idle("dead slave").await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_stays_dead_is_given_up_and_can_be_deployed_to_again() {
    let lab = Scenario::Redeploy.lab().await;
    let before = lab.node(1).world(&lab);
    let record = Scenario::Redeploy.accepted(&lab).await;
    let master = lab.node(1);
    master.stays_dead.store(true, Ordering::Relaxed);
    master.kv.inject(1, Fault::DieAfter, marks(position(&record, &Step::Pull), Status::Running));
    assert_eq!(lab.work(&id(TESTED)).await, State::Refused);
    let record = lab.record(&id(TESTED)).await;
    assert!(record.reason.unwrap().starts_with("pull on node1: node1 has been away"));
    assert_eq!(master.world(&lab).containers, before.containers);
    assert_eq!(lab.value(&keys::lease(&lab.app)).await, None);
    master.restart().await;
    assert_eq!(lab.run(&id(3), &deploy(Some(2))).await, State::Completed);
    lab.assert_idle("master back").await;
}

/// Consul was restored from a backup: its epochs are older than what the node has seen.
#[tokio::test(start_paused = true)]
async fn a_deployment_that_is_older_than_what_a_node_has_seen_is_refused_with_the_reason() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    let master = lab.node(1);
    master.context().journal.raise_epoch(&lab.app, 5).await.unwrap();
    assert_eq!(lab.work(&id(1)).await, State::Refused);
    let reason = lab.record(&id(1)).await.reason.unwrap();
    assert!(reason.contains("is older than 5, which this node has seen"), "{reason}");
    assert_eq!(master.world(&lab), World::default());
    lab.assert_idle("stale").await;
    // The queue has learnt from it, whichever node accepts the next one.
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_no_longer_names_is_left_alone() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    let kv: &dyn Kv = &lab.consul;
    kv.delete(&keys::queue(&lab.app)).await.unwrap();
    let master = lab.node(1);
    master.context().journal.raise_epoch(&lab.app, 5).await.unwrap();
    let record = lab.record(&id(1)).await;
    let stale = drive(&master.context(), &lab.app, &id(1)).await;
    assert!(matches!(stale, Err(ExecError::Journal(JournalError::Stale { seen: 5, .. }))));
    assert_eq!(lab.record(&id(1)).await, record);
    assert_eq!(master.world(&lab), World::default());
    assert_eq!(lab.value(&keys::lease(&lab.app)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_former_holder_finds_its_deployment_over() {
    let lab = Scenario::Redeploy.lab().await;
    assert_eq!(lab.run(&id(2), &deploy(Some(2))).await, State::Completed);
    let calls = lab.node(1).fakes.machine.calls();
    let state = drive(&lab.node(1).context(), &lab.app, &id(1)).await.unwrap();
    assert_eq!(state, State::Completed);
    assert_eq!(lab.node(1).fakes.machine.calls(), calls);
    assert_eq!(lab.entry().await.unwrap().deploy_id, id(2).as_str());
}

/// Something happens between what the commit has read and its transaction.
async fn commit_with(act: impl Fn(&MemoryConsul, &Lab) + Send + Sync + 'static) -> Lab {
    let lab = Arc::new(Scenario::Redeploy.lab().await);
    let entry = lab.value(&keys::app(&lab.app)).await;
    Scenario::Redeploy.accepted(&lab).await;
    let weak = Arc::downgrade(&lab);
    let act = move |consul: &MemoryConsul| act(consul, &weak.upgrade().unwrap());
    lab.node(1).kv.inject(1, Fault::Meanwhile(Arc::new(act)), changes(keys::APPS));
    assert_eq!(lab.work(&id(TESTED)).await, State::Undone);
    assert!(lab.node(1).kv.spent());
    assert_eq!(lab.value(&keys::app(&lab.app)).await, entry);
    assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;last;v1;"));
    lab.assert_idle("commit").await;
    Arc::into_inner(lab).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_the_lease_is_refused() {
    let lab = commit_with(|consul, lab| consul.expire_session(&lab.node(1).session())).await;
    let reason = lab.record(&id(TESTED)).await.reason.unwrap();
    assert!(
        reason.ends_with("the lease, the record or the app's entry changed during the commit"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_a_record_that_was_turned_around_is_refused() {
    let lab = commit_with(|consul, lab| {
        let key = keys::deployment(&lab.app, &id(TESTED));
        let entry = consul.get(&key).now_or_never().unwrap().unwrap().unwrap();
        let mut record: Deployment = serde_json::from_slice(&entry.value).unwrap();
        record.state = State::Undoing;
        record.reason = Some("turned around".to_owned());
        let op = TxnOp::Set { key, value: serde_json::to_vec(&record).unwrap() };
        consul.transact(vec![op]).now_or_never().unwrap().unwrap();
    })
    .await;
    assert_eq!(lab.record(&id(TESTED)).await.reason.as_deref(), Some("turned around"));
}

/// The master dies for ten minutes where a step is announced.
async fn long_death(step: &Step) -> (Lab, State) {
    let lab = Scenario::Redeploy.lab().await;
    let record = Scenario::Redeploy.accepted(&lab).await;
    let master = lab.node(1);
    master.stays_dead.store(true, Ordering::Relaxed);
    master.kv.inject(1, Fault::DieAfter, marks(position(&record, step), Status::Running));
    let tested = id(TESTED);
    let comes_back = async {
        sleep(Duration::from_secs(600)).await;
        master.restart().await;
        master.work(&lab, &tested).await;
    };
    let (state, ()) = tokio::join!(lab.work(&tested), comes_back);
    (lab, state)
}

#[tokio::test(start_paused = true)]
async fn a_master_that_died_in_the_hand_off_serves_the_former_version_when_it_is_back() {
    for step in [Step::Stop, Step::Snapshot, Step::Up, Step::AwaitHealthy, Step::Commit] {
        let (lab, state) = long_death(&step).await;
        assert_eq!(state, State::Undone, "{step}");
        lab.assert_idle(&format!("dead at {step}")).await;
        let master = lab.node(1).world(&lab);
        let project = lab.app.project();
        let containers: Vec<_> = master.containers.iter().map(|c| (c.0.clone(), c.2)).collect();
        let expected = [(project.container("db"), true), (project.container("web"), true)];
        assert_eq!(containers, expected, "{step}");
        let content = lab.node(1).volume(&lab, "data").unwrap();
        assert_eq!(content.replace("last;v1;", ""), "v1;", "{step}");
        assert_eq!(lab.entry().await.unwrap().deploy_id, id(1).as_str(), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_died_after_the_commit_goes_on_when_it_is_back() {
    for step in [Step::EndMaintenance, Step::Register, Step::Schedule] {
        let (lab, state) = long_death(&step).await;
        assert_eq!(state, State::Completed, "{step}");
        let left = lab.record(&id(TESTED)).await.warnings;
        assert!(left.iter().all(|warning| warning.contains("is left to it")), "{left:?}");
        lab.settle().await;
        lab.assert_idle(&format!("back after {step}")).await;
        let record = lab.record(&id(TESTED)).await;
        assert!(record.steps.iter().all(|step| step.status == Status::Done), "{record:#?}");
        assert_eq!(lab.node(1).world(&lab).checkouts.len(), 1, "{step}");
    }
}

/// It may be a newer agent's, for just this deployment.
#[tokio::test(start_paused = true)]
async fn a_lease_that_can_not_be_read_is_not_taken_over_while_it_is_held() {
    let lab = Lab::new().await;
    lab.accept(&id(1), &deploy(Some(2))).await;
    let (key, session) = (keys::lease(&lab.app), lab.node(3).session());
    let value = br#"{"format":2,"all":"new"}"#.to_vec();
    let lock = TxnOp::Lock { key: key.clone(), value: value.clone(), session };
    lab.consul.transact(vec![lock]).await.unwrap();
    let ends = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let held = lab.consul.get(&key).await.unwrap().unwrap();
        assert_eq!((held.value, held.session), (value, Some(lab.node(3).session())));
        lab.node(3).end_session();
    };
    let deployment = id(1);
    let (state, ()) = tokio::join!(lab.work(&deployment), ends);
    assert_eq!(state, State::Completed);
}
