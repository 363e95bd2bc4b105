//! [`Compose`] on a machine in memory.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{Compose, ComposeError, Config, Project};
use crate::host::docker::{Container, Health, State};
use crate::host::fake::{Failures, FakeMachine, MachineState, full_reference, lock};
use crate::model::manifest::Manifest;

/// Reads `docker-compose.yml` of the checkout (which has to be normalised) and starts containers in memory.
#[derive(Default)]
pub struct FakeCompose {
    machine: FakeMachine,
    /// Failures to come, by method.
    pub failures: Failures<ComposeError>,
    outcomes: Mutex<BTreeMap<String, (State, Health)>>,
}

impl FakeCompose {
    /// Compose on a machine.
    pub fn new(machine: FakeMachine) -> Self {
        Self { machine, ..Self::default() }
    }

    /// Makes the next call of a method fail.
    pub fn fail_next(&self, operation: &str, error: ComposeError) {
        self.failures.push(operation, error);
    }

    /// Sets how containers of a service look after `up`, in any project; they run otherwise.
    pub fn set_outcome(&self, service: &str, state: State, health: Health) {
        lock(&self.outcomes).insert(service.to_owned(), (state, health));
    }

    fn begin(&self, operation: &str, project: &Project) -> Result<(), ComposeError> {
        self.machine.note(format!("{operation} {}", project.name));
        self.failures.take(operation)
    }

    fn read(project: &Project) -> Result<Value, ComposeError> {
        let invalid = |why: String| ComposeError::Invalid { why };
        let text = fs::read_to_string(project.dir.join("docker-compose.yml"))
            .map_err(|_| invalid("no configuration file provided: not found".to_owned()))?;
        serde_yaml::from_str(&text).map_err(|error| invalid(error.to_string()))
    }

    /// Compose reads the files that a service's variables are in, and refuses the compose file if one is missing.
    fn require_env_files(project: &Project, config: &Value) -> Result<(), ComposeError> {
        let services = config.get("services").and_then(Value::as_object);
        let files = services.into_iter().flatten().filter_map(|(_, service)| {
            let files = service.get("env_file")?.as_array()?.iter();
            Some(files.filter_map(|file| file.get("path").unwrap_or(file).as_str()))
        });
        match files.flatten().map(|file| project.dir.join(file)).find(|file| !file.exists()) {
            Some(file) => {
                let why = format!("env file {} not found", file.display());
                Err(ComposeError::Invalid { why })
            }
            None => Ok(()),
        }
    }

    fn manifest(project: &Project) -> Result<Manifest, ComposeError> {
        let config = Self::read(project)?;
        Manifest::parse(&config, &project.name, &[])
            .map_err(|error| ComposeError::Invalid { why: error.to_string() })
    }

    /// A service's hash is its definition.
    fn hash(project: &Project) -> Result<BTreeMap<String, String>, ComposeError> {
        let config = Self::read(project)?;
        let services = config.get("services").and_then(Value::as_object);
        Ok(services.into_iter().flatten().map(|(n, def)| (n.clone(), def.to_string())).collect())
    }

    fn containers(
        &self,
        state: &mut MachineState,
        project: &Project,
        manifest: &Manifest,
    ) -> Vec<Container> {
        let outcomes = lock(&self.outcomes);
        let hashes = Self::hash(project).unwrap_or_default();
        let running = manifest.services.iter().filter(|(_, s)| s.replicas > 0);
        running
            .map(|(name, service)| {
                state.counter += 1;
                let usual = if service.completes { State::Exited(0) } else { State::Running };
                let image = service.image.clone();
                let image = image.unwrap_or_else(|| format!("{}_{name}", project.name));
                let outcome = outcomes.get(name).copied();
                let (how, health) = outcome.unwrap_or((usual, Health::None));
                Container {
                    id: format!("container-{}", state.counter),
                    name: service.container.clone(),
                    service: name.clone(),
                    image: image.clone(),
                    image_id: state
                        .images
                        .get(&full_reference(&image))
                        .cloned()
                        .unwrap_or_else(|| format!("image-{name}")),
                    state: how,
                    health,
                    restart: service.restart.clone(),
                    config_hash: hashes.get(name).cloned(),
                    ..Container::running(name)
                }
            })
            .collect()
    }

    fn set_states(&self, project: &Project, to: State) {
        let mut state = self.machine.state();
        let own = state.containers.get_mut(project.name.as_str());
        for container in own.into_iter().flatten() {
            container.state = to;
        }
    }
}

#[async_trait]
impl Compose for FakeCompose {
    async fn config(&self, project: &Project) -> Result<Config, ComposeError> {
        self.begin("config", project)?;
        let value = Self::read(project)?;
        Self::require_env_files(project, &value)?;
        Ok(Config { value, unset: Vec::new() })
    }

    async fn written(&self, project: &Project) -> Result<Value, ComposeError> {
        self.begin("written", project)?;
        Self::read(project)
    }

    async fn hashes(&self, project: &Project) -> Result<BTreeMap<String, String>, ComposeError> {
        self.begin("hashes", project)?;
        Self::hash(project)
    }

    async fn pull(&self, project: &Project) -> Result<(), ComposeError> {
        self.begin("pull", project)
    }

    async fn build(&self, project: &Project) -> Result<(), ComposeError> {
        self.begin("build", project)?;
        let manifest = Self::manifest(project)?;
        let mut state = self.machine.state();
        for (name, service) in &manifest.services {
            if service.builds {
                state.counter += 1;
                let id = format!("image-{name}-{}", state.counter);
                let reference = service.image.clone();
                let reference = reference.unwrap_or_else(|| format!("{}_{name}", project.name));
                state.images.insert(full_reference(&reference), id);
            }
        }
        Ok(())
    }

    async fn up(&self, project: &Project) -> Result<(), ComposeError> {
        self.begin("up", project)?;
        let manifest = Self::manifest(project)?;
        let mut state = self.machine.state();
        let containers = self.containers(&mut state, project, &manifest);
        let key = project.name.to_string();
        state.containers.insert(key.clone(), containers);
        for volume in manifest.volumes.iter().filter(|volume| !volume.external) {
            // A volume that was restored is taken as it is, without a label.
            if state.volumes.contains_key(&volume.name) {
                continue;
            }
            let own = state.project_volumes.entry(key.clone()).or_default();
            own.insert(volume.name.clone());
            if volume.driver != "local" {
                state.volumes.insert(volume.name.clone(), String::new());
            }
        }
        Ok(())
    }

    async fn down(
        &self,
        project: &Project,
        volumes: bool,
        _stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let operation = if volumes { "down --volumes" } else { "down" };
        self.machine.note(format!("{operation} {}", project.name));
        self.failures.take("down")?;
        let mut state = self.machine.state();
        state.containers.remove(project.name.as_str());
        if volumes {
            let own = state.project_volumes.remove(project.name.as_str());
            for name in own.unwrap_or_default() {
                state.volumes.remove(&name);
            }
        }
        Ok(())
    }

    async fn stop(
        &self,
        project: &Project,
        _stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        self.begin("stop", project)?;
        self.set_states(project, State::Exited(0));
        Ok(())
    }

    async fn start(&self, project: &Project) -> Result<(), ComposeError> {
        self.begin("start", project)?;
        self.set_states(project, State::Running);
        Ok(())
    }

    async fn script(
        &self,
        project: &Project,
        name: &str,
        args: &[String],
    ) -> Result<bool, ComposeError> {
        let args = args.join(" ");
        self.machine.note(format!("script {} {name} {args}", project.name));
        self.failures.take("script")?;
        Ok(project.dir.join(name).exists())
    }
}
