//! Compose projects: brought up and down by the Compose CLI.

mod cli;
mod env;
mod script;

#[cfg(any(test, feature = "testing"))]
mod fake;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::command::CommandError;
use super::files::FileError;
use crate::model::ProjectName;
use crate::model::manifest::Unset;

pub use cli::{ComposeCli, ComposeTimeouts};
pub use env::prepare_env;
#[cfg(any(test, feature = "testing"))]
pub use fake::FakeCompose;

/// An app's checkout, as a compose project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project's name, whatever the compose file says.
    pub name: ProjectName,
    /// The checkout.
    pub dir: PathBuf,
}

/// A compose file as Compose understands it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The file, with variables filled in. It may hold secrets.
    ///
    /// Dollars in it are doubled, as [`crate::model::manifest::Manifest::parse`] expects.
    pub value: Value,
    /// The variables that are not set.
    pub unset: Vec<Unset>,
}

/// Runs compose projects. Every method is idempotent.
#[async_trait]
pub trait Compose: Send + Sync {
    /// The compose file, checked.
    async fn config(&self, project: &Project) -> Result<Config, ComposeError>;

    /// The compose file as it is written: with the files that it names, and without variables filled in. It needs none of
    /// those files.
    async fn written(&self, project: &Project) -> Result<Value, ComposeError> {
        self.config(project).await.map(|config| config.value)
    }

    /// The hash of each service's definition, by name, as containers carry it: another hash, another container.
    async fn hashes(&self, project: &Project) -> Result<BTreeMap<String, String>, ComposeError>;

    /// Pulls the images that are not built.
    async fn pull(&self, project: &Project) -> Result<(), ComposeError>;

    /// Builds the images that have a `build` section.
    async fn build(&self, project: &Project) -> Result<(), ComposeError>;

    /// Creates and starts what is not running as the file says. Does not wait for health, and builds nothing.
    async fn up(&self, project: &Project) -> Result<(), ComposeError>;

    /// Stops and removes containers and networks, and with `volumes` those that compose made: a volume that was
    /// restored is none of them, and stays. `stop_grace` is the longest time that the app's own services take to
    /// stop: it extends the deadline, each service keeps its own.
    async fn down(
        &self,
        project: &Project,
        volumes: bool,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError>;

    /// Stops the containers and keeps them.
    async fn stop(
        &self,
        project: &Project,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError>;

    /// Starts the containers that [`Compose::stop`] kept.
    async fn start(&self, project: &Project) -> Result<(), ComposeError>;

    /// Runs a script of the checkout in the checkout, by `sh` if it is not executable; false if there is none of that
    /// name.
    async fn script(
        &self,
        project: &Project,
        name: &str,
        args: &[String],
    ) -> Result<bool, ComposeError>;
}

/// Whether a project has a script of that name that can be run; it is not run.
///
/// # Errors
/// [`ComposeError::NotRunnable`] if there is one that can't be.
pub fn has_script(project: &Project, name: &str) -> Result<bool, ComposeError> {
    script_of(project, name).map(|how| how.is_some())
}

fn script_of(project: &Project, name: &str) -> Result<Option<script::Run>, ComposeError> {
    script::how(&project.dir.join(name)).map_err(|source| ComposeError::NotRunnable {
        name: name.to_owned(),
        project: project.name.clone(),
        source,
    })
}

/// Why compose did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The compose file is missing or wrong: the app's fault, whatever node it is.
    #[error("the compose file is refused: {why}")]
    Invalid {
        /// Compose's complaint.
        why: String,
    },
    /// Compose failed.
    #[error("compose {operation} of {project} failed")]
    Failed {
        /// pull, build, up…
        operation: &'static str,
        /// The project.
        project: ProjectName,
        /// The cause, with what compose wrote.
        source: CommandError,
    },
    /// The output of `config` is not JSON.
    #[error("compose config of {project} printed no JSON")]
    Output {
        /// The project.
        project: ProjectName,
        /// The cause.
        source: serde_json::Error,
    },
    /// The compose file is larger than any app's.
    #[error("the compose file of {project} is too large")]
    TooLarge {
        /// The project.
        project: ProjectName,
    },
    /// A script is there, but can't be run.
    #[error("{name} of {project} can't be run")]
    NotRunnable {
        /// The script.
        name: String,
        /// The project.
        project: ProjectName,
        /// Why not.
        source: std::io::Error,
    },
    /// A script failed.
    #[error("{name} of {project} failed")]
    Script {
        /// The script.
        name: String,
        /// The project.
        project: ProjectName,
        /// The cause, with what the script wrote.
        source: CommandError,
    },
    /// A file of the checkout could not be read or written.
    #[error("the checkout of {project} is not usable")]
    Checkout {
        /// The project.
        project: ProjectName,
        /// The cause.
        source: FileError,
    },
}
