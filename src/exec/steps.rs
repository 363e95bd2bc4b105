//! The effects of the steps, by what they touch.

pub(super) mod check;
pub(super) mod checkouts;
pub(super) mod compare;
mod complaints;
pub(super) mod data;
pub(super) mod images;
pub(super) mod keys;
mod limits;
mod local;
pub(super) mod migrate;
pub(super) mod mounts;
mod place;
pub(super) mod probe;
pub(super) mod project;
pub(super) mod recall;
mod routed;
pub(super) mod services;
pub(super) mod transfer;
pub(super) mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::context::Context;
use super::error::StepError;
use crate::host::compose::Project;
use crate::model::deployment::{Deployment, Step, StepRecord};
use crate::model::manifest::Manifest;
use crate::model::{AppName, AppRecord, DeployId, NodeName, Placement, ProjectName, Role};

/// A step with everything that it may look at.
pub(super) struct StepContext<'a> {
    pub(super) ctx: &'a Context,
    pub(super) deployment: &'a Deployment,
    pub(super) index: usize,
    pub(super) record: &'a StepRecord,
    pub(super) app: AppName,
    pub(super) project: ProjectName,
}

impl<'a> StepContext<'a> {
    pub(super) fn new(
        ctx: &'a Context,
        deployment: &'a Deployment,
        index: usize,
    ) -> Result<Self, StepError> {
        let record = deployment
            .steps
            .get(index)
            .ok_or_else(|| StepError::Lost(format!("the record has no step {index}")))?;
        let app = deployment.request.app().name();
        let project = app.project();
        Ok(Self { ctx, deployment, index, record, app, project })
    }

    /// The role of this node when the deployment is over.
    pub(super) fn new_role(&self) -> Role {
        Placement::role_of(self.deployment.placement.as_ref(), &self.ctx.me)
    }

    /// This deployment's checkout.
    pub(super) fn checkout(&self) -> PathBuf {
        self.ctx.checkout(&self.app, &self.deployment.id)
    }

    /// The new version as a compose project; of a migration's target, the version that it has.
    pub(super) fn new_project(&self) -> Project {
        if self.deployment.request.source().is_some()
            && let Some(project) = self.former_project()
        {
            return project;
        }
        Project { name: self.project.clone(), dir: self.checkout() }
    }

    /// The version that ran before as a compose project, if there was one.
    pub(super) fn former_project(&self) -> Option<Project> {
        let former = self.deployment.former.as_ref()?;
        let id = DeployId::parse(&former.deploy_id).ok()?;
        Some(Project { name: self.project.clone(), dir: self.ctx.checkout(&self.app, &id) })
    }

    /// The KV entry as it was when the deployment began.
    pub(super) fn former(&self) -> Result<&'a AppRecord, StepError> {
        self.deployment
            .former
            .as_ref()
            .ok_or_else(|| StepError::Lost("the record names no former version".to_owned()))
    }

    /// The KV entry that the check prepared.
    pub(super) fn prepared(&self) -> Result<&'a AppRecord, StepError> {
        self.deployment
            .prepared
            .as_ref()
            .ok_or_else(|| StepError::Lost("the record holds no prepared entry".to_owned()))
    }

    /// What a step of this deployment noted on this node.
    pub(super) fn output_of(&self, step: &Step) -> BTreeMap<String, String> {
        let found = self
            .deployment
            .steps
            .iter()
            .find(|record| record.step == *step && record.node == self.ctx.me);
        found.map(|record| record.output.clone()).unwrap_or_default()
    }

    /// What the one step of that kind noted, on whatever node.
    pub(super) fn noted(&self, kind: impl Fn(&Step) -> bool) -> BTreeMap<String, String> {
        let found = self.deployment.steps.iter().find(|record| kind(&record.step));
        found.map(|record| record.output.clone()).unwrap_or_default()
    }

    /// Whether a step of this deployment has begun on this node.
    pub(super) fn has_begun_here(&self, step: &Step) -> bool {
        let own = self.deployment.steps.iter().filter(|record| record.node == self.ctx.me);
        own.filter(|record| record.step == *step).any(|record| record.started_at.is_some())
    }

    /// The address of a node, as Consul knows it.
    pub(super) async fn address_of(&self, node: &NodeName) -> Result<String, StepError> {
        let addresses = self.ctx.addresses().await.map_err(|e| StepError::from_error(&e))?;
        addresses
            .get(node)
            .cloned()
            .ok_or_else(|| StepError::Failed(format!("{node} has no address in Consul")))
    }

    /// Reads and parses a project's compose file through Compose itself.
    pub(super) async fn manifest(&self, project: &Project) -> Result<Manifest, StepError> {
        let compose = &self.ctx.host.compose;
        let config = compose.config(project).await.map_err(|e| StepError::from_error(&e))?;
        let drivers = &self.ctx.config.volumes.drivers;
        let manifest = Manifest::parse(&config.value, &project.name, drivers);
        let mut manifest = manifest.map_err(|e| StepError::from_error(&e))?;
        manifest.unset = config.unset;
        self.ctx.manifests.note(&project.dir, &manifest);
        Ok(manifest)
    }

    /// What this agent read last of a project's compose file, or what it reads now.
    pub(super) async fn known_manifest(&self, project: &Project) -> Result<Manifest, StepError> {
        match self.ctx.manifests.of(&project.dir) {
            Some(manifest) => Ok(manifest),
            None => self.manifest(project).await,
        }
    }
}
