//! What a new version may not do to other apps: serve their hosts, take their ports, names or volumes. Pure.
//!
//! Who has what is asked of [`Claims`], of which the proxies ask it, too.

pub mod candidate;
pub mod mounts;
mod names;
mod ports;

use std::collections::BTreeSet;

use caddyfile::SiteUrl;

use crate::model::claims::{Claims, Kind};
use crate::model::manifest::Manifest;
use crate::model::{AppName, AppRecord};
use crate::proxy::Policy;
use crate::proxy::haproxy::{Declaration, Keyword, parse_all};

/// What a look at the other apps brought up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Each is a reason to refuse.
    pub errors: Vec<String>,
    /// Each is worth knowing.
    pub warnings: Vec<String>,
}

impl Findings {
    /// Adds what another look brought up.
    pub fn extend(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }
}

/// A new version that asks to be taken.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Whose it is.
    pub app: &'a AppName,
    /// What its entry will be.
    pub entry: &'a AppRecord,
    /// Its entry as it is.
    pub former: Option<&'a AppRecord>,
    /// Its compose file.
    pub manifest: &'a Manifest,
    /// Its addresses, as its services declare them.
    pub urls: &'a [SiteUrl],
    /// What admins let it do.
    pub policy: &'a Policy,
}

/// Looks at a new version by itself: what of it the proxies and other apps could not bear, whoever they are.
pub fn own(asking: &Asking<'_>) -> Findings {
    let mut findings = Findings::default();
    findings.errors.extend(repeated(asking.urls));
    findings.extend(names::own(asking));
    findings.errors.extend(ports::own(asking));
    findings
}

/// Compares a new version with every other app.
pub fn conflicts(asking: &Asking<'_>, others: &[(AppName, AppRecord)]) -> Findings {
    let mut findings = Findings::default();
    let mut claims = Claims::default();
    let others: Vec<_> = others.iter().filter(|(name, _)| name != asking.app).collect();
    for (name, other) in &others {
        findings.errors.extend(served(name, asking.urls, &urls_of(other)));
        for (kind, thing, _) in proxied(other) {
            // Of two others the first has it; that this one has not is all that matters.
            let _ = claims.take(kind, &thing, name.as_str());
        }
        ports::claim(&mut claims, name, other);
        names::claim(&mut claims, name, other);
    }
    for (kind, thing, shown) in proxied(asking.entry) {
        if let Some(owner) = claims.owner_of(kind, &thing) {
            findings.errors.push(format!("HAPROXY: {kind} {shown} belongs to {owner}"));
        }
    }
    findings.errors.extend(ports::taken(asking, &claims, &others));
    findings.extend(names::taken(asking, &claims, &others));
    findings
}

fn repeated(urls: &[SiteUrl]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = urls.iter().filter(|url| !seen.insert(*url));
    twice.map(|url| format!("{url} is declared twice")).collect()
}

/// The addresses in an entry's `urls`; what the older system wrote and can't be read is no conflict.
fn urls_of(record: &AppRecord) -> BTreeSet<SiteUrl> {
    record.urls.split(',').filter_map(|url| SiteUrl::parse(url.trim()).ok()).collect()
}

/// Hosts that another app serves already: by HTTP, by HTTPS or by both, and by whatever paths, makes no difference. The
/// proxies go by hosts.
fn served(name: &AppName, urls: &[SiteUrl], theirs: &BTreeSet<SiteUrl>) -> Vec<String> {
    let same = |url: &SiteUrl| {
        let other = theirs.iter().find(|other| other.host == url.host)?;
        Some(match theirs.contains(url) {
            true => format!("{url} is served by {name}"),
            false => format!(
                "{url}: {other} is served by {name}, and a host is one app's, by both schemes and with all its paths"
            ),
        })
    };
    urls.iter().filter_map(same).collect()
}

fn declarations(record: &AppRecord) -> Vec<Declaration> {
    // Whether it may use a keyword is asked elsewhere.
    parse_all(&record.haproxy, &Keyword::ALL.into()).unwrap_or_default()
}

/// What an entry asks HAProxy for: what it is, by what it is compared, and as the app writes it.
fn proxied(record: &AppRecord) -> Vec<(Kind, String, String)> {
    let mut asked = Vec::new();
    for declaration in declarations(record) {
        if let Ok(frontend) = &declaration.place {
            let name = &declaration.name;
            asked.push((Kind::Frontend, name.clone(), format!("{name:?}")));
            let ports = frontend.binds.iter().map(|bind| bind.port.to_string());
            asked.extend(ports.map(|port| (Kind::Port, port.clone(), port)));
        }
        asked.extend(declaration.backends.iter().map(|backend| {
            let shown = format!("{:?}", backend.name);
            (Kind::Backend, declaration.backend_name(backend), shown)
        }));
    }
    asked
}

/// The ports that HAProxy binds for an entry.
fn binds(record: &AppRecord) -> BTreeSet<u16> {
    let ports = proxied(record).into_iter().filter(|(kind, ..)| *kind == Kind::Port);
    ports.filter_map(|(_, port, _)| port.parse().ok()).collect()
}

/// The ports that HAProxy binds for a new version, and did not for the one before.
pub fn new_binds(entry: &AppRecord, former: Option<&AppRecord>) -> BTreeSet<u16> {
    let former = former.map(binds).unwrap_or_default();
    binds(entry).into_iter().filter(|port| !former.contains(port)).collect()
}

#[cfg(test)]
mod tests;
