//! The machine that an agent runs on, behind one trait per part.

pub mod command;
pub mod compose;
pub mod copy;
pub mod docker;
pub mod files;
pub mod repository;
pub mod resources;
pub mod unix_http;
pub mod volume;

#[cfg(any(test, feature = "testing"))]
pub mod fake;

use std::sync::Arc;

use compose::Compose;
use docker::Containers;
use repository::Repositories;
use resources::Resources;
use volume::Volumes;

/// Everything that a deployment does to a machine goes through one of these.
#[derive(Clone)]
pub struct Host {
    /// Checkouts of the apps' repositories.
    pub repositories: Arc<dyn Repositories>,
    /// Compose projects.
    pub compose: Arc<dyn Compose>,
    /// What Docker knows.
    pub containers: Arc<dyn Containers>,
    /// BTRFS volumes.
    pub volumes: Arc<dyn Volumes>,
    /// Disk and memory.
    pub resources: Arc<dyn Resources>,
}

#[cfg(any(test, feature = "testing"))]
impl Host {
    /// A machine in memory, and the handles to set it up, to make it fail and to look at it.
    pub fn fake() -> (Self, fake::FakeHost) {
        let fakes = fake::FakeHost::default();
        let host = Self {
            repositories: fakes.repositories.clone(),
            compose: fakes.compose.clone(),
            containers: fakes.containers.clone(),
            volumes: fakes.volumes.clone(),
            resources: fakes.resources.clone(),
        };
        (host, fakes)
    }
}
