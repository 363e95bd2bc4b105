//! What becomes of requests on connections that were open before their app was handed over. HAProxy leads connections,
//! not requests, by TLS; so Caddy itself sends such a request once more through the node's HAProxy, where it waits like
//! all others and then finds the app wherever it is. It does so from the moment that the app's file says so: nothing goes
//! to a container that is about to be stopped.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Apps;
use super::abilities::RouteText;
use crate::model::AppName;
use crate::proxy::caddyfile::{Scheme, TlsChoice};
use crate::proxy::render::AppSites;
use crate::proxy::{Issuer, ProxySettings};

/// Says that a request came this way already: it takes no second turn.
const MARK: &str = "X-Tandem-Again";
/// Requests without a body, which may be sent twice.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// The doors of one app, in front of its own routes.
pub(super) struct Doors<'a> {
    settings: &'a ProxySettings,
    app: &'a AppName,
    sites: &'a AppSites,
    made: BTreeMap<Trust<'a>, String>,
}

impl<'a> Doors<'a> {
    pub(super) fn of(settings: &'a ProxySettings, app: &'a AppName, sites: &'a AppSites) -> Self {
        Self { settings, app, sites, made: BTreeMap::new() }
    }

    /// A host's route by TLS with the door in front of it.
    pub(super) fn before(&mut self, host: &str, route: &str) -> String {
        let choice = self.sites.hosts.get(&(Scheme::Https, host.to_owned()));
        let trust = Trust::of(self.settings, choice.unwrap_or(&TlsChoice::Default));
        let door = self.made.entry(trust).or_insert_with(|| {
            let matcher = json!({"file": held(self.settings, self.app), "header": {MARK: null}});
            let door = RouteText::of(&again(self.settings, &matcher, trust));
            door.for_caddy(&self.settings.caddy_abilities).to_owned()
        });
        let host = json!([{"host": [host]}]);
        format!(
            r#"{{"match":{host},"handle":[{{"handler":"subroute","routes":[{door},{route}]}}],"terminal":true}}"#
        )
    }
}

/// The error routes of all apps: what a container had not begun to answer when it was stopped is asked for once more.
pub(super) fn error_routes(settings: &ProxySettings, apps: &Apps) -> Vec<RouteText> {
    let mut all = Vec::new();
    for (app, (sites, _)) in apps {
        let mut hosts: BTreeMap<Trust<'_>, Vec<&str>> = BTreeMap::new();
        for ((scheme, host), choice) in &sites.hosts {
            if *scheme == Scheme::Https {
                hosts.entry(Trust::of(settings, choice)).or_default().push(host);
            }
        }
        for (trust, hosts) in hosts {
            let matcher = json!({
                "host": hosts,
                "file": held(settings, app),
                "method": SAFE,
                "header": {MARK: null},
                "vars_regexp": {"{http.error.status_code}": {"pattern": "^50[234]$"}},
            });
            all.push(RouteText::of(&again(settings, &matcher, trust)));
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

/// Matches while the app's file is there, without a new configuration.
fn held(settings: &ProxySettings, app: &AppName) -> Value {
    json!({"root": settings.held_dir(), "try_files": [format!("/{app}")]})
}

fn again(settings: &ProxySettings, matcher: &Value, trust: Trust<'_>) -> Value {
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
        "match": [matcher],
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::proxy::caddy::{AppRoutes, config};
    use crate::proxy::caddyfile::Dialect;
    use crate::proxy::render::Pages;

    /// An app with a host of each scheme.
    fn app(host: &str) -> (Arc<AppSites>, Arc<AppRoutes>) {
        let hosts = [Scheme::Http, Scheme::Https].map(|scheme| (scheme, host.to_owned()));
        let sites = AppSites {
            text: String::new(),
            hosts: hosts.into_iter().zip([TlsChoice::Default, TlsChoice::Internal]).collect(),
            given: BTreeMap::new(),
            dialect: Dialect::V2,
            containers: vec!["web".to_owned()],
            upstreams: BTreeSet::new(),
        };
        let proxy = json!({"handler": "reverse_proxy", "upstreams": [{"dial": "web:80"}]});
        let route = json!({"match": [{"host": [host]}], "handle": [proxy], "terminal": true});
        let server = |port: &str| json!({"listen": [port], "routes": [route]});
        let servers = json!({"a": server(":80"), "b": server(":443")});
        let adapted = json!({"apps": {"http": {"servers": servers}}});
        let routes = AppRoutes::take(&adapted, &sites).unwrap();
        (Arc::new(sites), Arc::new(routes))
    }

    #[test]
    fn a_hosts_door_stands_in_front_of_its_own_route_alone() {
        let name = |text: &str| AppName::parse(text).unwrap();
        let apps = BTreeMap::from([
            (name("wild_main.12345"), app("*.a.test")),
            (name("shop_main.12345"), app("shop.a.test")),
        ]);
        let settings = ProxySettings::default();
        let config = config(&settings, &apps, &Pages::default());
        let servers = &config["apps"]["http"]["servers"];
        for (route, (host, app)) in servers["https"]["routes"].as_array().unwrap().iter().zip([
            // Another app's wildcard, and its door, come after the exact host.
            ("shop.a.test", "/shop_main.12345"),
            ("*.a.test", "/wild_main.12345"),
        ]) {
            assert_eq!(route["match"], json!([{"host": [host]}]));
            assert_eq!(route["terminal"], true);
            let [door, own] = route["handle"][0]["routes"].as_array().unwrap().as_slice() else {
                panic!("{route}")
            };
            let file = json!({"root": settings.held_dir(), "try_files": [app]});
            let matcher = json!([{"file": file, "header": {MARK: null}}]);
            assert_eq!(door["match"], matcher, "all methods, and each request once");
            let proxy = &door["handle"][0];
            assert_eq!(proxy["upstreams"][0]["dial"], "haproxy:8444");
            assert_eq!(proxy["transport"]["tls"]["insecure_skip_verify"], true);
            assert_eq!(own["handle"][0]["upstreams"][0]["dial"], "web:80");
        }
        assert!(!servers["http"].to_string().contains(MARK), "HAProxy leads requests there");
        let errors = servers["https"]["errors"]["routes"].as_array().unwrap();
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|route| route["match"][0]["method"] == json!(SAFE)));
    }
}
