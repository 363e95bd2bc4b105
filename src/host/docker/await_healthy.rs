//! Waiting for an app to be up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::own_probe::Prober;
use super::{
    Baseline, Complaint, Container, Containers, DockerError, Health, State, Verdict, health,
};
use crate::model::ProjectName;
use crate::model::manifest::Manifest;

/// Between two looks, once the app is found to take its time.
const POLL: Duration = Duration::from_millis(200);
/// Between the first two: somebody may be waiting for an app that is up in a moment.
const FIRST_POLL: Duration = Duration::from_millis(25);
/// After something ended that is started again.
const AGAIN: Duration = Duration::from_secs(1);
const LOG_LINES: usize = 20;
/// What to write where a service is started again and again.
const WAITS: &str = "; if it ends because another service does not answer yet, give that one a healthcheck and write \
    `depends_on: {…: {condition: service_healthy}}`";

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
/// A container that ends and has a policy to be started again is no failure for the time of `patience`, if there is
/// another service that it may be waiting for. Where Docker does not start it, this does.
///
/// A Docker that is away for a moment is waited for like the app.
pub async fn await_healthy(
    containers: &dyn Containers,
    project: &ProjectName,
    manifest: &Manifest,
    settle: Duration,
    deadline: Duration,
    patience: Duration,
) -> Result<(), HealthError> {
    let end = Instant::now() + deadline;
    // The last look is to tell what is wrong.
    let patience = patience.min(deadline.saturating_sub(2 * AGAIN));
    let patience = if manifest.services.len() > 1 { patience } else { Duration::ZERO };
    let impatient = Instant::now() + patience;
    let mut watch = Watch::default();
    let (mut healthy_since, mut pause) = (None, FIRST_POLL);
    loop {
        let is_patient = Instant::now() < impatient;
        let look = watch.look(containers, project, manifest, is_patient).await;
        let now = Instant::now();
        match &look {
            Ok((Verdict::Healthy, proven)) => {
                let since = *healthy_since.get_or_insert(now);
                if *proven || now - since >= settle {
                    return Ok(());
                }
            }
            Ok((Verdict::Waiting(_), _)) | Err(_) => healthy_since = None,
            Ok((Verdict::Again(_), _)) if is_patient => (healthy_since, pause) = (None, AGAIN),
            Ok((Verdict::Failed(complaint) | Verdict::Again(complaint), _)) => {
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

/// What is known of earlier looks.
#[derive(Default)]
struct Watch {
    /// When each container was seen for the first time, and when it was seen last.
    first: Baseline,
    last: Baseline,
    prober: Prober,
    /// Whether something was started again.
    has_ended: bool,
}

impl Watch {
    async fn look(
        &mut self,
        containers: &dyn Containers,
        project: &ProjectName,
        manifest: &Manifest,
        is_patient: bool,
    ) -> Result<Look, DockerError> {
        let mut seen = containers.of_project(project).await?;
        self.prober.probe(containers, &mut seen).await;
        for container in &seen {
            let count = container.restart_count;
            self.first.entry(container.id.clone()).or_insert(count);
            self.last.entry(container.id.clone()).or_insert(count);
        }
        let proven = are_proven(&seen);
        let verdict = match health(&seen, manifest, &self.last) {
            Verdict::Again(complaint) if is_patient => {
                self.has_ended = true;
                self.start_again(containers, &seen, &complaint).await;
                Verdict::Again(complaint)
            }
            // How often in all.
            Verdict::Again(_) => health(&seen, manifest, &self.first),
            verdict @ (Verdict::Healthy | Verdict::Waiting(_) | Verdict::Failed(_)) => verdict,
        };
        Ok((self.explained(verdict, &seen), proven))
    }

    /// Starts the one that Docker leaves alone; what it will say counts from here.
    async fn start_again(
        &mut self,
        containers: &dyn Containers,
        seen: &[Container],
        complaint: &Complaint,
    ) {
        for container in seen {
            self.last.insert(container.id.clone(), container.restart_count);
            let is_it = complaint.container.as_ref() == Some(&container.name);
            if is_it && matches!(container.state, State::Exited(_)) {
                // The next look tells whether it runs.
                let _ = containers.start(&container.id).await;
            }
        }
    }

    /// With what to write where something is started again and again.
    fn explained(&self, verdict: Verdict, seen: &[Container]) -> Verdict {
        match verdict {
            Verdict::Again(why) if self.has_ended => Verdict::Again(with_hint(why)),
            Verdict::Waiting(why) if self.has_ended_before(seen, &why) => {
                Verdict::Waiting(with_hint(why))
            }
            verdict @ (Verdict::Healthy
            | Verdict::Waiting(_)
            | Verdict::Again(_)
            | Verdict::Failed(_)) => verdict,
        }
    }

    /// Whether a container that is awaited has been started again.
    fn has_ended_before(&self, seen: &[Container], why: &Complaint) -> bool {
        let first = |container: &Container| self.first.get(&container.id).copied();
        let mut it =
            seen.iter().filter(|container| why.container.as_ref() == Some(&container.name));
        it.any(|container| first(container).is_some_and(|first| container.restart_count > first))
    }
}

/// Whether each container that is to go on running has a health check that passes.
fn are_proven(seen: &[Container]) -> bool {
    let mut lasting = seen.iter().filter(|container| container.state.is_alive()).peekable();
    lasting.peek().is_some() && lasting.all(|c| c.health == Health::Healthy)
}

fn with_hint(why: Complaint) -> Complaint {
    Complaint { what: format!("{}{WAITS}", why.what), ..why }
}

async fn too_late(
    containers: &dyn Containers,
    look: Result<Look, DockerError>,
    after: Duration,
) -> HealthError {
    match look {
        Ok((
            Verdict::Waiting(complaint) | Verdict::Failed(complaint) | Verdict::Again(complaint),
            _,
        )) => HealthError::TimedOut { after, log: log_of(containers, &complaint).await, complaint },
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
mod tests;
