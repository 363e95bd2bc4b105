//! Whether a redeploy would change anything that runs.

use std::collections::BTreeMap;
use std::path::Path;

use tracing::info;

use super::StepContext;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::docker::{Container, State};
use crate::model::manifest::{Ends, Manifest, Service};

/// Notes each service that has to be made anew, and why. No note: the app can go on as it is.
pub(in crate::exec) async fn compare(step: &StepContext<'_>) -> Result<Done, StepError> {
    let (project, docker) = (step.new_project(), &step.ctx.host.containers);
    let manifest = step.manifest(&project).await?;
    super::project::read_running(step).await;
    let hashes = step.ctx.host.compose.hashes(&project).await;
    let hashes = hashes.map_err(|e| StepError::from_error(&e))?;
    let running = docker.of_project(&step.project).await.map_err(|e| StepError::from_error(&e))?;
    let mut images = BTreeMap::new();
    for container in &running {
        let id = docker.image_id(&container.image).await.map_err(|e| StepError::from_error(&e))?;
        images.insert(container.image.clone(), id);
    }
    let former = step.former_project().map(|former| former.dir).unwrap_or_default();
    let candidate = Candidate { manifest: &manifest, hashes, images, former: &former };
    let output = candidate.differences(&running);
    info!(differences = ?output, "compared with what runs");
    Ok(Done { output, ..Done::default() })
}

/// What would run.
struct Candidate<'a> {
    manifest: &'a Manifest,
    hashes: BTreeMap<String, String>,
    images: BTreeMap<String, Option<String>>,
    former: &'a Path,
}

impl Candidate<'_> {
    /// Services that differ, with the reason.
    fn differences(&self, running: &[Container]) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for container in running {
            let why = match self.manifest.services.get(&container.service) {
                None => Some("is gone"),
                Some(service) => self.difference(service, container),
            };
            found.extend(why.map(|why| (container.service.clone(), why.to_owned())));
        }
        for (name, service) in &self.manifest.services {
            let count = running.iter().filter(|container| container.service == *name).count();
            if u64::try_from(count) != Ok(service.replicas) {
                let why = if count == 0 { "is new" } else { "has another number of containers" };
                found.entry(name.clone()).or_insert_with(|| why.to_owned());
            }
        }
        found
    }

    fn difference(&self, service: &Service, container: &Container) -> Option<&'static str> {
        let hash = self.hashes.get(&container.service);
        let image = self.images.get(&container.image).and_then(Option::as_ref);
        if hash.is_none() || hash != container.config_hash.as_ref() {
            Some("has another definition")
        } else if image != Some(&container.image_id) {
            Some("has another image")
        } else if container.binds.iter().any(|path| Path::new(path).starts_with(self.former)) {
            Some("uses files of the former checkout")
        } else if !container.state.is_alive() && !has_done(service, container) {
            Some("does not run")
        } else {
            None
        }
    }
}

/// Whether a container has ended as it was meant to, or may have been: nobody has to start it.
pub(super) fn has_done(service: &Service, container: &Container) -> bool {
    container.state == State::Exited(0) && service.ends != Ends::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Container {
        Container {
            image: "p_web".to_owned(),
            image_id: "sha256:1".to_owned(),
            config_hash: Some("hash".to_owned()),
            ..Container::running("web")
        }
    }

    fn differences(running: &[Container], services: &[&str]) -> BTreeMap<String, String> {
        let service = Service { replicas: 1, ..Service::default() };
        let services = services.iter().map(|name| ((*name).to_owned(), service.clone()));
        let manifest = Manifest { services: services.collect(), ..Manifest::default() };
        let candidate = Candidate {
            manifest: &manifest,
            hashes: [("web".to_owned(), "hash".to_owned())].into(),
            images: [("p_web".to_owned(), Some("sha256:1".to_owned()))].into(),
            former: Path::new("/deploy/p-1"),
        };
        candidate.differences(running)
    }

    #[test]
    fn what_runs_as_it_should_is_left_alone() {
        assert_eq!(differences(&[running()], &["web"]), BTreeMap::new());
    }

    #[test]
    fn a_job_that_has_ended_well_is_left_alone() {
        let job = Container { state: State::Exited(0), ..running() };
        assert_eq!(differences(&[job], &["web"]), BTreeMap::new());
    }

    #[test]
    fn every_difference_is_found() {
        let other = |change: fn(&mut Container)| {
            let mut container = running();
            change(&mut container);
            container
        };
        for (container, why) in [
            (other(|c| c.config_hash = Some("older".to_owned())), "has another definition"),
            (other(|c| c.config_hash = None), "has another definition"),
            (other(|c| c.image_id = "sha256:0".to_owned()), "has another image"),
            (other(|c| c.state = State::Exited(1)), "does not run"),
            (
                other(|c| c.binds = vec!["/deploy/p-1/html".to_owned()]),
                "uses files of the former checkout",
            ),
        ] {
            assert_eq!(differences(&[container], &["web"])["web"], why);
        }
        assert_eq!(differences(&[], &["web"])["web"], "is new");
        assert_eq!(differences(&[running()], &[])["web"], "is gone");
    }
}
