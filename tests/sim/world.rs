//! What a run is made of: machines, one Consul, apps, chance, and what was found to be wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tandem::clock::testing::Ahead;
use tandem::consul::memory::MemoryConsul;
use tandem::exec::Records;
use tandem::host::fake::FakeHost;
use tandem::model::{DeployId, NodeName};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::apps::App;
use crate::chances::Chances;
use crate::director::Action;
use crate::gossip::Gossip;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::writer::Views;

/// Everything but the agents, who come and go.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) chances: Chances,
    pub(crate) consul: MemoryConsul,
    /// Where the nodes' proxies lead users.
    pub(crate) views: Mutex<Views>,
    /// What agents have decoded of it.
    pub(crate) records: Records,
    pub(crate) machines: Vec<Machine>,
    pub(crate) apps: Vec<App>,
    pub(crate) gossip: Gossip,
    /// Tells which agent died by itself.
    pub(crate) deaths: mpsc::UnboundedSender<(usize, u32)>,
    /// Whether faults happen.
    pub(crate) wild: AtomicBool,
    pub(crate) spent: Spent,
    /// Sessions that their TTL would end, and when each was renewed.
    pub(crate) renewed: Mutex<BTreeMap<String, Instant>>,
    /// What is to happen now, because of something else.
    pub(crate) orders: mpsc::UnboundedSender<Action>,
    /// Since when each app has been down though its master is well.
    pub(crate) outages: Mutex<Vec<Option<Instant>>>,
    /// Calls of the host that are under way, without agents too.
    pub(crate) under_way: AtomicU32,
    /// What should not have happened.
    pub(crate) wrong: Mutex<Vec<String>>,
}

/// How many faults of a kind there were.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub(crate) kills: AtomicU32,
    pub(crate) failures: AtomicU32,
    pub(crate) lost: AtomicU32,
    pub(crate) partners: AtomicU32,
}

/// One machine.
pub(crate) struct Machine {
    pub(crate) name: NodeName,
    pub(crate) address: String,
    pub(crate) fakes: FakeHost,
    pub(crate) dir: PathBuf,
    /// Told when Docker goes.
    pub(crate) docker_gone: Notify,
    /// By how many seconds its wall clock is ahead.
    pub(crate) clock: Ahead,
    state: Mutex<MachineState>,
}

/// What a machine is like right now.
#[derive(Debug, Clone)]
pub(crate) struct MachineState {
    pub(crate) powered: bool,
    /// How often it lost its power.
    pub(crate) boots: u32,
    /// How often an agent was started.
    pub(crate) starts: u32,
    pub(crate) cut: bool,
    pub(crate) docker: bool,
    pub(crate) agent: bool,
    /// When it was last not all there.
    pub(crate) away_until: Option<Instant>,
    /// The version that each project's containers are of.
    pub(crate) versions: BTreeMap<String, String>,
    /// The deployment that started them before it was committed, if it was so.
    pub(crate) started_under: BTreeMap<String, DeployId>,
    /// Failures of its host in a row, and until when there are no more of them.
    pub(crate) failures: u32,
    pub(crate) spared_until: Option<Instant>,
}

impl Machine {
    pub(crate) fn new(name: NodeName, address: String, dir: PathBuf) -> Self {
        let state = MachineState {
            powered: true,
            boots: 0,
            starts: 0,
            cut: false,
            docker: true,
            agent: false,
            away_until: None,
            versions: BTreeMap::new(),
            started_under: BTreeMap::new(),
            failures: 0,
            spared_until: None,
        };
        let fakes = FakeHost::default();
        let (docker_gone, clock) = (Notify::new(), fakes.machine.state().clock.clone());
        Self { name, address, fakes, dir, docker_gone, clock, state: Mutex::new(state) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn deploy_dir(&self) -> PathBuf {
        self.dir.join("deploy")
    }

    /// Whether a container of a project runs here.
    pub(crate) fn runs(&self, project: &str) -> bool {
        let machine = self.fakes.machine.state();
        let own = machine.containers.get(project);
        self.state().powered && own.is_some_and(|all| all.iter().any(|c| c.state.is_alive()))
    }

    /// Whether the others can't count on it, or could not until a moment ago.
    pub(crate) fn was_away(&self, within: Duration) -> bool {
        let state = self.state();
        let there = state.powered && !state.cut && state.agent && state.docker;
        !there || state.away_until.is_some_and(|until| until.elapsed() < within)
    }
}

impl World {
    pub(crate) fn is_wild(&self) -> bool {
        self.wild.load(Ordering::Relaxed)
    }

    /// Notes that a rule was broken.
    pub(crate) fn broken(&self, what: String) {
        self.trace.line("WRONG", || what.clone());
        self.wrong.lock().unwrap().push(what);
    }

    pub(crate) fn all_wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    pub(crate) fn node(&self, name: &NodeName) -> Option<usize> {
        self.machines.iter().position(|machine| machine.name == *name)
    }

    pub(crate) fn app_of(&self, project: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.project.as_str() == project)
    }

    /// Takes one of the faults of a kind that are left.
    pub(crate) fn spend(&self, kind: &AtomicU32) -> bool {
        self.is_wild() && kind.fetch_add(1, Ordering::Relaxed) < self.chances.most
    }
}
