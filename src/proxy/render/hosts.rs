//! Host → node, `hold`, `maint`, `page` or `swarm`: the content of the map files. And the pages that hosts have of their
//! own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use caddyfile::Scheme;
use serde_json::Value;

use super::pages::Pages;
use super::prepared::{App, Wanted};
use crate::model::NodeName;
use crate::model::claims::{Claims, Kind};
use crate::proxy::haproxy::maps::HostMap;
use crate::proxy::{ClusterView, Problem};

/// Where hosts go, by HTTP and by TLS.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) http: HostMap,
    pub(super) https: HostMap,
    pub(super) pages: Pages,
}

pub(super) fn route(
    view: &ClusterView,
    apps: &[App<'_>],
    addresses: &BTreeMap<NodeName, IpAddr>,
    claims: &mut Claims,
    problems: &mut Vec<Problem>,
) -> Hosts {
    let mut hosts = Hosts::default();
    for app in apps {
        let master = &app.record.master;
        let source = &app.prepared.source;
        if !addresses.contains_key(master) && *master != view.me {
            problems
                .push(Problem::new(source.as_ref(), format!("its master {master} is not known")));
            continue;
        }
        for what in hosts.app(view, app, claims) {
            problems.push(Problem::new(source.as_ref(), what));
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
    fn app(&mut self, view: &ClusterView, app: &App<'_>, claims: &mut Claims) -> Vec<String> {
        let (record, prepared) = (app.record, app.prepared.as_ref());
        let is_here = record.master == view.me;
        let plain = if prepared.page.is_some() { "page" } else { "maint" };
        let target = |to: &'static str| Arc::<str>::from(to);
        let master = || prepared.master.clone();
        let (http, https) = match view.maintenance.contains(app.name) {
            false => (master(), master()),
            true if view.held.contains(app.name) => (target("hold"), target("hold")),
            // Only the master's Caddy has the certificate.
            true if is_here => (target(plain), target("maint")),
            true => (target(plain), master()),
        };
        let mut problems: Vec<_> = prepared.page_problem.iter().cloned().collect();
        for Wanted { scheme, host, is_redirect, refused } in &prepared.hosts {
            if let Some(what) = refused {
                problems.extend((!is_redirect).then(|| what.clone()));
                continue;
            }
            // Both schemes of a host are one app's: the redirect, the cookies and the proof for a certificate go from
            // one to the other.
            if let Err(what) = claims.take_host(Kind::Host, host, &prepared.source) {
                problems.extend((!is_redirect).then_some(what));
                continue;
            }
            let (map, to) = match scheme {
                Scheme::Http => (&mut self.http, &http),
                Scheme::Https => (&mut self.https, &https),
            };
            map.route(host, to, &prepared.source);
            // By TLS only the master's Caddy is asked, but whose that is may change at any time.
            match &prepared.page {
                Some(page) => self.pages.show(*scheme, host, page.clone()),
                None => self.pages.show_default(*scheme, host),
            }
        }
        problems
    }

    fn swarm(&mut self, key: &str, value: &Value, claims: &mut Claims) -> Vec<String> {
        let source: Arc<str> = format!("swarm/{key}").into();
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
                .and_then(|domain| caddyfile::host(domain).map_err(|error| error.to_string()))
                .and_then(|host| {
                    claims.take(Kind::Host, &host, &source)?;
                    Ok(host)
                });
            match host {
                Ok(host) => {
                    let (host, to) = (host.into(), "swarm".into());
                    self.http.route(&host, &to, &source);
                    self.https.route(&host, &to, &source);
                }
                Err(what) => problems.push(what),
            }
        }
        problems
    }
}
