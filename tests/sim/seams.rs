//! The seams of an agent, each through its gate.

mod compose;
mod consul;
mod docker;
mod repositories;
mod volumes;

pub(crate) use compose::SimCompose;
pub(crate) use consul::{SimCatalog, SimEvents, SimKv, SimSessions};
pub(crate) use docker::SimContainers;
pub(crate) use repositories::{SimProxies, SimRepositories};
pub(crate) use volumes::SimVolumes;
