//! The deployments that are made to fail or broken off at each of their steps.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use super::apps::{V2, app, deploy, destroy, id, to, update};
use super::lab::{Lab, Node};
use super::seams::{Fault, begins, changes, deletes};
use crate::consul::memory::MemoryConsul;
use crate::host::compose::ComposeError;
use crate::host::docker::{DockerError, Health, State as Run};
use crate::host::repository::RepositoryError;
use crate::host::volume::VolumeError;
use crate::model::Request;
use crate::model::deployment::{Deployment, State, Step, StepRecord};
use crate::model::keys;

/// The id of the deployment under test.
pub(super) const TESTED: u32 = 2;

/// What runs before, and what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scenario {
    First,
    Redeploy,
    Update,
    ReplicaChanged,
    /// The slave becomes master and the master slave.
    Swap,
    /// To a node that had nothing, and without a slave.
    Third,
    /// To a node that had nothing, the master becoming slave.
    Rotate,
    Destroy,
}

pub(super) const ALL: [Scenario; 8] = [
    Scenario::First,
    Scenario::Redeploy,
    Scenario::Update,
    Scenario::ReplicaChanged,
    Scenario::Swap,
    Scenario::Third,
    Scenario::Rotate,
    Scenario::Destroy,
];

impl Scenario {
    /// A cluster in which the request can be made.
    pub(super) async fn lab(self) -> Lab {
        let lab = Lab::new().await;
        if self != Scenario::First {
            assert_eq!(lab.run(&id(1), &deploy(Some(2))).await, State::Completed);
        }
        lab.push("v2", V2);
        lab
    }

    pub(super) fn request(self) -> Request {
        match self {
            Scenario::First | Scenario::Redeploy => deploy(Some(2)),
            Scenario::Update => update(),
            Scenario::ReplicaChanged => deploy(Some(3)),
            Scenario::Swap => to(2, Some(1)),
            Scenario::Third => to(3, None),
            Scenario::Rotate => to(3, Some(1)),
            Scenario::Destroy => destroy(),
        }
    }

    /// The record as it is when nothing has been done yet.
    pub(super) async fn accepted(self, lab: &Lab) -> Deployment {
        assert_eq!(lab.accept(&id(TESTED), &self.request()).await, State::Running);
        lab.record(&id(TESTED)).await
    }

    /// The number of the node that is to run the app.
    pub(super) fn master(self) -> usize {
        match self {
            Scenario::First
            | Scenario::Redeploy
            | Scenario::Update
            | Scenario::ReplicaChanged
            | Scenario::Destroy => 1,
            Scenario::Swap => 2,
            Scenario::Third | Scenario::Rotate => 3,
        }
    }

    /// What the volume `data` has seen when the deployment has completed.
    pub(super) fn content(self) -> Option<String> {
        match self {
            Scenario::First => Some("v2;".to_owned()),
            Scenario::Redeploy
            | Scenario::ReplicaChanged
            | Scenario::Swap
            | Scenario::Third
            | Scenario::Rotate => Some("v1;last;v2;".to_owned()),
            Scenario::Update => Some("v1;last;updated;v2;".to_owned()),
            Scenario::Destroy => None,
        }
    }
}

/// When a step fails: before it did anything, or when it had done all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

impl Lab {
    pub(super) fn node_of(&self, step: &StepRecord) -> &Node {
        self.nodes.iter().find(|node| node.name == step.node).unwrap()
    }

    /// Makes the seam behind a step fail so many times.
    pub(super) fn fail(&self, step: &StepRecord, times: u32, when: When) {
        let node = self.node_of(step);
        match &step.step {
            Step::Probe { .. } | Step::Seed { .. } | Step::Send { .. } | Step::Copy { .. } => {
                match when {
                    When::Before => node.fail_volumes(step, "send", times),
                    When::After => node.fail_volumes(step, "send torn", times),
                }
            }
            Step::ReceiveProbe | Step::ReceiveSeed | Step::Receive => {
                node.fail_volumes(step, "facts", times);
            }
            Step::ConfirmLoss => node.fail_volumes(step, "find", times),
            Step::Recall => node.fail_volumes(step, "facts", times),
            Step::Measure => node.fail_volumes(step, "list", times),
            Step::Room => node.fail_volumes(step, "snapshots", times),
            Step::Offer => node.fail_compose("config", times, When::Before),
            Step::Match => node.fail_compose("config", times, When::Before),
            Step::SnapshotSource => node.fail_volumes(step, "snapshot", times),
            Step::ReceiveCopy => node.fail_volumes(step, "facts", times),
            Step::Replace => node.fail_volumes(step, "restore", times),
            Step::PostMigrate => node.fail_compose("script", times, when),
            Step::DropCopies => node.fail_volumes(step, "remove_snapshot", times),
            Step::Restore => node.fail_volumes(step, "restore", times),
            Step::Compare => node.fail_compose("hashes", times, When::Before),
            Step::Pull => node.fail_compose("pull", times, when),
            Step::Build => node.fail_compose("build", times, when),
            Step::Stop => node.fail_compose("stop", times, when),
            Step::Update => node.fail_compose("script", times, when),
            Step::Up => node.fail_compose("up", times, when),
            Step::Remove | Step::Leave => node.fail_compose("down", times, when),
            Step::Check => {
                *node.proxies.refusal.lock().unwrap() = Some("caddy says no".to_owned());
            }
            Step::AwaitHealthy => {
                node.fakes.compose.set_outcome("worker", Run::Exited(1), Health::None);
            }
            Step::BeginMaintenance => {
                node.kv.inject(times, Fault::Refuse, changes(keys::MAINTENANCE));
            }
            Step::EndMaintenance => {
                node.kv.inject(times, Fault::Refuse, deletes(keys::MAINTENANCE));
            }
            Step::Commit | Step::Forget => {
                node.kv.inject(times, Fault::Refuse, changes(keys::APPS));
            }
            Step::KeepRunning => node.fail_containers(step, times),
            Step::Register | Step::Deregister => node.catalog.fail(times),
            Step::RemoveCheckouts { .. } => symlink("/", node.trap(self)).unwrap(),
            Step::Checkout => node.fail_checkout(times),
            Step::KeepImages => node.fail_docker("tag_image", times),
            Step::ReleaseImages => node.fail_docker("image_tags", times),
            Step::Snapshot => node.fail_volumes(step, "snapshot", times),
            Step::Schedule | Step::Unschedule => node.fail_volumes(step, "schedules", times),
        }
    }

    /// Lets everything succeed again.
    pub(super) fn mend(&self) {
        for node in &self.nodes {
            *node.proxies.refusal.lock().unwrap() = None;
            node.fakes.compose.set_outcome("worker", Run::Running, Health::None);
            node.kv.clear();
            // It is there after one of the failures only.
            let _ = std::fs::remove_file(node.trap(self));
        }
    }
}

impl Node {
    /// A link in a checkout's place, which is never followed and never removed.
    fn trap(&self, lab: &Lab) -> std::path::PathBuf {
        self.dir.path().join("deploy").join(format!("{}-{}", lab.app, id(99)))
    }

    fn fail_compose(&self, operation: &'static str, times: u32, when: When) {
        match when {
            When::After => self.compose.fail_after(operation, times),
            When::Before => (0..times).for_each(|_| {
                let why = format!("{operation} is made to fail");
                self.fakes.compose.fail_next(operation, ComposeError::Invalid { why });
            }),
        }
    }

    fn fail_checkout(&self, times: u32) {
        for _ in 0..times {
            let (repo, after) = (app().repo, Duration::from_secs(1));
            self.fakes.repositories.fail_next(RepositoryError::TimedOut { repo, after });
        }
    }

    fn fail_docker(&self, operation: &str, times: u32) {
        for _ in 0..times {
            let after = Duration::from_secs(1);
            let error = DockerError::TimedOut { operation: operation.to_owned(), after };
            self.fakes.containers.fail_next(operation, error);
        }
    }

    /// From when the step begins: earlier ones may call the same.
    fn fail_containers(&self, step: &StepRecord, times: u32) {
        let containers = self.fakes.containers.clone();
        let arm = move |_: &MemoryConsul| {
            for _ in 0..times {
                let (operation, after) = ("list containers".to_owned(), Duration::ZERO);
                containers.fail_next("of_project", DockerError::TimedOut { operation, after });
            }
        };
        self.kv.inject(1, Fault::Meanwhile(Arc::new(arm)), begins(step));
    }

    /// From when the step begins: earlier ones may call the same.
    fn fail_volumes(&self, step: &StepRecord, operation: &'static str, times: u32) {
        let volumes = self.fakes.volumes.clone();
        let arm = move |_: &MemoryConsul| {
            for _ in 0..times {
                volumes.fail_next(operation, VolumeError::SchedulerPaused);
            }
        };
        self.kv.inject(1, Fault::Meanwhile(Arc::new(arm)), begins(step));
    }
}
