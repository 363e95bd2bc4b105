//! Containers, images and Docker's view of volumes: facts by Docker's API, and commands inside containers.

mod await_healthy;
mod engine;
mod health;
mod own_probe;

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::model::{Port, ProjectName};

pub use await_healthy::{HealthError, await_healthy};
pub use engine::{DockerEngine, Ends};
#[cfg(any(test, feature = "testing"))]
pub use fake::FakeContainers;
pub use health::{Baseline, Complaint, Verdict, health};

/// What Docker knows and does beside compose.
#[async_trait]
pub trait Containers: Send + Sync {
    /// The containers of a project's services, stopped ones too, in the order of their names.
    async fn of_project(&self, project: &ProjectName) -> Result<Vec<Container>, DockerError>;

    /// The compose projects of which a container runs, one-off ones left out.
    async fn running_projects(&self) -> Result<BTreeSet<String>, DockerError>;

    /// The names of the volumes that compose made for a project; those that were restored carry no label and are missing.
    async fn volumes_of_project(&self, project: &ProjectName) -> Result<Vec<String>, DockerError>;

    /// Whether Docker knows a volume of that name, of any driver.
    async fn volume_exists(&self, name: &str) -> Result<bool, DockerError>;

    /// Whether Docker knows a network of that name.
    async fn network_exists(&self, name: &str) -> Result<bool, DockerError>;

    /// Where an image wants volumes (`VOLUME` in its Dockerfile); nowhere if there is no such image.
    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>, DockerError>;

    /// The directory of a volume of the driver `local`; none for any other volume, and for one that is gone.
    async fn local_volume(&self, name: &str) -> Result<Option<PathBuf>, DockerError>;

    /// The containers that run, or are about to, and mount a volume, wherever they come from: services, one-offs of
    /// `docker compose run`, foreign ones.
    async fn users_of_volume(&self, name: &str) -> Result<Vec<VolumeUser>, DockerError>;

    /// Removes a volume that no container uses; one that is gone already is fine.
    async fn remove_volume(&self, name: &str) -> Result<(), DockerError>;

    /// The names `repo:tag` that images have in a repository.
    async fn image_tags(&self, repo: &str) -> Result<Vec<String>, DockerError>;

    /// The images that compose built for a project.
    async fn images_of_project(&self, project: &ProjectName) -> Result<Vec<Image>, DockerError>;

    /// The id of the image with that name, if there is one.
    async fn image_id(&self, reference: &str) -> Result<Option<String>, DockerError>;

    /// Gives an image one more name, `repo:tag`.
    async fn tag_image(&self, id: &str, repo: &str, tag: &str) -> Result<(), DockerError>;

    /// Takes a name from an image, and removes the image with its last name. What is gone already is fine.
    async fn remove_image(&self, reference: &str) -> Result<(), DockerError>;

    /// Sets whether Docker starts a container again by itself, as a compose file's `restart` says it: `no`, `always`,
    /// `unless-stopped`, `on-failure`, `on-failure:3`.
    async fn set_restart(&self, container: &str, policy: &str) -> Result<(), DockerError>;

    /// Starts a container that has ended; one that runs is fine.
    async fn start(&self, container: &str) -> Result<(), DockerError>;

    /// The version of the API that Docker speaks; none if that can't be told.
    async fn api_version(&self) -> Result<Option<(u32, u32)>, DockerError>;

    /// Runs a command in a container, given as argv, and waits for its end; any exit code is a success here.
    ///
    /// At the deadline the command is left to itself: Docker has no way to end it.
    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        stdin: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<ExecOutput, DockerError>;

    /// The last lines that a container wrote.
    async fn logs_tail(&self, container: &str, lines: usize) -> Result<String, DockerError>;

    /// Returns when Docker ends, or at once if it does not answer.
    async fn until_gone(&self);

    /// Whether Docker answers.
    async fn ping(&self) -> Result<(), DockerError>;

    /// When the Docker that answers now was started; none if that can't be told.
    async fn running_since(&self) -> Option<DateTime<Utc>> {
        None
    }
}

/// One container of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The service of the compose file.
    pub service: String,
    /// The image, as the compose file or the project's name has it: `debian:bookworm`, `appmaster12345_web`.
    pub image: String,
    /// The id of its image.
    pub image_id: String,
    /// What it does.
    pub state: State,
    /// What its health check says.
    pub health: Health,
    /// The command of its health check, as argv; none: it has no check.
    pub check: Vec<String>,
    /// The last line or lines of the last probe.
    pub probe: Option<String>,
    /// How often Docker restarted it.
    pub restart_count: u64,
    /// When it was last started, as Docker writes it.
    pub started_at: Option<String>,
    /// When it last ended, as Docker writes it; of one that never did, a time long ago.
    pub finished_at: Option<String>,
    /// Whether Docker starts it again by itself: see [`Containers::set_restart`].
    pub restart: String,
    /// Compose's hash of the service that it was made from.
    pub config_hash: Option<String>,
    /// The directory that compose worked in: the checkout.
    pub working_dir: Option<String>,
    /// Why Docker could not start it last, if it could not.
    pub error: Option<String>,
    /// Directories and files of the machine that are mounted into it.
    pub binds: Vec<String>,
    /// The volumes that Docker made with it, and that no name leads to.
    pub anonymous: Vec<String>,
    /// The ports of the machine that it publishes.
    pub ports: BTreeSet<Port>,
}

/// A container that has a volume mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUser {
    /// Its name.
    pub name: String,
    /// Whether it may write there.
    pub writes: bool,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, not started yet.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, and Docker is about to start it again.
    Restarting,
    /// About to disappear.
    Removing,
    /// Ended with this code.
    Exited(i64),
    /// Could not be removed.
    Dead,
}

impl State {
    /// Whether a process of it runs, or is about to.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created, not started"),
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Restarting => f.write_str("restarting"),
            Self::Removing => f.write_str("being removed"),
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Dead => f.write_str("dead"),
        }
    }
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It has none.
    None,
    /// No probe has succeeded yet, and not too many have failed.
    Starting,
    /// The last probes succeeded.
    Healthy,
    /// The last probes failed.
    Unhealthy,
}

/// An image with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Docker's id.
    pub id: String,
    /// Its names, `repo:tag`.
    pub tags: Vec<String>,
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code.
    pub code: i64,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Why Docker did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Docker does not answer.
    #[error("cannot reach Docker")]
    Unreachable {
        /// The cause.
        source: Box<bollard::errors::Error>,
    },
    /// There is no such container or image.
    #[error("Docker can't {operation}: {said}")]
    NoSuch {
        /// What was asked for.
        operation: String,
        /// What Docker said.
        said: String,
    },
    /// Docker refused or failed.
    #[error("Docker failed to {operation}")]
    Failed {
        /// What was asked for.
        operation: String,
        /// The cause.
        source: Box<bollard::errors::Error>,
    },
    /// No answer in time.
    #[error("Docker did not {operation} within {after:?}")]
    TimedOut {
        /// What was asked for.
        operation: String,
        /// The deadline.
        after: Duration,
    },
}
