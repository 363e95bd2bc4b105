//! What would fail only later, or not be there after the next boot: told by *check*.

use super::StepContext;
use crate::exec::error::StepError;
use crate::model::AppRecord;
use crate::model::manifest::Manifest;
use crate::records::encode;

/// The largest entry of an app, in bytes. Consul takes some 390 KB in one transaction, and the commit writes the entry
/// three times: as the former one, as the prepared one, and in its place.
const LARGEST_ENTRY: usize = 64 * 1024;

/// An entry that a later commit could not write.
pub(super) fn too_large(candidate: &AppRecord) -> Option<String> {
    let size = encode(candidate).len();
    (size > LARGEST_ENTRY).then(|| {
        format!(
            "the app's entry in Consul would have {} KiB, {} KiB are the most: shorten its CADDYFILE and HAPROXY values, or move what is not needed (comments, for instance) out of them",
            size.div_ceil(1024),
            LARGEST_ENTRY / 1024
        )
    })
}

/// buttervolume splits an action at its colons: it would replicate nothing to an address that has some.
pub(super) async fn unreachable_by_replication(
    step: &StepContext<'_>,
    candidate: &AppRecord,
) -> Result<Option<String>, StepError> {
    let slave = step.deployment.placement.as_ref().and_then(|pair| pair.replica.as_ref());
    let Some(slave) = slave.filter(|_| !candidate.volumes.is_empty()) else { return Ok(None) };
    let address = step.address_of(slave).await?;
    Ok(address.contains(':').then(|| {
        format!(
            "{slave} has the address {address} in Consul, and buttervolume can't replicate to IPv6 addresses: let its Consul agent bind to or advertise an IPv4 address"
        )
    }))
}

/// The API of Docker 25, the first that takes a health check's `start_interval`.
const TAKES_START_INTERVAL: (u32, u32) = (1, 44);

/// What Compose would refuse to do with the Docker of this node, at `up` only.
pub(super) async fn too_old(
    step: &StepContext<'_>,
    manifest: &Manifest,
) -> Result<Vec<String>, StepError> {
    let asking = manifest.services.iter().filter(|(_, service)| service.start_interval);
    let asking: Vec<_> = asking.map(|(name, _)| name.as_str()).collect();
    if asking.is_empty() {
        return Ok(Vec::new());
    }
    let told = step.ctx.host.containers.api_version().await;
    let told = told.map_err(|e| StepError::from_error(&e))?;
    let is_old = told.is_some_and(|version| version < TAKES_START_INTERVAL);
    let me = &step.ctx.me;
    Ok(asking
        .into_iter()
        .filter(|_| is_old)
        .map(|name| {
            format!("service {name}: the Docker on {me} is too old for healthcheck.start_interval, which needs version 25")
        })
        .collect())
}

/// Services that stay down when the machine has booted.
pub(super) fn not_restarted(manifest: &Manifest) -> Vec<String> {
    let services = manifest.services.iter().filter(|(_, service)| {
        service.restart == "no" && !service.completes && service.replicas > 0
    });
    services
        .map(|(name, _)| {
            format!("service {name} has no restart policy: it is down after a reboot of its node (restart: unless-stopped)")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::Service;

    #[test]
    fn a_service_that_stays_down_after_a_boot_is_named() {
        let service = |restart: &str, completes, replicas| Service {
            restart: restart.to_owned(),
            completes,
            replicas,
            ..Service::default()
        };
        let services = [
            ("web", service("no", false, 1)),
            ("db", service("unless-stopped", false, 1)),
            ("init", service("no", true, 1)),
            ("off", service("no", false, 0)),
        ];
        let manifest = Manifest {
            services: services.map(|(name, service)| (name.to_owned(), service)).into(),
            ..Manifest::default()
        };
        let told = not_restarted(&manifest);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("service web has no restart policy"));
    }

    #[test]
    fn an_entry_that_no_transaction_could_carry_three_times_is_refused() {
        let entry = |size: usize| -> AppRecord {
            let text = "#".repeat(size);
            let json = serde_json::json!({
                "repo_url": "r", "branch": "b", "deploy_id": "1", "master": "node1", "caddyfile": text,
            });
            serde_json::from_value(json).unwrap()
        };
        assert_eq!(too_large(&entry(60 * 1024)), None);
        assert!(too_large(&entry(65 * 1024)).unwrap().contains("64 KiB are the most"));
    }
}
