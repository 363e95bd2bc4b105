//! The whole of Caddy's configuration: two servers with the routes of all apps, and the two for maintenance.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caddyfile::{Dialect, Scheme, TlsWish};
use serde_json::{Value, json};

use super::front_door::{self, Doors};
use super::{AppRoutes, CaddyConfig, given, maintenance};
use crate::model::AppName;
use crate::proxy::render::{AppSites, Pages};
use crate::proxy::tls::TlsSource;
use crate::proxy::{Issuer, ProxySettings};

/// Five minutes in nanoseconds, for slow clients; answers may take longer.
const CLIENT_TIMEOUT: u64 = 300_000_000_000;

/// HAProxy sends its header at once; in nanoseconds.
const HEADER_TIMEOUT: u64 = 5_000_000_000;

/// A certificate that another node sees to is asked for here only in the last hundredth of its time. The node that has the
/// host does so in the last third, and its new one is put where this Caddy looks before it asks.
const LENT_WINDOW: f64 = 0.01;

/// What Caddy serves: each app's sites and their routes.
pub type Apps = BTreeMap<AppName, (Arc<AppSites>, Arc<AppRoutes>)>;

/// Exact hosts before wildcards, long suffixes before short ones.
pub(super) type Rank<'a> = (bool, Reverse<usize>, &'a str);

pub(super) fn rank(host: &str) -> Rank<'_> {
    let is_wild = host.starts_with('*');
    let length = if is_wild { host.len() } else { 0 };
    (is_wild, Reverse(length), host)
}

/// Merges the routes of apps, and the pages that hosts have of their own; with none it is what a node starts with.
pub fn whole(settings: &ProxySettings, apps: &Apps, pages: &Pages) -> CaddyConfig {
    let doors = front_door::error_routes(settings, apps);
    let lists = [
        ("/apps/http/servers/http/routes", routes(settings, apps, Scheme::Http)),
        ("/apps/http/servers/http/errors/routes", errors(apps, &[], |routes| &routes.http_errors)),
        ("/apps/http/servers/https/routes", routes(settings, apps, Scheme::Https)),
        (
            "/apps/http/servers/https/errors/routes",
            errors(apps, &doors, |routes| &routes.https_errors),
        ),
    ];
    CaddyConfig::new(frame(settings, apps, pages), &lists)
}

/// As [`whole`], to be looked at.
pub fn config(settings: &ProxySettings, apps: &Apps, pages: &Pages) -> Value {
    whole(settings, apps, pages).value()
}

/// All but the routes and error routes of the apps, which are put in their places later.
fn frame(settings: &ProxySettings, apps: &Apps, pages: &Pages) -> Value {
    let port = |port: u16| json!([format!(":{port}")]);
    let mut whole = json!({
        "admin": {
            "listen": format!("unix/{}", settings.caddy_socket().display()),
            // The name that this program's requests carry; Caddy checks it on unix sockets too.
            "origins": ["localhost"],
            "config": {"persist": false},
        },
        "apps": {
            "http": {
                "http_port": settings.caddy_http_port,
                "https_port": settings.caddy_https_port,
                "servers": {
                    "http": {
                        "listen": port(settings.caddy_http_port),
                        "routes": [],
                        "errors": {"routes": []},
                        "automatic_https": {"disable": true},
                        "logs": {},
                        "protocols": ["h1"],
                        "read_header_timeout": CLIENT_TIMEOUT,
                        "idle_timeout": CLIENT_TIMEOUT,
                    },
                    "https": {
                        "listen": port(settings.caddy_https_port),
                        "routes": [],
                        "errors": {"routes": []},
                        "automatic_https": given::automatic_https(apps),
                        "tls_connection_policies": given::connection_policies(apps),
                        "logs": {},
                        // HTTP/3 would be announced, and does not come through HAProxy.
                        "protocols": ["h1", "h2"],
                        "read_header_timeout": CLIENT_TIMEOUT,
                        "idle_timeout": CLIENT_TIMEOUT,
                    },
                    "maintenance": {
                        "listen": port(settings.caddy_maintenance_port),
                        "routes": maintenance::routes(settings, pages, Scheme::Https),
                        "automatic_https": {"disable": true},
                        "tls_connection_policies": given::connection_policies(apps),
                        "protocols": ["h1", "h2"],
                    },
                    "maintenance_http": {
                        "listen": port(settings.caddy_maintenance_http_port),
                        "routes": maintenance::routes(settings, pages, Scheme::Http),
                        "automatic_https": {"disable": true},
                        "protocols": ["h1"],
                    },
                },
            },
            "tls": tls(settings, apps),
            "pki": {"certificate_authorities": {"local": {"install_trust": false}}},
        },
    });
    let servers = whole.pointer_mut("/apps/http/servers").and_then(Value::as_object_mut);
    for (_, server) in servers.into_iter().flatten() {
        server["listener_wrappers"] = wrappers(settings);
    }
    whole
}

/// HAProxy says by the PROXY protocol who its client is. What comes from elsewhere, a container of an app say, is served,
/// and its header counts for nothing.
fn wrappers(settings: &ProxySettings) -> Value {
    let allow = [format!("{}/32", settings.haproxy_address)];
    json!([
        {"wrapper": "proxy_protocol", "timeout": HEADER_TIMEOUT, "allow": allow},
        // Where TLS begins: behind the header.
        {"wrapper": "tls"},
    ])
}

/// Error routes: some first, then those that apps have.
fn errors<'a>(
    apps: &'a Apps,
    first: &'a [Box<str>],
    pick: fn(&AppRoutes) -> &Vec<Box<str>>,
) -> Vec<Cow<'a, str>> {
    let own = apps.values().flat_map(|(_, routes)| pick(routes));
    first.iter().chain(own).map(|route| Cow::Borrowed(&**route)).collect()
}

/// The apps of which a configuration that [`whole`] made, for the same settings, has all that is their own.
pub fn within(settings: &ProxySettings, apps: &Apps, text: &str) -> BTreeSet<AppName> {
    // Each route stands on a line of its own; after the last one of a list comes what follows the list.
    let lines: BTreeSet<_> =
        text.lines().map(|line| line.strip_suffix(',').unwrap_or(line)).collect();
    let doors = Doors::of(settings);
    let is_there = |(app, (sites, routes)): &(&AppName, &(Arc<AppSites>, Arc<AppRoutes>))| {
        let mut own = [Scheme::Http, Scheme::Https]
            .into_iter()
            .flat_map(|scheme| own_routes(&doors, (app, sites, routes), scheme));
        let mut errors = routes.http_errors.iter().chain(&routes.https_errors);
        own.all(|(_, route)| lines.contains(&*route))
            && errors.all(|route| text.contains(&**route))
            && sites.given_files().all(|given| text.contains(&*given.key.to_string_lossy()))
    };
    apps.iter().filter(is_there).map(|(app, _)| app.clone()).collect()
}

type App<'a> = (&'a AppName, &'a AppSites, &'a AppRoutes);

/// The routes of one app, as they stand in the list of a server.
fn own_routes<'a>(
    doors: &Doors<'_>,
    (app, sites, routes): App<'a>,
    scheme: Scheme,
) -> Vec<(Rank<'a>, Cow<'a, str>)> {
    let behind = |host: &str, route: &str| doors.before(app, sites, host, route);
    match scheme {
        Scheme::Http => {
            let own = routes.http.iter();
            own.map(|(host, route)| (rank(host), Cow::Borrowed(&**route))).collect()
        }
        Scheme::Https => {
            let own = routes.https.iter();
            own.map(|(host, route)| (rank(host), behind(host, route).into())).collect()
        }
    }
}

fn routes<'a>(settings: &ProxySettings, apps: &'a Apps, scheme: Scheme) -> Vec<Cow<'a, str>> {
    let doors = Doors::of(settings);
    let mut all: Vec<(Rank<'_>, Cow<'_, str>)> = apps
        .iter()
        .flat_map(|(app, (sites, routes))| own_routes(&doors, (app, sites, routes), scheme))
        .collect();
    if scheme == Scheme::Http {
        all.extend(redirects(apps));
    }
    all.sort_by_key(|(rank, _)| *rank);
    // A client may send a host's requests on a connection that it opened for another one whose certificate is for both;
    // they may be at home on different nodes. By this it knows that it has to open one of its own.
    let status = if scheme == Scheme::Https { 421 } else { 404 };
    let unknown = json!({"handler": "static_response", "status_code": status});
    let routes = all.into_iter().map(|(_, route)| route);
    routes.chain([Cow::Owned(json!({"handle": [unknown]}).to_string())]).collect()
}

/// HTTP → HTTPS for the hosts that have no site of their own by HTTP.
fn redirects(apps: &Apps) -> Vec<(Rank<'_>, Cow<'_, str>)> {
    let hosts = |scheme| {
        let sites = apps.values().map(|(sites, _)| sites);
        sites.flat_map(move |sites| {
            let own = sites.hosts.keys().filter(move |(known, _)| *known == scheme);
            own.map(move |(_, host)| (host.as_str(), sites.dialect))
        })
    };
    let plain: BTreeSet<_> = hosts(Scheme::Http).map(|(host, _)| host).collect();
    let missing = hosts(Scheme::Https).filter(|(host, _)| !plain.contains(host));
    let redirect = |(host, dialect)| {
        let code = match dialect {
            Dialect::V1 => 301,
            Dialect::V2 => 308,
        };
        let handle = json!({
            "handler": "static_response",
            "status_code": code,
            "headers": {"Location": ["https://{http.request.host}{http.request.uri}"]},
        });
        let route = json!({"match": [{"host": [host]}], "handle": [handle], "terminal": true});
        (rank(host), Cow::Owned(route.to_string()))
    };
    missing.map(redirect).collect()
}

fn tls(settings: &ProxySettings, apps: &Apps) -> Value {
    let mut tls = json!({"automation": {"policies": policies(settings, apps)}});
    let files = given::files(apps);
    if !files.is_empty() {
        tls["certificates"] = json!({"load_files": files});
    }
    tls
}

/// Who issues certificates: the sites that chose, then the rest. A host that two apps have, one that leaves and one that
/// comes, is named once: Caddy refuses a second policy for it, and with it the whole.
fn policies(settings: &ProxySettings, apps: &Apps) -> Vec<Value> {
    let mut internal = Vec::new();
    let mut emails: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut lent: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    let hosts = apps.values().flat_map(|(sites, _)| &sites.hosts);
    let mut named = BTreeSet::new();
    for ((scheme, host), source) in hosts {
        match (scheme, source) {
            (Scheme::Http, _) | (_, TlsSource::Issued(TlsWish::Default) | TlsSource::Given(_)) => {}
            _ if !named.insert(host.as_str()) => {}
            (_, TlsSource::Issued(TlsWish::Internal)) => internal.push(host.as_str()),
            (_, TlsSource::Issued(TlsWish::Email(email))) => {
                emails.entry(email).or_default().push(host)
            }
            (_, TlsSource::Lent(email)) => lent.entry(email.as_deref()).or_default().push(host),
        }
    }
    let mut policies = Vec::new();
    if !internal.is_empty() {
        policies.push(json!({"subjects": internal, "issuers": [{"module": "internal"}]}));
    }
    for (email, hosts) in emails {
        let issuer = json!({"module": "acme", "email": email});
        policies.push(json!({"subjects": hosts, "issuers": [issuer]}));
    }
    for (email, hosts) in lent {
        let ratio = LENT_WINDOW;
        let mut policy = json!({"subjects": hosts, "renewal_window_ratio": ratio});
        let usual = match &settings.issuer {
            Issuer::Acme(email) => email.as_deref(),
            Issuer::Internal => None,
        };
        if let Some(email) = email.or(usual) {
            policy["issuers"] = json!([{"module": "acme", "email": email}]);
        }
        policies.push(policy);
    }
    match &settings.issuer {
        Issuer::Acme(None) => {}
        Issuer::Acme(Some(email)) => {
            policies.push(json!({"issuers": [{"module": "acme", "email": email}]}));
        }
        Issuer::Internal => policies.push(json!({"issuers": [{"module": "internal"}]})),
    }
    policies
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str, hosts: &[(&str, TlsWish)]) -> (AppName, (Arc<AppSites>, Arc<AppRoutes>)) {
        let hosts = hosts
            .iter()
            .map(|(host, wish)| ((Scheme::Https, (*host).to_owned()), wish.clone().into()));
        let sites = AppSites {
            text: String::new(),
            hosts: hosts.collect(),
            given: BTreeMap::new(),
            dialect: Dialect::V2,
            containers: Vec::new(),
            upstreams: BTreeSet::new(),
        };
        (AppName::parse(name).unwrap(), (Arc::new(sites), Arc::new(AppRoutes::default())))
    }

    #[test]
    fn a_host_of_an_app_that_leaves_and_of_one_that_comes_has_one_policy() {
        let email = |text: &str| TlsWish::Email(text.to_owned());
        let apps = Apps::from([
            app("gone_main.12345", &[("a.test", TlsWish::Internal), ("b.test", email("x@y.test"))]),
            app("here_main.12345", &[("a.test", TlsWish::Internal), ("b.test", TlsWish::Internal)]),
        ]);
        let policies = policies(&ProxySettings::default(), &apps);
        let subjects = policies.iter().filter_map(|policy| policy["subjects"].as_array());
        let mut hosts: Vec<_> = subjects.flatten().filter_map(Value::as_str).collect();
        hosts.sort_unstable();
        assert_eq!(hosts, ["a.test", "b.test"]);
    }

    #[test]
    fn every_server_believes_haproxy_and_nobody_else() {
        let config = config(&ProxySettings::default(), &Apps::new(), &Pages::default());
        let servers = config["apps"]["http"]["servers"].as_object().unwrap();
        assert_eq!(servers.len(), 4);
        for (name, server) in servers {
            let wrappers = &server["listener_wrappers"];
            assert_eq!(wrappers[0]["wrapper"], "proxy_protocol", "{name}");
            assert_eq!(wrappers[0]["allow"], json!(["198.18.244.2/32"]));
            assert_eq!(wrappers[0].get("fallback_policy"), None, "others' headers are ignored");
            assert_eq!(wrappers[1], json!({"wrapper": "tls"}), "TLS begins behind the header");
        }
    }
}
