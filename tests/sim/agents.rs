//! The real agents, on machines and a Consul that are not.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::Flock;
use tandem::agent::{self, alone};
use tandem::config::Config;
use tandem::exec::{Busy, Cluster, Context, Journal, ProxyReport, SessionKeeper};
use tandem::host::Host;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::gate::Gate;
use crate::seams::{
    SimCatalog, SimCompose, SimContainers, SimEvents, SimKv, SimProxies, SimRepositories,
    SimSessions, SimVolumes,
};
use crate::world::World;

/// An agent that runs.
pub(crate) struct Agent {
    pub(crate) life: u32,
    pub(crate) context: Arc<Context>,
    gate: Arc<Gate>,
    watched: JoinHandle<()>,
    /// What keeps a second agent from the data directory.
    _alone: Option<Flock<File>>,
}

impl Agent {
    /// Starts the agent of a node, for the nth time.
    pub(crate) async fn start(world: &Arc<World>, node: usize, life: u32) -> Self {
        let gate = Arc::new(Gate::new(world.clone(), node, life));
        let machine = &world.machines[node];
        let config = config(&machine.dir);
        std::fs::create_dir_all(&config.data_dir).expect("the data directory");
        let alone = alone::lock(&config.data_dir).expect("nobody else works with it");
        let cluster = cluster(&gate);
        let memory = config.data_dir.join("session");
        let (keeper, session) =
            SessionKeeper::new(cluster.sessions.clone(), &machine.name, config.session_ttl, memory);
        let context = Arc::new(Context {
            me: machine.name.clone(),
            address: machine.address.clone(),
            journal: Journal::open(&config.data_dir).await.expect("the journal"),
            busy: Busy::default(),
            records: world.records.beside(),
            manifests: Default::default(),
            slots: Semaphore::new(config.parallel),
            config,
            cluster,
            host: host(&gate),
            proxies: Arc::new(SimProxies { gate: gate.clone() }),
            session,
        });
        {
            let mut state = machine.state();
            state.agent = true;
            state.starts += 1;
            state.away_until = (life > 0).then(tokio::time::Instant::now);
        }
        world.trace.line(machine.name.as_str(), || "agent starts".to_owned());
        let (watcher, ctx) = (gate.clone(), context.clone());
        let watched = tokio::spawn(async move {
            let ended = run(&ctx, keeper).await;
            let name = &watcher.machine().name;
            watcher.world.broken(format!("the agent on {name} ended: {ended}"));
        });
        Self { life, context, gate, watched, _alone: alone }
    }

    /// The agent dies, as by SIGKILL.
    pub(crate) fn kill(&self) {
        self.gate.close();
        self.watched.abort();
        self.gate.machine().state().agent = false;
    }
}

/// What an agent does once it knows its name; why that ended.
async fn run(ctx: &Arc<Context>, keeper: SessionKeeper) -> String {
    let ttl = ctx.config.session_ttl;
    let kv = ctx.cluster.kv.as_ref();
    if let Err(error) = alone::await_name(kv, &ctx.me, &ctx.address, ttl).await {
        return error.to_string();
    }
    let (_problems, seen_problems) = watch::channel(ProxyReport::default());
    let mut parts = agent::parts(ctx, keeper, seen_problems);
    format!("{:?}", parts.join_next().await)
}

fn cluster(gate: &Arc<Gate>) -> Cluster {
    let (gate, inner) = (gate.clone(), gate.world.consul.client(&gate.machine().name));
    Cluster {
        kv: Arc::new(SimKv { gate: gate.clone(), inner: inner.clone() }),
        sessions: Arc::new(SimSessions { gate: gate.clone(), inner: inner.clone() }),
        catalog: Arc::new(SimCatalog { gate: gate.clone(), inner }),
        events: Arc::new(SimEvents { gate }),
    }
}

fn host(gate: &Arc<Gate>) -> Host {
    let fakes = gate.machine().fakes.clone();
    Host {
        repositories: Arc::new(SimRepositories { gate: gate.clone(), inner: fakes.repositories }),
        compose: Arc::new(SimCompose { gate: gate.clone(), inner: fakes.compose }),
        containers: Arc::new(SimContainers { gate: gate.clone(), inner: fakes.containers }),
        volumes: Arc::new(SimVolumes { gate: gate.clone(), inner: fakes.volumes }),
        resources: fakes.resources,
    }
}

fn config(dir: &Path) -> Config {
    thread_local! {
        static USUAL: Config = {
            let values = BTreeMap::from([
                ("data-dir", "/nowhere".to_owned()),
                ("deploy-dir", "/nowhere".to_owned()),
                ("settle", "2s".to_owned()),
            ]);
            Config::parse(&values, "", "none").expect("the settings")
        };
    }
    let mut config = USUAL.with(Config::clone);
    config.data_dir = dir.join("data");
    config.deploy_dir = dir.join("deploy");
    config
}
