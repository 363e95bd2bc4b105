//! Each app's sites as a Caddyfile of its own, for the apps in whose pair this node is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caddyfile::{
    CaddyfileError, Dial, Dialect, Permits, Scheme, Site, TlsWish, Translation, translate,
};
use serde::Serialize;

use super::AppSites;
use super::containers::{dialled, is_container};
use super::prepared::{App, Cache};
use super::template::{RenderError, Templates};
use crate::model::claims::Claims;
use crate::model::{AppName, AppRecord, Role};
use crate::proxy::certificates::CertificateName;
use crate::proxy::tls::TlsSource;
use crate::proxy::{Policy, Problem};

/// A text of 64 KiB with many addresses, each with all of it, would be many MiB.
const MAX_TEXT: usize = 512 * 1024;

#[derive(Serialize)]
struct Context<'a> {
    app: &'a str,
    sites: Vec<SiteContext>,
}

#[derive(Serialize)]
struct SiteContext {
    address: String,
    tls: Option<String>,
    body: String,
}

/// An app's sites, of those of its hosts that it has.
#[derive(Debug, PartialEq)]
pub(super) enum Own {
    /// It asks for none, or has none of the hosts.
    None,
    /// Why it has no text for Caddy.
    Wrong(String),
    /// With a text for Caddy.
    Sites(Arc<AppSites>),
}

/// An app's hosts by scheme, and where their certificates come from.
type Hosts = BTreeMap<(Scheme, String), TlsSource>;

/// What a text becomes, without the sites of the hosts that are left out: reported is that where hosts are routed.
pub(super) fn own(
    name: &AppName,
    record: &AppRecord,
    policy: &Policy,
    left_out: &BTreeSet<Arc<str>>,
    templates: &Templates,
) -> Result<Own, RenderError> {
    if record.caddyfile.trim().is_empty() {
        return Ok(Own::None);
    }
    let wrong = |what: String| Ok(Own::Wrong(format!("CADDYFILE: {what}")));
    let may_dial = |host: &str, port| match record.ct.get(host) {
        _ if is_container(name, record, host) || policy.may_dial(host, port) => Dial::May,
        Some(container) => Dial::Service(container.clone()),
        None => Dial::MayNot,
    };
    let is_given = |host: &str| policy.certificate(host).is_some();
    let permits = Permits { may_dial: &may_dial, is_given: &is_given };
    let wrong_there = |error: CaddyfileError| wrong(error.of(only_service(record)).to_string());
    let mut translation = match translate(&record.caddyfile, permits) {
        Ok(translation) => translation,
        Err(error) => return wrong_there(error),
    };
    translation.sites.retain(|site| !left_out.contains(site.url.host.as_str()));
    if translation.sites.is_empty() {
        return Ok(Own::None);
    }
    let mut hosts: Hosts = wishes(&translation)
        .into_iter()
        .map(|(host, wish)| (host, TlsSource::from(wish)))
        .collect();
    let given = given(policy, &hosts);
    let mut bodies = match bodies(&translation) {
        Ok(bodies) => bodies,
        Err(error) => return wrong_there(error),
    };
    let (dialect, redirects) = redirects(&translation);
    hosts.extend(
        redirects.iter().map(|(host, _)| ((Scheme::Http, host.clone()), TlsSource::DEFAULT)),
    );
    bodies.extend(redirects.into_iter().map(|(_, site)| site));
    if bodies.iter().map(|site| site.body.len()).sum::<usize>() > MAX_TEXT {
        let what = "its sites are more than 512 KiB; have fewer addresses share a block";
        return wrong(what.to_owned());
    }
    let mut text = templates.caddy(&Context { app: name.as_str(), sites: bodies })?;
    // The engine takes room for a long one, and thousands are kept.
    text.shrink_to_fit();
    Ok(Own::Sites(Arc::new(AppSites {
        text,
        hosts,
        dialect,
        containers: dialled(name, record),
        upstreams: policy.dials(),
        given,
    })))
}

/// Apps' sites, by name.
pub(super) type Sites = BTreeMap<AppName, Arc<AppSites>>;

/// The sites of the apps whose master this node is, and those of the apps whose slave it is. What is wrong with an app is
/// its master's to say.
pub(super) fn sites(
    cache: &mut Cache,
    apps: &[App<'_>],
    templates: &Templates,
    claims: &Claims,
    problems: &mut Vec<Problem>,
) -> Result<(Sites, Sites), RenderError> {
    let (mut served, mut standby) = (Sites::new(), Sites::new());
    for app in apps.iter().filter(|app| app.role != Role::Bystander) {
        match (cache.own(app, claims, templates)?.as_ref(), app.role) {
            (Own::Wrong(what), Role::Master) => {
                problems.push(Problem::new(app.prepared.source.as_ref(), what.as_str()));
            }
            (Own::Sites(sites), Role::Master) => {
                served.insert(app.name.clone(), sites.clone());
            }
            (Own::Sites(sites), _) => {
                standby.insert(app.name.clone(), sites.clone());
            }
            (Own::None | Own::Wrong(_), _) => {}
        }
    }
    Ok((served, standby))
}

/// The service, where there is only one.
fn only_service(record: &AppRecord) -> Option<&str> {
    let mut services = record.ct.keys();
    services.next().filter(|_| services.next().is_none()).map(String::as_str)
}

/// The dialect of the redirects to HTTPS that Caddy's configuration has for hosts without a site by HTTP; and, where
/// the app's services are written for both, the others' redirects as sites.
fn redirects(translation: &Translation) -> (Dialect, Vec<(String, SiteContext)>) {
    let by = |scheme| translation.sites.iter().filter(move |site| site.url.scheme == scheme);
    let plain: BTreeSet<_> = by(Scheme::Http).map(|site| site.url.host.as_str()).collect();
    let mut bare: Vec<_> =
        by(Scheme::Https).filter(|site| !plain.contains(site.url.host.as_str())).collect();
    // Of a host whose parts differ, the shortest path has the say: it comes last.
    bare.sort_by_key(|site| Reverse(site.url.path.len()));
    let of_hosts: BTreeMap<_, _> =
        bare.into_iter().map(|site| (site.url.host.as_str(), site.dialect)).collect();
    let first = translation.sites.first().map(|site| site.dialect);
    let usual = of_hosts.values().next().copied().or(first).unwrap_or(Dialect::V2);
    let others = of_hosts.into_iter().filter(|(_, dialect)| *dialect != usual);
    let site = |(host, dialect): (&str, Dialect)| {
        let status = dialect.redirect_status();
        let body = format!("\tredir https://{{http.request.host}}{{http.request.uri}} {status}\n");
        (host.to_owned(), SiteContext { address: format!("http://{host}"), tls: None, body })
    };
    (usual, others.map(site).collect())
}

/// What the sites of each host wish: the first that wishes something has the say.
fn wishes(translation: &Translation) -> BTreeMap<(Scheme, String), TlsWish> {
    let mut wishes = BTreeMap::new();
    for site in &translation.sites {
        let key = (site.url.scheme, site.url.host.clone());
        let wish = wishes.entry(key).or_insert(TlsWish::Default);
        if *wish == TlsWish::Default {
            *wish = site.tls.clone();
        }
    }
    wishes
}

/// The certificates that an admin gives hosts, whatever their sites say.
fn given(policy: &Policy, hosts: &Hosts) -> BTreeMap<String, CertificateName> {
    let by_tls = hosts.keys().filter(|(scheme, _)| *scheme == Scheme::Https);
    by_tls.filter_map(|(_, host)| Some((host.clone(), policy.certificate(host)?.clone()))).collect()
}

/// One block per scheme and host; addresses with a path are parts of it, the longest first.
fn bodies(translation: &Translation) -> Result<Vec<SiteContext>, CaddyfileError> {
    let mut groups: BTreeMap<(Scheme, &str), Vec<&Site>> = BTreeMap::new();
    for site in &translation.sites {
        let key = (site.url.scheme, site.url.host.as_str());
        groups.entry(key).or_default().push(site);
    }
    let wishes = wishes(translation);
    let mut bodies = Vec::new();
    for ((scheme, host), mut sites) in groups {
        sites.sort_by_key(|site| usize::MAX - site.url.path.len());
        let tls = match wishes.get(&(scheme, host.to_owned())) {
            Some(TlsWish::Internal) if scheme == Scheme::Https => Some("internal".to_owned()),
            Some(TlsWish::Email(email)) if scheme == Scheme::Https => Some(email.clone()),
            _ => None,
        };
        bodies.push(SiteContext {
            address: format!("{scheme}://{host}"),
            tls,
            body: body(&sites)?,
        });
    }
    Ok(bodies)
}

fn body(sites: &[&Site]) -> Result<String, CaddyfileError> {
    if let [site] = sites
        && site.url.path.is_empty()
    {
        return match site.dialect {
            Dialect::V1 => Ok(format!("\troute {{\n{}\t}}\n", site.text(2)?)),
            Dialect::V2 => site.text(1),
        };
    }
    let mut body = String::new();
    for site in sites {
        let matcher = match site.url.path.as_str() {
            "" => String::new(),
            path => format!("{path}* "),
        };
        let inside = match site.dialect {
            Dialect::V1 => format!("\t\troute {{\n{}\t\t}}\n", site.text(3)?),
            Dialect::V2 => site.text(2)?,
        };
        body.push_str(&format!("\thandle {matcher}{{\n{inside}\t}}\n"));
    }
    if sites.iter().all(|site| !site.url.path.is_empty()) {
        body.push_str("\thandle {\n\t\trespond 404\n\t}\n");
    }
    Ok(body)
}
