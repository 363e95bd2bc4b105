//! Caddy's half: each text adapted once, the merged configuration loaded when it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::adapted::Outcome;
use super::refused::Refusals;
use super::{Applied, Effect, Proxies, ProxyError};
use crate::clock;
use crate::error::chain;
use crate::host::files::{read_optional, write_atomic};
use crate::model::AppName;
use crate::proxy::Problem;
use crate::proxy::caddy::{AppRoutes, Apps, CaddyConfig, whole};
use crate::proxy::certificates::shared_hosts;
use crate::proxy::control::{CheckError, ControlError};
use crate::proxy::render::{AppSites, Pages, Rendered};

/// What Caddy serves now, as far as this process told it.
#[derive(Default)]
pub(super) struct Served {
    pub(super) apps: Apps,
    pages: Pages,
    /// The mark of the configuration that says so; none before the first load.
    mark: Option<String>,
    /// `caddy.json` when it was compared or written last.
    file: Option<Stamp>,
    /// What it did not take with the others.
    pub(super) refused: Refusals,
}

impl Served {
    /// Whether this process has told Caddy anything.
    pub(super) fn is_known(&self) -> bool {
        self.mark.is_some()
    }

    /// The apps whose routes are not, or not so, in Caddy.
    pub(super) fn lacking<'a>(&'a self, apps: &'a Apps) -> impl Iterator<Item = &'a AppName> {
        apps.iter().filter(|(name, app)| !self.serves(name, app)).map(|(name, _)| name)
    }

    fn serves(&self, name: &AppName, (sites, routes): &(Arc<AppSites>, Arc<AppRoutes>)) -> bool {
        self.apps.get(name).is_some_and(|(served, known)| {
            routes == known
                && sites.dialect == served.dialect
                && sites.hosts.len() == served.hosts.len()
                && sites.hosts.iter().all(|(host, choice)| {
                    served.hosts.get(host).is_some_and(|known| known.is_as_good_as(choice))
                })
        })
    }

    /// What may be served in place of `apps` with the same answers: what is served already, and besides the apps that may
    /// stay, as long as their hosts are nobody else's.
    pub(super) fn with_as_little_change(
        &self,
        apps: &Apps,
        may_stay: impl Fn(&AppName) -> bool,
    ) -> Apps {
        let left = self.apps.iter().filter(|(name, _)| !apps.contains_key(*name) && may_stay(name));
        let mut left: Apps = left.map(|(name, app)| (name.clone(), app.clone())).collect();
        if !left.is_empty() {
            let hosts = apps.values().flat_map(|(sites, _)| sites.hosts.keys());
            let hosts: BTreeSet<_> = hosts.collect();
            left.retain(|_, (sites, _)| !sites.hosts.keys().any(|host| hosts.contains(host)));
        }
        let same = |(name, app)| match self.apps.get(name).filter(|_| self.serves(name, app)) {
            Some(served) => (name, served),
            None => (name, app),
        };
        let all = apps.iter().map(same).map(|(name, app)| (name.clone(), app.clone()));
        all.chain(left).collect()
    }

    /// The hosts of apps whose routes are not, or not so, in Caddy; wildcards without their star.
    pub(super) fn late(&self, apps: &Apps) -> BTreeSet<String> {
        let late = self.lacking(apps).filter_map(|name| apps.get(name));
        let hosts = late.flat_map(|(sites, _)| sites.hosts.keys());
        hosts.map(|(_, host)| host.strip_prefix('*').unwrap_or(host).to_owned()).collect()
    }
}

/// By what a file is known to be as it was left.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    inode: u64,
    modified: Option<std::time::SystemTime>,
}

impl Stamp {
    async fn of(path: &std::path::Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let facts = tokio::fs::metadata(path).await.ok()?;
        let modified = facts.modified().ok();
        Some(Self { length: facts.len(), inode: facts.ino(), modified })
    }
}

impl Proxies {
    /// Adapts the texts of the apps whose master this node is; nothing if that can't be done now.
    pub(super) async fn adapt(
        &mut self,
        rendered: &Rendered,
        applied: &mut Applied,
    ) -> Option<Apps> {
        let mut apps = BTreeMap::new();
        let mut is_complete = true;
        for (name, sites) in &rendered.caddy_sites {
            let known = self.adapted.get(name, sites);
            let outcome = match self.adapt_known(known, name, sites).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    applied.unchecked.push(format!("app/{name}: Caddy: {error}"));
                    is_complete = false;
                    continue;
                }
            };
            let of = |what| Problem::new(format!("app/{name}"), what);
            match outcome {
                Ok(routes) => {
                    let (sites, problems) = self.settle(sites.clone()).await;
                    applied.problems.extend(problems.into_iter().map(of));
                    apps.insert(name.clone(), (sites, routes));
                }
                Err(what) => applied.problems.push(of(format!("CADDYFILE: {what}"))),
            }
        }
        is_complete.then_some(apps)
    }

    /// An app's sites with the certificates that a policy gives, as they are on this node now; and what it lacks.
    pub(super) async fn settle(&self, sites: Arc<AppSites>) -> (Arc<AppSites>, Vec<String>) {
        if sites.given.is_empty() {
            return (sites, Vec::new());
        }
        let mut sites = sites.as_ref().clone();
        let problems = self.shelf.settle(&mut sites, clock::now()).await;
        (Arc::new(sites), problems)
    }

    /// What became of an app's text: what is known, or what Caddy makes of it now.
    pub(super) async fn adapt_known(
        &mut self,
        known: Option<Outcome>,
        name: &AppName,
        sites: &Arc<AppSites>,
    ) -> Result<Outcome, CheckError> {
        if let Some(outcome) = known {
            return Ok(outcome);
        }
        let outcome = self.adapt_one(sites).await?.map(Arc::new);
        self.adapted.note(name, sites, &outcome);
        Ok(outcome)
    }

    /// What Caddy makes of one app's text: its routes, or why they aren't used.
    pub(super) async fn adapt_one(
        &self,
        sites: &AppSites,
    ) -> Result<Result<AppRoutes, String>, CheckError> {
        self.adapted.disk().outcome(self.control.as_ref(), sites).await
    }

    /// Whether Caddy was given these apps and pages.
    pub(super) fn is_served(&self, apps: &Apps, pages: &Pages) -> bool {
        self.served.mark.is_some() && self.served.apps == *apps && self.served.pages == *pages
    }

    /// Whether Caddy has to be given something else, and not yet: says when.
    pub(super) fn is_late(&self, apps: &Apps, pages: &Pages, applied: &mut Applied) -> bool {
        if self.is_served(apps, pages) {
            return false;
        }
        let wait = self.caddy_turn.wait(Instant::now());
        wait.inspect(|wait| applied.wait(*wait)).is_some()
    }

    /// An app that came is routed by Caddy before HAProxy sends it requests, and has its page there; one that left, until
    /// it no longer does.
    pub(super) async fn route_more(
        &mut self,
        apps: &Apps,
        pages: &Pages,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let mut both = self.served.apps.clone();
        both.extend(apps.iter().map(|(name, app)| (name.clone(), app.clone())));
        if both == self.served.apps && self.served.pages == *pages {
            return Ok(());
        }
        self.place_certificates(&both).await;
        self.load_caddy(both, pages, applied).await
    }

    /// Asks for the certificates of the hosts that Caddy does not serve yet: it issues what it does not find.
    async fn place_certificates(&mut self, apps: &Apps) {
        let Some(source) = self.certificates.clone() else {
            return;
        };
        let hosts =
            |apps: &Apps| shared_hosts(&self.settings, apps.values().map(|(sites, _)| &**sites));
        let (wanted, served) = (hosts(apps), hosts(&self.served.apps));
        // While Caddy does not run this is tried again every other second.
        self.placed.retain(|host| wanted.contains(host));
        let missing: BTreeSet<_> = wanted
            .difference(&served)
            .filter(|host| !self.placed.contains(host))
            .cloned()
            .collect();
        if !missing.is_empty() && source.place(&missing).await {
            self.placed.extend(missing);
        }
    }

    /// What Caddy serves now.
    fn now_served(&mut self, apps: Apps, pages: &Pages, mark: &str) {
        self.served.mark = Some(mark.to_owned());
        self.served.pages = pages.clone();
        self.served.apps = apps;
        self.placed.clear();
    }

    /// Says which hosts Caddy serves for the apps whose master this node is.
    pub(super) fn say_routed(&self, own: &Apps) {
        let Some(source) = self.certificates.as_ref().filter(|_| self.served.is_known()) else {
            return;
        };
        let served = own.iter().filter(|(name, app)| self.served.serves(name, app));
        source.routed(shared_hosts(&self.settings, served.map(|(_, (sites, _))| &**sites)));
    }

    /// Loads the routes of apps; the file keeps what Caddy took last, for its next start, even if that is only for the
    /// moment in which HAProxy follows: it may not follow.
    pub(super) async fn load_caddy(
        &mut self,
        mut apps: Apps,
        pages: &Pages,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        // Some may have been refused a moment ago, on the way to this.
        self.without_refused(&mut apps);
        if self.is_served(&apps, pages) && self.runs_and_is_kept().await? {
            return Ok(());
        }
        match self.load_as_is(&apps, pages, applied).await {
            Err(ProxyError::Control(ControlError::Refused { what, .. })) => {
                self.load_without_new(apps, pages, &what, applied).await
            }
            ended => ended,
        }
    }

    /// Whether Caddy has what it was given, and its file too.
    async fn runs_and_is_kept(&self) -> Result<bool, ProxyError> {
        let Some(mark) = &self.served.mark else {
            return Ok(false);
        };
        let is_kept = self.served.file.is_some()
            && self.served.file == Stamp::of(&self.settings.caddy_file()).await;
        Ok(is_kept && self.control.caddy_runs(mark).await? == Some(true))
    }

    async fn load(
        &mut self,
        wanted: &CaddyConfig,
        applied: &mut Applied,
    ) -> Result<Effect, ControlError> {
        let began = Instant::now();
        let effect = self.control.load_caddy(wanted).await;
        match &effect {
            Ok(Effect::Changed(0)) => {}
            Ok(Effect::NotRunning) => applied.caddy_is_down = true,
            Ok(Effect::Changed(_)) => {
                applied.caddy_loaded = true;
                self.caddy_turn.taken(began, Instant::now());
            }
            Err(_) => self.caddy_turn.taken(began, Instant::now()),
        }
        effect
    }

    async fn loaded(
        &mut self,
        effect: Effect,
        apps: Apps,
        pages: &Pages,
        wanted: &CaddyConfig,
    ) -> Result<(), ProxyError> {
        match effect {
            Effect::NotRunning => Ok(()),
            Effect::Changed(_) => {
                self.now_served(apps, pages, wanted.mark());
                self.keep(wanted.text()).await
            }
        }
    }

    /// Loads these and no others, or says that Caddy refuses them.
    pub(super) async fn load_as_is(
        &mut self,
        apps: &Apps,
        pages: &Pages,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let wanted = whole(&self.settings, apps, pages);
        let effect = self.load(&wanted, applied).await?;
        self.loaded(effect, apps.clone(), pages, &wanted).await
    }

    /// Keeps what Caddy is to start with.
    async fn keep(&mut self, text: &str) -> Result<(), ProxyError> {
        let path = self.settings.caddy_file();
        if read_optional(&path).await?.as_deref() != Some(text.as_bytes()) {
            write_atomic(&path, text, 0o644).await?;
        }
        self.served.file = Stamp::of(&path).await;
        // Neither what runs nor what starts names the others.
        let used = self.served.apps.values().flat_map(|(sites, _)| sites.given_files());
        let used = used.flat_map(|given| [given.certificate.clone(), given.key.clone()]);
        if let Err(error) = self.shelf.keep_only(used.collect()).await {
            warn!(error = %chain(&error), "copies of certificates that nothing uses stay for now");
        }
        Ok(())
    }
}
