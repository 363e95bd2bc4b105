//! The agent: wires everything, watches its tasks, ends in order.

pub mod alone;
mod apps;
mod certificates;
mod debts;
mod dispatch;
mod events;
mod follow;
mod hand_over;
mod handlers;
mod keeper;
mod measure;
mod members;
mod presence;
mod proxies;
mod reconcile;
mod replicas;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod wiring;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::consul::Client;
use crate::exec::{Context, Findings, JournalError, ProxyReport, SessionKeeper, honour_for_ever};
use crate::host::command::end_orphans;
use crate::model::keys;
use crate::proxy::view::Item;
use follow::{Entries, follow_reading};

pub use certificates::{Certificates, Publisher};
pub use events::{Intake, Seen};
pub use proxies::PREFIXES;
pub use wiring::{cluster, context_alone, proxy_settings};

/// How long an ended agent waits for Consul to take back its session.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The node's journal.
    #[error("the journal can't be opened")]
    Journal(#[from] JournalError),
    /// A folder of the agent.
    #[error("{0} can't be created")]
    Folder(std::path::PathBuf, #[source] std::io::Error),
    /// Another agent works with the same data directory.
    #[error("another agent of this node runs already (pid {pid}, which holds {})", path.display())]
    Second {
        /// The file that it holds.
        path: std::path::PathBuf,
        /// Its process.
        pid: String,
    },
    /// Another machine goes by the node's name.
    #[error("{node} is the name of another machine whose agent runs: {address}, since {since}")]
    NameTaken {
        /// The name.
        node: crate::model::NodeName,
        /// The other machine's address.
        address: String,
        /// Since when its agent runs.
        since: String,
    },
    /// The proxies' first configuration can't be written.
    #[error("the proxies' first configuration can't be written")]
    Proxies(#[source] crate::proxy::ProxyError),
    /// The key of the certificates.
    #[error("certificates can't be shared")]
    CertificateKey(#[source] crate::proxy::certificates::KeyFileError),
    /// The machine refuses to tell about signals.
    #[error("signals can't be waited for")]
    Signals(#[source] std::io::Error),
    /// A part of the agent ended, which none should: the supervisor starts the agent anew.
    #[error("a part of the agent ended: {0}")]
    Ended(String),
}

/// Runs the agent until SIGTERM or SIGINT.
pub async fn run(config: Config, client: Client) -> Result<(), AgentError> {
    wiring::create_folders(&config)?;
    let _alone = alone::lock(&config.data_dir)?;
    end_orphans();
    let cluster = cluster(&client);
    let certificates = Certificates::by(&config, cluster.kv.clone())?;
    let (proxies, handle) = proxies::start(&config, certificates.clone()).await?;
    let mut signals = Signals::new().map_err(AgentError::Signals)?;
    let (me, address) = tokio::select! {
        found = wiring::identify(&config, &cluster) => found,
        () = signals.next() => return Ok(()),
    };
    tokio::select! {
        free = alone::await_name(cluster.kv.as_ref(), &me, &address, config.session_ttl) => free?,
        () = signals.next() => return Ok(()),
    }
    let memory = config.data_dir.join("session");
    let (keeper, session) =
        SessionKeeper::new(cluster.sessions.clone(), &me, config.session_ttl, memory);
    let context = wiring::context(config, cluster, handle, session, me, address).await?;
    let context = Arc::new(context);
    info!(node = %context.me, address = context.address, "agent runs");
    let (report, seen_report) = watch::channel(ProxyReport::default());
    // One reader for all: with thousands of apps it is the largest answer that Consul gives.
    let folder = context.config.data_dir.join("apps");
    let apps = apps::follow(context.cluster.kv.clone(), folder);
    let mut tasks = parts_with(&context, keeper, seen_report, apps.entries.clone());
    tasks.spawn(proxies.follow(context.clone(), apps, report));
    if let Some(certificates) = certificates {
        tasks.spawn(certificates.publish(context.me.clone()));
    }
    let ended = tokio::select! {
        ended = tasks.join_next() => Some(ended),
        () = signals.next() => None,
    };
    tasks.shutdown().await;
    farewell(&context).await;
    match ended {
        None => Ok(()),
        Some(Some(Err(error))) => Err(AgentError::Ended(error.to_string())),
        Some(_) => Err(AgentError::Ended("without an error".to_owned())),
    }
}

/// Starts the parts of an agent but its proxies. None of them ends; with the set, all of them do.
pub fn parts(
    context: &Arc<Context>,
    keeper: SessionKeeper,
    proxies: watch::Receiver<ProxyReport>,
) -> JoinSet<()> {
    let apps = follow_reading(context.cluster.kv.clone(), keys::APPS, Item::read);
    parts_with(context, keeper, proxies, apps)
}

fn parts_with(
    context: &Arc<Context>,
    keeper: SessionKeeper,
    proxies: watch::Receiver<ProxyReport>,
    apps: Entries<Item>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run());
    let (own_problems, seen_own) = watch::channel(Findings::default());
    let (named, is_named) = watch::channel(false);
    tasks.spawn(presence::publish(context.clone(), proxies, seen_own, named));
    tasks.spawn(honour_for_ever(context.clone()));
    tasks.spawn(keeper::keep(context.clone()));
    tasks.spawn(act(context.clone(), is_named, apps, own_problems));
    tasks
}

/// The parts that act for the node: they begin when Consul has said that the node's name is this agent's. An agent that
/// starts while Consul is away does not know yet whether another one is the node.
async fn act(
    context: Arc<Context>,
    mut is_named: watch::Receiver<bool>,
    apps: Entries<Item>,
    problems: watch::Sender<Findings>,
) {
    if is_named.wait_for(|is_named| *is_named).await.is_err() {
        return;
    }
    let mut parts = JoinSet::new();
    parts.spawn(events::follow(context.clone()));
    parts.spawn(dispatch::dispatch(context.clone()));
    parts.spawn(debts::pay(context.clone()));
    parts.spawn(replicas::look_after(context.clone(), apps.clone()));
    parts.spawn(reconcile::reconcile(context, apps, problems));
    if let Some(Err(error)) = parts.join_next().await {
        error!(%error, "a part of the agent broke off");
    }
}

/// Ends the session, so that leases are free at once.
async fn farewell(context: &Context) {
    let Some(session) = context.session.borrow().clone() else {
        return;
    };
    let ended = tokio::time::timeout(FAREWELL, context.cluster.sessions.destroy(&session)).await;
    if !matches!(ended, Ok(Ok(_))) {
        warn!("the session stays until its TTL");
    }
    info!("agent ends");
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
