//! What follows from one app's record and its policy alone, whatever the rest of the cluster: read once, and kept for as
//! long as the record stays the same. And its sites, which follow from that and from which of its hosts it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caddyfile::{Scheme, urls};

use super::caddy::{Own, own};
use super::pages;
use super::template::{RenderError, Templates};
use crate::model::claims::{Claims, Kind};
use crate::model::{AppName, AppRecord, MaintenancePage, Placement, Role};
use crate::proxy::{ClusterView, Policy};

/// Of apps without a policy of their own.
static DEFAULT: Policy = Policy::DEFAULT;

/// A host that an app asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) scheme: Scheme,
    pub(super) host: Arc<str>,
    /// Only for the redirect to HTTPS.
    pub(super) is_redirect: bool,
    /// Why the policy does not leave it to the app.
    pub(super) refused: Option<String>,
}

/// An app as far as its record says.
#[derive(Debug, PartialEq)]
pub(super) struct Prepared {
    /// `app/NAME`
    pub(super) source: Arc<str>,
    pub(super) master: Arc<str>,
    pub(super) hosts: Vec<Wanted>,
    pub(super) page: Option<MaintenancePage>,
    /// Why the page in the record is not shown.
    pub(super) page_problem: Option<String>,
}

/// What was made of single apps. Rendering with one gives the same as rendering from nothing: what is kept counts for
/// the very record that it was made of, under the same policy, and its sites while the same of its hosts are others'.
#[derive(Debug, Clone, Default)]
pub struct Cache(BTreeMap<AppName, Kept>);

#[derive(Debug, Clone)]
struct Kept {
    record: Arc<AppRecord>,
    /// None for the default.
    policy: Option<Arc<Policy>>,
    prepared: Arc<Prepared>,
    /// Of apps in whose pair the node is: the hosts that are left out, and the rest.
    own: Option<(BTreeSet<Arc<str>>, Arc<Own>)>,
}

impl Kept {
    fn is_of(&self, record: &Arc<AppRecord>, policy: &Policy) -> bool {
        Arc::ptr_eq(&self.record, record) && self.policy.as_deref().unwrap_or(&DEFAULT) == policy
    }

    fn make(name: &AppName, record: &Arc<AppRecord>, policy: &Policy) -> Self {
        Self {
            record: record.clone(),
            policy: (*policy != DEFAULT).then(|| Arc::new(policy.clone())),
            prepared: Arc::new(Prepared::of(name, record, policy)),
            own: None,
        }
    }
}

/// An app of a view, with what is kept of it.
pub(super) struct App<'a> {
    pub(super) name: &'a AppName,
    pub(super) record: &'a AppRecord,
    pub(super) policy: &'a Policy,
    pub(super) prepared: Arc<Prepared>,
    /// What the node is for it.
    pub(super) role: Role,
}

impl Cache {
    /// The apps of a view, the one that was deployed first in front: what two of them claim stays with it.
    pub(super) fn apps<'a>(&mut self, view: &'a ClusterView) -> Vec<App<'a>> {
        let mut apps = Vec::with_capacity(view.apps.len());
        for (name, record) in &view.apps {
            let policy = view.policies.of(record);
            let kept = match self.0.get_mut(name) {
                Some(kept) => {
                    if !kept.is_of(record, policy) {
                        *kept = Kept::make(name, record, policy);
                    }
                    kept
                }
                None => {
                    self.0.entry(name.clone()).or_insert_with(|| Kept::make(name, record, policy))
                }
            };
            let role = Placement::role_of(Some(&record.placement()), &view.me);
            apps.push(App { name, record, policy, prepared: kept.prepared.clone(), role });
        }
        if self.0.len() > view.apps.len() {
            self.0.retain(|name, _| view.apps.contains_key(name));
        }
        apps.sort_by_key(|app| (app.record.deploy_date.as_str(), app.name));
        apps
    }

    /// The sites of an app, once it is known who has which host.
    pub(super) fn own(
        &mut self,
        app: &App<'_>,
        claims: &Claims,
        templates: &Templates,
    ) -> Result<Arc<Own>, RenderError> {
        let left_out = app.prepared.left_out(claims);
        let kept = self.0.get_mut(app.name).map(|kept| &mut kept.own);
        if let Some(Some((known, own))) = &kept
            && *known == left_out
        {
            return Ok(own.clone());
        }
        let own = Arc::new(own(app.name, app.record, app.policy, &left_out, templates)?);
        if let Some(place) = kept {
            *place = Some((left_out, own.clone()));
        }
        Ok(own)
    }
}

impl Prepared {
    fn of(name: &AppName, record: &AppRecord, policy: &Policy) -> Self {
        let (page, page_problem) = pages::own(record);
        let hosts = wanted(record).into_iter().map(|(scheme, host, is_redirect)| Wanted {
            scheme,
            is_redirect,
            refused: policy.check_host(&host).err(),
            host: host.into(),
        });
        Self {
            source: super::source(name).into(),
            master: record.master.as_str().into(),
            hosts: hosts.collect(),
            page,
            page_problem,
        }
    }

    /// The hosts that it asks for and has not: the policy does not leave them to it, or another app came first.
    fn left_out(&self, claims: &Claims) -> BTreeSet<Arc<str>> {
        let lacks = |wanted: &&Wanted| !claims.has(Kind::Host, &wanted.host, &self.source);
        self.hosts.iter().filter(lacks).map(|wanted| wanted.host.clone()).collect()
    }
}

/// The hosts of an app, and whether only for a redirect. A site by HTTPS is reachable by HTTP too, for the redirect. If
/// its text can't be read, the record's list of domains still leads to the node that says so.
fn wanted(record: &AppRecord) -> Vec<(Scheme, String, bool)> {
    if record.caddyfile.trim().is_empty() {
        return Vec::new();
    }
    let sites: BTreeSet<_> = match urls(&record.caddyfile) {
        Ok(urls) => urls.into_iter().map(|url| (url.scheme, url.host)).collect(),
        Err(_) => record
            .domains
            .iter()
            .filter_map(|domain| Some((Scheme::Https, caddyfile::host(domain).ok()?)))
            .collect(),
    };
    let redirected: Vec<_> = sites
        .iter()
        .map(|(_, host)| (Scheme::Http, host.clone()))
        .filter(|redirected| !sites.contains(redirected))
        .map(|(scheme, host)| (scheme, host, true))
        .collect();
    let sites = sites.into_iter().map(|(scheme, host)| (scheme, host, false));
    sites.chain(redirected).collect()
}
