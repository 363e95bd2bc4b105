//! An agent's surroundings in memory, for the tests of its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::wiring;
use crate::config::Config;
use crate::consul::memory::MemoryConsul;
use crate::exec::{Cluster, Context};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::model::NodeName;

/// What [`context`] makes.
pub(super) struct Made {
    pub(super) consul: MemoryConsul,
    pub(super) fakes: FakeHost,
    pub(super) context: Context,
    pub(super) dir: tempfile::TempDir,
}

/// The context of one of node1 and node2, which share one Consul.
pub(super) async fn context(me: &str) -> Made {
    let node = |name: &str| NodeName::parse(name).unwrap();
    let consul = MemoryConsul::new();
    let [_, _] = ["node1", "node2"].map(|name| consul.client(&node(name)));
    let client = consul.client(&node(me));
    let cluster = Cluster {
        kv: Arc::new(client.clone()),
        sessions: Arc::new(client.clone()),
        catalog: Arc::new(client.clone()),
        events: Arc::new(client.clone()),
    };
    let dir = tempfile::tempdir().unwrap();
    let values = BTreeMap::from([("data-dir", dir.path().display().to_string())]);
    let config = Config::parse(&values, "", "test").unwrap();
    let (_, session) = watch::channel(None);
    let address = if me == "node1" { "10.77.0.1" } else { "10.77.0.2" };
    let proxies = Arc::new(wiring::NoProxies);
    let context = wiring::context(config, cluster, proxies, session, node(me), address.into());
    let mut context: Context = context.await.unwrap();
    let (host, fakes) = Host::fake();
    context.host = host;
    Made { consul, fakes, context, dir }
}
