//! What every call of an agent goes through: it takes its time, fails, or is the agent's last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tandem::clock;
use tokio::time::{Instant, sleep};

use crate::world::{Machine, World};

/// Failures in a row that a machine is spared from having more of, and for how long: what fails for good is no test of
/// a protocol that tries three times.
const IN_A_ROW: u32 = 2;
const SPARED: Duration = Duration::from_secs(300);

/// One agent's way to the world, until it dies.
pub(crate) struct Gate {
    pub(crate) world: Arc<World>,
    pub(crate) node: usize,
    /// Which agent of the node it is.
    pub(crate) life: u32,
    dead: AtomicBool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    FailsBefore,
    FailsAfter,
    DiesBefore,
    DiesAfter,
    /// The agent dies, and what it asked for goes on.
    Lingers,
}

/// How long calls of a kind take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A question.
    Short,
    /// Work of up to some seconds, by somebody else: it may go on without the agent.
    Long,
    /// The same by the agent itself.
    Own,
}

impl Gate {
    pub(crate) fn new(world: Arc<World>, node: usize, life: u32) -> Self {
        Self { world, node, life, dead: AtomicBool::new(false) }
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.world.machines[self.node]
    }

    fn name(&self) -> &str {
        self.machine().name.as_str()
    }

    /// From now on, no call of this agent returns.
    pub(crate) fn close(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    async fn alive(&self) {
        clock::testing::on_machine(&self.machine().clock);
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn die<T>(&self) -> T {
        self.close();
        let _ = self.world.deaths.send((self.node, self.life));
        std::future::pending().await
    }

    /// A call of Consul that changes nothing.
    pub(crate) async fn ask<T>(&self, effect: impl Future<Output = T>) -> T {
        self.alive().await;
        sleep(self.world.rng.millis(0..3)).await;
        self.alive().await;
        let answer = effect.await;
        self.alive().await;
        answer
    }

    /// A call of Consul that changes something; `None` if its answer is lost.
    pub(crate) async fn change<T>(&self, effect: impl Future<Output = T>) -> Option<T> {
        let (world, chances) = (&self.world, &self.world.chances);
        self.alive().await;
        sleep(world.rng.millis(0..5)).await;
        self.alive().await;
        let draw = if world.is_wild() { world.rng.below(10_000) } else { 10_000 };
        let dies = draw < chances.kv_kill && world.spend(&world.spent.kills);
        if dies && draw % 2 == 0 {
            world.trace.line(self.name(), || "the agent dies before a transaction".to_owned());
            return self.die().await;
        }
        let answer = effect.await;
        if dies {
            world.trace.line(self.name(), || "the agent dies after a transaction".to_owned());
            return self.die().await;
        }
        let lost = chances.kv_kill..chances.kv_kill + chances.kv_lost;
        if lost.contains(&draw) && world.spend(&world.spent.lost) {
            world.trace.line(self.name(), || "the answer is lost".to_owned());
            return None;
        }
        sleep(world.rng.millis(0..3)).await;
        self.alive().await;
        Some(answer)
    }

    fn fate(&self, pace: Pace) -> Fate {
        let (world, chances) = (&self.world, &self.world.chances);
        if !world.is_wild() {
            return Fate::Succeeds;
        }
        let draw = world.rng.below(10_000);
        if draw < chances.host_kill && world.spend(&world.spent.kills) {
            let lingers = pace == Pace::Long && world.rng.percent(chances.lingering);
            return match (lingers, draw % 2) {
                (true, _) => Fate::Lingers,
                (false, 0) => Fate::DiesBefore,
                (false, _) => Fate::DiesAfter,
            };
        }
        let fails = chances.host_kill..chances.host_kill + chances.host_fail;
        if fails.contains(&draw) && !self.is_spared() && world.spend(&world.spent.failures) {
            return if draw % 2 == 0 { Fate::FailsBefore } else { Fate::FailsAfter };
        }
        Fate::Succeeds
    }

    /// Counts the failures of a machine: a third one would come too soon.
    fn is_spared(&self) -> bool {
        let mut state = self.machine().state();
        if state.spared_until.is_some_and(|until| Instant::now() < until) {
            return true;
        }
        state.failures += 1;
        if state.failures >= IN_A_ROW {
            state.failures = 0;
            state.spared_until = Some(Instant::now() + SPARED);
        }
        false
    }

    fn takes(&self, pace: Pace) -> Duration {
        let slowest = self.world.chances.slowest.as_millis() as u64;
        match pace {
            Pace::Short => self.world.rng.millis(0..slowest + 1),
            // Now and then something takes its time.
            Pace::Long | Pace::Own if self.world.rng.percent(10) => {
                self.world.rng.millis(0..20_000)
            }
            Pace::Long | Pace::Own => self.world.rng.millis(0..20 * slowest + 1),
        }
    }

    /// A call of the host. What it does happens at one moment within its time.
    pub(crate) async fn call<T, E>(
        &self,
        what: impl Fn() -> String,
        pace: Pace,
        failure: impl FnOnce() -> E,
        effect: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        self.alive().await;
        sleep(self.takes(pace)).await;
        self.alive().await;
        let fate = self.fate(pace);
        let told = |end: &str| self.world.trace.line(self.name(), || format!("{}{end}", what()));
        match fate {
            Fate::DiesBefore => {
                told(": the agent dies before it");
                return self.die().await;
            }
            Fate::FailsBefore => {
                told(": fails before it did anything");
                return Err(failure());
            }
            Fate::Lingers => {
                told(": the agent dies, and it goes on");
                self.linger(what(), effect);
                return self.die().await;
            }
            Fate::Succeeds | Fate::FailsAfter | Fate::DiesAfter => {}
        }
        let result = effect.await;
        match fate {
            Fate::DiesAfter => {
                told(": the agent dies after it");
                return self.die().await;
            }
            Fate::FailsAfter => {
                told(": fails when all is done");
                return Err(failure());
            }
            Fate::Succeeds | Fate::FailsBefore | Fate::DiesBefore | Fate::Lingers => {}
        }
        if pace != Pace::Short {
            match &result {
                Ok(_) => told(""),
                Err(error) => told(&format!(": {error}")),
            }
        }
        sleep(self.takes(Pace::Short)).await;
        self.alive().await;
        result
    }

    /// What an agent asked for happens, some time after its death; the next agent ends what is not a daemon's work.
    fn linger<T, E>(
        &self,
        what: String,
        effect: impl Future<Output = Result<T, E>> + Send + 'static,
    ) where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (world, node) = (self.world.clone(), self.node);
        let delay = world.rng.millis(0..8_000);
        let is_daemons = what.starts_with("send ");
        let (boots, starts) = {
            let state = world.machines[node].state();
            (state.boots, state.starts)
        };
        world.under_way.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            sleep(delay).await;
            let machine = &world.machines[node];
            let goes_on = {
                let state = machine.state();
                state.boots == boots && (is_daemons || state.starts == starts)
            };
            if goes_on {
                world.trace.line(machine.name.as_str(), || format!("{what}, without its agent"));
                let _ = effect.await;
            }
            world.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
