//! What becomes of requests on connections that were open before their app was handed over. HAProxy leads connections,
//! not requests, by TLS; so Caddy itself sends such a request once more through the node's HAProxy, where it waits like
//! all others and then finds the app wherever it is. It does so from the moment that the app's file says so: nothing goes
//! to a container that is about to be stopped.

use std::collections::BTreeSet;
use std::path::Path;

use caddyfile::{Scheme, TlsWish};
use serde_json::{Value, json};

use super::Apps;
use super::routes::STREAM_CLOSE_DELAY;
use crate::model::AppName;
use crate::proxy::render::AppSites;
use crate::proxy::tls::TlsSource;
use crate::proxy::{Issuer, ProxySettings};

/// Says that a request came this way already: it takes no second turn.
const MARK: &str = "X-Tandem-Again";
/// Requests without a body, which may be sent twice.
const SAFE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];
/// What a request's route has said of it: its app's file, and whom to trust. No app's text may set variables.
const APP: &str = "tandem_app";
const TRUST: &str = "tandem_trust";
/// Whom to trust, once it is to be sent once more.
const AGAIN: &str = "tandem_again";
/// An error that nobody sees: the way to a route that all apps have in common. Those from 500 on would be logged.
const ASIDE: u16 = 421;

/// Stands in front of the hosts' own routes. There are thousands, so it only says what is to be done: what does it, the
/// error routes, is there once.
pub(super) struct Doors<'a> {
    settings: &'a ProxySettings,
    door: String,
}

impl<'a> Doors<'a> {
    pub(super) fn of(settings: &'a ProxySettings) -> Self {
        let again = json!({"handler": "vars", AGAIN: format!("{{http.vars.{TRUST}}}")});
        let door = json!({
            "match": [{"file": held(settings), "header": {MARK: null}}],
            "handle": [again, {"handler": "error", "status_code": ASIDE}],
        });
        Self { settings, door: door.to_string() }
    }

    /// A host's route by TLS with the door in front of it.
    pub(super) fn before(
        &self,
        app: &AppName,
        sites: &AppSites,
        host: &str,
        route: &str,
    ) -> String {
        let choice = sites.hosts.get(&(Scheme::Https, host.to_owned()));
        let trust = Trust::of(self.settings, choice.unwrap_or(&TlsSource::DEFAULT));
        let says = json!({"handler": "vars", APP: app.file_name(), TRUST: trust.label()});
        let (host, door) = (json!([{"host": [host]}]), &self.door);
        format!(
            r#"{{"match":{host},"handle":[{says},{{"handler":"subroute","routes":[{door},{route}]}}],"terminal":true}}"#
        )
    }
}

/// Sends requests once more: those of an open door, and what a container had not begun to answer when it was stopped.
pub(super) fn error_routes(settings: &ProxySettings, apps: &Apps) -> Vec<Box<str>> {
    let hosts = apps.values().flat_map(|(sites, _)| &sites.hosts);
    let by_tls = hosts.filter(|((scheme, _), _)| *scheme == Scheme::Https);
    let trusts: BTreeSet<_> = by_tls.map(|(_, choice)| Trust::of(settings, choice)).collect();
    trusts.into_iter().map(|trust| again(settings, trust).to_string().into()).collect()
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
    /// As a variable's value.
    fn label(self) -> String {
        match self {
            Self::Public => "public".to_owned(),
            Self::Given(file) => file.display().to_string(),
            Self::Nobody => "nobody".to_owned(),
        }
    }

    fn of(settings: &ProxySettings, source: &'a TlsSource) -> Self {
        let is_internal = match source {
            TlsSource::Given(Some(given)) => return Self::Given(&given.certificate),
            TlsSource::Issued(TlsWish::Internal) => true,
            TlsSource::Issued(TlsWish::Email(_)) | TlsSource::Lent(_) | TlsSource::Given(None) => {
                false
            }
            TlsSource::Issued(TlsWish::Default) => settings.issuer == Issuer::Internal,
        };
        if is_internal { Self::Nobody } else { Self::Public }
    }
}

/// Matches while the app's file is there, without a new configuration.
fn held(settings: &ProxySettings) -> Value {
    json!({"root": settings.held_dir(), "try_files": [format!("/{{http.vars.{APP}}}")]})
}

fn again(settings: &ProxySettings, trust: Trust<'_>) -> Value {
    let label = trust.label();
    // One variable for each matcher: of several, any is enough.
    let of_door = json!({"vars": {AGAIN: [label]}});
    let unanswered = json!({
        "vars": {TRUST: [label]},
        "file": held(settings),
        "method": SAFE,
        "header": {MARK: null},
        "vars_regexp": {"{http.error.status_code}": {"pattern": "^50[234]$"}},
    });
    let mut tls = json!({"server_name": "{http.request.host}"});
    match trust {
        Trust::Public => {}
        Trust::Given(file) => tls["root_ca_pem_files"] = json!([file]),
        Trust::Nobody => tls["insecure_skip_verify"] = json!(true),
    }
    let transport = json!({
        "protocol": "http",
        "keep_alive": {"enabled": false},
        "proxy_protocol": "v2",
        "tls": tls,
    });
    let dial = format!("{}:{}", settings.haproxy_address, settings.front_door_port);
    json!({
        "match": [of_door, unanswered],
        "handle": [{
            "handler": "reverse_proxy",
            "stream_close_delay": STREAM_CLOSE_DELAY,
            "upstreams": [{"dial": dial}],
            // By itself Caddy would send the upstream's name.
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
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use caddyfile::Dialect;

    use super::*;
    use crate::proxy::caddy::{AppRoutes, config};
    use crate::proxy::render::Pages;

    /// An app with a host of each scheme.
    fn app(host: &str) -> (Arc<AppSites>, Arc<AppRoutes>) {
        let hosts = [Scheme::Http, Scheme::Https].map(|scheme| (scheme, host.to_owned()));
        let sites = AppSites {
            text: String::new(),
            hosts: hosts
                .into_iter()
                .zip([TlsWish::Default, TlsWish::Internal].map(TlsSource::from))
                .collect(),
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
            (name("shop_feature/x.12345"), app("shop.a.test")),
        ]);
        let settings = ProxySettings::default();
        let config = config(&settings, &apps, &Pages::default());
        let servers = &config["apps"]["http"]["servers"];
        for (route, (host, app)) in servers["https"]["routes"].as_array().unwrap().iter().zip([
            // Another app's wildcard, and its door, come after the exact host.
            ("shop.a.test", "shop_feature%2Fx.12345"),
            ("*.a.test", "wild_main.12345"),
        ]) {
            assert_eq!(route["match"], json!([{"host": [host]}]));
            assert_eq!(route["terminal"], true);
            let says = json!({"handler": "vars", APP: app, TRUST: "nobody"});
            assert_eq!(route["handle"][0], says);
            let [door, own] = route["handle"][1]["routes"].as_array().unwrap().as_slice() else {
                panic!("{route}")
            };
            assert_eq!(door["match"][0]["header"], json!({MARK: null}), "each request once");
            assert_eq!(door["match"][0].get("method"), None, "of all methods");
            assert_eq!(own["handle"][0]["upstreams"][0]["dial"], "web:80");
        }
        assert!(!servers["http"].to_string().contains(MARK), "HAProxy leads requests there");
        let errors = servers["https"]["errors"]["routes"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "for all apps");
        assert_eq!(errors[0]["match"][1]["method"], json!(SAFE), "of those that had failed");
        let proxy = &errors[0]["handle"][0];
        assert_eq!(proxy["upstreams"][0]["dial"], "198.18.244.2:8444");
        assert_eq!(proxy["transport"]["tls"]["insecure_skip_verify"], true);
    }
}
