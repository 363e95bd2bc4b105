//! Whether the proxies would take an app as a deployment is to bring it: asked beside all that they do meanwhile, which
//! must not wait for the checks of one app.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::adapted::Disk;
use super::haproxy::only;
use super::standby::Expectations;
use super::{
    Cache, ClusterView, Problem, ProxyControl, ProxySettings, Shelf, Templates, render_with,
};
use crate::clock;
use crate::model::{AppId, AppRecord, Branch, Repo};

/// Made by [`Proxies::checker`](super::Proxies::checker).
pub struct Checker {
    pub(super) settings: ProxySettings,
    pub(super) control: Arc<dyn ProxyControl>,
    pub(super) templates: Arc<Templates>,
    pub(super) cache: Cache,
    /// What HAProxy is known to refuse.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) disk: Arc<Disk>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) expectations: Expectations,
}

impl Checker {
    /// Whether the real binaries accept the configuration with an app as its record would be. Changes nothing, but that
    /// Caddy is told of an app that would come to this node, if [`apply`](super::Proxies::apply) is called.
    ///
    /// # Errors
    /// What is wrong with it, or why that can't be said.
    pub async fn would_accept(
        mut self,
        view: &ClusterView,
        candidate: &AppRecord,
    ) -> Result<(), Vec<Problem>> {
        let name = match (Repo::parse(&candidate.repo_url), Branch::parse(&candidate.branch)) {
            (Ok(repo), Ok(branch)) => AppId { repo, branch }.name(),
            (Err(error), _) | (_, Err(error)) => {
                return Err(vec![Problem::new(&candidate.repo_url, error.to_string())]);
            }
        };
        let source = format!("app/{name}");
        let me = view.me.clone();
        let mut view = view.clone();
        // Only the master's proxies hold all that the app asks for.
        view.me = candidate.master.clone();
        view.maintenance.remove(&name);
        view.apps.insert(name.clone(), Arc::new(candidate.clone()));
        let fail = |what: String| vec![Problem::new(&source, what)];
        if let Some(unfit) = self.control.unfit().await {
            return Err(fail(unfit.to_string()));
        }
        // What was refused of its version before says nothing about this one.
        self.refused.remove(&source);
        let (settings, templates) = (&self.settings, &self.templates);
        let rendered = render_with(&mut self.cache, &view, settings, templates, &self.refused)
            .map_err(|error| fail(error.to_string()))?;
        let own: Vec<_> =
            rendered.problems.iter().filter(|problem| problem.source == source).cloned().collect();
        if !own.is_empty() {
            return Err(own);
        }
        let mut coming = None;
        if let Some(sites) = rendered.caddy_sites.get(&name) {
            let lacks = self.shelf.lacks(sites, clock::now()).await;
            if !lacks.is_empty() {
                return Err(lacks.into_iter().map(|what| Problem::new(&source, what)).collect());
            }
            let adapted = self.disk.outcome(self.control.as_ref(), sites).await;
            let adapted = adapted.map_err(|error| fail(format!("Caddy: {error}")))?;
            adapted.map_err(fail)?;
            coming = Some(sites.clone());
        }
        if rendered.haproxy_parts.contains_key(&source) {
            let alone = only(&mut self.cache, &view, settings, templates, &source)
                .map_err(|error| fail(error.to_string()))?;
            let checked = self.control.check_haproxy(&alone).await;
            checked.map_err(|error| fail(format!("HAProxy: {error}")))?;
        }
        if let Some(sites) = coming.filter(|_| candidate.master == me) {
            self.expectations.expect(name, candidate.deploy_id.clone(), sites);
        }
        Ok(())
    }
}
