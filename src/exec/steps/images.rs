//! The images of the version that runs, kept under names of their own while a new version takes their tags.

use super::StepContext;
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::docker::{DockerError, Image};
use crate::model::deployment::Step;

/// Tags every image in use, so that a build can't leave it without a name, and notes which tag it had. Before that, the data
/// of the version that is to make room has to be here.
pub(in crate::exec) async fn keep(step: &StepContext<'_>) -> Result<Done, StepError> {
    super::data::require_movable(step).await?;
    let docker = &step.ctx.host.containers;
    let containers =
        docker.of_project(&step.project).await.map_err(|e| StepError::from_error(&e))?;
    let mut done = Done::default();
    for container in &containers {
        let kept = kept_tag(step, &container.service);
        docker
            .tag_image(&container.image_id, &kept.0, &kept.1)
            .await
            .map_err(|e| StepError::from_error(&e))?;
        if is_tag(&container.image) {
            done.output.insert(container.image.clone(), container.image_id.clone());
        }
    }
    Ok(done)
}

/// Gives the former version's images their tags back. One that is gone, with the disk that it was on or by hand, is named:
/// that it lacks is told again, and fails, where the former version is started.
pub(in crate::exec) async fn restore(step: &StepContext<'_>) -> Result<Vec<String>, StepError> {
    let mut gone = Vec::new();
    for (image, id) in step.output_of(&Step::KeepImages) {
        let (name, tag) = split_tag(&image);
        match step.ctx.host.containers.tag_image(&id, name, tag).await {
            Ok(()) => {}
            Err(DockerError::NoSuch { .. }) => gone.push(format!(
                "image {image} of the former version, {id}, is gone from {}",
                step.ctx.me
            )),
            Err(error) => return Err(StepError::from_error(&error)),
        }
    }
    Ok(gone)
}

/// Drops the names that [`keep`] gave, and the app's images that are left without any.
pub(in crate::exec) async fn release(step: &StepContext<'_>) -> Result<Done, StepError> {
    let docker = &step.ctx.host.containers;
    let (name, _) = kept_tag(step, "");
    let kept = docker.image_tags(&name).await.map_err(|e| StepError::from_error(&e))?;
    for reference in kept {
        docker.remove_image(&reference).await.map_err(|e| StepError::from_error(&e))?;
    }
    let containers =
        docker.of_project(&step.project).await.map_err(|e| StepError::from_error(&e))?;
    let used: Vec<String> = containers.into_iter().map(|container| container.image_id).collect();
    remove_images(step, |image| image.tags.is_empty() && !used.contains(&image.id)).await?;
    Ok(Done::default())
}

/// Undo of a build: a node that the app is new to keeps no image; one where it ran has its images from [`keep`].
pub(in crate::exec) async fn discard(step: &StepContext<'_>) -> Result<(), StepError> {
    if step.deployment.former.as_ref().is_some_and(|former| former.master == step.ctx.me) {
        return Ok(());
    }
    remove_built(step).await
}

/// Removes the images that were built for the app: nothing runs from them any more.
pub(in crate::exec) async fn remove_built(step: &StepContext<'_>) -> Result<(), StepError> {
    remove_images(step, |_| true).await
}

/// Removes images built for the app, by their names or, without one, by their id.
async fn remove_images(
    step: &StepContext<'_>,
    choose: impl Fn(&Image) -> bool,
) -> Result<(), StepError> {
    let docker = &step.ctx.host.containers;
    let built = docker.images_of_project(&step.project).await;
    for image in built.map_err(|e| StepError::from_error(&e))?.iter().filter(|image| choose(image))
    {
        let names =
            if image.tags.is_empty() { std::slice::from_ref(&image.id) } else { &image.tags[..] };
        for name in names {
            docker.remove_image(name).await.map_err(|e| StepError::from_error(&e))?;
        }
    }
    Ok(())
}

fn kept_tag(step: &StepContext<'_>, service: &str) -> (String, String) {
    (format!("tandem-kept/{}", step.project), service.to_lowercase())
}

/// An image given by digest or id has no tag that a build could take.
fn is_tag(image: &str) -> bool {
    !image.contains('@') && !image.starts_with("sha256:")
}

/// `registry:5000/name:tag` → name and tag; `latest` where none is given.
fn split_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_port_is_not_a_tag() {
        assert_eq!(split_tag("registry:5000/app"), ("registry:5000/app", "latest"));
        assert_eq!(split_tag("registry:5000/app:2"), ("registry:5000/app", "2"));
        assert_eq!(split_tag("app"), ("app", "latest"));
        assert!(!is_tag("app@sha256:00") && !is_tag("sha256:00") && is_tag("app:1"));
    }
}
