//! What the template of `haproxy.cfg` is given.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use super::haproxy::{Part, Use};
use crate::model::NodeName;
use crate::proxy::{ClusterView, ProxySettings};

#[derive(Serialize)]
struct Node {
    name: String,
    ip: String,
    /// The address as it stands in front of a port.
    host: String,
    is_me: bool,
}

#[derive(Serialize)]
pub(super) struct HaproxyContext {
    max_connections: u32,
    runtime_socket: String,
    clock_socket: String,
    haproxy_dir: String,
    resolver: String,
    ipv6: bool,
    http_port: u16,
    https_port: u16,
    peer_http_port: u16,
    peer_https_port: u16,
    bind_suffix: String,
    caddy_address: String,
    caddy_http_port: u16,
    caddy_https_port: u16,
    caddy_maintenance_port: u16,
    front_door_port: u16,
    caddy_maintenance_http_port: u16,
    swarm_host: String,
    retry_after: u32,
    hold_limit: u64,
    held_limit: u32,
    node_limit: u32,
    me: String,
    inspect_delay: u64,
    nodes: Vec<Node>,
    http_uses: Vec<Use>,
    https_uses: Vec<Use>,
    /// Those whose app may be held, the last first: a later one that fits takes precedence.
    http_waits: Vec<Use>,
    https_waits: Vec<Use>,
    parts: Vec<Part>,
}

/// An IPv6 address needs brackets there.
pub(super) fn in_front_of_port(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

pub(super) fn context(
    view: &ClusterView,
    settings: &ProxySettings,
    addresses: &BTreeMap<NodeName, IpAddr>,
    mut parts: BTreeMap<String, Part>,
) -> HaproxyContext {
    let mut nodes: BTreeMap<_, _> = addresses.iter().map(|(name, ip)| (name, *ip)).collect();
    // A node that the catalog does not show yet still serves its own apps.
    nodes.entry(&view.me).or_insert(IpAddr::from([127, 0, 0, 1]));
    let nodes = nodes.into_iter().map(|(name, ip)| Node {
        name: name.to_string(),
        ip: ip.to_string(),
        host: in_front_of_port(ip),
        is_me: *name == view.me,
    });
    let take = |uses: fn(&mut Part) -> &mut Vec<Use>, parts: &mut BTreeMap<String, Part>| {
        let all = parts.values_mut();
        all.flat_map(|part| std::mem::take(uses(part))).collect::<Vec<_>>()
    };
    let http_uses = take(|part| &mut part.http_uses, &mut parts);
    let https_uses = take(|part| &mut part.https_uses, &mut parts);
    let waits = |uses: &[Use]| {
        let waits = uses.iter().rev().filter(|it| it.app.is_some());
        waits.cloned().collect()
    };
    HaproxyContext {
        max_connections: settings.max_connections,
        runtime_socket: settings.runtime_socket().display().to_string(),
        clock_socket: settings.clock_socket().display().to_string(),
        haproxy_dir: settings.haproxy_dir().display().to_string(),
        resolver: settings.resolver.clone(),
        ipv6: settings.ipv6,
        http_port: settings.http_port,
        https_port: settings.https_port,
        peer_http_port: settings.peer_http_port,
        peer_https_port: settings.peer_https_port,
        bind_suffix: settings
            .bind_namespace
            .as_ref()
            .map_or(String::new(), |name| format!(" namespace {name}")),
        caddy_address: settings.caddy_address.to_string(),
        caddy_http_port: settings.caddy_http_port,
        caddy_https_port: settings.caddy_https_port,
        caddy_maintenance_port: settings.caddy_maintenance_port,
        front_door_port: settings.front_door_port,
        caddy_maintenance_http_port: settings.caddy_maintenance_http_port,
        swarm_host: settings.swarm_host.clone(),
        retry_after: settings.retry_after,
        hold_limit: settings.hold_limit(),
        held_limit: settings.held_limit(),
        node_limit: settings.node_limit(),
        me: view.me.to_string(),
        inspect_delay: settings.hold_limit() + 5,
        nodes: nodes.collect(),
        http_waits: waits(&http_uses),
        https_waits: waits(&https_uses),
        http_uses,
        https_uses,
        parts: parts.into_values().collect(),
    }
}
