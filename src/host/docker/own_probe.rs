//! A container's health check, run by this agent.
//!
//! Docker runs it for the first time when its interval has passed, 30 s by default, and while an app is being replaced that
//! is time in which nobody is served. The command and what its success proves are the same.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Container, Containers, Health, State};

/// A check that takes longer is left to Docker.
const DEADLINE: Duration = Duration::from_secs(5);
/// At least so long between the first two probes of a container, twice as long between the next two, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No probe waits for more than that, whatever went before.
const PAUSE: Duration = Duration::from_millis(400);
/// A check may be heavy: so many times as long as it takes, nothing is asked.
const SHARE: u32 = 4;

/// What is known of the probes of each container, by its id.
#[derive(Debug, Default)]
pub(super) struct Prober(BTreeMap<String, Probed>);

/// When a container may be probed again.
#[derive(Debug)]
struct Probed {
    /// None: never.
    next: Option<Instant>,
    /// The least pause after the probe that comes then.
    pause: Duration,
}

impl Prober {
    /// Probes what Docker has no verdict on yet. A success makes it healthy; a failure says nothing.
    pub(super) async fn probe(&mut self, docker: &dyn Containers, containers: &mut [Container]) {
        let is_open = |container: &&mut Container| {
            (container.state, container.health) == (State::Running, Health::Starting)
        };
        for container in containers.iter_mut().filter(is_open) {
            if self.succeeds(docker, container).await {
                container.health = Health::Healthy;
            }
        }
    }

    async fn succeeds(&mut self, docker: &dyn Containers, container: &Container) -> bool {
        let began = Instant::now();
        let known = self.0.get(&container.id);
        let due = known.is_none_or(|known| known.next.is_some_and(|at| at <= began));
        let pause = known.map_or(FIRST_PAUSE, |known| known.pause);
        if container.check.is_empty() || !due {
            return false;
        }
        let answer = docker.exec(&container.id, &container.check, None, DEADLINE).await;
        let took = began.elapsed();
        let next = (took < DEADLINE).then(|| Instant::now() + pause.max(took * SHARE));
        let probed = Probed { next, pause: PAUSE.min(pause * 2) };
        self.0.insert(container.id.clone(), probed);
        answer.is_ok_and(|output| output.code == 0)
    }
}
