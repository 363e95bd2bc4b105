//! [`Containers`] by Docker's API.

mod facts;
mod streams;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListVolumesOptionsBuilder,
    LogsOptionsBuilder, RemoveImageOptions, RemoveVolumeOptions, StartContainerOptions,
    TagImageOptionsBuilder,
};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;

pub use facts::Ends;

use super::{Container, Containers, DockerError, ExecOutput, Image, VolumeUser};
use crate::model::ProjectName;

use streams::{append, collect, exec};

/// Facts come at once or not at all.
const DEADLINE: Duration = Duration::from_secs(60);
/// Where Docker writes its process id when it starts, unless it was told another place.
const PID_FILE: &str = "/var/run/docker.pid";
/// Removing a large image takes longer.
const REMOVAL: Duration = Duration::from_secs(300);

/// The Docker engine of this machine: `DOCKER_HOST`, or the usual unix socket.
///
/// It connects when it is first used and for each request anew, so Docker may come and go.
#[derive(Debug, Default)]
pub struct DockerEngine {
    client: OnceCell<Docker>,
}

impl DockerEngine {
    /// An engine that is not connected to yet.
    pub fn new() -> Self {
        Self::default()
    }

    async fn client(&self) -> Result<&Docker, DockerError> {
        let connect = async { Docker::connect_with_defaults()?.negotiate_version().await };
        self.client
            .get_or_try_init(|| connect)
            .await
            .map_err(|source| DockerError::Unreachable { source: Box::new(source) })
    }

    /// Makes one request, with its deadline.
    async fn ask<'a, T, F: Future<Output = Result<T, Error>>>(
        &'a self,
        operation: &str,
        deadline: Duration,
        request: impl FnOnce(&'a Docker) -> F,
    ) -> Result<T, DockerError> {
        let work = async {
            let client = self.client().await?;
            request(client).await.map_err(|error| explain(operation, error))
        };
        match timeout(deadline, work).await {
            Ok(result) => result,
            Err(_) => {
                Err(DockerError::TimedOut { operation: operation.to_owned(), after: deadline })
            }
        }
    }

    /// The id of a container's image, and its addresses in all of its networks; none if there is no such container.
    pub async fn look(&self, name: &str) -> Result<Option<Ends>, DockerError> {
        let inspected = self
            .ask(&format!("inspect container {name}"), DEADLINE, |docker| {
                docker.inspect_container(name, None::<InspectContainerOptions>)
            })
            .await;
        match inspected {
            Ok(facts) => Ok(Some(facts::ends(facts))),
            Err(DockerError::NoSuch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, DockerError> {
        let inspected = self
            .ask(&format!("inspect container {id}"), DEADLINE, |docker| {
                docker.inspect_container(id, None::<InspectContainerOptions>)
            })
            .await;
        match inspected {
            Ok(facts) => Ok(Some(facts::container(facts))),
            // Gone since it was listed.
            Err(DockerError::NoSuch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn explain(operation: &str, error: Error) -> DockerError {
    if let Error::DockerResponseServerError { status_code: 404, message } = &error {
        return DockerError::NoSuch { operation: operation.to_owned(), said: message.clone() };
    }
    let unreachable = matches!(
        error,
        Error::HyperLegacyError { .. } | Error::SocketNotFoundError(_) | Error::IOError { .. }
    );
    let source = Box::new(error);
    if unreachable {
        DockerError::Unreachable { source }
    } else {
        DockerError::Failed { operation: operation.to_owned(), source }
    }
}

fn label(key: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])])
}

fn of_project(project: &ProjectName) -> HashMap<String, Vec<String>> {
    label("com.docker.compose.project", project.as_str())
}

#[async_trait]
impl Containers for DockerEngine {
    async fn of_project(&self, project: &ProjectName) -> Result<Vec<Container>, DockerError> {
        let options =
            ListContainersOptionsBuilder::new().all(true).filters(&of_project(project)).build();
        let listed = self
            .ask("list containers", DEADLINE, |docker| docker.list_containers(Some(options)))
            .await?;
        let mut containers = Vec::new();
        for summary in listed.iter().filter(|summary| facts::is_of_a_service(summary)) {
            if let Some(container) = self.inspect(summary.id.as_deref().unwrap_or_default()).await?
            {
                containers.push(container);
            }
        }
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    async fn running_projects(&self) -> Result<BTreeSet<String>, DockerError> {
        const PROJECT: &str = "com.docker.compose.project";
        let filters = HashMap::from([("label".to_owned(), vec![PROJECT.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().filters(&filters).build();
        let listed = self
            .ask("list containers", DEADLINE, |docker| docker.list_containers(Some(options)))
            .await?;
        let services = listed.into_iter().filter(facts::is_of_a_service);
        Ok(services.filter_map(|summary| summary.labels?.remove(PROJECT)).collect())
    }

    async fn volumes_of_project(&self, project: &ProjectName) -> Result<Vec<String>, DockerError> {
        let options = ListVolumesOptionsBuilder::new().filters(&of_project(project)).build();
        let listed =
            self.ask("list volumes", DEADLINE, |docker| docker.list_volumes(Some(options))).await?;
        let volumes = listed.volumes.unwrap_or_default().into_iter();
        let mut names: Vec<_> = volumes.map(|volume| volume.name).collect();
        names.sort();
        Ok(names)
    }

    async fn volume_exists(&self, name: &str) -> Result<bool, DockerError> {
        let operation = format!("inspect volume {name}");
        let inspected = self.ask(&operation, DEADLINE, |docker| docker.inspect_volume(name));
        match inspected.await {
            Ok(_) => Ok(true),
            Err(DockerError::NoSuch { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn network_exists(&self, name: &str) -> Result<bool, DockerError> {
        let operation = format!("inspect network {name}");
        let inspected = self.ask(&operation, DEADLINE, |docker| {
            docker.inspect_network(name, None::<InspectNetworkOptions>)
        });
        match inspected.await {
            Ok(_) => Ok(true),
            Err(DockerError::NoSuch { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn image_volumes(&self, reference: &str) -> Result<Vec<String>, DockerError> {
        let operation = format!("inspect image {reference}");
        let inspected = self.ask(&operation, DEADLINE, |docker| docker.inspect_image(reference));
        match inspected.await {
            Ok(image) => {
                let volumes = image.config.and_then(|config| config.volumes);
                let mut paths: Vec<_> = volumes.into_iter().flatten().collect();
                paths.sort();
                Ok(paths)
            }
            Err(DockerError::NoSuch { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn local_volume(&self, name: &str) -> Result<Option<PathBuf>, DockerError> {
        let operation = format!("inspect volume {name}");
        let inspected = self.ask(&operation, DEADLINE, |docker| docker.inspect_volume(name));
        match inspected.await {
            // With options it is a mount of something that lives elsewhere.
            Ok(volume) if volume.driver == "local" && volume.options.is_empty() => {
                Ok(Some(PathBuf::from(volume.mountpoint)))
            }
            Ok(_) | Err(DockerError::NoSuch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn users_of_volume(&self, name: &str) -> Result<Vec<VolumeUser>, DockerError> {
        let alive = ["running", "paused", "restarting"].map(str::to_owned).to_vec();
        let filters = HashMap::from([
            ("volume".to_owned(), vec![name.to_owned()]),
            ("status".to_owned(), alive),
        ]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self
            .ask("list containers", DEADLINE, |docker| docker.list_containers(Some(options)))
            .await?;
        Ok(listed.into_iter().map(|summary| facts::volume_user(summary, name)).collect())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), DockerError> {
        let removed = self
            .ask(&format!("remove volume {name}"), REMOVAL, |docker| {
                docker.remove_volume(name, None::<RemoveVolumeOptions>)
            })
            .await;
        match removed {
            Ok(()) | Err(DockerError::NoSuch { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn image_tags(&self, repo: &str) -> Result<Vec<String>, DockerError> {
        let filters = HashMap::from([("reference".to_owned(), vec![repo.to_owned()])]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let listed =
            self.ask("list images", DEADLINE, |docker| docker.list_images(Some(options))).await?;
        let tags = listed.into_iter().flat_map(|summary| summary.repo_tags);
        let prefix = format!("{repo}:");
        Ok(tags.filter(|tag| tag.starts_with(&prefix)).collect())
    }

    async fn images_of_project(&self, project: &ProjectName) -> Result<Vec<Image>, DockerError> {
        let options = ListImagesOptionsBuilder::new().filters(&of_project(project)).build();
        let listed =
            self.ask("list images", DEADLINE, |docker| docker.list_images(Some(options))).await?;
        let image = |summary: bollard::models::ImageSummary| Image {
            id: summary.id,
            // An image that lost its name to a newer build is listed as <none>:<none>.
            tags: summary.repo_tags.into_iter().filter(|tag| !tag.starts_with('<')).collect(),
        };
        Ok(listed.into_iter().map(image).collect())
    }

    async fn image_id(&self, reference: &str) -> Result<Option<String>, DockerError> {
        let operation = format!("inspect image {reference}");
        let inspected = self.ask(&operation, DEADLINE, |docker| docker.inspect_image(reference));
        match inspected.await {
            Ok(image) => Ok(image.id),
            Err(DockerError::NoSuch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn tag_image(&self, id: &str, repo: &str, tag: &str) -> Result<(), DockerError> {
        let options = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
        self.ask(&format!("tag image {id}"), DEADLINE, |docker| docker.tag_image(id, Some(options)))
            .await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), DockerError> {
        let removed = self
            .ask(&format!("remove image {reference}"), REMOVAL, |docker| {
                docker.remove_image(reference, None::<RemoveImageOptions>, None)
            })
            .await;
        match removed {
            Ok(_) | Err(DockerError::NoSuch { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn set_restart(&self, container: &str, policy: &str) -> Result<(), DockerError> {
        let update = bollard::models::ContainerUpdateBody {
            restart_policy: Some(facts::restart_policy(policy)),
            ..Default::default()
        };
        self.ask(&format!("update container {container}"), DEADLINE, |docker| {
            docker.update_container(container, update)
        })
        .await
    }

    async fn start(&self, container: &str) -> Result<(), DockerError> {
        self.ask(&format!("start container {container}"), REMOVAL, |docker| {
            docker.start_container(container, None::<StartContainerOptions>)
        })
        .await
    }

    async fn api_version(&self) -> Result<Option<(u32, u32)>, DockerError> {
        let told = self.ask("tell its version", DEADLINE, |docker| docker.version()).await?;
        Ok(told.api_version.as_deref().and_then(facts::api_version))
    }

    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        stdin: Option<Vec<u8>>,
        deadline: Duration,
    ) -> Result<ExecOutput, DockerError> {
        let program = argv.first().map(String::as_str).unwrap_or_default();
        let operation = format!("run {program} in {container}");
        self.ask(&operation, deadline, |docker| exec(docker, container, argv, stdin)).await
    }

    async fn logs_tail(&self, container: &str, lines: usize) -> Result<String, DockerError> {
        let options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let read = |docker: &'_ Docker| {
            let stream = docker.logs(container, Some(options));
            async move {
                let mut text = String::new();
                collect(stream, |chunk| append(&mut text, chunk.as_ref())).await?;
                Ok(text)
            }
        };
        self.ask(&format!("show the log of {container}"), DEADLINE, read).await
    }

    async fn until_gone(&self) {
        let Ok(docker) = self.client().await else { return };
        // Nothing matches: the stream says nothing until Docker closes it.
        let filters = HashMap::from([("type".to_owned(), vec!["plugin".to_owned()])]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let mut events = docker.events(Some(options));
        while let Some(Ok(_)) = events.next().await {}
    }

    async fn ping(&self) -> Result<(), DockerError> {
        self.ask("answer", DEADLINE, |docker| docker.ping()).await.map(drop)
    }

    async fn running_since(&self) -> Option<DateTime<Utc>> {
        // Docker writes it before anything else, and its API does not tell.
        let written = tokio::fs::metadata(PID_FILE).await.ok()?.modified().ok()?;
        Some(written.into())
    }
}
