//! Each app's sites as a Caddyfile of its own, for the apps whose master this node is.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::AppSites;
use super::containers::{dialled, is_container};
use super::prepared::App;
use super::template::{RenderError, Templates};
use crate::model::{AppName, AppRecord};
use crate::proxy::caddyfile::{
    CaddyfileError, Dialect, Scheme, Site, TlsChoice, Translation, translate,
};
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

/// An app's sites as far as its record says: whether its hosts are its own, the others tell.
#[derive(Debug, PartialEq)]
pub(super) enum Own {
    /// It asks for none.
    None,
    /// Its text can't be read.
    Wrong(String),
    /// It asks for these hosts; with a text for Caddy, or why it has none.
    Sites { hosts: Vec<(Scheme, String)>, sites: Result<Arc<AppSites>, String> },
}

/// What a text becomes.
pub(super) fn own(
    name: &AppName,
    record: &AppRecord,
    policy: &Policy,
    templates: &Templates,
) -> Result<Own, RenderError> {
    if record.caddyfile.trim().is_empty() {
        return Ok(Own::None);
    }
    let may_dial =
        |host: &str, port| is_container(name, record, host) || policy.may_dial(host, port);
    let mut translation = match translate(&record.caddyfile, &may_dial) {
        Ok(translation) => translation,
        Err(error) => return Ok(Own::Wrong(format!("CADDYFILE: {error}"))),
    };
    // What is left out here is reported where hosts are routed.
    translation.sites.retain(|site| policy.check_host(&site.url.host).is_ok());
    if translation.sites.is_empty() {
        return Ok(Own::None);
    }
    let hosts = hosts(&translation);
    let keys: Vec<_> = hosts.keys().cloned().collect();
    let wrong = |what: String| Ok(Own::Sites { hosts: keys.clone(), sites: Err(what) });
    let bodies = match bodies(&translation) {
        Ok(bodies) => bodies,
        Err(error) => return wrong(format!("CADDYFILE: {error}")),
    };
    if bodies.iter().map(|site| site.body.len()).sum::<usize>() > MAX_TEXT {
        let what = "CADDYFILE: its sites are more than 512 KiB; have fewer addresses share a block";
        return wrong(what.to_owned());
    }
    let text = templates.caddy(&Context { app: name.as_str(), sites: bodies })?;
    let sites = AppSites {
        text,
        hosts,
        dialect: translation.dialect,
        containers: dialled(name, record),
        upstreams: policy.dials(),
    };
    Ok(Own::Sites { hosts: keys, sites: Ok(Arc::new(sites)) })
}

/// The sites of the apps whose master this node is; of two with the same host, those of the one in front.
pub(super) fn sites<'a>(
    apps: &'a [App<'a>],
    problems: &mut Vec<Problem>,
) -> BTreeMap<AppName, Arc<AppSites>> {
    let mut all = BTreeMap::new();
    let mut taken: BTreeMap<(Scheme, &str), &AppName> = BTreeMap::new();
    for app in apps {
        let mut wrong =
            |what: String| problems.push(Problem::new(app.prepared.source.as_ref(), what));
        match app.own.as_deref() {
            None | Some(Own::None) => {}
            Some(Own::Wrong(what)) => wrong(what.clone()),
            Some(Own::Sites { hosts, sites }) => {
                let keys = || hosts.iter().map(|(scheme, host)| (*scheme, host.as_str()));
                if let Some((key, owner)) = keys().find_map(|key| Some((key, taken.get(&key)?))) {
                    wrong(format!("CADDYFILE: {}://{} is served by {owner}", key.0, key.1));
                    continue;
                }
                match sites {
                    Ok(sites) => {
                        taken.extend(keys().map(|key| (key, app.name)));
                        all.insert(app.name.clone(), sites.clone());
                    }
                    Err(what) => wrong(what.clone()),
                }
            }
        }
    }
    all
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
