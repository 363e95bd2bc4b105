//! Waiting for an app to be up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::own_probe::Prober;
use super::{Baseline, Complaint, Containers, DockerError, Health, Verdict, health};
use crate::model::ProjectName;
use crate::model::manifest::Manifest;

/// Between two looks, once the app is found to take its time.
const POLL: Duration = Duration::from_millis(200);
/// Between the first two: somebody may be waiting for an app that is up in a moment.
const FIRST_POLL: Duration = Duration::from_millis(25);
const LOG_LINES: usize = 20;

/// Why an app did not come up.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// A container ended, restarted or is unhealthy.
    #[error("{complaint}{}", with_log(log))]
    Failed {
        /// What is wrong with which container.
        complaint: Complaint,
        /// The container's last log lines.
        log: String,
    },
    /// It was still not there at the deadline.
    #[error("after {after:?} {complaint}{}", with_log(log))]
    TimedOut {
        /// The deadline.
        after: Duration,
        /// What is still awaited.
        complaint: Complaint,
        /// The container's last log lines.
        log: String,
    },
    /// It was running, but not for long enough, at the deadline.
    #[error("not up for long enough within {after:?}")]
    Unsettled {
        /// The deadline.
        after: Duration,
    },
    /// Docker gave no answer up to the deadline.
    #[error("whether the app is up can't be told")]
    Docker {
        /// The cause.
        source: DockerError,
    },
}

fn with_log(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its last log lines:\n{log}") }
}

/// Waits until the app is healthy; ends early if it fails, in any case at `deadline`. A passing health check is proof
/// that a container works, whoever ran it; one without has to run undisturbed for `settle` instead.
///
/// A Docker that is away for a moment is waited for like the app.
pub async fn await_healthy(
    containers: &dyn Containers,
    project: &ProjectName,
    manifest: &Manifest,
    settle: Duration,
    deadline: Duration,
) -> Result<(), HealthError> {
    let end = Instant::now() + deadline;
    let (mut baseline, mut prober) = (Baseline::new(), Prober::default());
    let (mut healthy_since, mut pause) = (None, FIRST_POLL);
    loop {
        let look = look(containers, project, manifest, &mut baseline, &mut prober).await;
        let now = Instant::now();
        match &look {
            Ok((Verdict::Healthy, proven)) => {
                let since = *healthy_since.get_or_insert(now);
                if *proven || now - since >= settle {
                    return Ok(());
                }
            }
            Ok((Verdict::Waiting(_), _)) | Err(_) => healthy_since = None,
            Ok((Verdict::Failed(complaint), _)) => {
                return Err(HealthError::Failed {
                    log: log_of(containers, complaint).await,
                    complaint: complaint.clone(),
                });
            }
        }
        if now >= end {
            return Err(too_late(containers, look, deadline).await);
        }
        // Not a moment longer than what is left to settle.
        let settled = healthy_since.map_or(end, |since| since + settle);
        sleep(pause.min(end.min(settled) - now)).await;
        pause = POLL.min(pause * 2);
    }
}

/// The verdict, and whether each container that is to go on running has a health check that passes.
type Look = (Verdict, bool);

async fn look(
    containers: &dyn Containers,
    project: &ProjectName,
    manifest: &Manifest,
    baseline: &mut Baseline,
    prober: &mut Prober,
) -> Result<Look, DockerError> {
    let mut seen = containers.of_project(project).await?;
    prober.probe(containers, &mut seen).await;
    for container in &seen {
        baseline.entry(container.id.clone()).or_insert(container.restart_count);
    }
    let mut lasting = seen.iter().filter(|container| container.state.is_alive()).peekable();
    let proven = lasting.peek().is_some() && lasting.all(|c| c.health == Health::Healthy);
    Ok((health(&seen, manifest, baseline), proven))
}

async fn too_late(
    containers: &dyn Containers,
    look: Result<Look, DockerError>,
    after: Duration,
) -> HealthError {
    match look {
        Ok((Verdict::Waiting(complaint) | Verdict::Failed(complaint), _)) => {
            HealthError::TimedOut { after, log: log_of(containers, &complaint).await, complaint }
        }
        Ok((Verdict::Healthy, _)) => HealthError::Unsettled { after },
        Err(source) => HealthError::Docker { source },
    }
}

async fn log_of(containers: &dyn Containers, complaint: &Complaint) -> String {
    let Some(container) = &complaint.container else {
        return String::new();
    };
    match containers.logs_tail(container, LOG_LINES).await {
        Ok(log) => log.trim().to_owned(),
        Err(error) => format!("(no log: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::docker::{Container, ExecOutput, FakeContainers};
    use crate::host::fake::FakeMachine;
    use crate::model::AppName;
    use crate::model::manifest::Service;

    const SETTLE: Duration = Duration::from_secs(3);
    const DEADLINE: Duration = Duration::from_secs(30);

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
            await_healthy(&self.containers, project, manifest, SETTLE, DEADLINE).await?;
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
}
