//! What becomes of requests on connections that were open before their app was handed over. HAProxy leads connections,
//! not requests, by TLS; so Caddy itself sends such a request once more through the node's HAProxy, where it waits like
//! all others and then finds the app wherever it is. What has a body was partly read, and comes again by the client.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Apps;
use super::abilities::RouteText;
use crate::model::AppName;
use crate::proxy::caddyfile::{Scheme, TlsChoice};
use crate::proxy::{Issuer, ProxySettings};

/// Says that a request came this way already: it takes no second turn.
const MARK: &str = "X-Tandem-Again";
/// Requests without a body, which may be sent twice.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The error routes of all apps; each applies while the app's file is in the directory of the held.
pub(super) fn routes(settings: &ProxySettings, apps: &Apps) -> Vec<RouteText> {
    let mut all = Vec::new();
    for (app, (sites, _)) in apps {
        let mut hosts: BTreeMap<Trust<'_>, Vec<&str>> = BTreeMap::new();
        for ((scheme, host), choice) in &sites.hosts {
            if *scheme == Scheme::Https {
                hosts.entry(Trust::of(settings, choice)).or_default().push(host);
            }
        }
        for (trust, hosts) in hosts {
            let held = held(&settings.held_dir(), app);
            all.push(RouteText::of(&again(settings, &hosts, &held, trust)));
            all.push(RouteText::of(&come_back(&hosts, &held)));
        }
    }
    all
}

/// By whom another node's Caddy has to be certified for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trust<'a> {
    /// A public authority.
    Public,
    /// Whoever is in an admin's file, which has the certificate itself: every node has the same.
    Given(&'a Path),
    /// An authority that only that node knows.
    Nobody,
}

impl<'a> Trust<'a> {
    fn of(settings: &ProxySettings, choice: &'a TlsChoice) -> Self {
        let is_internal = match choice {
            TlsChoice::Given(Some(given)) => return Self::Given(&given.certificate),
            TlsChoice::Internal => true,
            TlsChoice::Email(_) | TlsChoice::Lent(_) | TlsChoice::Given(None) => false,
            TlsChoice::Default => settings.issuer == Issuer::Internal,
        };
        if is_internal { Self::Nobody } else { Self::Public }
    }
}

/// Matches while the app is held, without a new configuration.
fn held(dir: &Path, app: &AppName) -> Value {
    json!({"root": dir, "try_files": [format!("/{app}")]})
}

fn again(settings: &ProxySettings, hosts: &[&str], held: &Value, trust: Trust<'_>) -> Value {
    let mut tls = json!({"server_name": "{http.request.host}"});
    match trust {
        Trust::Public => {}
        Trust::Given(file) => tls["root_ca_pem_files"] = json!([file]),
        Trust::Nobody => tls["insecure_skip_verify"] = json!(true),
    }
    let mut transport = json!({"protocol": "http", "keep_alive": {"enabled": false}, "tls": tls});
    let port = match settings.caddy_abilities.is_current() {
        true => {
            transport["proxy_protocol"] = json!("v2");
            settings.front_door_proxy_port
        }
        false => settings.front_door_port,
    };
    json!({
        "match": [{
            "host": hosts,
            "file": held,
            "method": SAFE,
            "header": {MARK: null},
            "vars_regexp": {"{http.error.status_code}": {"pattern": "^50[234]$"}},
        }],
        "handle": [{
            "handler": "reverse_proxy",
            "upstreams": [{"dial": format!("{}:{port}", settings.haproxy_host)}],
            // Newer releases would send the upstream's name.
            "headers": {
                "request": {"set": {MARK: ["1"], "Host": ["{http.request.hostport}"]}},
                // The client's next request goes the direct way.
                "response": {"set": {"Connection": ["close"]}},
            },
            "transport": transport,
        }],
        "terminal": true,
    })
}

/// Only a request that no container has seen: the connection could not even be made.
fn come_back(hosts: &[&str], held: &Value) -> Value {
    json!({
        "match": [{
            "host": hosts,
            "file": held,
            "not": [{"method": SAFE}],
            "vars_regexp": {"{http.error.message}": {"pattern": "^dial "}},
        }],
        "handle": [{
            "handler": "static_response",
            "status_code": 307,
            "headers": {
                "Cache-Control": ["no-store"],
                "Connection": ["close"],
                "Location": ["{http.request.orig_uri}"],
            },
        }],
        "terminal": true,
    })
}
