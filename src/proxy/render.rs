//! Everything that a node's proxies run, as text. Pure: the same view gives the same bytes.

mod caddy;
mod containers;
mod context;
pub(in crate::proxy) mod fingerprint;
#[cfg(test)]
mod golden;
mod haproxy;
#[cfg(test)]
mod hostile;
mod hosts;
mod pages;
mod prepared;
#[cfg(test)]
mod same;
mod template;
#[cfg(test)]
mod unique;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caddyfile::{Dialect, Scheme};
use serde::Serialize;

use super::certificates::CertificateName;
use super::haproxy::maps::{self, HostMap};
use super::tls::{Given, TlsSource};
use super::{ClusterView, Problem, ProxySettings};
use crate::model::claims::Claims;
use crate::model::{AppName, NodeName};
pub(in crate::proxy) use containers::is_of_project;

pub use pages::Pages;
pub use prepared::Cache;
pub use template::{RenderError, Templates};

/// One app's part of Caddy's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSites {
    /// A whole Caddyfile for Caddy 2, to be adapted alone.
    pub text: String,
    /// Hosts by scheme, and where the certificate comes from.
    pub hosts: BTreeMap<(Scheme, String), TlsSource>,
    /// The certificates that a policy gives hosts, by TLS.
    pub given: BTreeMap<String, CertificateName>,
    /// What it was written for: the redirect from HTTP to HTTPS is 301 in Caddy 1 and 308 in Caddy 2.
    pub dialect: Dialect,
    /// The containers that it may proxy to: checked again in what Caddy makes of the text.
    pub containers: Vec<String>,
    /// `host:port` of the other places that it may proxy to.
    pub upstreams: BTreeSet<String>,
}

impl AppSites {
    /// The admin's certificates of its hosts.
    pub(in crate::proxy) fn given_files(&self) -> impl Iterator<Item = &Given> {
        self.hosts.values().filter_map(|source| match source {
            TlsSource::Given(given) => given.as_deref(),
            TlsSource::Issued(_) | TlsSource::Lent(_) => None,
        })
    }
}

/// A host, where its requests go, and whose wish that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host; `*.` in front stands for all below it.
    pub host: String,
    /// A node, `hold`, `maint`, `page` (maintenance, with a page of the app's own) or `swarm`.
    pub to: String,
    /// The key in KV: `app/NAME`, `swarm/KEY`.
    pub source: String,
}

/// What [`render`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Whose proxies they are.
    pub me: NodeName,
    /// `haproxy.cfg`.
    pub haproxy_cfg: String,
    /// The sources that have a part of their own in `haproxy.cfg`, with a text that changes when the part does.
    pub haproxy_parts: BTreeMap<String, String>,
    /// The ports that their frontends bind.
    pub ports: BTreeMap<String, BTreeSet<u16>>,
    /// Which servers of the apps' own backends are enabled, by backend and server.
    pub servers: BTreeMap<(String, String), bool>,
    /// The map files, by name.
    pub maps: BTreeMap<&'static str, String>,
    /// What the maps say, with the source of each entry.
    hosts: [(&'static str, HostMap); 2],
    /// The apps' own maintenance pages, whether shown now or not.
    pub pages: Pages,
    /// The apps whose master this node is.
    pub caddy_sites: BTreeMap<AppName, Arc<AppSites>>,
    /// The apps whose slave it is: Caddy knows them before requests are led here.
    pub caddy_standby: BTreeMap<AppName, Arc<AppSites>>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

impl Rendered {
    /// What the maps say, with the source of each entry.
    pub fn routes(&self) -> Vec<Route> {
        let of = |(scheme, map): &(&'static str, HostMap)| {
            let route = |(host, to, source): (String, &str, &str)| Route {
                scheme,
                host,
                to: to.to_owned(),
                source: source.to_owned(),
            };
            map.routes().map(route).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(of).collect()
    }
}

/// Renders a view. `refused` holds sources whose part of `haproxy.cfg` HAProxy refused: they are left out.
pub fn render(
    view: &ClusterView,
    settings: &ProxySettings,
    templates: &Templates,
    refused: &BTreeMap<String, String>,
) -> Result<Rendered, RenderError> {
    render_with(&mut Cache::default(), view, settings, templates, refused)
}

/// As [`render`], with what is kept of the apps that are as they were.
pub fn render_with(
    cache: &mut Cache,
    view: &ClusterView,
    settings: &ProxySettings,
    templates: &Templates,
    refused: &BTreeMap<String, String>,
) -> Result<Rendered, RenderError> {
    let (addresses, mut problems) = view.addresses();
    let apps = cache.apps(view);
    let mut claims = Claims::default();
    let hosts = hosts::route(view, &apps, &addresses, &mut claims, &mut problems);
    let mut parts = haproxy::parts(view, &apps, settings, &addresses, &mut claims, &mut problems);
    for (source, why) in refused {
        if parts.remove(source).is_some() {
            problems.push(Problem::new(source, format!("HAProxy refuses it: {why}")));
        }
    }
    let haproxy_parts =
        parts.iter().map(|(source, part)| (source.clone(), part.fingerprint())).collect();
    let ports = parts.iter().map(|(source, part)| (source.clone(), part.ports())).collect();
    let servers = parts.values().flat_map(haproxy::Part::servers).collect();
    let held = view.held.iter().map(|app| format!("{app} hold\n")).collect();
    let (http, http_wild) = hosts.http.files();
    let (https, https_wild) = hosts.https.files();
    let (caddy_sites, caddy_standby) =
        caddy::sites(cache, &apps, templates, &claims, &mut problems)?;
    problems.sort();
    problems.dedup();
    Ok(Rendered {
        me: view.me.clone(),
        haproxy_cfg: fingerprint::mark(
            &templates.haproxy(&context::context(view, settings, &addresses, parts))?,
        ),
        haproxy_parts,
        ports,
        servers,
        maps: BTreeMap::from([
            (maps::HTTP, http),
            (maps::HTTPS, https),
            (maps::HTTP_WILD, http_wild),
            (maps::HTTPS_WILD, https_wild),
            (maps::HELD, held),
        ]),
        pages: hosts.pages.without_idle(),
        hosts: [("http", hosts.http), ("https", hosts.https)],
        caddy_sites,
        caddy_standby,
        problems,
    })
}

fn source(app: &AppName) -> String {
    format!("app/{app}")
}
