//! What the containers themselves say of a version that Compose could not bring up: it is taken down next, and they are
//! gone with it.

use super::StepContext;
use crate::error::chain;
use crate::exec::error::StepError;
use crate::host::docker::{Container, Health, State};

/// How many of the last lines of each container are told, and how much of them.
const LINES: usize = 5;
const MOST: usize = 600;
/// How many containers are quoted.
const CONTAINERS: usize = 3;

/// An error of *up* with the last lines of the containers that are the likely reason.
pub(super) async fn explained(
    step: &StepContext<'_>,
    error: &(dyn std::error::Error + Send + Sync),
) -> StepError {
    let mut text = chain(error);
    let docker = &step.ctx.host.containers;
    // What can't be told now is no reason to hide the error.
    let containers = docker.of_project(&step.project).await.unwrap_or_default();
    for container in containers.iter().filter(|container| is_to_blame(container)).take(CONTAINERS) {
        let log = docker.logs_tail(&container.id, LINES).await.unwrap_or_default();
        let probe = container.probe.as_deref().filter(|_| container.health == Health::Unhealthy);
        text.push_str(&quote(container, &log, probe));
    }
    StepError::Failed(text)
}

fn is_to_blame(container: &Container) -> bool {
    let ended = match container.state {
        State::Exited(code) => code != 0,
        State::Restarting | State::Dead => true,
        State::Created | State::Running | State::Paused | State::Removing => false,
    };
    ended || container.health == Health::Unhealthy || container.error.is_some()
}

fn quote(container: &Container, log: &str, probe: Option<&str>) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let skipped = last.chars().count().saturating_sub(MOST);
    let last: String = last.chars().skip(skipped).collect();
    let mut text = format!("; {} ({})", container.name, container.state);
    for (what, said) in [
        ("Docker", container.error.as_deref()),
        ("its health check", probe),
        ("its last lines", Some(last.as_str())),
    ] {
        if let Some(said) = said.filter(|said| !said.is_empty()) {
            text.push_str(&format!(", {what}: {}", said.lines().collect::<Vec<_>>().join(" | ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_who_is_to_blame_are_told() {
        let db = Container { health: Health::Unhealthy, ..Container::running("db") };
        assert!(is_to_blame(&db) && !is_to_blame(&Container::running("web")));
        let log = "one\ntwo\n\nthree\nfour\nfive\nFATAL: no such role\n";
        assert_eq!(
            quote(&db, log, Some("refused\n")),
            "; p_db_1 (running), its health check: refused, its last lines: two | three | four | five | FATAL: no such role"
        );
        let ended = Container { state: State::Exited(1), ..Container::running("db") };
        assert!(is_to_blame(&ended));
        assert!(quote(&ended, &"x".repeat(5000), None).len() < 700);
    }
}
