//! [`Containers`] of a machine in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Container, Containers, DockerError, ExecOutput, Health, Image, State, VolumeUser};
use crate::host::fake::{Failures, FakeMachine, full_reference, lock};
use crate::model::ProjectName;

impl Container {
    /// The only container of a service without a health check, which runs.
    pub fn running(service: &str) -> Self {
        Self {
            id: format!("id-{service}"),
            name: format!("p_{service}_1"),
            service: service.to_owned(),
            image: String::new(),
            image_id: String::new(),
            state: State::Running,
            health: Health::None,
            check: Vec::new(),
            probe: None,
            restart_count: 0,
            started_at: None,
            finished_at: None,
            restart: "no".to_owned(),
            config_hash: None,
            working_dir: None,
            error: None,
            binds: Vec::new(),
            anonymous: Vec::new(),
            ports: BTreeSet::new(),
        }
    }
}

/// Tells what the machine's state holds.
#[derive(Default)]
pub struct FakeContainers {
    machine: FakeMachine,
    /// Failures to come, by method.
    pub failures: Failures<DockerError>,
    logs: Mutex<BTreeMap<String, String>>,
    answers: Mutex<BTreeMap<String, ExecOutput>>,
    since: Mutex<Option<DateTime<Utc>>>,
}

impl FakeContainers {
    /// Docker on a machine.
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine, ..Self::default() }
    }

    /// Makes the next call of a method fail.
    pub fn fail_next(&self, operation: &str, error: DockerError) {
        self.failures.push(operation, error);
    }

    /// Sets when Docker was started.
    pub fn set_running_since(&self, at: DateTime<Utc>) {
        *lock(&self.since) = Some(at);
    }

    /// Sets what a container has logged.
    pub fn set_log(&self, container: &str, log: &str) {
        lock(&self.logs).insert(container.to_owned(), log.to_owned());
    }

    /// Sets how a program ends in any container; code 0 without output otherwise.
    pub fn set_answer(&self, program: &str, answer: ExecOutput) {
        lock(&self.answers).insert(program.to_owned(), answer);
    }
}

#[async_trait]
impl Containers for FakeContainers {
    async fn of_project(&self, project: &ProjectName) -> Result<Vec<Container>, DockerError> {
        self.failures.take("of_project")?;
        let state = self.machine.state();
        let containers = state.containers.get(project.as_str());
        Ok(containers.cloned().unwrap_or_default())
    }

    async fn running_projects(&self) -> Result<BTreeSet<String>, DockerError> {
        self.failures.take("running_projects")?;
        let state = self.machine.state();
        let running = state
            .containers
            .iter()
            .filter(|(_, containers)| containers.iter().any(|c| c.state.is_alive()));
        Ok(running.map(|(project, _)| project.clone()).collect())
    }

    async fn volumes_of_project(&self, project: &ProjectName) -> Result<Vec<String>, DockerError> {
        self.failures.take("volumes_of_project")?;
        let state = self.machine.state();
        let volumes = state.project_volumes.get(project.as_str());
        let volumes = volumes.into_iter().flatten().cloned();
        Ok(volumes.collect())
    }

    async fn volume_exists(&self, name: &str) -> Result<bool, DockerError> {
        self.failures.take("volume_exists")?;
        let state = self.machine.state();
        let made = state.project_volumes.values().any(|v| v.contains(name));
        Ok(made || state.volumes.contains_key(name))
    }

    async fn network_exists(&self, name: &str) -> Result<bool, DockerError> {
        self.failures.take("network_exists")?;
        Ok(!self.machine.state().missing_networks.contains(name))
    }

    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>, DockerError> {
        self.failures.take("image_volumes")?;
        let state = self.machine.state();
        Ok(state.image_volumes.get(&full_reference(reference)).cloned().unwrap_or_default())
    }

    async fn local_volume(&self, name: &str) -> Result<Option<PathBuf>, DockerError> {
        self.failures.take("local_volume")?;
        let state = self.machine.state();
        let made = state.project_volumes.values().any(|v| v.contains(name));
        let local = made && !state.volumes.contains_key(name);
        Ok(local.then(|| PathBuf::from("/var/lib/docker/volumes").join(name)))
    }

    async fn users_of_volume(&self, name: &str) -> Result<Vec<VolumeUser>, DockerError> {
        self.failures.take("users_of_volume")?;
        let state = self.machine.state();
        let of_it = state.containers.iter().filter(|(project, _)| {
            name.strip_prefix(project.as_str()).is_some_and(|rest| rest.starts_with('_'))
        });
        let alive = of_it.flat_map(|(_, own)| own).filter(|container| container.state.is_alive());
        let services = alive.map(|own| VolumeUser { name: own.name.clone(), writes: true });
        let strangers = state.strangers.get(name).into_iter().flatten().cloned();
        Ok(services.chain(strangers).collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), DockerError> {
        self.machine.note(format!("remove_volume {name}"));
        self.failures.take("remove_volume")?;
        let mut state = self.machine.state();
        state.volumes.remove(name);
        state.project_volumes.values_mut().for_each(|volumes| {
            volumes.remove(name);
        });
        Ok(())
    }

    async fn image_tags(&self, repo: &str) -> Result<Vec<String>, DockerError> {
        self.failures.take("image_tags")?;
        let prefix = format!("{repo}:");
        let state = self.machine.state();
        Ok(state.images.keys().filter(|tag| tag.starts_with(&prefix)).cloned().collect())
    }

    async fn images_of_project(&self, project: &ProjectName) -> Result<Vec<Image>, DockerError> {
        self.failures.take("images_of_project")?;
        let state = self.machine.state();
        let own = |reference: &&String| reference.starts_with(project.as_str());
        let ids: BTreeSet<_> = state.images.keys().filter(own).map(|r| &state.images[r]).collect();
        let tags = |id: &String| {
            let named = state.images.iter().filter(|(_, image)| *image == id);
            named.map(|(reference, _)| reference.clone()).collect()
        };
        let image = |id: &String| Image { id: id.clone(), tags: tags(id) };
        Ok(ids.into_iter().map(image).collect())
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, DockerError> {
        self.failures.take("image_id")?;
        Ok(self.machine.state().images.get(&full_reference(reference)).cloned())
    }

    async fn tag_image(&self, id: &str, repo: &str, tag: &str) -> Result<(), DockerError> {
        self.machine.note(format!("tag_image {id} {repo}:{tag}"));
        self.failures.take("tag_image")?;
        let mut state = self.machine.state();
        // An image in use is there, whether or not it has a name left.
        let mut used = state.containers.values().flatten().map(|container| &container.image_id);
        if !used.any(|image| image == id) && !state.images.values().any(|image| image == id) {
            return Err(DockerError::NoSuch {
                operation: format!("tag image {id}"),
                said: "No such image".to_owned(),
            });
        }
        state.images.insert(format!("{repo}:{tag}"), id.to_owned());
        Ok(())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), DockerError> {
        self.machine.note(format!("remove_image {reference}"));
        self.failures.take("remove_image")?;
        self.machine.state().images.remove(&full_reference(reference));
        Ok(())
    }

    async fn set_restart(&self, container: &str, policy: &str) -> Result<(), DockerError> {
        self.failures.take("set_restart")?;
        let mut state = self.machine.state();
        let own = state.containers.values_mut().flatten();
        for found in own.filter(|own| own.id == container) {
            found.restart = policy.to_owned();
        }
        Ok(())
    }

    /// What becomes of it is the test's to say.
    async fn start(&self, container: &str) -> Result<(), DockerError> {
        self.failures.take("start")?;
        self.machine.note(format!("start {container}"));
        Ok(())
    }

    async fn api_version(&self) -> Result<Option<(u32, u32)>, DockerError> {
        self.failures.take("api_version")?;
        Ok(Some((1, 41)))
    }

    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        _stdin: Option<Vec<u8>>,
        _deadline: Duration,
    ) -> Result<ExecOutput, DockerError> {
        self.machine.note(format!("exec {container} {}", argv.join(" ")));
        self.failures.take("exec")?;
        let program = argv.first().map(String::as_str).unwrap_or_default();
        let answer = lock(&self.answers).get(program).cloned();
        Ok(answer.unwrap_or(ExecOutput { code: 0, stdout: String::new(), stderr: String::new() }))
    }

    async fn logs_tail(&self, container: &str, _lines: usize) -> Result<String, DockerError> {
        self.failures.take("logs_tail")?;
        Ok(lock(&self.logs).get(container).cloned().unwrap_or_default())
    }

    async fn until_gone(&self) {
        std::future::pending().await
    }

    async fn ping(&self) -> Result<(), DockerError> {
        self.failures.take("ping")
    }

    async fn running_since(&self) -> Option<DateTime<Utc>> {
        *lock(&self.since)
    }
}
