use super::*;
use crate::host::docker::{ExecOutput, FakeContainers};
use crate::host::fake::FakeMachine;
use crate::model::AppName;
use crate::model::manifest::Service;

const SETTLE: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(15);

struct Fixture {
    machine: FakeMachine,
    containers: FakeContainers,
    project: ProjectName,
    manifest: Manifest,
}

impl Fixture {
    fn new() -> Self {
        let machine = FakeMachine::default();
        let service = Service { replicas: 1, ..Service::default() };
        Self {
            containers: FakeContainers::new(machine.clone()),
            machine,
            project: AppName::parse("p").unwrap().project(),
            manifest: Manifest {
                services: [("web".to_owned(), service)].into(),
                ..Manifest::default()
            },
        }
    }

    fn set(&self, change: impl Fn(&mut Container)) {
        let mut container = Container::running("web");
        change(&mut container);
        let mut state = self.machine.state();
        state.containers.insert(self.project.to_string(), vec![container]);
    }

    async fn wait(&self) -> Result<Duration, HealthError> {
        let start = Instant::now();
        let (project, manifest) = (&self.project, &self.manifest);
        let seam = &self.containers;
        await_healthy(seam, project, manifest, SETTLE, DEADLINE, PATIENCE).await?;
        Ok(start.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_app_is_watched_until_it_has_settled() {
    let fixture = Fixture::new();
    fixture.set(|_| {});
    assert_eq!(fixture.wait().await.unwrap(), SETTLE);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_up_in_a_moment_is_seen_to_be() {
    let fixture = Fixture::new();
    fixture.set(|c| c.health = Health::Starting);
    let changes = async {
        sleep(2 * FIRST_POLL).await;
        fixture.set(|c| c.health = Health::Healthy);
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    assert!(took.unwrap() <= 3 * FIRST_POLL);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_settle_is_not_rounded_up() {
    let fixture = Fixture::new();
    fixture.set(|c| c.health = Health::Starting);
    let changes = async {
        sleep(Duration::from_millis(1234)).await;
        fixture.set(|_| {});
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    let seen = took.unwrap() - SETTLE;
    let up = Duration::from_millis(1234);
    assert!((up..=up + POLL).contains(&seen), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_break_starts_the_settling_again() {
    let fixture = Fixture::new();
    fixture.set(|_| {});
    let changes = async {
        sleep(Duration::from_secs(2)).await;
        fixture.set(|c| c.health = Health::Starting);
        sleep(Duration::from_secs(2)).await;
        fixture.set(|_| {});
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    assert!(took.unwrap() >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_health_check_that_passes_is_proof_enough() {
    let fixture = Fixture::new();
    fixture.set(|c| c.health = Health::Starting);
    let changes = async {
        sleep(Duration::from_secs(2)).await;
        fixture.set(|c| c.health = Health::Healthy);
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    assert!(took.unwrap() < Duration::from_secs(2) + SETTLE);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_dockers_interval() {
    let fixture = Fixture::new();
    let check = vec!["pg_isready".to_owned(), "-q".to_owned()];
    fixture.set(|c| (c.health, c.check) = (Health::Starting, check.clone()));
    let answer = |code| ExecOutput { code, stdout: String::new(), stderr: String::new() };
    fixture.containers.set_answer("pg_isready", answer(1));
    let changes = async {
        sleep(Duration::from_secs(2)).await;
        fixture.containers.set_answer("pg_isready", answer(0));
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    assert!((Duration::from_secs(2)..SETTLE).contains(&took.unwrap()));
    let probes =
        fixture.machine.calls().iter().filter(|c| *c == "exec id-web pg_isready -q").count();
    assert!((4..10).contains(&probes), "{probes} probes");
    // What Docker has judged is not asked again.
    fixture.set(|c| (c.health, c.check) = (Health::Unhealthy, check.clone()));
    assert!(matches!(fixture.wait().await, Err(HealthError::Failed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_restart_while_settling_fails_with_the_log() {
    let fixture = Fixture::new();
    fixture.set(|c| c.restart_count = 4);
    fixture.containers.set_log("p_web_1", "one\ntwo\n");
    let changes = async {
        sleep(Duration::from_secs(1)).await;
        fixture.set(|c| c.restart_count = 5);
    };
    let (error, ()) = tokio::join!(fixture.wait(), changes);
    assert_eq!(
        error.unwrap_err().to_string(),
        "service web (container p_web_1) has restarted 1 times and is running; its last log lines:\none\ntwo"
    );
}

/// `web` has a policy, and a second service beside it.
fn with_a_second_service() -> Fixture {
    let mut fixture = Fixture::new();
    let web = Service { restart: "unless-stopped".to_owned(), ..Service::default() };
    let off = Service { replicas: 0, ..Service::default() };
    fixture.manifest.services = [("web".to_owned(), web), ("db".to_owned(), off)].into();
    fixture
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_service_by_ending_is_waited_for() {
    let fixture = with_a_second_service();
    let restarted = |count: u64, state: State| {
        fixture.set(|c| {
            (c.restart_count, c.state) = (count, state);
            c.restart = "unless-stopped".to_owned();
        });
    };
    restarted(0, State::Running);
    let changes = async {
        for count in 1..=4 {
            sleep(Duration::from_secs(2)).await;
            restarted(count, State::Restarting);
        }
        restarted(4, State::Running);
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    let took = took.unwrap();
    assert!((Duration::from_secs(11)..Duration::from_secs(13)).contains(&took), "{took:?}");
    // Not for ever, and then with a way to do better.
    let changes = async {
        for count in 5..30 {
            sleep(Duration::from_secs(1)).await;
            restarted(count, State::Restarting);
        }
    };
    let (error, ()) = tokio::join!(fixture.wait(), changes);
    let told = error.unwrap_err().to_string();
    assert!(told.starts_with("service web (container p_web_1) has restarted 1"), "{told}");
    assert!(told.contains("condition: service_healthy"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_docker_is_not_to_start_yet_is_started_here() {
    let fixture = with_a_second_service();
    fixture.set(|c| c.state = State::Exited(1));
    let changes = async {
        sleep(Duration::from_secs(3)).await;
        fixture.set(|_| {});
    };
    let (took, ()) = tokio::join!(fixture.wait(), changes);
    assert!(took.unwrap() < Duration::from_secs(8));
    let started = fixture.machine.calls().iter().filter(|c| *c == "start id-web").count();
    assert!((2..=4).contains(&started), "{started}");
    fixture.set(|c| c.state = State::Exited(1));
    let told = fixture.wait().await.unwrap_err().to_string();
    assert!(told.contains("is exited with code 1; if it ends because"), "{told}");
    // With nothing beside it there is nothing to wait for.
    let mut alone = with_a_second_service();
    alone.manifest.services.remove("db");
    alone.set(|c| c.state = State::Exited(1));
    let told = alone.wait().await.unwrap_err().to_string();
    assert!(told.ends_with("is exited with code 1"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_is_told_at_the_deadline() {
    let fixture = Fixture::new();
    let error = fixture.wait().await.unwrap_err().to_string();
    assert_eq!(error, "after 30s service web has no container yet");
}

#[tokio::test(start_paused = true)]
async fn a_docker_that_is_away_for_a_moment_is_waited_for() {
    let fixture = Fixture::new();
    fixture.set(|_| {});
    for _ in 0..3 {
        fixture.containers.fail_next("of_project", away());
    }
    let took = fixture.wait().await.unwrap();
    assert_eq!(took, SETTLE + 7 * FIRST_POLL, "three looks, each after twice the time");
    for _ in 0..200 {
        fixture.containers.fail_next("of_project", away());
    }
    let error = fixture.wait().await;
    assert!(matches!(error, Err(HealthError::Docker { .. })));
}

fn away() -> DockerError {
    DockerError::TimedOut { operation: "list containers".to_owned(), after: Duration::ZERO }
}
