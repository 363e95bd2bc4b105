//! Lets things happen: events, and what befalls nodes and agents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem::agent::Intake;
use tandem::consul::event::UserEvent;
use tandem::host::docker::State;
use tandem::model::Amount;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::agents::Agent;
use crate::faults::{self, Fault};
use crate::network;
use crate::world::{Machine, World};
use crate::writer;

/// Something that happens at a moment.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A request about an app.
    Ask(usize),
    /// The agent of a node starts, if its machine runs.
    Start(usize),
    Kill(usize),
    PowerOff(usize, Duration),
    PowerOn(usize),
    Cut(usize, Duration),
    /// The others notice that a node is cut off.
    Missed(usize),
    Mend(usize),
    EndSession(usize),
    DockerDown(usize, Duration),
    DockerBack(usize),
    /// buttervolume's scheduler does what is due.
    Schedule(usize),
    /// Something else goes wrong.
    Fault(Fault),
    /// A Consul watch hands an event over that the agent heard of itself.
    Redeliver(usize, UserEvent),
}

/// Who makes things happen.
pub(crate) struct Director {
    pub(crate) world: Arc<World>,
    agents: Vec<Option<Agent>>,
    lives: Vec<u32>,
    deaths: mpsc::UnboundedReceiver<(usize, u32)>,
    orders: mpsc::UnboundedReceiver<Action>,
    lasting: Option<Instant>,
    to_come: BTreeMap<(Instant, u64), Action>,
    planned: u64,
}

impl Director {
    pub(crate) fn new(
        world: Arc<World>,
        deaths: mpsc::UnboundedReceiver<(usize, u32)>,
        orders: mpsc::UnboundedReceiver<Action>,
    ) -> Self {
        let nodes = world.machines.len();
        Self {
            world,
            agents: (0..nodes).map(|_| None).collect(),
            lives: vec![0; nodes],
            deaths,
            orders,
            lasting: None,
            to_come: BTreeMap::new(),
            planned: 0,
        }
    }

    pub(crate) fn after(&mut self, delay: Duration, action: Action) {
        self.planned += 1;
        self.to_come.insert((Instant::now() + delay, self.planned), action);
    }

    /// When the last thing that is planned happens.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.to_come.keys().next_back().map(|(at, _)| *at)
    }

    /// Until when a node is away that was lost because of something else.
    pub(crate) fn lasting(&self) -> Option<Instant> {
        self.lasting
    }

    /// Lets happen what is planned up to a moment.
    pub(crate) async fn until(&mut self, end: Instant) {
        loop {
            let next = self.to_come.keys().next().map_or(end, |(at, _)| (*at).min(end));
            tokio::select! {
                biased;
                Some((node, life)) = self.deaths.recv() => self.died(node, life),
                Some(action) = self.orders.recv() => self.obey(action).await,
                () = sleep_until(next) => {
                    if next >= end {
                        return;
                    }
                    if let Some((_, action)) = self.to_come.pop_first() {
                        self.act(action).await;
                    }
                }
            }
        }
    }

    async fn obey(&mut self, action: Action) {
        if let Action::PowerOff(_, time) | Action::Cut(_, time) = action {
            self.lasting = self.lasting.max(Some(Instant::now() + time));
        }
        self.act(action).await;
    }

    fn died(&mut self, node: usize, life: u32) {
        if self.agents[node].as_ref().is_some_and(|agent| agent.life == life) {
            self.end_agent(node);
            let delay = self.downtime();
            self.after(delay, Action::Start(node));
        }
    }

    fn end_agent(&mut self, node: usize) {
        if let Some(agent) = self.agents[node].take() {
            agent.kill();
        }
    }

    /// Shorter than a session lives, longer, or longer than the others have patience.
    fn downtime(&self) -> Duration {
        let rng = &self.world.rng;
        let range = rng.pick(&[500..1_500, 1_000..14_000, 16_000..40_000, 65_000..200_000]);
        rng.millis(range.clone())
    }

    async fn act(&mut self, action: Action) {
        let name = |node: usize| self.world.machines[node].name.to_string();
        let told = |node: usize, what: &str| self.world.trace.line(&name(node), || what.to_owned());
        match action {
            Action::Ask(app) => self.ask(app),
            Action::Start(node) => self.start(node).await,
            Action::Kill(node) if self.agents[node].is_some() => {
                told(node, "agent killed");
                self.end_agent(node);
                let delay = self.downtime();
                self.after(delay, Action::Start(node));
            }
            Action::PowerOff(node, time) if self.is_whole(node) => {
                told(node, "power off");
                self.power_off(node);
                self.after(time, Action::PowerOn(node));
            }
            Action::Cut(node, time) if self.is_whole(node) => {
                told(node, "cut off");
                self.cut(node);
                self.after(time, Action::Mend(node));
            }
            Action::DockerDown(node, time) if self.is_whole(node) => {
                told(node, "Docker dies");
                self.world.machines[node].state().docker = false;
                self.world.machines[node].docker_gone.notify_waiters();
                self.after(time, Action::DockerBack(node));
            }
            Action::Missed(node) if self.world.machines[node].state().cut => {
                told(node, "is taken for dead");
                self.world.consul.set_alive(&self.world.machines[node].name, false);
            }
            Action::Schedule(node) if self.world.machines[node].state().powered => {
                network::scheduled(&self.world, node);
            }
            Action::Fault(fault) => faults::happen(self, fault),
            Action::EndSession(node) => self.end_session(node),
            Action::Redeliver(node, event) => self.redeliver(node, event),
            Action::PowerOn(node) => self.power_on(node),
            Action::Mend(node) => self.mend(node),
            Action::DockerBack(node) => self.docker_back(node),
            Action::Kill(_)
            | Action::PowerOff(..)
            | Action::Cut(..)
            | Action::DockerDown(..)
            | Action::Schedule(_)
            | Action::Missed(_) => {}
        }
    }

    pub(crate) fn is_whole(&self, node: usize) -> bool {
        let state = self.world.machines[node].state();
        state.powered && !state.cut && state.docker
    }

    async fn start(&mut self, node: usize) {
        if self.agents[node].is_some() || !self.world.machines[node].state().powered {
            return;
        }
        let life = self.lives[node];
        self.lives[node] += 1;
        self.agents[node] = Some(Agent::start(&self.world, node, life).await);
    }

    pub(crate) fn power_off(&mut self, node: usize) {
        self.end_agent(node);
        let machine = &self.world.machines[node];
        let mut state = machine.state();
        state.powered = false;
        state.boots += 1;
        drop(state);
        for container in machine.fakes.machine.state().containers.values_mut().flatten() {
            if container.state.is_alive() {
                container.state = CUT_DOWN;
            }
        }
        self.world.consul.set_alive(&machine.name, false);
        self.world.consul.set_reachable(&machine.name, false);
        self.world.gossip.wake();
    }

    /// Restart policies bring back what ran.
    fn power_on(&mut self, node: usize) {
        let machine = &self.world.machines[node];
        let mut state = machine.state();
        if state.powered {
            return;
        }
        state.powered = true;
        state.away_until = Some(Instant::now());
        drop(state);
        start_by_policy(machine, &["always", "unless-stopped"]);
        self.world.trace.line(machine.name.as_str(), || "power on".to_owned());
        self.world.consul.set_alive(&machine.name, true);
        self.world.consul.set_reachable(&machine.name, true);
        self.world.gossip.catch_up(node, || self.world.rng.percent(50));
        let delay = self.world.rng.millis(500..20_000);
        self.after(delay, Action::Start(node));
    }

    fn cut(&mut self, node: usize) {
        // Up to here its proxies have followed.
        writer::follow(&self.world, node);
        let machine = &self.world.machines[node];
        machine.state().cut = true;
        self.world.consul.set_reachable(&machine.name, false);
        self.world.gossip.wake();
        if self.world.rng.percent(60) {
            let delay = self.world.rng.millis(3_000..15_000);
            self.after(delay, Action::Missed(node));
        }
    }

    fn mend(&mut self, node: usize) {
        let machine = &self.world.machines[node];
        let mut state = machine.state();
        if !state.cut {
            return;
        }
        state.cut = false;
        state.away_until = Some(Instant::now());
        drop(state);
        self.world.trace.line(machine.name.as_str(), || "no longer cut off".to_owned());
        self.world.consul.set_reachable(&machine.name, true);
        self.world.consul.set_alive(&machine.name, true);
        self.world.gossip.catch_up(node, || self.world.rng.percent(50));
    }

    /// A Docker that died ends what lived on, and may take it for stopped by hand.
    fn docker_back(&mut self, node: usize) {
        let machine = &self.world.machines[node];
        let mut state = machine.state();
        if state.docker {
            return;
        }
        state.docker = true;
        state.away_until = Some(Instant::now());
        drop(state);
        // Who brings them back has seen Docker go.
        if self.agents[node].is_some() && self.world.rng.percent(50) {
            faults::strangers::end(&self.world, node);
            for container in machine.fakes.machine.state().containers.values_mut().flatten() {
                if container.state.is_alive() {
                    container.state = CUT_DOWN;
                }
            }
            start_by_policy(machine, &["always"]);
        }
        self.world.trace.line(machine.name.as_str(), || "Docker is back".to_owned());
        faults::mislead(&self.world);
    }

    fn end_session(&self, node: usize) {
        let Some(agent) = &self.agents[node] else { return };
        let session = agent.context.session.borrow().clone();
        if let Some(id) = session {
            let name = self.world.machines[node].name.as_str();
            self.world.trace.line(name, || format!("session {id} is ended by somebody"));
            self.world.consul.expire_session(&id);
        }
    }

    fn redeliver(&self, node: usize, event: UserEvent) {
        if let Some(agent) = &self.agents[node] {
            let intake = Arc::new(Intake { ctx: agent.context.clone() });
            tokio::spawn(async move {
                intake.take_in(vec![event], false).await;
            });
        }
    }

    /// Faults end, and what is away returns.
    pub(crate) fn calm(&mut self) {
        self.world.trace.line("user", || "from now on nothing fails".to_owned());
        self.world.wild.store(false, Ordering::Relaxed);
        faults::calm(&self.world);
        for node in 0..self.world.machines.len() {
            make_room(&self.world.machines[node], 60);
            self.power_on(node);
            self.mend(node);
            self.docker_back(node);
            if self.agents[node].is_none() {
                let delay = self.world.rng.millis(0..20_000);
                self.after(delay, Action::Start(node));
            }
        }
    }
}

/// How a container ends that was not asked to.
const CUT_DOWN: State = State::Exited(137);

/// Docker starts: `always` means those too that were stopped by hand.
fn start_by_policy(machine: &Machine, policies: &[&str]) {
    for container in machine.fakes.machine.state().containers.values_mut().flatten() {
        let policy = container.restart.as_str();
        // What ended by itself, because its version is a bad one, ends again.
        let is_bad = container.state == State::Exited(1);
        let comes_back = policy == "always" && !is_bad || container.state == CUT_DOWN;
        if policies.contains(&policy) && comes_back && !container.state.is_alive() {
            container.state = State::Running;
        }
    }
}

/// So many percent of the disk are free.
pub(crate) fn make_room(machine: &Machine, percent: u64) {
    let (disk, memory) = (Amount { free: percent << 30, total: 100 << 30 }, GIB * 8);
    let memory = Amount { free: memory / 2, total: memory };
    machine.fakes.resources.set(Some((disk, memory)));
}

const GIB: u64 = 1 << 30;
