//! Data beside named volumes: below the checkout, of which each deployment has a new one, and in volumes without a name.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::StepContext;
use crate::check::Findings;
use crate::check::mounts::{anonymous, mounts};
use crate::exec::apply::Done;
use crate::exec::error::StepError;
use crate::host::copy;
use crate::host::docker::Container;
use crate::host::repository::in_checkout;
use crate::model::deployment::Step;
use crate::model::manifest::{Manifest, Service};

/// Before the path of what a deployment carries from the former checkout to its own.
const CARRIED: &str = "data ";

/// Refuses data below the checkout, but what the version that runs here has there already: that is carried along.
pub(super) fn look(step: &StepContext<'_>, manifest: &Manifest) -> (Findings, Vec<String>) {
    let checkout = step.checkout();
    let (mut findings, data) =
        mounts(manifest, &checkout, |path| in_checkout(&checkout.join(path)));
    let former = step.former_project().map(|former| former.dir);
    let runs_here = step.deployment.former.as_ref().is_some_and(|f| f.master == step.ctx.me);
    let mut carried = Vec::new();
    for data in data {
        if step.deployment.former.is_some() && !runs_here {
            let refusal = data.refusal();
            findings.errors.push(format!("{refusal}; what it has does not move to another node"));
            continue;
        }
        let has = |former: &PathBuf| former.join(&data.path).symlink_metadata().is_ok();
        let Some(path) = data.path.to_str().filter(|_| former.as_ref().is_some_and(has)) else {
            findings.errors.push(data.refusal());
            continue;
        };
        findings.warnings.push(format!(
            "service {} keeps data in ./{path} of its checkout: it was copied to the new one, but is neither replicated nor in any snapshot, and can't move; use a named volume of the btrfs driver",
            data.service
        ));
        carried.push(format!("{CARRIED}{path}"));
    }
    (findings, carried)
}

/// Copies data of the former checkout to the new one, while nothing runs; what was there is left as it is for the undo.
pub(in crate::exec) async fn carry(step: &StepContext<'_>) -> Result<(), StepError> {
    let Some(former) = step.former_project() else { return Ok(()) };
    let noted = step.output_of(&Step::Check);
    for path in noted.keys().filter_map(|key| key.strip_prefix(CARRIED)) {
        let (from, to) = (former.dir.join(path), step.checkout().join(path));
        copy::whole(&from, &to).await.map_err(|error| StepError::from_error(&error))?;
    }
    Ok(())
}

/// Tells where the images of a version want volumes that the compose file does not name. They are there by now.
pub(in crate::exec) async fn of_images(step: &StepContext<'_>) -> Result<Done, StepError> {
    let manifest = step.known_manifest(&step.new_project()).await?;
    let mut warnings = Vec::new();
    for (name, service) in &manifest.services {
        for target in unnamed(step, name, service).await? {
            warnings.push(format!("service {name} {}", anonymous(&target)));
        }
    }
    Ok(Done { warnings, ..Done::default() })
}

async fn unnamed(
    step: &StepContext<'_>,
    name: &str,
    service: &Service,
) -> Result<Vec<String>, StepError> {
    let image = service.image.clone();
    let image = image.unwrap_or_else(|| format!("{}_{name}", step.project));
    let wanted = step.ctx.host.containers.image_volumes(&image).await;
    let mut wanted = wanted.map_err(|error| StepError::from_error(&error))?;
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    wanted.retain(|wanted| !service.mounts.targets.iter().any(|t| plain(t) == plain(wanted)));
    Ok(wanted)
}

/// The volumes without a name of the app's containers on this node: they are to go with them.
pub(super) async fn unnamed_here(step: &StepContext<'_>) -> Result<BTreeSet<String>, StepError> {
    let containers = step.ctx.host.containers.of_project(&step.project).await;
    let containers = containers.map_err(|error| StepError::from_error(&error))?;
    Ok(containers.into_iter().flat_map(|container: Container| container.anonymous).collect())
}
