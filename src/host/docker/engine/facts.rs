//! From Docker's shapes to ours. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    Health as DockerHealth, HealthStatusEnum, MountPoint, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::host::docker::{Container, Health, State, VolumeUser};
use crate::model::Port;

const MAX_PROBE: usize = 1000;

/// Whether a container is one of a project's services: not from `docker compose run`, and made by Compose. An image that
/// Compose built hands its labels of project and service on to whatever is run from it.
pub(super) fn is_of_a_service(summary: &ContainerSummary) -> bool {
    let label = |name: &str| summary.labels.as_ref().and_then(|labels| labels.get(name));
    let is_one_off =
        label("com.docker.compose.oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    !is_one_off && label("com.docker.compose.config-hash").is_some()
}

/// A container as the user of a volume that it mounts. Where the mount can't be told, it may write.
pub(super) fn volume_user(summary: ContainerSummary, volume: &str) -> VolumeUser {
    let names = summary.names.unwrap_or_default();
    let name = names.first().map(|name| name.trim_start_matches('/').to_owned());
    let mounts = summary.mounts.unwrap_or_default();
    let mut of_it = mounts.iter().filter(|mount| mount.name.as_deref() == Some(volume)).peekable();
    let unknown = of_it.peek().is_none();
    let writes = unknown || of_it.any(|mount| mount.rw.unwrap_or(true));
    VolumeUser { name: name.or(summary.id).unwrap_or_default(), writes }
}

/// `1.41`.
pub(super) fn api_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

pub(super) fn container(facts: ContainerInspectResponse) -> Container {
    let config = facts.config.unwrap_or_default();
    let check = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    let mut labels = config.labels.unwrap_or_default();
    let service = labels.remove("com.docker.compose.service");
    let name = facts.name.unwrap_or_default();
    let docker_state = facts.state.unwrap_or_default();
    let (health, probe) = health(docker_state.health.as_ref());
    let host_config = facts.host_config.unwrap_or_default();
    let mounts = facts.mounts.unwrap_or_default();
    Container {
        id: facts.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        service: service.unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        image_id: facts.image.unwrap_or_default(),
        state: state(&docker_state),
        health,
        check: check_command(check, config.shell),
        probe,
        restart_count: facts
            .restart_count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or_default(),
        started_at: docker_state.started_at,
        finished_at: docker_state.finished_at,
        config_hash: labels.remove("com.docker.compose.config-hash"),
        working_dir: labels.remove("com.docker.compose.project.working_dir"),
        error: docker_state.error.filter(|error| !error.is_empty()),
        anonymous: anonymous(&mounts),
        binds: binds(mounts),
        ports: host_config.port_bindings.map(ports).unwrap_or_default(),
        restart: restart(host_config.restart_policy),
    }
}

/// An image's id, and addresses.
pub type Ends = (String, BTreeSet<IpAddr>);

/// The image's id, and the addresses in all networks.
pub(super) fn ends(facts: ContainerInspectResponse) -> Ends {
    let networks = facts.network_settings.and_then(|settings| settings.networks);
    let mut addresses = BTreeSet::new();
    for end in networks.unwrap_or_default().into_values() {
        // Empty while the container does not run.
        let known = [end.ip_address, end.global_ipv6_address].into_iter().flatten();
        addresses.extend(known.filter_map(|address| address.parse::<IpAddr>().ok()));
    }
    (facts.image.unwrap_or_default(), addresses)
}

/// A health check's `Test` as argv: `CMD` stands before one, `CMD-SHELL` before a line for the image's shell.
fn check_command(test: Vec<String>, shell: Option<Vec<String>>) -> Vec<String> {
    match test.split_first() {
        Some((kind, argv)) if kind == "CMD" => argv.to_vec(),
        Some((kind, line)) if kind == "CMD-SHELL" => {
            let usual = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or_else(usual);
            shell.into_iter().chain(line.iter().cloned()).collect()
        }
        Some(_) | None => Vec::new(),
    }
}

/// Docker's names for them are ids; a named volume that looks like one is taken for what it looks like by Docker, too.
fn anonymous(mounts: &[MountPoint]) -> Vec<String> {
    let is_id = |name: &&String| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    mounts.iter().filter_map(|mount| mount.name.as_ref()).filter(is_id).cloned().collect()
}

/// `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`; without a port Docker picks one.
fn ports(bindings: PortMap) -> BTreeSet<Port> {
    let of = |(inside, outside): (String, Option<Vec<PortBinding>>)| {
        let protocol = inside.rsplit_once('/').map_or("tcp", |(_, protocol)| protocol).to_owned();
        let numbers = outside.into_iter().flatten().filter_map(|binding| binding.host_port);
        numbers.filter_map(move |number| format!("{number}/{protocol}").parse::<Port>().ok())
    };
    bindings.into_iter().flat_map(of).collect()
}

fn binds(mounts: Vec<MountPoint>) -> Vec<String> {
    let bound = mounts.into_iter().filter(|mount| mount.typ.as_deref() == Some("bind"));
    bound.filter_map(|mount| mount.source).collect()
}

fn restart(policy: Option<RestartPolicy>) -> String {
    let policy = policy.unwrap_or_default();
    match (policy.name, policy.maximum_retry_count) {
        (Some(name @ RestartPolicyNameEnum::ON_FAILURE), Some(count)) if count > 0 => {
            format!("{name}:{count}")
        }
        (Some(RestartPolicyNameEnum::EMPTY) | None, _) => "no".to_owned(),
        (Some(name), _) => name.to_string(),
    }
}

/// A compose file's `restart` in Docker's shape; what is not known means no.
pub(super) fn restart_policy(text: &str) -> RestartPolicy {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    let name = match name {
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => RestartPolicyNameEnum::NO,
    };
    RestartPolicy { name: Some(name), maximum_retry_count: count.parse().ok() }
}

fn state(state: &ContainerState) -> State {
    match state.status {
        Some(Status::RUNNING | Status::STOPPING) => State::Running,
        Some(Status::PAUSED) => State::Paused,
        Some(Status::RESTARTING) => State::Restarting,
        Some(Status::REMOVING) => State::Removing,
        Some(Status::EXITED) => State::Exited(state.exit_code.unwrap_or(-1)),
        Some(Status::DEAD) => State::Dead,
        Some(Status::CREATED | Status::EMPTY) | None => State::Created,
    }
}

fn health(health: Option<&DockerHealth>) -> (Health, Option<String>) {
    let Some(health) = health else {
        return (Health::None, None);
    };
    let status = match health.status {
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::None,
    };
    let last = health.log.as_ref().and_then(|log| log.last());
    let probe = last.and_then(|probe| {
        let output = probe.output.as_deref().unwrap_or_default().trim();
        let text: String = output.chars().take(MAX_PROBE).collect();
        match (text.is_empty(), probe.exit_code) {
            (false, _) => Some(text),
            (true, Some(code)) => Some(format!("exit code {code}")),
            (true, None) => None,
        }
    });
    (status, probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The parts that count of what Docker 20.10 answers.
    fn inspected(state: &serde_json::Value) -> Container {
        let answer = json!({
            "Id": "0a1b", "Name": "/p_web_1", "Image": "sha256:ff", "RestartCount": 2, "State": state,
            "Config": {"Labels": {"com.docker.compose.service": "web"}},
        });
        container(serde_json::from_value(answer).unwrap())
    }

    #[test]
    fn an_exited_container_has_its_code() {
        let it = inspected(
            &json!({"Status": "exited", "ExitCode": 3, "StartedAt": "2025-01-01T00:00:00Z"}),
        );
        assert_eq!(it.state, State::Exited(3));
        assert_eq!(
            (it.name.as_str(), it.service.as_str(), it.restart_count),
            ("p_web_1", "web", 2)
        );
        assert_eq!(it.started_at.as_deref(), Some("2025-01-01T00:00:00Z"));
        assert_eq!((it.health, it.probe), (Health::None, None));
    }

    #[test]
    fn published_ports_and_volumes_without_a_name_are_told() {
        let id = "0f".repeat(32);
        let answer = json!({
            "HostConfig": {"PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}], "53/udp": [{"HostPort": "53"}],
                "81/tcp": [{"HostPort": ""}], "82/tcp": null,
            }},
            "Mounts": [
                {"Type": "volume", "Name": id, "Destination": "/data"}, {"Type": "volume", "Name": "p_data"},
                {"Type": "bind", "Source": "/x"},
            ],
        });
        let it = container(serde_json::from_value(answer).unwrap());
        let ports: Vec<_> = it.ports.iter().map(ToString::to_string).collect();
        assert_eq!(
            (ports, it.anonymous),
            (vec!["53/udp".to_owned(), "8080/tcp".to_owned()], vec![id])
        );
        assert_eq!(it.binds, ["/x"]);
    }

    #[test]
    fn restart_policies_are_read_as_compose_files_write_them() {
        let policy = restart_policy("on-failure:3");
        assert_eq!(policy.name, Some(RestartPolicyNameEnum::ON_FAILURE));
        assert_eq!(policy.maximum_retry_count, Some(3));
        assert_eq!(restart_policy("no").name, Some(RestartPolicyNameEnum::NO));
        assert_eq!(restart_policy("always").name, Some(RestartPolicyNameEnum::ALWAYS));
    }

    #[test]
    fn the_last_probe_is_told() {
        let log =
            json!([{"ExitCode": 0, "Output": "fine"}, {"ExitCode": 1, "Output": " refused\n"}]);
        let it =
            inspected(&json!({"Status": "running", "Health": {"Status": "unhealthy", "Log": log}}));
        assert_eq!((it.state, it.health), (State::Running, Health::Unhealthy));
        assert_eq!(it.probe.as_deref(), Some("refused"));
        let silent = json!([{"ExitCode": 7, "Output": ""}]);
        let it = inspected(
            &json!({"Status": "running", "Health": {"Status": "starting", "Log": silent}}),
        );
        assert_eq!((it.health, it.probe.as_deref()), (Health::Starting, Some("exit code 7")));
    }

    #[test]
    fn a_health_check_is_run_as_docker_runs_it() {
        let words =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let command = |test: &[&str], shell| check_command(words(test), shell);
        assert_eq!(command(&["CMD", "curl", "-f", "x y"], None), ["curl", "-f", "x y"]);
        assert_eq!(command(&["CMD-SHELL", "a || b"], None), ["/bin/sh", "-c", "a || b"]);
        let shell = Some(words(&["/bin/bash", "-ec"]));
        assert_eq!(command(&["CMD-SHELL", "a"], shell), ["/bin/bash", "-ec", "a"]);
        assert!(command(&["NONE"], None).is_empty() && command(&[], None).is_empty());
    }

    /// What `docker run` makes of an image that Compose built has the image's labels.
    #[test]
    fn services_are_told_from_one_offs_and_from_what_runs_their_image() {
        let summary = |labels: serde_json::Value| {
            serde_json::from_value::<ContainerSummary>(json!({"Labels": labels})).unwrap()
        };
        let made = |one_off: &str| {
            let hash = ("com.docker.compose.config-hash", "com.docker.compose.oneoff");
            summary(json!({hash.0: "1", hash.1: one_off}))
        };
        assert!(is_of_a_service(&made("False")) && !is_of_a_service(&made("True")));
        let of_its_image =
            json!({"com.docker.compose.project": "p", "com.docker.compose.service": "web"});
        assert!(!is_of_a_service(&summary(of_its_image)));
        assert!(!is_of_a_service(&ContainerSummary::default()));
    }
}
