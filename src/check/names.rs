//! Names by which containers and volumes are found.

use caddyfile::dials;

use super::{Asking, Findings, declarations};
use crate::model::claims::{Claims, Kind};
use crate::model::manifest::{PROXIES_NETWORK, Service, Volume};
use crate::model::{AppName, AppRecord};
use crate::proxy::ProxySettings;
use crate::proxy::settings::OWN_NETWORK;

/// What the proxies' containers and Tandem's volumes are called.
const OWN_PREFIX: &str = "tandem-";
/// The services of the proxies' stack.
const STACK: [&str; 4] = ["haproxy", "caddy", "haproxy-check", "caddy-check"];

/// Names that are the proxies', and services that the proxies would not find.
pub(super) fn own(asking: &Asking<'_>) -> Findings {
    let mut findings = Findings::default();
    for (name, service) in &asking.manifest.services {
        findings.errors.extend(proxies_names(name, service));
        findings.errors.extend(not_found(asking, name, service));
        if service.place.networks.iter().any(|network| network == OWN_NETWORK) {
            findings.errors.push(format!(
                "service {name}: the network {OWN_NETWORK} is the proxies' own; apps join {PROXIES_NETWORK}"
            ));
        }
        let place = &service.place;
        let serves = service.caddyfile.is_some() || service.haproxy.is_some();
        if place.is_found() && !serves && !is_dialled(asking, service) {
            findings.warnings.push(format!(
                "service {name} is on {PROXIES_NETWORK}, where all apps are, and no CADDYFILE or HAPROXY leads to it: others can reach it, and find it as {name:?}"
            ));
        }
    }
    let volumes = asking.manifest.volumes.iter().filter(|volume| !volume.external);
    let tandems = volumes.filter(|volume| is_prefixed(&volume.name, OWN_PREFIX));
    findings.errors.extend(
        tandems.map(|volume| {
            format!("volume {}: names with {OWN_PREFIX} are Tandem's own", volume.name)
        }),
    );
    findings
}

/// The names of a service that something else than the app could ask for, each with what it is.
fn names<'a>(name: &'a str, service: &'a Service) -> Vec<(&'static str, &'a str)> {
    let place = &service.place;
    let mut names = vec![("container name", service.container.as_str())];
    if !place.shared.is_empty() {
        names.push(("name", name));
        names.extend(place.aliases.iter().map(|alias| ("alias", alias.as_str())));
    }
    names.extend(place.hostname.iter().map(|name| ("hostname", name.as_str())));
    names
}

fn proxies_names(name: &str, service: &Service) -> Vec<String> {
    let swarm = ProxySettings::default().swarm_host;
    let is_proxies = |name: &&str| {
        let first = name.split('.').next().unwrap_or_default();
        let is = |other: &str| first.eq_ignore_ascii_case(other);
        is(&swarm) || STACK.into_iter().any(is) || is_prefixed(name, OWN_PREFIX)
    };
    let names = names(name, service).into_iter().filter(|(_, name)| is_proxies(name));
    names
        .map(|(what, taken)| {
            format!("service {name}: the {what} {taken:?} is one of the proxies' containers'; call it something else, or take the service from the networks that other apps are on")
        })
        .collect()
}

/// A service that the proxies are to lead to has to be where they are.
fn not_found(asking: &Asking<'_>, name: &str, service: &Service) -> Option<String> {
    if service.place.is_found() || service.replicas == 0 {
        return None;
    }
    let what = match (is_proxied(asking, service), is_dialled(asking, service)) {
        (true, _) => "HAPROXY",
        (false, true) => "CADDYFILE",
        (false, false) => return None,
    };
    let where_it_is = match &service.place.mode {
        Some(mode) => format!("has network_mode {mode:?}"),
        None => format!("is not on the network {PROXIES_NETWORK}"),
    };
    Some(format!(
        "service {name}: {what} leads to it, but it {where_it_is}, where the proxies look for it: add {PROXIES_NETWORK} to its networks (and `{PROXIES_NETWORK}: {{external: true}}` to the file's)"
    ))
}

/// Whether a HAPROXY value of the app leads to the service's container; a policy may let it lead elsewhere.
fn is_proxied(asking: &Asking<'_>, service: &Service) -> bool {
    let backends = declarations(asking.entry).into_iter().flat_map(|it| it.backends);
    backends.into_iter().any(|backend| backend.ct == service.container)
}

/// Whether a CADDYFILE of the app leads to the service's container.
fn is_dialled(asking: &Asking<'_>, service: &Service) -> bool {
    let texts = asking.manifest.services.values().filter_map(|service| service.caddyfile.as_ref());
    texts.into_iter().any(|text| dials(text).contains(&service.container))
}

/// What another app has.
pub(super) fn claim(claims: &mut Claims, name: &AppName, other: &AppRecord) {
    let owner = name.as_str();
    for container in other.ct.values().chain(&other.claims.aliases) {
        let _ = claims.take(Kind::Name, container, owner);
    }
    for volume in other.volumes.iter().chain(&other.claims.volumes) {
        let _ = claims.take(Kind::Volume, volume, owner);
    }
}

/// Names and volumes that are another app's.
pub(super) fn taken(
    asking: &Asking<'_>,
    claims: &Claims,
    others: &[&(AppName, AppRecord)],
) -> Findings {
    let mut findings = Findings::default();
    let owner = |kind, thing: &str| {
        let by_project = others.iter().map(|(name, _)| name).find(|name| is_of(kind, thing, name));
        by_project.map(AppName::as_str).or_else(|| claims.owner_of(kind, thing))
    };
    for (name, service) in &asking.manifest.services {
        for (what, taken) in names(name, service) {
            let is_own = what == "hostname" || is_of(Kind::Name, taken, asking.app);
            if let Some(owner) = owner(Kind::Name, taken).filter(|_| !is_own) {
                findings
                    .errors
                    .push(format!("service {name}: the {what} {taken:?} belongs to {owner}"));
            }
        }
    }
    for volume in &asking.manifest.volumes {
        if let Some(owner) = owner(Kind::Volume, &volume.name)
            .filter(|_| !is_of(Kind::Volume, &volume.name, asking.app))
        {
            taken_volume(asking, volume, owner, others, &mut findings);
        }
    }
    findings
}

/// A volume of another app's. Two that have had the same one since before that was refused go on where the other is not.
fn taken_volume(
    asking: &Asking<'_>,
    volume: &Volume,
    owner: &str,
    others: &[&(AppName, AppRecord)],
    findings: &mut Findings,
) {
    let name = &volume.name;
    if volume.external {
        findings.warnings.push(format!(
            "volume {name} is {owner}'s: it moves with that app, and is gone when that is destroyed"
        ));
        return;
    }
    let pair = asking.entry.placement();
    let meets = |other: &AppRecord| {
        let theirs = other.placement();
        pair.nodes().any(|node| theirs.nodes().any(|other| other == node))
    };
    let owners = others.iter().filter(|(other, _)| other.as_str() == owner);
    let had = asking.former.is_some_and(|former| former.volumes.contains(name));
    if had && !owners.into_iter().any(|(_, other)| meets(other)) {
        findings.warnings.push(format!(
            "volume {name} is {owner}'s, too, which is on other nodes: neither may move to the other's; give it a name of its own"
        ));
        return;
    }
    findings.errors.push(format!(
        "volume {name} belongs to {owner}: leave out its `name:`, or choose another one"
    ));
}

/// Whether a container or volume is an app's by its name.
fn is_of(kind: Kind, name: &str, app: &AppName) -> bool {
    let project = app.project();
    let is_prefixed = match kind {
        Kind::Volume => name.starts_with(project.as_str()),
        Kind::Host | Kind::Port | Kind::Published | Kind::Frontend | Kind::Backend | Kind::Name => {
            is_prefixed(name, project.as_str())
        }
    };
    let rest = name.get(project.as_str().len()..).filter(|_| is_prefixed);
    rest.is_some_and(|rest| rest.starts_with(['_', '-']))
}

fn is_prefixed(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
