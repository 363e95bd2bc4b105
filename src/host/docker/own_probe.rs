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
/// At least so long between two probes of a container.
const PAUSE: Duration = Duration::from_millis(400);
/// A check may be heavy: so many times as long as it takes, nothing is asked.
const SHARE: u32 = 4;

/// When each container (by id) may be probed again; never, if there is no time.
#[derive(Debug, Default)]
pub(super) struct Prober(BTreeMap<String, Option<Instant>>);

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
        let due = self.0.get(&container.id).is_none_or(|next| next.is_some_and(|at| at <= began));
        if container.check.is_empty() || !due {
            return false;
        }
        let answer = docker.exec(&container.id, &container.check, None, DEADLINE).await;
        let took = began.elapsed();
        let next = (took < DEADLINE).then(|| Instant::now() + PAUSE.max(took * SHARE));
        self.0.insert(container.id.clone(), next);
        answer.is_ok_and(|output| output.code == 0)
    }
}
