//! Compose on a fake machine whose apps write to their volumes, as apps do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::host::compose::{Compose, ComposeError, Config, FakeCompose, Project};
use crate::host::docker::VolumeUser;
use crate::host::fake::FakeMachine;

/// Each version writes its name into the volumes when it starts, `last` before it stops, and `update.sh` its own.
pub(super) struct LiveCompose {
    inner: Arc<FakeCompose>,
    machine: FakeMachine,
    fail_after: Mutex<BTreeMap<&'static str, u32>>,
    /// Whether `update.sh` starts a container and leaves it.
    pub(super) untidy_update: Mutex<bool>,
    /// The volume that a foreign container begins to write to when the app is stopped.
    pub(super) stranger: Mutex<Option<String>>,
}

impl LiveCompose {
    pub(super) fn new(inner: Arc<FakeCompose>, machine: FakeMachine) -> Self {
        Self {
            inner,
            machine,
            fail_after: Mutex::default(),
            untidy_update: Mutex::default(),
            stranger: Mutex::default(),
        }
    }

    /// Makes the next calls of a method do their work and fail all the same.
    pub(super) fn fail_after(&self, operation: &'static str, times: u32) {
        self.fail_after.lock().unwrap().insert(operation, times);
    }

    fn outcome<T>(&self, operation: &'static str, result: T) -> Result<T, ComposeError> {
        let mut failures = self.fail_after.lock().unwrap();
        match failures.get_mut(operation) {
            Some(times) if *times > 0 => {
                *times -= 1;
                Err(ComposeError::Invalid { why: format!("{operation} broke off in the end") })
            }
            Some(_) | None => Ok(result),
        }
    }

    /// Appends to every BTRFS volume of the project, unless that was the last thing written.
    fn write(&self, project: &Project, text: &str) {
        let prefix = project.name.volume("");
        let mut state = self.machine.state();
        let own = state.volumes.iter_mut().filter(|(name, _)| name.starts_with(&prefix));
        for (_, content) in own.filter(|(_, content)| !content.ends_with(text)) {
            content.push_str(text);
        }
    }

    fn version(project: &Project) -> String {
        let text = std::fs::read_to_string(project.dir.join("VERSION"));
        text.unwrap_or_else(|_| "unknown".to_owned())
    }
}

/// A container of `docker compose run`.
pub(super) fn stranger() -> VolumeUser {
    VolumeUser { name: "import-run-1".to_owned(), writes: true }
}

#[async_trait]
impl Compose for LiveCompose {
    async fn config(&self, project: &Project) -> Result<Config, ComposeError> {
        self.inner.config(project).await
    }

    async fn hashes(&self, project: &Project) -> Result<BTreeMap<String, String>, ComposeError> {
        self.inner.hashes(project).await
    }

    async fn pull(&self, project: &Project) -> Result<(), ComposeError> {
        self.inner.pull(project).await?;
        let image = format!("image-db-{}", Self::version(project));
        self.machine.state().images.insert("registry:5000/db:1".to_owned(), image);
        self.outcome("pull", ())
    }

    async fn build(&self, project: &Project) -> Result<(), ComposeError> {
        self.inner.build(project).await?;
        self.outcome("build", ())
    }

    async fn up(&self, project: &Project) -> Result<(), ComposeError> {
        self.inner.up(project).await?;
        self.write(project, &format!("{};", Self::version(project)));
        self.outcome("up", ())
    }

    async fn down(
        &self,
        project: &Project,
        volumes: bool,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        self.inner.down(project, volumes, stop_grace).await?;
        self.outcome("down", ())
    }

    async fn stop(
        &self,
        project: &Project,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let runs = self
            .machine
            .state()
            .containers
            .get(project.name.as_str())
            .is_some_and(|all| all.iter().any(|container| container.state.is_alive()));
        self.inner.stop(project, stop_grace).await?;
        if runs {
            self.write(project, "last;");
        }
        if let Some(volume) = self.stranger.lock().unwrap().take() {
            self.machine.state().strangers.insert(volume, vec![stranger()]);
        }
        self.outcome("stop", ())
    }

    async fn start(&self, project: &Project) -> Result<(), ComposeError> {
        self.inner.start(project).await
    }

    async fn script(
        &self,
        project: &Project,
        name: &str,
        args: &[String],
    ) -> Result<bool, ComposeError> {
        let ran = self.inner.script(project, name, args).await?;
        if *self.untidy_update.lock().unwrap() {
            self.inner.up(project).await?;
        }
        self.write(project, "updated;");
        self.outcome("script", ran)
    }
}
