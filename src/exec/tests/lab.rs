//! Three nodes over one Consul in memory, each with an agent that can die and come back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};

use super::apps::{self, V1};
use super::compose::LiveCompose;
use super::seams::{TestCatalog, TestKv, TestProxies};
use crate::config::Config;
use crate::consul::kv::Kv;
use crate::consul::memory::MemoryConsul;
use crate::consul::session::Sessions;
use crate::consul::txn::TxnOp;
use crate::exec::{
    Acceptance, Cluster, Context, ExecError, Fence, Journal, Which, accept, drive, settle,
};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::host::volume::Wire;
use crate::model::deployment::{Deployment, State, Status, StepRecord};
use crate::model::{AppName, AppRecord, DeployId, NodeName, Request, keys};
use crate::records::Queue;

/// Longer than anything takes: what is not over by then never is.
const PATIENCE: Duration = Duration::from_secs(3600);
const TTL: Duration = Duration::from_secs(15);

/// One node.
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) fakes: FakeHost,
    pub(super) compose: Arc<LiveCompose>,
    pub(super) kv: Arc<TestKv>,
    pub(super) catalog: Arc<TestCatalog>,
    pub(super) proxies: Arc<TestProxies>,
    pub(super) dir: TempDir,
    /// Whether an agent that dies stays dead.
    pub(super) stays_dead: AtomicBool,
    consul: MemoryConsul,
    session: watch::Sender<Option<String>>,
    context: RwLock<Arc<Context>>,
}

impl Node {
    async fn new(consul: &MemoryConsul, name: NodeName) -> Self {
        let client = consul.client(&name);
        let dir = tempfile::tempdir().unwrap();
        let (mut host, fakes) = Host::fake();
        let compose = Arc::new(LiveCompose::new(fakes.compose.clone(), fakes.machine.clone()));
        host.compose = compose.clone();
        let kv = Arc::new(TestKv::new(client.clone()));
        let catalog = Arc::new(TestCatalog::new(client.clone()));
        let proxies = Arc::new(TestProxies::default());
        let cluster = Cluster {
            kv: kv.clone(),
            sessions: Arc::new(client.clone()),
            catalog: catalog.clone(),
            events: Arc::new(client.clone()),
        };
        let (session, receiver) = watch::channel(None);
        let context = Context {
            me: name.clone(),
            address: consul_address(&client, &name).await,
            config: config(&dir),
            cluster,
            host,
            journal: Journal::open(&dir.path().join("data")).await.unwrap(),
            proxies: proxies.clone(),
            session: receiver,
            busy: Default::default(),
            records: Default::default(),
            manifests: Default::default(),
            slots: Semaphore::new(2),
        };
        let context = RwLock::new(Arc::new(context));
        let stays_dead = AtomicBool::new(false);
        let consul = client;
        let node = Self {
            name,
            fakes,
            compose,
            kv,
            catalog,
            proxies,
            dir,
            stays_dead,
            consul,
            session,
            context,
        };
        node.begin_session().await;
        node
    }

    pub(super) fn context(&self) -> Arc<Context> {
        self.context.read().unwrap().clone()
    }

    /// The agent's session, as KV knows it.
    pub(super) fn session(&self) -> String {
        self.session.borrow().clone().unwrap()
    }

    /// Begins a session and publishes the node, as the agent does.
    pub(super) async fn begin_session(&self) {
        let id = self.consul.create("agent", TTL, Duration::ZERO).await.unwrap();
        let lock =
            TxnOp::Lock { key: keys::node(&self.name), value: b"{}".to_vec(), session: id.clone() };
        self.consul.transact(vec![lock]).await.unwrap();
        self.session.send_replace(Some(id));
    }

    /// The agent is gone, and its session with it.
    pub(super) fn end_session(&self) {
        self.consul.expire_session(&self.session());
    }

    /// A new agent on the same disk.
    pub(super) async fn restart(&self) {
        self.end_session();
        self.begin_session().await;
        let old = self.context();
        let context = Context {
            me: old.me.clone(),
            address: old.address.clone(),
            config: old.config.clone(),
            cluster: old.cluster.clone(),
            host: old.host.clone(),
            journal: Journal::open(&old.config.data_dir).await.unwrap(),
            proxies: old.proxies.clone(),
            session: self.session.subscribe(),
            busy: Default::default(),
            records: Default::default(),
            manifests: Default::default(),
            slots: Semaphore::new(2),
        };
        *self.context.write().unwrap() = Arc::new(context);
    }

    /// Works on a deployment as the agent does: through every interruption, if the node has a part in it.
    pub(super) async fn work(&self, lab: &Lab, id: &DeployId) {
        let mut fence = Fence::default();
        loop {
            let record = lab.record(id).await;
            let concerned =
                record.transitions.contains_key(&self.name) || record.accepted_by == self.name;
            if record.state.is_final() || !concerned {
                return;
            }
            let context = self.context();
            tokio::select! {
                ended = drive(&context, &lab.app, id) => match ended {
                    Ok(_) | Err(ExecError::Journal(_)) => return,
                    Err(_) => {
                        fence.look(&context, &lab.app, id).await;
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                },
                () = self.kv.dies.notified() => {
                    if self.stays_dead.load(Ordering::Relaxed) {
                        self.end_session();
                        return;
                    }
                    self.restart().await;
                }
            }
        }
    }
}

async fn consul_address(consul: &MemoryConsul, name: &NodeName) -> String {
    use crate::consul::catalog::Catalog;
    let (own, address) = consul.own_name().await.unwrap();
    assert_eq!(own, *name);
    address
}

fn config(dir: &TempDir) -> Config {
    let path = |name: &str| dir.path().join(name).display().to_string();
    let values = [("data-dir", path("data")), ("deploy-dir", path("deploy"))];
    std::fs::create_dir_all(dir.path().join("deploy")).unwrap();
    Config::parse(&BTreeMap::from(values), "", "test").unwrap()
}

/// The cluster.
pub(super) struct Lab {
    pub(super) consul: MemoryConsul,
    pub(super) nodes: Vec<Node>,
    pub(super) app: AppName,
    pub(super) wire: Arc<Wire>,
}

impl Lab {
    /// Three nodes, and the app's first version in its repository.
    pub(super) async fn new() -> Self {
        let consul = MemoryConsul::new();
        let wire = Arc::<Wire>::default();
        let mut nodes = Vec::new();
        for number in 1..=3 {
            let node = Node::new(&consul, apps::node(number)).await;
            node.fakes.volumes.connect(&wire, &node.context().address);
            nodes.push(node);
        }
        let lab = Self { consul, nodes, app: apps::app().name(), wire };
        lab.push("v1", V1);
        lab
    }

    /// A version becomes the head of the app's branch.
    pub(super) fn push(&self, version: &str, compose: &str) {
        let files =
            [("docker-compose.yml", compose), ("VERSION", version), ("update.sh", "#!/bin/sh\n")];
        for node in &self.nodes {
            node.fakes.repositories.put(&apps::app(), version, &files);
        }
    }

    /// The node called `node{number}`.
    pub(super) fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// Takes a request in on node1.
    pub(super) async fn accept(&self, id: &DeployId, request: &Request) -> State {
        match accept(&self.node(1).context(), id, request).await.unwrap() {
            Acceptance::Accepted(state) => state,
            Acceptance::Known => self.record(id).await.state,
        }
    }

    /// All nodes work on a deployment until they have nothing more to do.
    pub(super) async fn work(&self, id: &DeployId) -> State {
        let works = self.nodes.iter().map(|node| node.work(self, id));
        let ended = tokio::time::timeout(PATIENCE, join_all(works)).await;
        let record = self.record(id).await;
        assert!(ended.is_ok(), "no outcome: {record:#?}");
        record.state
    }

    /// Takes a request in and carries it out.
    pub(super) async fn run(&self, id: &DeployId, request: &Request) -> State {
        self.accept(id, request).await;
        self.work(id).await
    }

    /// Every node does what it owes.
    pub(super) async fn settle(&self) {
        for node in &self.nodes {
            settle(&node.context(), &self.app, Which::All).await.unwrap();
        }
    }

    /// Whether a step is owed by its node.
    pub(super) async fn owes(&self, step: &StepRecord) -> bool {
        let prefix = keys::owed_to(&step.node, &self.app);
        let listing = self.consul.list(&prefix).await.unwrap();
        let notes = listing.entries.into_iter();
        let mut notes =
            notes.map(|entry| serde_json::from_slice::<Deployment>(&entry.value).unwrap());
        notes.any(|note| {
            note.steps
                .iter()
                .any(|s| (s.stage, &s.node, s.status) == (step.stage, &step.node, Status::Owed))
        })
    }

    pub(super) async fn record(&self, id: &DeployId) -> Deployment {
        let entry = self.consul.get(&keys::deployment(&self.app, id)).await.unwrap().unwrap();
        serde_json::from_slice(&entry.value).unwrap()
    }

    pub(super) async fn value(&self, key: &str) -> Option<String> {
        let entry = self.consul.get(key).await.unwrap();
        entry.map(|entry| String::from_utf8(entry.value).unwrap())
    }

    /// The app's entry.
    pub(super) async fn entry(&self) -> Option<AppRecord> {
        let text = self.value(&keys::app(&self.app)).await?;
        Some(serde_json::from_str(&text).unwrap())
    }

    pub(super) async fn queue(&self) -> Queue {
        let text = self.value(&keys::queue(&self.app)).await;
        text.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    }
}
