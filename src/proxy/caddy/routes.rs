//! The routes of one app, taken out of what Caddy made of its text.

use caddyfile::Scheme;
use serde_json::{Value, json};

use super::NotAllowed;
use super::allow::{array, fields, refuse, routes};
use crate::proxy::render::{AppSites, is_of_project};

/// So long a stream, a websocket say, lives on after the load that ended its configuration. As long as HAProxy's old
/// workers do; in nanoseconds.
pub(super) const STREAM_CLOSE_DELAY: u64 = 1_800_000_000_000;

/// Routes, each for one host, in the form that they have in Caddy's configuration: as text, because they were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppRoutes {
    pub(super) http: Vec<(Box<str>, Box<str>)>,
    pub(super) https: Vec<(Box<str>, Box<str>)>,
    pub(super) http_errors: Vec<Box<str>>,
    pub(super) https_errors: Vec<Box<str>>,
}

impl AppRoutes {
    /// Takes the routes out of an adapted configuration; the rest of it is left behind, and what isn't known is refused.
    pub fn take(adapted: &Value, sites: &AppSites) -> Result<Self, NotAllowed> {
        let all = fields(adapted, &["admin", "apps"], "the configuration")?;
        let apps = all.get("apps").unwrap_or(&Value::Null);
        fields(apps, &["http", "tls", "pki"], "the configuration")?;
        let http = apps.get("http").unwrap_or(&Value::Null);
        fields(http, &["servers"], "http")?;
        let mut taken = Self::default();
        let servers = http.get("servers").and_then(Value::as_object);
        for server in servers.into_iter().flat_map(|servers| servers.values()) {
            taken.server(server, sites)?;
        }
        Ok(taken)
    }

    fn server(&mut self, server: &Value, sites: &AppSites) -> Result<(), NotAllowed> {
        let known = ["listen", "routes", "errors", "automatic_https", "tls_connection_policies"];
        fields(server, &known, "a server")?;
        let listen = server.get("listen").map_or(Ok(&[][..]), array)?;
        let scheme = match listen.iter().map(Value::as_str).collect::<Vec<_>>().as_slice() {
            [Some(":80")] => Scheme::Http,
            [Some(":443")] => Scheme::Https,
            _ => return refuse("a server listens elsewhere than on 80 and 443"),
        };
        let may_dial = |dial: &str| {
            is_own(dial, &sites.containers) || sites.upstreams.contains(&dial.to_ascii_lowercase())
        };
        for (field, value) in
            [("routes", server.get("routes")), ("errors", server.pointer("/errors/routes"))]
        {
            let Some(value) = value else { continue };
            routes(value, &may_dial, 0)?;
            for route in array(value)? {
                let host = single_host(route)?;
                if !sites.hosts.contains_key(&(scheme, host.to_owned())) {
                    return refuse(format!("a route is for the host {host:?}"));
                }
                self.add(scheme, field, host, route);
            }
        }
        Ok(())
    }

    fn add(&mut self, scheme: Scheme, field: &str, host: &str, route: &Value) {
        let mut route = route.clone();
        keep_streams(&mut route);
        let text = route.to_string().into();
        match (scheme, field) {
            (Scheme::Http, "errors") => self.http_errors.push(text),
            (Scheme::Https, "errors") => self.https_errors.push(text),
            (Scheme::Http, _) => self.http.push((host.into(), text)),
            (Scheme::Https, _) => self.https.push((host.into(), text)),
        }
    }
}

/// Every reverse proxy of a route lets its streams outlive a load.
fn keep_streams(route: &mut Value) {
    let handlers = route.get_mut("handle").and_then(Value::as_array_mut);
    for handler in handlers.into_iter().flatten() {
        let inside = handler.get_mut("routes").and_then(Value::as_array_mut);
        inside.into_iter().flatten().for_each(keep_streams);
        if handler["handler"] == "reverse_proxy" {
            handler["stream_close_delay"] = json!(STREAM_CLOSE_DELAY);
        }
    }
}

/// The one host of a route at the top: without it the route would be for everybody's requests.
fn single_host(route: &Value) -> Result<&str, NotAllowed> {
    let matchers = route.get("match").map_or(Ok(&[][..]), array)?;
    if let [matcher] = matchers
        && let Some([Value::String(host)]) =
            matcher.get("host").and_then(Value::as_array).map(Vec::as_slice)
    {
        return Ok(host);
    }
    refuse("a route is not for one host")
}

/// Whether an upstream is a container: one of the names, or one that begins with the project's.
pub(in crate::proxy) fn is_own(dial: &str, containers: &[String]) -> bool {
    let Some((host, port)) = dial.rsplit_once(':') else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    host.chars().all(plain)
        && port.parse::<u16>().is_ok()
        && containers.iter().any(|name| match name.ends_with(['_', '-']) {
            true => is_of_project(name, host),
            false => host == name,
        })
}
