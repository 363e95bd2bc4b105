//! Clients by IPv6, where the machine has it.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use tandem::proxy::ProxySettings;

use super::nodes::{MASTER, Node, header, shared, told};
use super::{binary, echo};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_ipv6_is_served_and_named() {
    if !Path::new("/proc/net/if_inet6").exists() {
        println!("not tried: this machine has no IPv6");
        return;
    }
    let upstream = echo::start();
    let (caddy, haproxy) = (binary("caddy"), binary("haproxy"));
    let shared = ProxySettings { ipv6: true, ..shared() };
    let node = Node::new(MASTER, &shared, &caddy);
    let rendered = node.rendered("node1", "node1", upstream);
    let _caddy = node.caddy(&rendered);
    let _haproxy = node.haproxy(&haproxy, &rendered);
    for (scheme, port) in [("http", shared.http_port), ("https", shared.https_port)] {
        let at = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let told = told(Ipv6Addr::LOCALHOST, scheme, at, &node.root()).await;
        let named = header(&told, "x-forwarded-for").join(";");
        assert_eq!(named, "::1", "{scheme}");
    }
}
