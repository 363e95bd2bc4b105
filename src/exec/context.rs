//! What the executor works with: the node's seams, bundled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};

use super::journal::Journal;
use super::manifests::Manifests;
use super::records::Records;
use crate::clock;
use crate::config::Config;
use crate::consul::catalog::Catalog;
use crate::consul::event::Events;
use crate::consul::kv::Kv;
use crate::consul::session::Sessions;
use crate::host::Host;
use crate::model::{AppName, AppRecord, DeployId, NodeName};

/// Consul's seams, bundled.
#[derive(Clone)]
pub struct Cluster {
    /// Key/value store.
    pub kv: Arc<dyn Kv>,
    /// Sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Members and services.
    pub catalog: Arc<dyn Catalog>,
    /// User events.
    pub events: Arc<dyn Events>,
}

/// Asks the proxies' real binaries whether they would take the configuration with an app in it.
#[async_trait]
pub trait ProxyCheck: Send + Sync {
    /// Refuses with what is wrong, one line each. Installs nothing.
    async fn would_accept(&self, app: &AppName, candidate: &AppRecord) -> Result<(), Vec<String>>;

    /// How many requests this node's proxies have passed on to the app, and have no answer to yet.
    async fn requests(&self, _: &AppName) -> u64 {
        0
    }

    /// Whether the nodes' proxies say in KV (`tandem/heard/`) what they have taken up.
    fn tell(&self) -> bool {
        false
    }
}

/// Everything that carrying out a deployment needs on this node.
pub struct Context {
    /// This node.
    pub me: NodeName,
    /// Its address, as the cluster sees it.
    pub address: String,
    /// Settings.
    pub config: Config,
    /// Consul.
    pub cluster: Cluster,
    /// Docker, git, volumes.
    pub host: Host,
    /// What this node remembers.
    pub journal: Journal,
    /// The proxies' check.
    pub proxies: Arc<dyn ProxyCheck>,
    /// The current Consul session of this agent, if Consul is there.
    pub session: watch::Receiver<Option<String>>,
    /// What this node knows of its deployments, also while Consul is away.
    pub records: Records,
    /// What this node knows of its checkouts' compose files.
    pub manifests: Manifests,
    /// One piece of work per app at a time on this node.
    pub busy: Busy,
    /// Limits how many deployments do heavy work here at once.
    pub slots: Semaphore,
}

/// Hands out one permission to work per app: a step and the undo of an earlier one must not meet.
#[derive(Debug, Default)]
pub struct Busy(std::sync::Mutex<BTreeMap<AppName, Arc<tokio::sync::Mutex<()>>>>);

impl Busy {
    /// Waits until nothing else on this node works on the app.
    pub async fn with(&self, app: &AppName) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            locks.entry(app.clone()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

impl Context {
    /// The checkout of a deployment.
    pub(super) fn checkout(&self, app: &AppName, id: &DeployId) -> PathBuf {
        app.checkout(&self.config.deploy_dir, id)
    }

    /// The addresses of the members, by name.
    pub(super) async fn addresses(
        &self,
    ) -> Result<BTreeMap<NodeName, String>, crate::consul::ConsulError> {
        let members = self.cluster.catalog.members().await?;
        Ok(members.into_iter().map(|member| (member.name, member.address)).collect())
    }
}

/// The time, as records hold it: RFC 3339 in UTC with milliseconds.
pub(super) fn now() -> String {
    clock::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
