//! What Caddy knows of apps whose requests go elsewhere: those whose slave this node is, those that a deployment is about
//! to bring here, and those that have left. So a move changes HAProxy's maps, and Caddy is not loaded for it, which would
//! take time and every app's connections.
//!
//! Requests for them that reach this Caddy all the same, on connections from before, find no container; the file among
//! the held says so (see [`super::held`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use caddyfile::TlsWish;
use tokio::time::Instant;

use super::beside::Beside;
use super::{Applied, Proxies};
use crate::model::AppName;
use crate::proxy::caddy::Apps;
use crate::proxy::certificates::{CertificateHost, is_shared, shared_hosts};
use crate::proxy::render::{AppSites, Rendered};
use crate::proxy::tls::TlsSource;
use crate::proxy::{ClusterView, ProxySettings};

/// What a deployment has asked about is expected for so long; it is committed by then, or was undone.
const EXPECTED: Duration = Duration::from_secs(3600);
/// Texts that are new are adapted for so long, which is one or two, before the maps are looked at: no flip waits for them
/// longer. The others are adapted beside all else.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Whether they are is looked at again after this.
const LOOK: Duration = Duration::from_secs(2);
/// A text that Caddy could not be asked about is tried again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// What makes no difference to any request waits so long for a load that is needed anyway.
const IDLE: Duration = Duration::from_secs(300);
/// Whether a certificate is there is looked at again after this; whether one has come, sooner.
const LENT: Duration = Duration::from_secs(3600);
const NOT_LENT: Duration = Duration::from_secs(60);

/// What this process remembers of them.
#[derive(Default)]
pub(super) struct Standby {
    expectations: Expectations,
    /// Whether the hosts' certificates were there, and when that was looked at.
    lent: BTreeMap<CertificateHost, (Instant, bool)>,
    /// Since when Caddy serves more than it has to.
    idle: Option<Instant>,
    /// What is adapted meanwhile.
    beside: Beside,
}

/// The apps that the checks have accepted for this node and no deployment has brought yet.
#[derive(Clone, Default)]
pub(super) struct Expectations(Arc<Mutex<BTreeMap<AppName, Expected>>>);

/// An app as it will be here if its deployment is committed.
struct Expected {
    deploy_id: String,
    sites: Arc<AppSites>,
    since: Instant,
}

/// What Caddy is to serve.
pub(super) struct Wanted {
    /// The apps whose master this node is.
    pub(super) own: Apps,
    /// These and those that stand by.
    pub(super) all: Apps,
}

impl Expectations {
    /// The checks have accepted an app for this node.
    pub(super) fn expect(&self, app: AppName, deploy_id: String, sites: Arc<AppSites>) {
        let since = Instant::now();
        self.lock().insert(app, Expected { deploy_id, sites, since });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standby {
    pub(super) fn expectations(&self) -> Expectations {
        self.expectations.clone()
    }

    /// What is expected still, and of hosts that no other app has.
    fn expected(
        &self,
        view: &ClusterView,
        rendered: &Rendered,
    ) -> BTreeMap<AppName, Arc<AppSites>> {
        let is_over = |name: &AppName, expected: &Expected| {
            let is_committed =
                view.apps.get(name).is_some_and(|app| app.deploy_id == expected.deploy_id);
            is_committed || expected.since.elapsed() > EXPECTED
        };
        let mut expected = self.expectations.lock();
        expected.retain(|name, expected| !is_over(name, expected));
        if expected.is_empty() {
            return BTreeMap::new();
        }
        let mut taken: BTreeMap<String, AppName> = BTreeMap::new();
        let known = rendered.caddy_sites.iter().chain(&rendered.caddy_standby);
        for (name, sites) in known {
            taken.extend(hosts(sites).map(|host| (host.to_owned(), name.clone())));
        }
        let mut free = BTreeMap::new();
        for (name, Expected { sites, .. }) in expected.iter() {
            let is_free =
                hosts(sites).all(|host| taken.get(host).is_none_or(|owner| owner == name));
            if is_free && !rendered.caddy_sites.contains_key(name) {
                taken.extend(hosts(sites).map(|host| (host.to_owned(), name.clone())));
                free.insert(name.clone(), sites.clone());
            }
        }
        free
    }
}

fn hosts(sites: &AppSites) -> impl Iterator<Item = &str> {
    sites.hosts.keys().map(|(_, host)| host.as_str())
}

/// Whether an app is another node's.
fn is_away(view: &ClusterView, app: &AppName) -> bool {
    view.apps.get(app).is_some_and(|record| record.master != view.me)
}

impl Proxies {
    /// Adds what stands by to what Caddy has to serve. What makes no difference to any request stays as Caddy has it, for
    /// some time.
    pub(super) async fn wanted(
        &mut self,
        view: &ClusterView,
        rendered: &Rendered,
        own: Apps,
        applied: &mut Applied,
    ) -> Wanted {
        let mut all = own.clone();
        for (name, app) in self.standing_by(view, rendered, applied).await {
            all.entry(name).or_insert(app);
        }
        let enough = self.served.with_as_little_change(&all, |name| is_away(view, name));
        if enough == all {
            self.standby.idle = None;
        } else {
            let since = *self.standby.idle.get_or_insert_with(Instant::now);
            let left = IDLE.saturating_sub(since.elapsed());
            if !left.is_zero() {
                applied.wait(left);
                all = enough;
            }
        }
        Wanted { own, all }
    }

    async fn standing_by(
        &mut self,
        view: &ClusterView,
        rendered: &Rendered,
        applied: &mut Applied,
    ) -> Apps {
        let mut sites = rendered.caddy_standby.clone();
        // The version that is coming, where it is one that was here.
        sites.extend(self.standby.expected(view, rendered));
        self.look_for_certificates(&sites).await;
        let mut go_on = match self.standby.beside.finished(&mut self.adapted) {
            true => None,
            false => Some(ASK_AGAIN),
        };
        let mut apps = Apps::new();
        let mut missing = Vec::new();
        let began = Instant::now();
        for (name, sites) in &sites {
            let Some(lent) = self.lend(sites) else { continue };
            let known = self.adapted.get(name, sites);
            let is_busy = self.standby.beside.is_busy() || began.elapsed() >= AT_ONCE;
            if known.is_none() && (is_busy || go_on.is_some()) {
                missing.push((name.clone(), sites.clone()));
                continue;
            }
            match self.adapt_known(known, name, sites).await {
                Ok(Ok(routes)) => {
                    apps.insert(name.clone(), (self.settle(lent).await.0, routes));
                }
                // What is wrong with it is its master's to say.
                Ok(Err(_)) => {}
                Err(_) => go_on = Some(ASK_AGAIN),
            }
        }
        if go_on.is_none() && !missing.is_empty() {
            go_on = Some(LOOK);
            self.standby.beside.begin(&self.adapted, self.control.clone(), missing);
        }
        if let Some(wait) = go_on {
            // Each part of them would be a load.
            applied.wait(wait);
            apps.retain(|name, _| self.served.apps.contains_key(name));
        }
        apps
    }

    /// Whether the certificates of these apps' hosts, as far as they come from a public authority, are on this node: only
    /// the app's master can be issued one.
    async fn look_for_certificates(&mut self, apps: &BTreeMap<AppName, Arc<AppSites>>) {
        let Some(source) = &self.certificates else { return };
        let hosts = shared_hosts(&self.settings, apps.values().map(|sites| &**sites));
        let lent = &mut self.standby.lent;
        lent.retain(|host, _| hosts.contains(host));
        let is_known = |host: &CertificateHost| {
            lent.get(host).is_some_and(|(since, is_there)| {
                since.elapsed() < if *is_there { LENT } else { NOT_LENT }
            })
        };
        let due: BTreeSet<_> = hosts.into_iter().filter(|host| !is_known(host)).collect();
        if due.is_empty() {
            return;
        }
        // Without Consul there may be newer ones; those that are here are as good as before.
        source.place(&due).await;
        for host in due {
            let is_there = source.has(&host).await;
            lent.insert(host, (Instant::now(), is_there));
        }
    }

    /// An app's sites with the certificates that are on this node; none if one is not.
    fn lend(&self, sites: &Arc<AppSites>) -> Option<Arc<AppSites>> {
        let shared = shared_hosts(&self.settings, [&**sites]);
        if shared.is_empty() {
            return Some(sites.clone());
        }
        let is_there = |host| self.standby.lent.get(host).is_some_and(|(_, is_there)| *is_there);
        shared.iter().all(is_there).then(|| Arc::new(lent(&self.settings, sites)))
    }
}

fn lent(settings: &ProxySettings, sites: &AppSites) -> AppSites {
    let mut sites = sites.clone();
    for ((scheme, _), source) in &mut sites.hosts {
        if is_shared(settings, *scheme, source) {
            let account = match &source {
                TlsSource::Issued(TlsWish::Email(email)) => Some(email.clone()),
                TlsSource::Issued(TlsWish::Default | TlsWish::Internal)
                | TlsSource::Given(_)
                | TlsSource::Lent(_) => None,
            };
            *source = TlsSource::Lent(account);
        }
    }
    sites
}
