use super::*;
use crate::host::Host;
use crate::host::compose::{ComposeError, Project};
use crate::host::docker::State;
use crate::host::repository::Progress;
use crate::model::{AppId, Branch, Repo};

const FILE: &str = "{services: {web: {}, init: {}, late: {depends_on: {init: {condition: service_completed_successfully}}}},
 volumes: {data: {driver: btrfs}, scratch: {}}}";

/// A fake host with one app checked out.
async fn deployed() -> (Host, FakeHost, Project, tempfile::TempDir) {
    let (host, fakes) = Host::fake();
    let app = AppId {
        repo: Repo::parse("https://h/app").unwrap(),
        branch: Branch::parse("main").unwrap(),
    };
    fakes.repositories.put(&app, "c0ffee", &[("docker-compose.yml", FILE)]);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("checkout");
    let commit = host.repositories.checkout(&app, &target, Progress::log()).await.unwrap();
    assert_eq!(commit.as_str(), "c0ffee");
    let name = app.name().project();
    let project = Project { name, dir: target };
    (host, fakes, project, dir)
}

#[tokio::test]
async fn what_compose_starts_docker_and_buttervolume_see() {
    let (host, _, project, _dir) = deployed().await;
    host.compose.up(&project).await.unwrap();
    let states = host.containers.of_project(&project.name).await.unwrap();
    let states: Vec<_> = states.iter().map(|c| (c.service.as_str(), c.state)).collect();
    let expected = [("init", State::Exited(0)), ("late", State::Running), ("web", State::Running)];
    assert_eq!(states, expected);
    let data = project.name.volume("data");
    assert_eq!(host.volumes.list().await.unwrap(), std::slice::from_ref(&data));
    assert!(host.containers.volume_exists(&data).await.unwrap());
    host.compose.down(&project, true, None).await.unwrap();
    assert!(host.containers.of_project(&project.name).await.unwrap().is_empty());
    assert!(host.volumes.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_restored_volume_has_its_content_and_outlives_compose() {
    let (host, fakes, project, _dir) = deployed().await;
    let data = project.name.volume("data");
    fakes.machine.state().volumes.insert(data.clone(), "rows".to_owned());
    let snapshot = host.volumes.snapshot(&data).await.unwrap();
    host.volumes.remove_volume(&data).await.unwrap();
    host.volumes.restore(&snapshot, &data).await.unwrap();
    host.compose.up(&project).await.unwrap();
    assert_eq!(fakes.machine.state().volumes[&data], "rows");
    let own = host.containers.volumes_of_project(&project.name).await.unwrap();
    assert_eq!(own, [project.name.volume("scratch")]);
    host.compose.down(&project, true, None).await.unwrap();
    assert_eq!(host.volumes.list().await.unwrap(), [data]);
}

#[tokio::test]
async fn a_failure_comes_once_and_the_call_is_on_record() {
    let (host, fakes, project, _dir) = deployed().await;
    let why = "no such image".to_owned();
    fakes.compose.fail_next("up", ComposeError::Invalid { why });
    assert!(host.compose.up(&project).await.is_err());
    assert!(host.containers.of_project(&project.name).await.unwrap().is_empty());
    host.compose.up(&project).await.unwrap();
    let up = format!("up {}", project.name);
    assert_eq!(fakes.machine.calls()[1..], [up.clone(), up]);
}
