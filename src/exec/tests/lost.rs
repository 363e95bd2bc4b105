//! Volumes that are gone, can't be asked about, are written to by strangers, or hold what no snapshot would.

use chrono::{TimeDelta, Utc};

use super::apps::{V2, deploy, destroy, id, to};
use super::compose::stranger;
use super::lab::Lab;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::event::Request;
use crate::host::docker::{Container, VolumeUser};
use crate::host::volume::{SnapshotName, VolumeError};
use crate::model::deployment::{Deployment, State};
use crate::model::keys;

/// The app's first version on node1 with a slave on node2, and a second one in its repository.
async fn deployed() -> Lab {
    let lab = Lab::new().await;
    assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
    lab.push("v2", V2);
    lab
}

impl Lab {
    fn data(&self) -> String {
        self.app.project().volume("data")
    }

    /// A whole copy of `data` on a node, which its agent has published.
    async fn copy(&self, number: usize, content: &str) -> SnapshotName {
        let name = format!("{}@2024-12-31T00:00:00.000001", self.data());
        let name = SnapshotName::parse(&name).unwrap();
        self.node(number).fakes.volumes.receive(&name, content);
        let taken = Utc::now() - TimeDelta::minutes(3);
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

    fn lose(&self, number: usize) {
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
