//! Compose on a machine: apps that write to their volumes, and versions that are no good.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tandem::host::compose::{Compose, ComposeError, Config, FakeCompose, Project};
use tandem::host::docker::State;
use tandem::model::deployment::{Deployment, State as Progress};
use tandem::model::{AppRecord, DeployId, keys};
use tandem::records::Queue;

use crate::apps::{App, Flaw, flaw_of, mark_of, number_of};
use crate::checks;
use crate::faults::strangers;
use crate::gate::{Gate, Pace};
use crate::kv;
use crate::world::World;

#[derive(Clone)]
pub(crate) struct SimCompose {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: Arc<FakeCompose>,
}

fn invalid(why: &str) -> ComposeError {
    ComposeError::Invalid { why: why.to_owned() }
}

impl SimCompose {
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        project: &Project,
        pace: Pace,
        effect: impl Future<Output = Result<T, ComposeError>> + Send + 'static,
    ) -> Result<T, ComposeError> {
        let gate = self.gate.clone();
        let effect = async move {
            if !gate.machine().state().docker {
                return Err(invalid("Docker does not answer"));
            }
            effect.await
        };
        let what = || format!("{operation} {} of {}", mark_of(project), project.name);
        let failure = || invalid("it is made to fail");
        self.gate.call(what, pace, failure, effect).await
    }

    /// Appends to every BTRFS volume of a project, unless that is what was written last.
    fn write(&self, project: &Project, token: &str) {
        let prefix = project.name.volume("");
        let mut state = self.gate.machine().fakes.machine.state();
        let end = format!("{token};");
        let own = state.volumes.iter_mut().filter(|(name, _)| name.starts_with(&prefix));
        for (_, content) in own.filter(|(_, content)| !content.ends_with(&end)) {
            content.push_str(&end);
        }
    }

    fn runs(&self, project: &Project) -> bool {
        self.gate.machine().runs(project.name.as_str())
    }

    /// An app that is told to stop writes down what it still has in memory: as good as acknowledged, if it is the
    /// version that serves.
    fn flush(&self, project: &Project) {
        let (world, machine) = (&self.gate.world, self.gate.machine());
        let Some(app) = world.app_of(project.name.as_str()) else { return };
        let entry: Option<AppRecord> = kv::read(&world.consul, &keys::app(&app.name));
        let under = machine.state().started_under.get(project.name.as_str()).cloned();
        let is_committed =
            under.is_none_or(|id| deployment(world, app, &id).is_none_or(|d| d.committed));
        let serves = is_committed && entry.is_some_and(|entry| entry.master == machine.name);
        let prefix = project.name.volume("");
        let mut state = machine.fakes.machine.state();
        for (name, content) in state.volumes.iter_mut().filter(|(n, _)| n.starts_with(&prefix)) {
            let token = if serves { app.promise(name) } else { "lost".to_owned() };
            content.push_str(&format!("{token};"));
        }
    }

    /// The deployment that brings a version up which it has not committed.
    fn at_work(&self, project: &Project) -> Option<DeployId> {
        let world = &self.gate.world;
        let app = world.app_of(project.name.as_str())?;
        let queue: Queue = kv::read(&world.consul, &keys::queue(&app.name))?;
        let record = deployment(world, app, &queue.running?)?;
        (record.state == Progress::Running && !record.committed).then_some(record.id)
    }

    async fn bring_up(&self, project: &Project) -> Result<(), ComposeError> {
        let flaw = flaw_of(project);
        let name = project.name.as_str();
        let version = project.dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = version.get(version.len().saturating_sub(36)..).unwrap_or_default().to_owned();
        self.inner.up(project).await?;
        let mut state = self.gate.machine().state();
        state.versions.insert(name.to_owned(), id);
        state.started_under.remove(name);
        if let Some(id) = self.at_work(project) {
            state.started_under.insert(name.to_owned(), id);
        }
        drop(state);
        self.write(project, &mark_of(project));
        if matches!(flaw, Flaw::Up | Flaw::Unhealthy) {
            let mut state = self.gate.machine().fakes.machine.state();
            if let Some(last) = state.containers.get_mut(name).and_then(|all| all.last_mut()) {
                last.state = if flaw == Flaw::Up { State::Created } else { State::Exited(1) };
            }
        }
        checks::started(&self.gate.world, self.gate.node, name);
        if flaw == Flaw::Up { Err(invalid("a port is taken")) } else { Ok(()) }
    }
}

fn deployment(world: &World, app: &App, id: &DeployId) -> Option<Deployment> {
    kv::read(&world.consul, &keys::deployment(&app.name, id))
}

#[async_trait]
impl Compose for SimCompose {
    async fn config(&self, project: &Project) -> Result<Config, ComposeError> {
        let (inner, own) = (self.inner.clone(), project.clone());
        let effect = async move { inner.config(&own).await };
        self.call("config", project, Pace::Short, effect).await
    }

    async fn hashes(&self, project: &Project) -> Result<BTreeMap<String, String>, ComposeError> {
        let (inner, own) = (self.inner.clone(), project.clone());
        let effect = async move { inner.hashes(&own).await };
        self.call("hashes", project, Pace::Short, effect).await
    }

    async fn pull(&self, project: &Project) -> Result<(), ComposeError> {
        let (inner, own, gate) = (self.inner.clone(), project.clone(), self.gate.clone());
        let effect = async move {
            inner.pull(&own).await?;
            let image = format!("image-db-{}-{}", own.name, number_of(&own));
            let mut state = gate.machine().fakes.machine.state();
            state.images.insert(format!("registry:5000/{}:1", own.name), image);
            Ok(())
        };
        self.call("pull", project, Pace::Long, effect).await
    }

    async fn build(&self, project: &Project) -> Result<(), ComposeError> {
        let (inner, own, gate) = (self.inner.clone(), project.clone(), self.gate.clone());
        let effect = async move {
            inner.build(&own).await?;
            // What was built before comes from the cache.
            let (tag, id) = (
                format!("{}_web:latest", own.name),
                format!("image-web-{}-{}", own.name, number_of(&own)),
            );
            gate.machine().fakes.machine.state().images.insert(tag, id);
            if flaw_of(&own) == Flaw::Build { Err(invalid("exit code 1")) } else { Ok(()) }
        };
        self.call("build", project, Pace::Long, effect).await
    }

    async fn up(&self, project: &Project) -> Result<(), ComposeError> {
        let (this, own) = (self.clone(), project.clone());
        self.call("up", project, Pace::Long, async move { this.bring_up(&own).await }).await
    }

    async fn down(
        &self,
        project: &Project,
        volumes: bool,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let (this, own) = (self.clone(), project.clone());
        let effect = async move {
            if this.runs(&own) {
                this.flush(&own);
            }
            let before = checks::volumes(&this.gate.world, this.gate.node, own.name.as_str());
            let in_use = strangers::mounted(&this.gate.world, this.gate.node);
            let mut done = this.inner.down(&own, volumes, stop_grace).await;
            if strangers::hold(&this.gate.world, this.gate.node, in_use) {
                done = Err(invalid("volume is in use"));
            }
            for volume in before {
                checks::removed(&this.gate.world, this.gate.node, &volume);
            }
            done
        };
        let operation = if volumes { "down --volumes" } else { "down" };
        self.call(operation, project, Pace::Long, effect).await
    }

    async fn stop(
        &self,
        project: &Project,
        stop_grace: Option<Duration>,
    ) -> Result<(), ComposeError> {
        let (this, own) = (self.clone(), project.clone());
        let effect = async move {
            if this.runs(&own) {
                this.flush(&own);
            }
            this.inner.stop(&own, stop_grace).await
        };
        self.call("stop", project, Pace::Long, effect).await
    }

    async fn start(&self, project: &Project) -> Result<(), ComposeError> {
        let (this, own) = (self.clone(), project.clone());
        let effect = async move {
            this.inner.start(&own).await?;
            checks::started(&this.gate.world, this.gate.node, own.name.as_str());
            Ok(())
        };
        self.call("start", project, Pace::Long, effect).await
    }

    async fn script(
        &self,
        project: &Project,
        name: &str,
        args: &[String],
    ) -> Result<bool, ComposeError> {
        let (this, own) = (self.clone(), project.clone());
        let (name, args) = (name.to_owned(), args.to_vec());
        let effect = async move {
            let ran = this.inner.script(&own, &name, &args).await?;
            this.write(&own, &format!("{}u", mark_of(&own)));
            if flaw_of(&own) == Flaw::Update { Err(invalid("exit code 1")) } else { Ok(ran) }
        };
        self.call("script", project, Pace::Long, effect).await
    }
}
