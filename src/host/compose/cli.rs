//! [`Compose`] by `docker compose`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::script::Run;
use super::{Compose, ComposeError, Config, Project, script_of};
use crate::host::command::{Command, CommandError, Output};
use crate::model::manifest::{Unset, named_unset};

/// The most that `config` may print.
const MAX_CONFIG: usize = 8 * 1024 * 1024;

/// Deadlines by operation; the stop grace of an app is added where it stops.
#[derive(Debug, Clone)]
pub struct ComposeTimeouts {
    /// For `config`.
    pub config: Duration,
    /// For `pull`.
    pub pull: Duration,
    /// For `build`.
    pub build: Duration,
    /// For `up` and `start`, which wait for the services that others depend on.
    pub up: Duration,
    /// For `down` and `stop`.
    pub down: Duration,
    /// For the app's scripts.
    pub script: Duration,
}

impl Default for ComposeTimeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            config: minutes(1),
            pull: minutes(30),
            build: minutes(60),
            up: minutes(15),
            down: minutes(5),
            script: minutes(30),
        }
    }
}

/// The Compose CLI as a plugin of docker.
#[derive(Debug, Clone)]
pub struct ComposeCli {
    /// `docker`, or a path to it.
    pub program: String,
    /// Deadlines.
    pub timeouts: ComposeTimeouts,
}

impl Default for ComposeCli {
    fn default() -> Self {
        Self { program: "docker".to_owned(), timeouts: ComposeTimeouts::default() }
    }
}

impl ComposeCli {
    /// A command that acts. Compatibility: containers are called project_service_1.
    fn command(&self, project: &Project, args: &[&str]) -> Command {
        self.compose(project, &["--compatibility"], args)
    }

    /// A command that only reads. Not for compatibility: with it `config` leaves out what `up` does all the same, such as
    /// the default network, so it refused files that `up` takes, and its hashes were none that containers carry.
    fn reading(&self, project: &Project, args: &[&str]) -> Command {
        self.compose(project, &[], args)
    }

    fn compose(&self, project: &Project, options: &[&str], args: &[&str]) -> Command {
        let command = Command::new(&self.program)
            // Stays as it is where Compose fills in variables, also in a folder that has no `.env` of ours.
            .env("CONTAINER", "$CONTAINER")
            .arg("compose")
            .args(options)
            .args(["--ansi", "never", "--project-name"])
            .arg(project.name.as_str());
        // Without its checkout a project can still be stopped and removed: Compose finds it by its labels.
        let command = match project.dir.is_dir() {
            true => command.arg("--project-directory").arg(&project.dir).cwd(&project.dir),
            false => command.cwd("/"),
        };
        command.args(args)
    }

    async fn run(
        &self,
        project: &Project,
        args: &[&'static str],
        deadline: Duration,
    ) -> Result<(), ComposeError> {
        let command = self.command(project, args).progress(true);
        match command.run(deadline).await {
            Ok(_) => Ok(()),
            Err(source) => Err(ComposeError::Failed {
                operation: args.first().copied().unwrap_or_default(),
                project: project.name.clone(),
                source,
            }),
        }
    }
}

#[async_trait]
impl Compose for ComposeCli {
    async fn config(&self, project: &Project) -> Result<Config, ComposeError> {
        let command = self.reading(project, &["config", "--format", "json"]);
        let output = command.secret().keep(MAX_CONFIG).run(self.timeouts.config).await;
        let names = output.as_ref().map(|output| named_unset(&output.stderr)).unwrap_or_default();
        let value = read_config(project, output)?;
        if names.is_empty() {
            return Ok(Config { value, unset: Vec::new() });
        }
        // The file as it is written tells where they are asked for.
        let raw = self.written(project).await.ok();
        Ok(Config { value, unset: Unset::find(&names, raw.as_ref()) })
    }

    async fn written(&self, project: &Project) -> Result<Value, ComposeError> {
        let args = ["config", "--format", "json", "--no-interpolate"];
        let command = self.reading(project, &args);
        let output = command.secret().keep(MAX_CONFIG).run(self.timeouts.config).await;
        read_config(project, output)
    }

    async fn hashes(&self, project: &Project) -> Result<BTreeMap<String, String>, ComposeError> {
        let output = self.reading(project, &["config", "--hash", "*"]).run(self.timeouts.config);
        let printed = output.await.map_err(|source| ComposeError::Failed {
            operation: "config --hash",
            project: project.name.clone(),
            source,
        })?;
        let words = printed.stdout.lines().filter_map(|line| line.split_once(' '));
        Ok(words.map(|(name, hash)| (name.to_owned(), hash.trim().to_owned())).collect())
    }

    async fn pull(&self, project: &Project) -> Result<(), ComposeError> {
        let args = ["pull", "--ignore-buildable", "--quiet"];
        self.run(project, &args, self.timeouts.pull).await
    }

    async fn build(&self, project: &Project) -> Result<(), ComposeError> {
        self.run(project, &["build"], self.timeouts.build).await
    }

    async fn up(&self, project: &Project) -> Result<(), ComposeError> {
        let args = ["up", "--detach", "--no-build", "--remove-orphans", "--quiet-pull"];
        self.run(project, &args, self.timeouts.up).await
    }

    async fn down(
        &self,
        project: &Project,
        volumes: bool,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let mut args = vec!["down", "--remove-orphans"];
        if volumes {
            args.push("--volumes");
        }
        let deadline = self.timeouts.down + stop_grace.unwrap_or_default();
        self.run(project, &args, deadline).await
    }

    async fn stop(
        &self,
        project: &Project,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let deadline = self.timeouts.down + stop_grace.unwrap_or_default();
        self.run(project, &["stop"], deadline).await
    }

    async fn start(&self, project: &Project) -> Result<(), ComposeError> {
        self.run(project, &["start"], self.timeouts.up).await
    }

    async fn script(
        &self,
        project: &Project,
        name: &str,
        args: &[String],
    ) -> Result<bool, ComposeError> {
        let path = project.dir.join(name);
        let command = match script_of(project, name)? {
            None => return Ok(false),
            Some(Run::Directly) => Command::new(&path),
            Some(Run::BySh) => Command::new("sh").arg(&path),
        };
        let command = command.args(args).cwd(&project.dir);
        match command.progress(true).run(self.timeouts.script).await {
            Ok(_) => Ok(true),
            Err(source) => Err(ComposeError::Script {
                name: name.to_owned(),
                project: project.name.clone(),
                source,
            }),
        }
    }
}

fn read_config(
    project: &Project,
    output: Result<Output, CommandError>,
) -> Result<Value, ComposeError> {
    match output {
        Ok(output) if output.truncated => {
            Err(ComposeError::TooLarge { project: project.name.clone() })
        }
        Ok(output) => serde_json::from_str(&output.stdout)
            .map_err(|source| ComposeError::Output { project: project.name.clone(), source }),
        // A status means that compose ran and judged; the rest is trouble on this node.
        Err(CommandError::Failed { stderr, status, .. }) if status.code().is_some() => {
            Err(ComposeError::Invalid { why: complaint(&stderr) })
        }
        Err(source) => {
            Err(ComposeError::Failed { operation: "config", project: project.name.clone(), source })
        }
    }
}

/// Compose's complaint without the warnings that stand before it.
fn complaint(stderr: &str) -> String {
    let lines: Vec<_> = stderr.lines().filter(|line| !line.contains("level=warning")).collect();
    if lines.is_empty() { stderr.to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests;
