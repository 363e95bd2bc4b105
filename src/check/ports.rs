//! Ports of the nodes that containers publish.

use super::{Asking, binds};
use crate::model::claims::{Claims, Kind};
use crate::model::{AppName, AppRecord, NodeName, Port};
use crate::proxy::ProxySettings;

/// Ports that are the proxies' or the node's own, and those that the app has HAProxy bind.
pub(super) fn own(asking: &Asking<'_>) -> Vec<String> {
    let settings = ProxySettings::default();
    let bound = binds(asking.entry);
    let wrong = |port: &Port| {
        let number = port.by_tcp()?;
        let is_given = asking.policy.may_bind(number) && !settings.is_own(number);
        if settings.is_own(number) {
            Some("is the proxies' own (a CADDYFILE or HAPROXY lets them lead to the container)")
        } else if settings.is_reserved(number) && !is_given {
            Some("is reserved for the node")
        } else if bound.contains(&number) {
            Some(
                "is bound by HAProxy on every node, as the app's own HAPROXY says: publish it or have it bound",
            )
        } else {
            None
        }
    };
    let mut errors = Vec::new();
    for (service, port) in published(asking) {
        errors.extend(wrong(&port).map(|why| format!("service {service}: the port {port} {why}")));
    }
    errors
}

/// What another app has: what it publishes, on each node of its pair.
pub(super) fn claim(claims: &mut Claims, name: &AppName, other: &AppRecord) {
    for port in &other.claims.ports {
        for node in other.placement().nodes() {
            let _ = claims.take(Kind::Published, &on(node, *port), name.as_str());
        }
    }
}

/// Ports that another app's HAPROXY has on every node, or its containers on a node of the pair; and the other way round.
pub(super) fn taken(
    asking: &Asking<'_>,
    claims: &Claims,
    others: &[&(AppName, AppRecord)],
) -> Vec<String> {
    let pair = asking.entry.placement();
    let mut errors = Vec::new();
    for (service, port) in published(asking) {
        let bound = port.by_tcp().map(|number| number.to_string());
        let bound = bound.and_then(|number| claims.owner_of(Kind::Port, &number));
        if let Some(owner) = bound {
            errors.push(format!("service {service}: the port {port} belongs to {owner}: HAProxy binds it on every node"));
        }
        let nodes = pair.nodes();
        let met = nodes
            .filter_map(|node| Some((node, claims.owner_of(Kind::Published, &on(node, port))?)));
        errors.extend(met.map(|(node, owner)| {
            format!("service {service}: the port {port} of {node} belongs to {owner}")
        }));
    }
    let bound = binds(asking.entry);
    for (name, other) in others {
        let met = other.claims.ports.iter().filter_map(|port| port.by_tcp());
        let met = met.filter(|port| bound.contains(port));
        errors.extend(met.map(|port| {
            format!(
                "HAPROXY: port {port} is published by a container of {name} on {}",
                other.placement()
            )
        }));
    }
    errors
}

fn published<'a>(asking: &Asking<'a>) -> impl Iterator<Item = (&'a str, Port)> {
    let services = asking.manifest.services.iter();
    services.flat_map(|(name, service)| service.ports.iter().map(|port| (name.as_str(), *port)))
}

fn on(node: &NodeName, port: Port) -> String {
    format!("{node} {port}")
}
