//! Caddy's half: each text adapted once, the merged configuration loaded when it differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use tracing::warn;

use serde_json::Value;

use super::{Applied, Effect, Proxies, ProxyError, pretty};
use crate::clock;
use crate::error::chain;
use crate::host::files::{read_optional, write_atomic};
use crate::model::AppName;
use crate::proxy::Problem;
use crate::proxy::caddy::{AppRoutes, CaddyAbilities, config};
use crate::proxy::certificates::shared_hosts;
use crate::proxy::control::{CheckError, ControlError};
use crate::proxy::render::{AppSites, Pages, Rendered};

type Routed = BTreeMap<AppName, (AppSites, AppRoutes)>;

impl Proxies {
    /// Adapts the texts that are new; nothing if that can't be done now.
    pub(super) async fn adapt(
        &mut self,
        rendered: &Rendered,
        applied: &mut Applied,
    ) -> Option<Routed> {
        let mut apps = BTreeMap::new();
        let mut cache = BTreeMap::new();
        let mut is_complete = true;
        for (name, sites) in &rendered.caddy_sites {
            let key = cache_key(sites);
            let foreseen = self.take_foreseen(name, &key);
            let result = match self.adapted.get(&key).cloned().or(foreseen.map(Ok)) {
                Some(known) => known,
                None => match self.adapt_one(sites).await {
                    Ok(result) => result,
                    Err(error) => {
                        applied.unchecked.push(format!("app/{name}: Caddy: {error}"));
                        is_complete = false;
                        continue;
                    }
                },
            };
            match &result {
                Ok(routes) => {
                    let mut sites = sites.clone();
                    let problems = self.shelf.settle(&mut sites, clock::now()).await;
                    let of = |what| Problem::new(format!("app/{name}"), what);
                    applied.problems.extend(problems.into_iter().map(of));
                    apps.insert(name.clone(), (sites, routes.clone()));
                }
                Err(what) => {
                    let what = format!("CADDYFILE: {what}");
                    applied.problems.push(Problem::new(format!("app/{name}"), what));
                }
            }
            cache.insert(key, result);
        }
        self.adapted = cache;
        is_complete.then_some(apps)
    }

    /// Keeps what Caddy made of a text that a deployment is about to bring.
    pub(super) fn foresee(&self, app: &AppName, sites: &AppSites, routes: AppRoutes) {
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        foreseen.insert(app.clone(), (cache_key(sites), routes));
    }

    /// What was foreseen of just this text. What was foreseen of another one stays: its deployment may be on its way.
    fn take_foreseen(&self, app: &AppName, key: &str) -> Option<AppRoutes> {
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = foreseen.get(app).is_some_and(|(text, _)| text == key);
        let (_, routes) = is_it.then(|| foreseen.remove(app)).flatten()?;
        Some(routes)
    }

    /// What Caddy makes of one app's text: its routes, or why they aren't used.
    pub(super) async fn adapt_one(
        &self,
        sites: &AppSites,
    ) -> Result<Result<AppRoutes, String>, CheckError> {
        match self.control.adapt(&sites.text).await {
            Ok(adapted) => Ok(AppRoutes::take(&adapted, sites).map_err(|error| error.to_string())),
            Err(CheckError::Refused(what)) => Ok(Err(format!("Caddy refuses it: {what}"))),
            Err(error @ CheckError::Unavailable(_)) => Err(error),
        }
    }

    /// An app that came is routed by Caddy before HAProxy sends it requests, and has its page there; one that left, until it no longer does.
    pub(super) async fn route_more(
        &mut self,
        apps: &Routed,
        pages: &Pages,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let mut both = self.routed.clone();
        both.extend(apps.clone());
        let is_used = self.used == self.settings.caddy_abilities;
        if both == self.routed && *pages == self.pages && is_used {
            return Ok(());
        }
        self.place_certificates(&both).await;
        self.load_caddy(both, pages, applied).await
    }

    /// Asks for the certificates of the hosts that Caddy does not serve yet: it issues what it does not find.
    async fn place_certificates(&mut self, apps: &Routed) {
        let Some(source) = self.certificates.clone() else {
            return;
        };
        let hosts =
            |apps: &Routed| shared_hosts(&self.settings, apps.values().map(|(sites, _)| sites));
        let (wanted, served) = (hosts(apps), hosts(&self.routed));
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
    fn now_routed(&mut self, apps: Routed) {
        self.routed = apps;
        self.placed.clear();
        if let Some(source) = &self.certificates {
            let sites = self.routed.values().map(|(sites, _)| sites);
            source.routed(shared_hosts(&self.settings, sites));
        }
    }

    /// Loads the routes of apps; the file keeps what Caddy took last, for its next start, even if that is only for the
    /// moment in which HAProxy follows: it may not follow.
    pub(super) async fn load_caddy(
        &mut self,
        apps: Routed,
        pages: &Pages,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let wanted = config(&self.settings, &apps, pages);
        let effect = match self.control.load_caddy(&wanted).await {
            Err(ControlError::Refused { what, .. }) => {
                return self.load_without_new(apps, pages, &what, applied).await;
            }
            effect => effect?,
        };
        match effect {
            Effect::NotRunning => {
                applied.caddy_is_down = true;
                // One that is older than its file could not even start with it.
                if self.is_going_back() {
                    self.keep(&wanted).await?;
                }
            }
            Effect::Changed(count) => {
                applied.caddy_loaded |= count > 0;
                self.pages = pages.clone();
                self.now_routed(apps);
                self.keep(&wanted).await?;
            }
        }
        Ok(())
    }

    /// The whole was refused although each part passed: what changed is left out, what worked stays. Pages are only data,
    /// and never the reason.
    async fn load_without_new(
        &mut self,
        apps: Routed,
        pages: &Pages,
        what: &str,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        let mut good = BTreeMap::new();
        for (name, app) in apps {
            if self.routed.get(&name) == Some(&app) {
                good.insert(name, app);
            } else {
                let what = format!("Caddy refuses the whole with it: {what}");
                applied.problems.push(Problem::new(format!("app/{name}"), what));
                good.extend(self.routed.get(&name).cloned().map(|old| (name, old)));
            }
        }
        let wanted = config(&self.settings, &good, pages);
        if let Effect::Changed(count) = self.control.load_caddy(&wanted).await? {
            applied.caddy_loaded |= count > 0;
            self.pages = pages.clone();
            self.now_routed(good);
            self.keep(&wanted).await?;
        }
        Ok(())
    }

    async fn keep(&mut self, config: &Value) -> Result<(), ProxyError> {
        let (path, text) = (self.settings.caddy_file(), pretty(config));
        if read_optional(&path).await?.as_deref() != Some(text.as_bytes()) {
            write_atomic(&path, text, 0o644).await?;
        }
        // Neither what runs nor what starts names the others.
        let used = self.routed.values().flat_map(|(sites, _)| sites.given_files());
        let used = used.flat_map(|given| [given.certificate.clone(), given.key.clone()]);
        if let Err(error) = self.shelf.keep_only(used.collect()).await {
            warn!(error = %chain(&error), "copies of certificates that nothing uses stay for now");
        }
        self.expects_proxy = Some(CaddyAbilities::are_used_by(config));
        self.used = self.settings.caddy_abilities.clone();
        Ok(())
    }
}

/// All that the result depends on.
fn cache_key(sites: &AppSites) -> String {
    let hosts: Vec<_> = sites.hosts.keys().collect();
    format!("{hosts:?}{:?}{:?}{}", sites.containers, sites.upstreams, sites.text)
}
