//! Host → node, `hold`, `maint`, `page` or `swarm`: the content of the map files. And the pages that hosts have of their
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::claims::{Claims, HOST};
use super::pages::{self, Pages};
use super::{Route, by_age, source};
use crate::model::{AppName, AppRecord, NodeName};
use crate::proxy::caddyfile::{Scheme, urls};
use crate::proxy::haproxy::maps::HostMap;
use crate::proxy::{ClusterView, Problem, text};

/// Where hosts go, by HTTP and by TLS.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) http: HostMap,
    pub(super) https: HostMap,
    pub(super) pages: Pages,
}

pub(super) fn route(
    view: &ClusterView,
    addresses: &BTreeMap<NodeName, IpAddr>,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) -> Hosts {
    let mut hosts = Hosts::default();
    for (name, record) in by_age(view) {
        if !addresses.contains_key(&record.master) && record.master != view.me {
            let what = format!("its master {} is not known", record.master);
            problems.push(Problem::new(source(name), what));
            continue;
        }
        for what in hosts.app(view, name, record, claims) {
            problems.push(Problem::new(source(name), what));
        }
    }
    for (key, value) in &view.swarm {
        for what in hosts.swarm(key, value, claims) {
            problems.push(Problem::new(format!("swarm/{key}"), what));
        }
    }
    hosts
}

impl Hosts {
    /// All of them, by scheme and host.
    pub(super) fn routes(&self) -> Vec<Route> {
        let of = |scheme, map: &HostMap| {
            let routes = map.routes().map(|(host, to, source)| Route {
                scheme,
                host,
                to: to.to_owned(),
                source: source.to_owned(),
            });
            routes.collect::<Vec<_>>()
        };
        [of("http", &self.http), of("https", &self.https)].concat()
    }

    fn app(
        &mut self,
        view: &ClusterView,
        name: &AppName,
        record: &AppRecord,
        claims: &mut Claims,
    ) -> Vec<String> {
        let master = record.master.as_str();
        let (page, wrong) = pages::own(record);
        let plain = if page.is_some() { "page" } else { "maint" };
        let (http, https) = match view.maintenance.contains(name) {
            false => (master, master),
            true if view.held.contains(name) => ("hold", "hold"),
            // Only the master's Caddy has the certificate.
            true if record.master == view.me => (plain, "maint"),
            true => (plain, master),
        };
        let mut problems: Vec<_> = wrong.into_iter().collect();
        for (scheme, host, is_redirect) in wanted(record) {
            if let Err(what) = view.policies.of(record).check_host(&host) {
                problems.extend((!is_redirect).then_some(what));
                continue;
            }
            // Both schemes of a host are one app's: the redirect, the cookies and the proof for a certificate go from
            // one to the other.
            if let Err(what) = claims.take(HOST, &host, &source(name)) {
                problems.extend((!is_redirect).then_some(what));
                continue;
            }
            let (map, target) = match scheme {
                Scheme::Http => (&mut self.http, http),
                Scheme::Https => (&mut self.https, https),
            };
            map.route(&host, target, &source(name));
            let is_shown = scheme == Scheme::Http || record.master == view.me;
            match page.as_ref().filter(|_| is_shown) {
                Some(page) => self.pages.show(scheme, &host, page.clone()),
                None => self.pages.show_default(scheme, &host),
            }
        }
        problems
    }

    fn swarm(&mut self, key: &str, value: &Value, claims: &mut Claims) -> Vec<String> {
        let source = format!("swarm/{key}");
        if !value.is_object() {
            return vec!["is not an object".to_owned()];
        }
        let domains = match value.get("domains") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(domains)) => domains,
            Some(_) => return vec!["'domains' is not a list".to_owned()],
        };
        let mut problems = Vec::new();
        for domain in domains {
            let host = domain
                .as_str()
                .ok_or_else(|| format!("the domain {domain} is not a text"))
                .and_then(|domain| text::host(domain).map_err(|error| error.to_string()))
                .and_then(|host| {
                    claims.take(HOST, &host, &source)?;
                    Ok(host)
                });
            match host {
                Ok(host) => {
                    self.http.route(&host, "swarm", &source);
                    self.https.route(&host, "swarm", &source);
                }
                Err(what) => problems.push(what),
            }
        }
        problems
    }
}

/// The hosts of an app, and whether only for a redirect. A site by HTTPS is reachable by HTTP too, for the redirect. If its text can't be read, the
/// record's list of domains still leads to the node that says so.
fn wanted(record: &AppRecord) -> Vec<(Scheme, String, bool)> {
    if record.caddyfile.trim().is_empty() {
        return Vec::new();
    }
    let sites: BTreeSet<_> = match urls(&record.caddyfile) {
        Ok(urls) => urls.into_iter().map(|url| (url.scheme, url.host)).collect(),
        Err(_) => record
            .domains
            .iter()
            .filter_map(|domain| Some((Scheme::Https, text::host(domain).ok()?)))
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
