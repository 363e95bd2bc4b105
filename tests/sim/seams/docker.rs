//! Docker of a machine, which may be away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tandem::host::docker::{
    Container, Containers, DockerError, ExecOutput, FakeContainers, Image, VolumeUser,
};
use tandem::model::ProjectName;

use crate::checks;
use crate::faults::strangers;
use crate::gate::{Gate, Pace};

pub(crate) struct SimContainers {
    pub(crate) gate: Arc<Gate>,
    pub(crate) inner: Arc<FakeContainers>,
}

fn away(operation: &str) -> DockerError {
    DockerError::TimedOut { operation: operation.to_owned(), after: Duration::from_secs(1) }
}

impl SimContainers {
    async fn call<T: Send + 'static>(
        &self,
        what: String,
        effect: impl Future<Output = Result<T, DockerError>> + Send + 'static,
    ) -> Result<T, DockerError> {
        let gate = self.gate.clone();
        let operation = what.split(' ').next().unwrap_or_default().to_owned();
        let failure = {
            let operation = operation.clone();
            move || away(&operation)
        };
        let effect = async move {
            if !gate.machine().state().docker {
                return Err(away(&operation));
            }
            effect.await
        };
        self.gate.call(|| what.clone(), Pace::Short, failure, effect).await
    }
}

#[async_trait]
impl Containers for SimContainers {
    async fn of_project(&self, project: &ProjectName) -> Result<Vec<Container>, DockerError> {
        let (inner, name) = (self.inner.clone(), project.clone());
        self.call(format!("of_project {project}"), async move { inner.of_project(&name).await })
            .await
    }

    async fn running_projects(&self) -> Result<BTreeSet<String>, DockerError> {
        let inner = self.inner.clone();
        self.call("running_projects".to_owned(), async move { inner.running_projects().await })
            .await
    }

    async fn volumes_of_project(&self, project: &ProjectName) -> Result<Vec<String>, DockerError> {
        let (inner, name) = (self.inner.clone(), project.clone());
        let effect = async move { inner.volumes_of_project(&name).await };
        self.call(format!("volumes_of_project {project}"), effect).await
    }

    async fn volume_exists(&self, name: &str) -> Result<bool, DockerError> {
        let (inner, volume) = (self.inner.clone(), name.to_owned());
        let effect = async move { inner.volume_exists(&volume).await };
        self.call(format!("volume_exists {name}"), effect).await
    }

    async fn network_exists(&self, name: &str) -> Result<bool, DockerError> {
        let (inner, network) = (self.inner.clone(), name.to_owned());
        let effect = async move { inner.network_exists(&network).await };
        self.call(format!("network_exists {name}"), effect).await
    }

    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>, DockerError> {
        let (inner, image) = (self.inner.clone(), reference.to_owned());
        let effect = async move { inner.image_volumes(&image).await };
        self.call(format!("image_volumes {reference}"), effect).await
    }

    async fn local_volume(&self, name: &str) -> Result<Option<PathBuf>, DockerError> {
        let (inner, volume) = (self.inner.clone(), name.to_owned());
        let effect = async move { inner.local_volume(&volume).await };
        self.call(format!("local_volume {name}"), effect).await
    }

    async fn users_of_volume(&self, name: &str) -> Result<Vec<VolumeUser>, DockerError> {
        let (inner, volume) = (self.inner.clone(), name.to_owned());
        let effect = async move { inner.users_of_volume(&volume).await };
        self.call(format!("users_of_volume {name}"), effect).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), DockerError> {
        let (inner, volume, gate) = (self.inner.clone(), name.to_owned(), self.gate.clone());
        let effect = async move {
            if strangers::has(&gate.world, gate.node, &volume) {
                let operation = format!("remove volume {volume}");
                return Err(DockerError::NoSuch { operation, said: "it is in use".to_owned() });
            }
            let removed = inner.remove_volume(&volume).await;
            checks::removed(&gate.world, gate.node, &volume);
            removed
        };
        self.call(format!("remove_volume {name}"), effect).await
    }

    async fn image_tags(&self, repo: &str) -> Result<Vec<String>, DockerError> {
        let (inner, name) = (self.inner.clone(), repo.to_owned());
        self.call(format!("image_tags {repo}"), async move { inner.image_tags(&name).await }).await
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, DockerError> {
        let (inner, name) = (self.inner.clone(), reference.to_owned());
        self.call(format!("image_id {reference}"), async move { inner.image_id(&name).await }).await
    }

    async fn set_restart(&self, container: &str, policy: &str) -> Result<(), DockerError> {
        let (inner, id, to) = (self.inner.clone(), container.to_owned(), policy.to_owned());
        let effect = async move { inner.set_restart(&id, &to).await };
        self.call(format!("set_restart {container} {policy}"), effect).await
    }

    async fn images_of_project(&self, project: &ProjectName) -> Result<Vec<Image>, DockerError> {
        let (inner, name) = (self.inner.clone(), project.clone());
        let effect = async move { inner.images_of_project(&name).await };
        self.call(format!("images_of_project {project}"), effect).await
    }

    async fn tag_image(&self, id: &str, repo: &str, tag: &str) -> Result<(), DockerError> {
        let inner = self.inner.clone();
        let (image, name, label) = (id.to_owned(), repo.to_owned(), tag.to_owned());
        let effect = async move { inner.tag_image(&image, &name, &label).await };
        self.call(format!("tag_image {id} {repo}:{tag}"), effect).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), DockerError> {
        let (inner, name) = (self.inner.clone(), reference.to_owned());
        let effect = async move { inner.remove_image(&name).await };
        self.call(format!("remove_image {reference}"), effect).await
    }

    async fn start(&self, container: &str) -> Result<(), DockerError> {
        let (inner, id) = (self.inner.clone(), container.to_owned());
        self.call(format!("start {container}"), async move { inner.start(&id).await }).await
    }

    async fn api_version(&self) -> Result<Option<(u32, u32)>, DockerError> {
        self.inner.api_version().await
    }

    async fn exec(
        &self,
        container: &str,
        _: &[String],
        _: Option<Vec<u8>>,
        _: Duration,
    ) -> Result<ExecOutput, DockerError> {
        panic!("nothing is executed in {container} here")
    }

    async fn logs_tail(&self, container: &str, lines: usize) -> Result<String, DockerError> {
        let (inner, name) = (self.inner.clone(), container.to_owned());
        let effect = async move { inner.logs_tail(&name, lines).await };
        self.call(format!("logs_tail {container}"), effect).await
    }

    async fn until_gone(&self) {
        let machine = self.gate.machine();
        let gone = machine.docker_gone.notified();
        if machine.state().docker {
            gone.await;
        }
    }

    async fn ping(&self) -> Result<(), DockerError> {
        if self.gate.machine().state().docker {
            return Ok(());
        }
        Err(away("ping"))
    }
}
