//! Volumes that are gone, can't be asked about, are written to by strangers, or hold what no snapshot would.

use chrono::{DateTime, TimeDelta, Utc};

use super::apps::{V2, deploy, destroy, id, to};
use super::compose::stranger;
use super::lab::Lab;
use super::scenarios::When;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::exec::{Which, settle};
use crate::host::docker::{Container, VolumeUser};
use crate::host::volume::{SnapshotName, Verified, VolumeError};
use crate::model::Request;
use crate::model::deployment::{Deployment, State, Status, Step};
use crate::model::keys;
use crate::replication::Lines;

/// The app's first version on node1 with a slave on node2, and a second one in its repository.
async fn deployed() -> Lab {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    lab.push("v2", V2);
    lab
}

impl Lab {
    pub(super) fn data(&self) -> String {
        self.app.project().volume("data")
    }

    /// A whole copy of `data` on a node, which its agent has published.
    async fn copy(&self, number: usize, content: &str) -> SnapshotName {
        self.copy_of(number, content, Utc::now() - TimeDelta::minutes(3)).await
    }

    /// As [`Lab::copy`], which was taken then.
    pub(super) async fn copy_of(
        &self,
        number: usize,
        content: &str,
        taken: DateTime<Utc>,
    ) -> SnapshotName {
        let name = format!("{}@2024-12-31T00:00:00.000001", self.data());
        let name = SnapshotName::parse(&name).unwrap();
        self.node(number).fakes.volumes.receive(&name, content);
        let state = serde_json::json!({
            "since": taken, "period_minutes": 60, "late": [],
            "volumes": {self.data(): {
                "snapshot": name.as_str(), "origin": format!("uuid-{name}"), "taken_at": taken,
                "verified_at": taken, "bases": [],
            }},
        });
        let key = keys::replica(&self.app, &super::apps::node(number));
        let op = TxnOp::Set { key, value: state.to_string().into_bytes() };
        self.consul.transact(vec![op]).await.unwrap();
        name
    }

    pub(super) fn lose(&self, number: usize) {
        self.node(number).fakes.machine.state().volumes.remove(&self.data());
    }

    fn runs(&self, number: usize) -> bool {
        let containers = self.node(number).world(self).containers;
        !containers.is_empty() && containers.iter().all(|(_, _, alive)| *alive)
    }

    /// Runs a request that is to be refused while the app on node1 serves; the record.
    async fn refused(&self, number: u32, request: &Request) -> Deployment {
        let before = self.entry().await;
        assert_eq!(self.run(&id(number), request).await, State::Refused);
        assert_eq!(self.entry().await, before);
        assert!(self.runs(1), "it was stopped");
        self.assert_idle("refused").await;
        self.record(&id(number)).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_an_error_before_anything_stops() {
    let lab = deployed().await;
    let copy = lab.copy(2, "v1;").await;
    lab.lose(1);
    for (number, request) in [(2, deploy(Some(2))), (3, to(2, Some(1))), (4, to(3, None))] {
        let reason = lab.refused(number, &request).await.reason.unwrap();
        assert!(reason.contains(&format!("volume {} is gone from node1", lab.data())), "{reason}");
        assert!(reason.contains(&format!("{copy} on node2, 3 min old")), "{reason}");
        assert!(reason.contains(r#""from_replica":true"#), "{reason}");
        assert_eq!(lab.node(2).volume(&lab, "data"), None, "nobody made an empty one");
        assert_eq!(lab.node(1).volume(&lab, "data"), None, "nobody made an empty one");
    }
    assert_eq!(lab.run(&id(5), &destroy()).await, State::Completed, "that is a way on");
    assert!(lab.node(2).fakes.machine.state().snapshots.contains_key(&copy));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_the_list_leaves_out_is_moved_all_the_same() {
    let lab = deployed().await;
    lab.node(1).fakes.machine.state().unlisted.insert(lab.data());
    assert_eq!(lab.run(&id(2), &to(2, Some(1))).await, State::Completed);
    assert_eq!(lab.node(2).volume(&lab, "data").as_deref(), Some("v1;last;v2;"));
    assert_eq!(lab.node(1).volume(&lab, "data"), None);
}

#[tokio::test(start_paused = true)]
async fn what_can_t_be_told_is_not_taken_for_absence() {
    let lab = deployed().await;
    lab.node(1).fakes.volumes.fail_next("find", VolumeError::SchedulerPaused);
    let reason = lab.refused(2, &to(2, Some(1))).await.reason.unwrap();
    assert!(reason.contains("can't be told"), "{reason}");
    assert_eq!(lab.run(&id(3), &to(2, Some(1))).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn subvolumes_in_a_volume_are_named_before_the_stop() {
    let lab = deployed().await;
    let nested = vec!["docker/btrfs".to_owned()];
    lab.node(1).fakes.machine.state().nested.insert(lab.data(), nested);
    for (number, request) in [(2, deploy(Some(2))), (3, to(2, Some(1)))] {
        let reason = lab.refused(number, &request).await.reason.unwrap();
        assert!(reason.contains("holds subvolumes (docker/btrfs)"), "{reason}");
    }
    assert_eq!(lab.run(&id(4), &destroy()).await, State::Undone, "it could never be removed");
    assert!(lab.runs(1));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_no_service_is_named() {
    let lab = deployed().await;
    let strangers = |users: Vec<VolumeUser>| {
        lab.node(1).fakes.machine.state().strangers.insert(lab.data(), users);
    };
    strangers(vec![stranger()]);
    for (number, request) in [(2, deploy(Some(2))), (3, to(2, Some(1)))] {
        let reason = lab.refused(number, &request).await.reason.unwrap();
        assert!(reason.contains("import-run-1 on node1 writes to volume"), "{reason}");
    }
    // One that comes when the app has stopped: its writes would be in no snapshot.
    strangers(Vec::new());
    *lab.node(1).compose.stranger.lock().unwrap() = Some(lab.data());
    assert_eq!(lab.run(&id(4), &to(2, Some(1))).await, State::Undone);
    let reason = lab.record(&id(4)).await.reason.unwrap();
    assert!(reason.starts_with("stop on node1: import-run-1 on node1 writes"), "{reason}");
    assert!(lab.runs(1));
    // One that only reads is in nobody's way.
    strangers(vec![VolumeUser { writes: false, ..stranger() }]);
    assert_eq!(lab.run(&id(5), &deploy(Some(2))).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_another_node_than_the_master_is_not_restored_over() {
    let lab = deployed().await;
    let project = lab.app.project().to_string();
    {
        let mut state = lab.node(2).fakes.machine.state();
        state.volumes.insert(lab.data(), "written by hand;".to_owned());
        state.containers.insert(project.clone(), vec![Container::running("web")]);
    }
    let reason = lab.refused(2, &to(2, Some(1))).await.reason.unwrap();
    assert!(reason.contains("runs on node2, but the app's entry names node1"), "{reason}");
    assert_eq!(lab.node(2).volume(&lab, "data").as_deref(), Some("written by hand;"));
    // What is not a service of the app is seen by the step that would replace the volume.
    {
        let mut state = lab.node(2).fakes.machine.state();
        state.containers.remove(&project);
        state.strangers.insert(lab.data(), vec![VolumeUser { writes: false, ..stranger() }]);
    }
    assert_eq!(lab.run(&id(3), &to(2, Some(1))).await, State::Undone);
    let reason = lab.record(&id(3)).await.reason.unwrap();
    assert!(reason.contains("import-run-1 runs on node2 and has it mounted"), "{reason}");
    assert_eq!(lab.node(2).volume(&lab, "data").as_deref(), Some("written by hand;"));
    assert!(lab.runs(1));
    // What it held is told when it is replaced.
    lab.node(2).fakes.machine.state().strangers.clear();
    assert_eq!(lab.run(&id(4), &to(2, Some(1))).await, State::Completed);
    let warnings = lab.record(&id(4)).await.warnings;
    let held = warnings.iter().find(|w| w.contains("on node2 was replaced")).unwrap();
    let backup = SnapshotName::parse(held.rsplit_once(' ').unwrap().1).unwrap();
    let state = lab.node(2).fakes.machine.state();
    assert_eq!(state.snapshots[&backup].content, "written by hand;");
}

/// The deploy event that the refusal names.
pub(super) fn from_replica(master: usize, slave: Option<usize>) -> Request {
    match to(master, slave) {
        Request::Deploy { app, master, replica, update, .. } => {
            Request::Deploy { app, master, replica, update, from_replica: true }
        }
        other @ (Request::Destroy { .. } | Request::Migrate { .. }) => other,
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_master_lost_its_volumes_begins_from_the_slaves_copies() {
    let lab = deployed().await;
    let copy = lab.copy(2, "v1;").await;
    let before = lab.run(&id(2), &from_replica(2, Some(1))).await;
    assert_eq!(before, State::Refused, "the master has its volumes");
    let reason = lab.record(&id(2)).await.reason.unwrap();
    assert!(reason.contains("still has every volume"), "{reason}");
    // A reinstalled node: no volumes, no containers, no checkouts.
    lab.lose(1);
    lab.node(1).fakes.machine.state().containers.clear();
    for (number, request) in [(3, from_replica(1, Some(2))), (4, from_replica(3, Some(1)))] {
        assert_eq!(lab.run(&id(number), &request).await, State::Refused);
        let reason = lab.record(&id(number)).await.reason.unwrap();
        assert!(reason.contains("who has: node2"), "{reason}");
    }
    assert_eq!(lab.run(&id(5), &from_replica(2, Some(1))).await, State::Completed);
    assert_eq!(lab.node(2).volume(&lab, "data").as_deref(), Some("v1;v2;"));
    let record = lab.record(&id(5)).await;
    assert!(record.warnings.iter().any(|w| w.contains("what was written since is lost")));
    assert_eq!(lab.entry().await.unwrap().master, super::apps::node(2));
    assert!(lab.node(2).fakes.machine.state().snapshots.contains_key(&copy));
    // From there it goes back as it always does.
    assert_eq!(lab.run(&id(6), &to(1, Some(2))).await, State::Completed);
    assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("v1;v2;last;v2;"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_not_what_was_told_is_not_begun_from() {
    let lab = deployed().await;
    let copy = lab.copy(2, "v1;").await;
    lab.lose(1);
    lab.node(1).fakes.machine.state().containers.clear();
    let other = |snapshot: &mut crate::host::volume::FakeSnapshot| snapshot.origin = "x".to_owned();
    other(lab.node(2).fakes.machine.state().snapshots.get_mut(&copy).unwrap());
    assert_eq!(lab.run(&id(2), &from_replica(2, Some(1))).await, State::Refused);
    let reason = lab.record(&id(2)).await.reason.unwrap();
    assert!(reason.contains("is not the copy that was told of"), "{reason}");
    assert_eq!(lab.node(2).volume(&lab, "data"), None);
}

/// The steps that a node owes, with how often they were tried.
async fn owed(lab: &Lab, number: usize) -> Vec<(Step, Option<u32>)> {
    let prefix = keys::owed_to(&super::apps::node(number), &lab.app);
    let notes = lab.consul.list(&prefix).await.unwrap().entries;
    let notes = notes.into_iter().map(|e| serde_json::from_slice::<Deployment>(&e.value).unwrap());
    let steps = notes.flat_map(|note| note.steps).filter(|step| step.status == Status::Owed);
    steps.map(|step| (step.step, step.tries)).collect()
}

/// A move to node2 whose *leave* on node1 fails, as often as it likes.
async fn moved_with_a_debt() -> Lab {
    let lab = deployed().await;
    lab.accept(&id(2), &to(2, Some(3))).await;
    let record = lab.record(&id(2)).await;
    let leave = record.steps.iter().find(|step| step.step == Step::Leave).unwrap();
    lab.fail(leave, 3, When::Before);
    assert_eq!(lab.work(&id(2)).await, State::Completed);
    assert_eq!(owed(&lab, 1).await, [(Step::Leave, None)]);
    lab
}

#[tokio::test(start_paused = true)]
async fn an_old_leave_does_not_remove_what_an_operator_restored() {
    let lab = moved_with_a_debt().await;
    // By hand: the app is back on node1, with its data, after node2 was lost.
    let mut entry = lab.entry().await.unwrap();
    (entry.master, entry.slave) = (super::apps::node(1), None);
    let op = TxnOp::Set { key: keys::app(&lab.app), value: serde_json::to_vec(&entry).unwrap() };
    lab.consul.transact(vec![op]).await.unwrap();
    lab.node(1).fakes.machine.state().volumes.insert(lab.data(), "restored by hand;".to_owned());
    lab.settle().await;
    assert_eq!(lab.node(1).volume(&lab, "data").as_deref(), Some("restored by hand;"));
    assert_eq!(owed(&lab, 1).await, []);
    let warnings = lab.record(&id(2)).await.warnings;
    assert!(warnings.iter().any(|w| w.contains("leave on node1: no longer due")), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_is_not_the_one_that_was_sent_is_not_removed() {
    let lab = moved_with_a_debt().await;
    let facts = |uuid: &str, generation| Verified {
        uuid: Some(uuid.to_owned()),
        generation: Some(generation),
        ..Verified::default()
    };
    let taken = {
        let mut state = lab.node(1).fakes.machine.state();
        let record = state.snapshots.keys().filter(|s| s.sent_to().is_none());
        let taken = record.filter(|s| s.volume() == lab.data()).max().unwrap().clone();
        let of_it = Verified {
            read_only: true,
            parent_uuid: Some("volume".to_owned()),
            created_generation: Some(7),
            ..facts("snapshot", 7)
        };
        state.facts.insert(taken.clone(), of_it);
        state.volume_facts.insert(lab.data(), facts("another", 7));
        taken
    };
    let context = lab.node(1).context();
    for tries in 1..=10 {
        let error = settle(&context, &lab.app, Which::Due).await.unwrap_err().to_string();
        assert!(error.contains(&format!("is not the one that {taken} was taken of")), "{error}");
        assert!(error.contains("consul kv delete tandem/owed/node1/"), "{error}");
        assert_eq!(owed(&lab, 1).await, [(Step::Leave, Some(tries))]);
    }
    settle(&context, &lab.app, Which::Due).await.unwrap();
    let warnings = lab.record(&id(2)).await.warnings;
    assert!(warnings.iter().any(|w| w.contains("tried 10 times and left to you")), "{warnings:?}");
    assert!(lab.node(1).volume(&lab, "data").is_some());
    // It is in nobody's way, and what was written after the snapshot is kept.
    assert_eq!(lab.run(&id(3), &to(2, Some(1))).await, State::Completed);
    {
        let mut state = lab.node(1).fakes.machine.state();
        state.volume_facts.insert(lab.data(), facts("volume", 9));
        state.volumes.get_mut(&lab.data()).unwrap().push_str("written late;");
    }
    settle(&context, &lab.app, Which::All).await.unwrap();
    assert_eq!((owed(&lab, 1).await, lab.node(1).volume(&lab, "data")), (Vec::new(), None));
    let warnings = lab.record(&id(2)).await.warnings;
    assert!(warnings.iter().any(|w| w.contains("may have been written to after")), "{warnings:?}");
}

/// Consul is restored from a backup that was taken while a move was at *restore*; the app has served since from its new
/// master.
#[tokio::test(start_paused = true)]
async fn a_deployment_that_was_committed_here_is_not_done_again() {
    let lab = deployed().await;
    let former = lab.entry().await.unwrap();
    assert_eq!(lab.run(&id(2), &to(2, Some(1))).await, State::Completed);
    let mut record = lab.record(&id(2)).await;
    (record.state, record.committed, record.finished_at) = (State::Running, false, None);
    let restore = record.steps.iter().position(|step| step.step == Step::Restore).unwrap();
    for step in &mut record.steps[restore..] {
        (step.status, step.started_at) = (Status::Pending, None);
    }
    let mut queue = lab.queue().await;
    queue.running = Some(id(2));
    let set = |key: String, value: Vec<u8>| TxnOp::Set { key, value };
    let back = vec![
        set(keys::deployment(&lab.app, &id(2)), serde_json::to_vec(&record).unwrap()),
        set(keys::queue(&lab.app), serde_json::to_vec(&queue).unwrap()),
        set(keys::app(&lab.app), serde_json::to_vec(&former).unwrap()),
    ];
    lab.consul.transact(back).await.unwrap();
    {
        let mut state = lab.node(2).fakes.machine.state();
        state.volumes.get_mut(&lab.data()).unwrap().push_str("served since;");
    }
    for node in &lab.nodes {
        node.restart().await;
    }
    let before = lab.node(2).world(&lab);
    let state = lab.work(&id(2)).await;
    assert_eq!(lab.node(2).world(&lab), before, "{state}");
    let reason = lab.record(&id(2)).await.reason.unwrap();
    assert!(reason.contains("Consul was restored to an older state"), "{reason}");
}

/// What the volume's id is, on a node.
fn is_made(lab: &Lab, number: usize, uuid: &str) {
    let facts = Verified { uuid: Some(uuid.to_owned()), ..Verified::default() };
    lab.node(number).fakes.machine.state().volume_facts.insert(lab.data(), facts);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_somebody_made_anew_is_not_gone_on_with_before_an_operator_says_so() {
    let lab = deployed().await;
    let copy = lab.copy(2, "v1;").await;
    let lines = serde_json::json!({lab.data(): {"made": ["V"]}});
    let key = keys::lines(&lab.app);
    let set = TxnOp::Set { key: key.clone(), value: lines.to_string().into_bytes() };
    lab.consul.transact(vec![set]).await.unwrap();
    is_made(&lab, 1, "W");
    for (number, request) in [(2, deploy(Some(2))), (3, to(2, Some(1)))] {
        let reason = lab.refused(number, &request).await.reason.unwrap();
        assert!(reason.contains("on node1 was made anew, and not by a deployment"), "{reason}");
        assert!(reason.contains(&format!("{copy} on node2, 3 min old")), "{reason}");
        assert!(reason.contains(&format!("consul kv delete {key}")), "{reason}");
    }
    lab.consul.transact(vec![TxnOp::Delete { key: key.clone() }]).await.unwrap();
    assert_eq!(lab.run(&id(4), &deploy(Some(2))).await, State::Completed);
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_restores_is_the_apps_own_and_a_destroyed_app_has_none() {
    let lab = deployed().await;
    let lines = serde_json::json!({lab.data(): {"made": ["V"]}});
    let key = keys::lines(&lab.app);
    let set = TxnOp::Set { key: key.clone(), value: lines.to_string().into_bytes() };
    lab.consul.transact(vec![set]).await.unwrap();
    is_made(&lab, 1, "V");
    is_made(&lab, 2, "W");
    assert_eq!(lab.run(&id(2), &to(2, Some(1))).await, State::Completed);
    let entry = lab.consul.get(&key).await.unwrap().unwrap();
    let lines: Lines = serde_json::from_slice(&entry.value).unwrap();
    assert_eq!(lines[&lab.data()].made, ["V", "W"]);
    assert_eq!(lab.run(&id(3), &destroy()).await, State::Completed);
    assert_eq!(lab.consul.get(&key).await.unwrap(), None);
}
