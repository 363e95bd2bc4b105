//! Each app's sites as a Caddyfile of its own, for the apps whose master this node is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claims::{Claims, HOST};
use super::containers::{dialled, is_container};
use super::template::{RenderError, Templates};
use super::{AppSites, by_age, source};
use crate::model::AppName;
use crate::proxy::caddyfile::{
    CaddyfileError, Dialect, Permits, Scheme, Site, TlsChoice, Translation, translate,
};
use crate::proxy::certificates::CertificateName;
use crate::proxy::{ClusterView, Policy, Problem};

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

pub(super) fn sites(
    view: &ClusterView,
    templates: &Templates,
    claims: &Claims,
    problems: &mut Vec<Problem>,
) -> Result<BTreeMap<AppName, AppSites>, RenderError> {
    let mut all = BTreeMap::new();
    for (name, record) in by_age(view) {
        if record.master != view.me || record.caddyfile.trim().is_empty() {
            continue;
        }
        let policy = view.policies.of(record);
        let may_dial =
            |host: &str, port| is_container(name, record, host) || policy.may_dial(host, port);
        let is_given = |host: &str| policy.certificate(host).is_some();
        let permits = Permits { may_dial: &may_dial, is_given: &is_given };
        let mut translation = match translate(&record.caddyfile, permits) {
            Ok(translation) => translation,
            Err(error) => {
                problems.push(Problem::new(source(name), format!("CADDYFILE: {error}")));
                continue;
            }
        };
        // What is left out here is reported where hosts are routed.
        translation.sites.retain(|site| claims.has(HOST, &site.url.host, &source(name)));
        if translation.sites.is_empty() {
            continue;
        }
        let hosts = hosts(&translation);
        let given = given(policy, &hosts);
        let bodies = match bodies(&translation) {
            Ok(bodies) => bodies,
            Err(error) => {
                problems.push(Problem::new(source(name), format!("CADDYFILE: {error}")));
                continue;
            }
        };
        if bodies.iter().map(|site| site.body.len()).sum::<usize>() > MAX_TEXT {
            let what =
                "CADDYFILE: its sites are more than 512 KiB; have fewer addresses share a block";
            problems.push(Problem::new(source(name), what));
            continue;
        }
        let app = name.as_str();
        let text = templates.caddy(&Context { app, sites: bodies })?;
        all.insert(
            name.clone(),
            AppSites {
                text,
                hosts,
                dialect: translation.dialect,
                containers: dialled(name, record),
                upstreams: policy.dials(),
                given,
            },
        );
    }
    Ok(all)
}

fn hosts(translation: &Translation) -> BTreeMap<(Scheme, String), TlsChoice> {
    let mut hosts = BTreeMap::new();
    for site in &translation.sites {
        let key = (site.url.scheme, site.url.host.clone());
        let choice = hosts.entry(key).or_insert(TlsChoice::Default);
        if *choice == TlsChoice::Default {
            *choice = site.tls.clone();
        }
    }
    hosts
}

/// The certificates that an admin gives hosts, whatever their sites say.
fn given(
    policy: &Policy,
    hosts: &BTreeMap<(Scheme, String), TlsChoice>,
) -> BTreeMap<String, CertificateName> {
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
    let hosts = hosts(translation);
    let mut bodies = Vec::new();
    for ((scheme, host), mut sites) in groups {
        sites.sort_by_key(|site| usize::MAX - site.url.path.len());
        let tls = match hosts.get(&(scheme, host.to_owned())) {
            Some(TlsChoice::Internal) if scheme == Scheme::Https => Some("internal".to_owned()),
            Some(TlsChoice::Email(email)) if scheme == Scheme::Https => Some(email.clone()),
            _ => None,
        };
        bodies.push(SiteContext {
            address: format!("{scheme}://{host}"),
            tls,
            body: body(&sites, translation.dialect)?,
        });
    }
    Ok(bodies)
}

fn body(sites: &[&Site], dialect: Dialect) -> Result<String, CaddyfileError> {
    if let [site] = sites
        && site.url.path.is_empty()
    {
        return match dialect {
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
        let inside = match dialect {
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
