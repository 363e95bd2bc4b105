//! This node's proxies: follows what they are made from, and answers the deployments' question whether they would
//! accept an app.

mod health;
mod let_go;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, RwLock, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::apps::Apps;
use super::certificates::Certificates;
use super::follow::{follow, follow_reading};
use super::hand_over::{Said, Waits, heard, routed};
use super::{AgentError, members, wiring};
use crate::config::Config;
use crate::consul::catalog::Member;
use crate::consul::kv::Kv;
use crate::consul::watcher::Followed;
use crate::error::chain;
use crate::exec::{Context, ProxyCheck, ProxyReport};
use crate::host::docker::{Containers, DockerEngine};
use crate::model::{AppName, AppRecord, NodeName, keys};
use crate::proxy::control::{CheckRunner, ContainerFacts, ExecOutput, LocalControl};
use crate::proxy::view::Item;
use crate::proxy::{Applied, ClusterView, Gathering, Problem, Proxies};
use health::{Health, Seen};
use let_go::LetGo;

/// A proxy that was away, or a check that could not be made, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// What is in place is compared with what should be this often, even if nothing changes.
const REFRESH: Duration = Duration::from_secs(30);

/// A reload of HAProxy and a load of Caddy cost connections, and with thousands of apps seconds. The first change after a
/// quiet time is made at once; what comes after it waits a second, or as long as that one took, but never more than two:
/// less than requests wait for an app that is handed over.
const GATHERING: Gathering =
    Gathering { least: Duration::from_secs(1), most: Duration::from_secs(2) };

/// What both the follower and the deployments' check use.
struct Shared {
    proxies: RwLock<Proxies>,
    view: RwLock<Option<Arc<ClusterView>>>,
    /// A deployment may bring an app here: Caddy is to know it by then.
    expects: Notify,
}

/// Follows KV and the members for ever; made by [`start`].
pub(super) struct Follower {
    shared: Arc<Shared>,
    hold: Duration,
}

/// Makes the proxies' part of the agent and writes their first configuration, without Consul or Docker.
pub(super) async fn start(
    config: &Config,
    certificates: Option<Arc<Certificates>>,
) -> Result<(Follower, Arc<dyn ProxyCheck>), AgentError> {
    let settings = wiring::proxy_settings(config);
    let hold = settings.hold;
    let runner = Arc::new(Runner(DockerEngine::new()));
    let control = Arc::new(LocalControl::new(settings.clone(), runner));
    let proxies = Proxies::new(settings, control).map_err(AgentError::Proxies)?;
    let mut proxies = proxies.with_gathering(GATHERING);
    if let Some(certificates) = certificates {
        proxies = proxies.with_certificates(certificates);
    }
    // Whatever the node's name turns out to be: no app is routed yet.
    let nobody = config.node.clone().or_else(|| NodeName::parse("localhost").ok());
    if let Some(me) = nobody {
        // Tried again with each apply; an agent that can't keep the proxies' files can still do the rest.
        if let Err(error) = proxies.bootstrap(&me).await {
            warn!(error = %chain(&error), "the proxies' first configuration can't be written");
        }
    }
    let shared = Arc::new(Shared {
        proxies: RwLock::new(proxies),
        view: RwLock::new(None),
        expects: Notify::new(),
    });
    Ok((Follower { shared: shared.clone(), hold }, Arc::new(Check(shared))))
}

/// What the proxies are rendered from, as far as it is known yet.
struct Sources {
    entries: [Option<Followed<Item>>; PREFIXES.len()],
    members: Option<Vec<Member>>,
}

impl Sources {
    /// A view once everything has been heard of: never an empty one because Consul did not answer.
    fn view(&self, me: &NodeName) -> Option<(ClusterView, Vec<Problem>)> {
        let entries = self.entries.iter().map(Option::as_ref).collect::<Option<Vec<_>>>()?;
        let members = self.members.as_ref()?;
        let nodes =
            members.iter().map(|member| (member.name.clone(), member.address.clone())).collect();
        let items = entries.into_iter().flat_map(|entries| entries.iter().map(Arc::as_ref));
        Some(ClusterView::from_items(me.clone(), nodes, items))
    }

    fn maintenance(&self) -> &[Arc<Item>] {
        let [_, maintenance, ..] = &self.entries;
        maintenance.as_deref().unwrap_or_default()
    }

    /// Keeps the keys that still count; returns when to look again, if there are any.
    async fn hold_back(&mut self, let_go: &mut LetGo, kv: &dyn Kv) -> Option<Duration> {
        let [Some(apps), Some(maintenance), ..] = &mut self.entries else { return None };
        let (keys, again) = let_go.hold_back(kv, apps, maintenance.clone()).await;
        *maintenance = keys;
        again
    }
}

/// What the proxies are rendered from, besides the members.
pub const PREFIXES: [&str; 4] = [keys::APPS, keys::MAINTENANCE, keys::SWARM, keys::POLICIES];

impl Follower {
    /// Applies every change; tells how it went through `report`. `apps` follows `app/`.
    pub(super) async fn follow(
        self,
        ctx: Arc<Context>,
        apps: Apps,
        report: watch::Sender<ProxyReport>,
    ) {
        let kv = &ctx.cluster.kv;
        let Apps { entries: mut apps, problems: mut missing } = apps;
        let mut routing = follow(kv.clone(), keys::ROUTING);
        let [mut maintenance, mut swarm, mut policies] =
            [keys::MAINTENANCE, keys::SWARM, keys::POLICIES]
                .map(|prefix| follow_reading(kv.clone(), prefix, Item::read));
        let mut members = members::follow(ctx.clone());
        let mut again = REFRESH;
        let mut waits = Waits::default();
        let (mut has_heard, mut has_routed) = (Said::below(keys::HEARD), Said::below(keys::ROUTED));
        let (mut health, mut let_go) = (Health::default(), LetGo::default());
        loop {
            tokio::select! {
                Ok(()) = apps.changed() => {}
                Ok(()) = maintenance.changed() => {}
                Ok(()) = swarm.changed() => {}
                Ok(()) = policies.changed() => {}
                Ok(()) = members.changed() => {}
                Ok(()) = missing.changed() => {}
                Ok(()) = routing.changed() => {}
                () = self.shared.expects.notified() => {}
                () = tokio::time::sleep(again) => {}
            }
            let mut sources = Sources {
                entries: [&mut apps, &mut maintenance, &mut swarm, &mut policies]
                    .map(|e| e.borrow_and_update().clone()),
                members: members.borrow_and_update().clone(),
            };
            let behind = sources.hold_back(&mut let_go, kv.as_ref()).await;
            let Some((mut view, mut unreadable)) = sources.view(&ctx.me) else {
                continue;
            };
            unreadable.extend(missing.borrow_and_update().iter().cloned());
            let handed_over = view.held.clone();
            let asked = routing.borrow_and_update().clone().unwrap_or_default();
            let over = waits.limit(&mut view, self.hold, Instant::now());
            let view = Arc::new(view);
            *self.shared.view.write().await = Some(view.clone());
            let (applied, seen) = self.apply(&view).await;
            again = next(&applied, &seen);
            if applied.is_routed || applied.haproxy_is_down {
                let told = has_heard.tell(&ctx, heard(sources.maintenance())).await;
                again = if told { again } else { LOOK_AGAIN.min(again) };
            }
            if applied.is_routed {
                let now = routed(&asked, &view, &handed_over, &applied);
                let told = has_routed.tell(&ctx, now).await;
                again = if told { again } else { LOOK_AGAIN.min(again) };
            }
            health.note(&seen, Instant::now());
            if health.is_to_be_looked_for(Instant::now()) {
                self.shared.proxies.write().await.haproxy_stays_away();
            }
            let failing = health.tell(&seen, Instant::now());
            publish(ProxyReport { problems: lines(&applied, &unreadable), failing }, &report);
            again = [over, behind].into_iter().flatten().fold(again, Duration::min);
        }
    }

    /// Applies a view; whatever fails, what could be done is done.
    async fn apply(&self, view: &ClusterView) -> (Applied, Seen) {
        let mut applied = Applied::default();
        let failed = self.shared.proxies.write().await.put_in_place(view, &mut applied).await.err();
        if let Some(error) = &failed {
            warn!(error = %chain(error), "the proxies keep what they have of the rest");
        }
        let flips = applied.maps_changed + applied.servers_changed;
        if applied.haproxy_reloaded || applied.caddy_loaded || flips > 0 {
            let (reloaded, loaded, maps, servers) = (
                applied.haproxy_reloaded,
                applied.caddy_loaded,
                applied.maps_changed,
                applied.servers_changed,
            );
            info!(
                haproxy_reloaded = reloaded,
                caddy_loaded = loaded,
                map_entries = maps,
                servers,
                "proxies changed"
            );
        }
        let seen = Seen {
            failed: failed.map(|error| chain(&error)),
            is_routed: applied.is_routed,
            haproxy_is_down: applied.haproxy_is_down,
            caddy_is_down: applied.caddy_is_down,
        };
        (applied, seen)
    }
}

/// When to look again if nothing changes until then.
fn next(applied: &Applied, seen: &Seen) -> Duration {
    let waits = seen.failed.is_some()
        || applied.haproxy_is_down
        || applied.caddy_is_down
        || !applied.unchecked.is_empty();
    let again = if waits { LOOK_AGAIN } else { REFRESH };
    again.min(applied.later.unwrap_or(again))
}

/// What was left out, one line each.
fn lines(applied: &Applied, unreadable: &[Problem]) -> Vec<String> {
    let all = unreadable.iter().chain(&applied.problems);
    let mut lines: Vec<String> =
        all.map(|problem| format!("{}: {}", problem.source, problem.what)).collect();
    lines.extend(applied.unchecked.iter().cloned());
    lines.sort();
    lines.dedup();
    lines
}

/// Logs and publishes how the proxies are, once per change.
fn publish(now: ProxyReport, report: &watch::Sender<ProxyReport>) {
    let former = report.borrow().clone();
    if former == now {
        return;
    }
    if former.problems != now.problems {
        now.problems.iter().for_each(|line| warn!(problem = line, "left out of the proxies"));
    }
    report.send_replace(now);
}

/// The deployments' question, answered from the view in use.
struct Check(Arc<Shared>);

#[async_trait]
impl ProxyCheck for Check {
    async fn would_accept(&self, _: &AppName, candidate: &AppRecord) -> Result<(), Vec<String>> {
        let view = self.0.view.read().await.clone();
        let view = view.ok_or_else(|| {
            vec!["the proxies of this node have no view of the cluster yet".to_owned()]
        })?;
        let checker = self.0.proxies.read().await.checker();
        let refused = checker.would_accept(&view, candidate).await;
        self.0.expects.notify_one();
        refused.map_err(|problems| problems.into_iter().map(|problem| problem.what).collect())
    }

    async fn requests(&self, app: &AppName) -> u64 {
        self.0.proxies.read().await.requests(app).await
    }

    fn tell(&self) -> bool {
        true
    }
}

/// Runs checks by `docker exec` in the check containers.
struct Runner(DockerEngine);

#[async_trait]
impl CheckRunner for Runner {
    async fn exec(
        &self,
        container: &str,
        argv: &[String],
        deadline: Duration,
    ) -> Result<ExecOutput, String> {
        let output =
            self.0.exec(container, argv, None, deadline).await.map_err(|error| chain(&error))?;
        Ok(ExecOutput {
            code: output.code,
            stdout: output.stdout.into_bytes(),
            stderr: output.stderr.into_bytes(),
        })
    }

    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String> {
        let found = self.0.look(container).await.map_err(|error| chain(&error))?;
        Ok(found.map(|(image, addresses)| ContainerFacts { image, addresses }))
    }
}
