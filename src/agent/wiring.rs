//! Makes the real parts from the settings.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tracing::warn;

use super::AgentError;
use crate::config::Config;
use crate::consul::Client;
use crate::error::chain;
use crate::exec::{Busy, Cluster, Context, Journal, Manifests, ProxyCheck, Records};
use crate::host::Host;
use crate::host::compose::{ComposeCli, ComposeTimeouts};
use crate::host::docker::DockerEngine;
use crate::host::repository::{GitRepositories, GitSettings, HostKeyPolicy};
use crate::host::resources::Machine;
use crate::host::volume::{Buttervolume, ButtervolumeSettings};
use crate::model::{AppName, AppRecord, NodeName};
use crate::proxy::ProxySettings;

const RETRY: Duration = Duration::from_secs(1);

/// Consul's seams, all by one client.
pub fn cluster(client: &Client) -> Cluster {
    let client = Arc::new(client.clone());
    Cluster {
        kv: client.clone(),
        sessions: client.clone(),
        catalog: client.clone(),
        events: client,
    }
}

/// Everything that handling an event takes, without a running agent: what `tandem handle` uses.
pub async fn context_alone(config: Config, client: &Client) -> Result<Context, AgentError> {
    let cluster = cluster(client);
    let (me, address) = identify(&config, &cluster).await;
    // The sender may go: without a session this process holds no lease.
    let (_, session) = watch::channel(None);
    context(config, cluster, Arc::new(NoProxies), session, me, address).await
}

/// Bundles the seams.
pub(super) async fn context(
    config: Config,
    cluster: Cluster,
    proxies: Arc<dyn ProxyCheck>,
    session: watch::Receiver<Option<String>>,
    me: NodeName,
    address: String,
) -> Result<Context, AgentError> {
    let host = host(&config);
    let journal = Journal::open(&config.data_dir).await?;
    let slots = Semaphore::new(config.parallel);
    Ok(Context {
        me,
        address,
        config,
        cluster,
        host,
        journal,
        proxies,
        session,
        records: Records::default(),
        manifests: Manifests::default(),
        busy: Busy::default(),
        slots,
    })
}

fn host(config: &Config) -> Host {
    let deadlines = &config.deadlines;
    let git = GitSettings {
        ssh_key: config.git.ssh_key.clone(),
        https_token: config.git.https_token.clone(),
        https_hosts: config.git.https_hosts.clone(),
        https_user: config.git.https_user.clone(),
        known_hosts: config.git.known_hosts.clone(),
        host_keys: HostKeyPolicy::AcceptNew,
        timeout: deadlines.clone,
        ..GitSettings::default()
    };
    let timeouts = ComposeTimeouts {
        pull: deadlines.pull,
        build: deadlines.build,
        up: deadlines.up,
        down: deadlines.up,
        script: deadlines.script,
        ..ComposeTimeouts::default()
    };
    let volumes = ButtervolumeSettings {
        socket: config.volumes.socket.clone(),
        ..ButtervolumeSettings::default()
    };
    Host {
        repositories: Arc::new(GitRepositories::new(git)),
        compose: Arc::new(ComposeCli { timeouts, ..ComposeCli::default() }),
        containers: Arc::new(DockerEngine::new()),
        resources: Arc::new(Machine { volumes: volumes.snapshots.clone() }),
        volumes: Arc::new(Buttervolume::new(volumes)),
    }
}

/// What the proxies of a node are told of it.
pub fn proxy_settings(config: &Config) -> ProxySettings {
    ProxySettings {
        data_dir: config.data_dir.clone(),
        run_dir: config.run_dir.clone(),
        certificate_dir: config.certificate_dir.clone(),
        bind_namespace: config.bind_namespace.clone(),
        haproxy_address: config.haproxy_address,
        caddy_address: config.caddy_address,
        // A kernel that was started without it has no such file, and HAProxy could not bind.
        ipv6: Path::new("/proc/net/if_inet6").exists(),
        issuer: config.issuer.clone(),
        hold: config.hold,
        ..ProxySettings::default()
    }
}

/// The node's name and address, asked for until the local Consul agent answers.
pub(super) async fn identify(config: &Config, cluster: &Cluster) -> (NodeName, String) {
    loop {
        match cluster.catalog.own_name().await {
            Ok((name, address)) => return (config.node.clone().unwrap_or(name), address),
            Err(error) => {
                warn!(error = %chain(&error), "Consul does not answer; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The folders that the agent writes to.
pub(super) fn create_folders(config: &Config) -> Result<(), AgentError> {
    let make = |path: &Path| {
        std::fs::create_dir_all(path).map_err(|source| AgentError::Folder(path.to_owned(), source))
    };
    make(&config.data_dir)?;
    make(&config.deploy_dir)?;
    ["haproxy", "caddy"].iter().try_for_each(|proxy| make(&config.run_dir.join(proxy)))
}

/// Stands where no agent runs: nothing is deployed from there.
pub(super) struct NoProxies;

#[async_trait]
impl ProxyCheck for NoProxies {
    async fn would_accept(&self, _: &AppName, _: &AppRecord) -> Result<(), Vec<String>> {
        Err(vec!["this process does not look after proxies".to_owned()])
    }
}
