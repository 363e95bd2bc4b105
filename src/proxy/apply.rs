//! Puts a view in place: rendered, checked, written, and only then told to the running proxies.

mod adapted;
mod back;
mod beside;
mod caddy;
mod candidate;
mod failures;
mod gather;
mod haproxy;
mod held;
mod occupied;
mod refused;
mod standby;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::caddy::{is_own, whole};
use super::certificates::{CertificateHost, CertificateSource, Shelf};
use super::control::{CheckError, ControlError, Effect, ProxyControl, Unfit};
use super::haproxy::maps;
use super::render::{Cache, Pages, RenderError, Templates, render, render_with};
use super::{ClusterView, HOLD, MAINTENANCE_PAGE, Problem, ProxySettings};
use crate::host::files::{FileError, read_optional, write_atomic};
use crate::model::{AppName, AppRecord, NodeName};
use adapted::Adapted;
use caddy::Served;
use failures::Failures;
use gather::Turn;
use occupied::Occupied;
use standby::Standby;

pub use candidate::Checker;
pub use gather::Gathering;

/// What [`Proxies::apply`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// What was left out; everything else is in place.
    pub problems: Vec<Problem>,
    /// HAProxy runs a new `haproxy.cfg`.
    pub haproxy_reloaded: bool,
    /// Caddy runs a new configuration.
    pub caddy_loaded: bool,
    /// Entries of maps that changed in the running HAProxy.
    pub maps_changed: usize,
    /// Servers of apps' own backends that were enabled or disabled in the running HAProxy.
    pub servers_changed: usize,
    /// HAProxy does not run: it reads the files when it starts.
    pub haproxy_is_down: bool,
    /// Caddy does not run: call again when it does, because it starts with the last configuration that it took.
    pub caddy_is_down: bool,
    /// The running HAProxy leads hosts as the view says.
    pub is_routed: bool,
    /// Apps whose master this node is, and that its Caddy does not serve, or not as they are now.
    pub behind: BTreeSet<AppName>,
    /// HAProxy is to have another configuration, and not yet.
    pub haproxy_is_behind: bool,
    /// What could not be checked and so was not changed, and why: call again.
    pub unchecked: Vec<String>,
    /// A reload or a load is still to be made, with what else comes until then: call again after this.
    pub later: Option<Duration>,
}

impl Applied {
    /// Whether an app is not served here yet as its entry says.
    pub fn lacks(&self, app: &AppName, record: &AppRecord, me: &NodeName) -> bool {
        let is_here = record.master == *me;
        !self.is_routed
            || (self.haproxy_is_behind && !record.haproxy.is_empty())
            || (is_here && (self.caddy_is_down || self.behind.contains(app)))
    }

    fn wait(&mut self, time: Duration) {
        self.later = Some(self.later.map_or(time, |later| later.min(time)));
    }
}

/// Why nothing, or not all, was put in place. Calling again is safe.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A template is wrong.
    #[error("rendering the proxies' configuration failed")]
    Render(#[from] RenderError),
    /// A file can't be written.
    #[error("the proxies' files can't be kept")]
    File(#[from] FileError),
    /// The check container or Docker is away: nothing was changed.
    #[error("{proxy}'s configuration could not be checked")]
    Check {
        /// HAProxy or Caddy.
        proxy: &'static str,
        /// The cause.
        #[source]
        source: CheckError,
    },
    /// This release can't work with a proxy: nothing was changed.
    #[error("the proxies are not those of this release")]
    Unfit(#[from] Unfit),
    /// A running proxy did not take what its check had passed.
    #[error("a running proxy did not take its configuration")]
    Control(#[from] ControlError),
}

/// The proxies of a node, and what is known to be in place.
pub struct Proxies {
    settings: ProxySettings,
    control: Arc<dyn ProxyControl>,
    templates: Arc<Templates>,
    /// What was rendered of single apps.
    cache: Cache,
    /// What Caddy made of the apps' texts; also of those that deployments have asked about, so that nobody waits for its
    /// answer when they are committed, nor for the checks of other apps that stand in line before it.
    adapted: Adapted,
    /// Parts that HAProxy refused: the source, the part, its words. Tried again when the part changes.
    refused: BTreeMap<String, (String, String)>,
    /// Those of them that are left out for a port, until it is free.
    occupied: Occupied,
    /// HAProxy is to be looked at by the next apply: it does not start.
    is_away: bool,
    /// What Caddy serves now.
    served: Served,
    /// What Caddy knows of apps whose requests go elsewhere.
    standby: Standby,
    /// When the next reload, and the next load, may be made.
    haproxy_turn: Turn,
    caddy_turn: Turn,
    /// The certificates that policies give.
    shelf: Arc<Shelf>,
    /// Where certificates come from besides Caddy's issuing them.
    certificates: Option<Arc<dyn CertificateSource>>,
    /// Hosts that it was asked for, of what Caddy has not been told yet.
    placed: BTreeSet<CertificateHost>,
}

impl Proxies {
    /// Nothing is touched before [`bootstrap`](Self::bootstrap) or [`apply`](Self::apply).
    pub fn new(
        settings: ProxySettings,
        control: Arc<dyn ProxyControl>,
    ) -> Result<Self, ProxyError> {
        Ok(Self {
            adapted: Adapted::new(settings.adapted_dir()),
            shelf: Arc::new(Shelf::new(&settings)),
            settings,
            control,
            templates: Arc::new(Templates::built_in()?),
            cache: Cache::default(),
            refused: BTreeMap::new(),
            occupied: Occupied::default(),
            is_away: false,
            served: Served::default(),
            standby: Standby::default(),
            haproxy_turn: Turn::default(),
            caddy_turn: Turn::default(),
            certificates: None,
            placed: BTreeSet::new(),
        })
    }

    /// Reloads, and loads, that would follow each other closely are gathered.
    #[must_use]
    pub fn with_gathering(mut self, gathering: Gathering) -> Self {
        (self.haproxy_turn, self.caddy_turn) = (Turn::of(gathering), Turn::of(gathering));
        self
    }

    /// Before Caddy is told of a host, its certificate is asked for there.
    #[must_use]
    pub fn with_certificates(mut self, source: Arc<dyn CertificateSource>) -> Self {
        self.certificates = Some(source);
        self
    }

    /// Writes what is missing of the files that the containers start with; needs neither Consul nor containers, and
    /// replaces no file but that of an earlier release.
    pub async fn bootstrap(&self, me: &NodeName) -> Result<(), ProxyError> {
        let view = ClusterView::empty(me.clone());
        let rendered = render(&view, &self.settings, &self.templates, &BTreeMap::new())?;
        let dir = self.settings.haproxy_dir();
        let caddy = whole(&self.settings, &BTreeMap::new(), &Pages::default());
        let mut files = vec![
            (dir.join("maintenance.html"), MAINTENANCE_PAGE.to_owned()),
            (dir.join("haproxy.cfg"), rendered.haproxy_cfg),
            (self.settings.caddy_file(), caddy.text().to_owned()),
        ];
        files.extend(rendered.maps.into_iter().map(|(name, text)| (dir.join(name), text)));
        for (path, text) in files {
            if read_optional(&path).await?.is_none() {
                make_parent(&path).await?;
                write_atomic(&path, text, 0o644).await?;
            }
        }
        // Belongs to the configuration of this release, not to the operator.
        let hold = dir.join("hold.lua");
        if read_optional(&hold).await?.as_deref() != Some(HOLD.as_bytes()) {
            write_atomic(&hold, HOLD, 0o644).await?;
        }
        for dir in [self.settings.check_dir(), self.settings.held_dir()] {
            make_parent(&dir.join("file")).await?;
        }
        Ok(())
    }

    /// Makes the node's proxies serve a view. What is in place already is left alone; what the real binaries refuse is
    /// narrowed down to the app that causes it, which is left out and reported.
    ///
    /// # Errors
    /// The first thing that failed; see [`put_in_place`](Self::put_in_place) for what was done all the same.
    pub async fn apply(&mut self, view: &ClusterView) -> Result<Applied, ProxyError> {
        let mut applied = Applied::default();
        self.put_in_place(view, &mut applied).await.map(|()| applied)
    }

    /// As [`apply`](Self::apply), with what was done also where something failed: each part is done that can be without
    /// the one that failed, above all the maps of the running HAProxy.
    ///
    /// # Errors
    /// The first thing that failed. Proxies that this release can't work with are left as they are.
    pub async fn put_in_place(
        &mut self,
        view: &ClusterView,
        applied: &mut Applied,
    ) -> Result<(), ProxyError> {
        if let Some(unfit) = self.control.unfit().await {
            return Err(unfit.into());
        }
        let mut failures = Failures::default();
        failures.note(self.bootstrap(&view.me).await);
        let (mut rendered, is_accepted) = self.render_at_all(view, applied, &mut failures).await?;
        self.is_away = false;
        // Without its checks Caddy keeps what it has; hosts can still be led elsewhere.
        let own = self.adapt(&rendered, applied).await;
        let is_adapted = own.is_some();
        let mut wanted = match own {
            Some(own) => Some(self.wanted(view, &rendered, own, applied).await),
            None => None,
        };
        if let Some(wanted) = &mut wanted {
            self.forgive_refused(&wanted.all, applied);
            self.without_refused(&mut wanted.all);
        }
        self.forget_texts(view, is_adapted).await;
        let late = wanted.take_if(|wanted| self.is_late(&wanted.all, &rendered.pages, applied));
        if let Some(late) = &late {
            self.hold_back(&mut rendered, &late.own).await;
        }
        self.mark_held(view, wanted.as_ref(), applied).await;
        let came = match &wanted {
            Some(wanted) => self.route_more(&wanted.all, &rendered.pages, applied).await,
            None => Ok(()),
        };
        applied.problems.extend(rendered.problems.iter().cloned());
        // Whatever Caddy says: hosts that left this node have to be led away from it.
        self.install_haproxy(&rendered, is_accepted, applied, &mut failures).await;
        // What Caddy did not take as it came, it is not given once more at once.
        let mut is_told = failures.note(came).is_some();
        if is_told && let Some(wanted) = wanted {
            let loaded = self.load_caddy(wanted.all, &rendered.pages, applied).await;
            is_told = failures.note(loaded).is_some();
            self.say_routed(&wanted.own);
        }
        let own = rendered.caddy_sites.keys();
        applied.behind.extend(own.filter(|app| !self.served.apps.contains_key(*app)).cloned());
        if let Some(late) = &late {
            applied.behind.extend(self.served.lacking(&late.own).cloned());
        }
        // Until it is loaded, Caddy leads requests to where apps were.
        if is_told && late.is_none_or(|late| self.served.lacking(&late.own).next().is_none()) {
            self.unmark_held(view, applied).await;
        }
        if let Some(source) = &self.certificates {
            applied.problems.extend(source.problems());
        }
        applied.problems.sort();
        applied.problems.dedup();
        failures.first()
    }

    /// Answers [`would_accept`](Checker::would_accept) from what is in place now, without keeping anything waiting.
    pub fn checker(&self) -> Checker {
        Checker {
            settings: self.settings.clone(),
            control: self.control.clone(),
            templates: self.templates.clone(),
            cache: self.cache.clone(),
            refused: self.known_refusals(),
            disk: self.adapted.disk().clone(),
            shelf: self.shelf.clone(),
            expectations: self.standby.expectations(),
        }
    }

    /// How many requests Caddy has passed on to an app's containers and not answered yet, as far as it says.
    pub async fn requests(&self, app: &AppName) -> u64 {
        let Some((sites, _)) = self.served.apps.get(app) else { return 0 };
        let all = self.control.caddy_requests().await.unwrap_or_default();
        let own = all.iter().filter(|(dial, _)| is_own(dial, &sites.containers));
        own.map(|(_, count)| count).sum()
    }

    /// Of the texts that Caddy was asked about only those of the apps that there are, and of those that are to come, stay.
    async fn forget_texts(&mut self, view: &ClusterView, is_adapted: bool) {
        let served = &self.served.apps;
        let is_used = |name: &AppName| view.apps.contains_key(name) || served.contains_key(name);
        self.adapted.keep_only(is_used, is_adapted).await;
    }
}

async fn make_parent(path: &Path) -> Result<(), ProxyError> {
    let parent: PathBuf = path.parent().map(Path::to_owned).unwrap_or_default();
    tokio::fs::create_dir_all(&parent).await.map_err(|source| FileError::Io {
        action: "make",
        path: parent,
        source,
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
