//! What the nodes of the pair have to have, and what they have already: looked at before anything is stopped.

use std::collections::{BTreeMap, BTreeSet};

use super::StepContext;
use crate::check::{Findings, new_binds};
use crate::exec::error::StepError;
use crate::model::deployment::Step;
use crate::model::manifest::Manifest;
use crate::model::{AppRecord, NodeName, Port, keys};
use crate::records::{NodeInfo, decode};

/// Looks for what `up` would stumble over when the former version does not run any more.
pub(super) async fn look(
    step: &StepContext<'_>,
    manifest: &Manifest,
    entry: &AppRecord,
) -> Result<Findings, StepError> {
    let mut findings = Findings::default();
    findings.errors.extend(missing(step, manifest).await?);
    findings.errors.extend(missing_files(step, manifest));
    findings.errors.extend(taken_here(step, manifest, entry).await?);
    findings.errors.extend(taken_there(step, manifest, entry).await?);
    Ok(findings)
}

/// Volumes and networks that are somebody else's, and not there.
async fn missing(step: &StepContext<'_>, manifest: &Manifest) -> Result<Vec<String>, StepError> {
    let (docker, me) = (&step.ctx.host.containers, &step.ctx.me);
    let mut missing = Vec::new();
    for volume in manifest.volumes.iter().filter(|volume| volume.external) {
        let there = docker.volume_exists(&volume.name).await;
        if !there.map_err(|e| StepError::from_error(&e))? {
            missing.push(format!(
                "the external volume {} is not on {me}: whoever it belongs to has to make it (docker volume create {}), and nothing brings it along when the app moves",
                volume.name, volume.name
            ));
        }
    }
    let services = manifest.services.values().filter(|service| service.replicas > 0);
    let networks: BTreeSet<&String> =
        services.flat_map(|service| &service.place.external).collect();
    for network in networks {
        let there = docker.network_exists(network).await;
        if !there.map_err(|e| StepError::from_error(&e))? {
            missing.push(format!("the external network {network} is not on {me}"));
        }
    }
    Ok(missing)
}

/// Files of secrets and configurations that are not in the checkout; `update.sh` may make them.
fn missing_files(step: &StepContext<'_>, manifest: &Manifest) -> Vec<String> {
    let runs_update = step.deployment.steps.iter().any(|record| record.step == Step::Update);
    let missing = manifest.files.iter().filter(|(path, _)| !runs_update && !path.exists());
    let checkout = step.checkout();
    missing
        .map(|(path, what)| match path.strip_prefix(&checkout) {
            Ok(path) => format!("the repository has no file {} ({what})", path.display()),
            Err(_) => format!("there is no file {} on {} ({what})", path.display(), step.ctx.me),
        })
        .collect()
}

/// Ports at which something on this node listens that is neither the app nor, for what it has bound before, HAProxy.
async fn taken_here(
    step: &StepContext<'_>,
    manifest: &Manifest,
    entry: &AppRecord,
) -> Result<Vec<String>, StepError> {
    let published = published(manifest);
    let bound = new_binds(entry, step.deployment.former.as_ref());
    if published.is_empty() && bound.is_empty() {
        return Ok(Vec::new());
    }
    let listening = step.ctx.host.resources.listening().await;
    let mut listening = listening.map_err(|e| StepError::from_error(&e))?;
    let running = step.ctx.host.containers.of_project(&step.project).await;
    for container in running.map_err(|e| StepError::from_error(&e))? {
        listening.retain(|port| !container.ports.contains(port));
    }
    let mut taken = refusals(&published, &listening, &step.ctx.me);
    taken.extend(bound.into_iter().filter(|port| listening.contains(&Port::tcp(*port))).map(
        |port| format!("HAPROXY: something on {} listens at port {port} already", step.ctx.me),
    ));
    Ok(taken)
}

/// Ports at which something on the slave to be listens, as its agent told. Where the app runs there now, what it has had is
/// its own; an entry that tells no claims may have had all of them.
async fn taken_there(
    step: &StepContext<'_>,
    manifest: &Manifest,
    entry: &AppRecord,
) -> Result<Vec<String>, StepError> {
    let mut published = published(manifest);
    let runs_there = |former: &&AppRecord| entry.slave.as_ref() == Some(&former.master);
    if let Some(former) = step.deployment.former.as_ref().filter(runs_there) {
        let is_told = !former.claims.ports.is_empty() || !former.claims.volumes.is_empty();
        published.retain(|port, _| is_told && !former.claims.ports.contains(port));
    }
    let Some(replica) = entry.slave.as_ref().filter(|_| !published.is_empty()) else {
        return Ok(Vec::new());
    };
    let told = step.ctx.cluster.kv.get(&keys::node(replica)).await;
    let told = told.map_err(|e| StepError::from_error(&e))?;
    let info = told.and_then(|entry| decode::<NodeInfo>(&entry).ok());
    let listening = info.and_then(|info| info.room).map(|room| room.listening);
    Ok(refusals(&published, &listening.unwrap_or_default(), replica))
}

/// The ports that the app publishes, each with a service that does.
fn published(manifest: &Manifest) -> BTreeMap<Port, &str> {
    let services = manifest.services.iter().filter(|(_, service)| service.replicas > 0);
    services
        .flat_map(|(name, service)| service.ports.iter().map(|port| (*port, name.as_str())))
        .collect()
}

fn refusals(
    published: &BTreeMap<Port, &str>,
    listening: &BTreeSet<Port>,
    node: &NodeName,
) -> Vec<String> {
    let taken = published.iter().filter(|(port, _)| listening.contains(port));
    taken
        .map(|(port, service)| {
            format!("service {service}: the port {port} is taken: something on {node} listens there already")
        })
        .collect()
}
