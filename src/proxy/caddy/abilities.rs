//! What a Caddy of 2.7 and later can do beyond 2.6: it reads the PROXY protocol, so that it knows its clients, writes it
//! where it sends a request once more, and keeps streams over a load. The three came together, and are used together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// HAProxy sends its header at once; in nanoseconds.
const HEADER_TIMEOUT: u64 = 5_000_000_000;
/// So long a stream, a websocket say, lives on after the load that ended its configuration. As long as HAProxy's old
/// workers do; in nanoseconds.
const STREAM_CLOSE_DELAY: u64 = 1_800_000_000_000;
/// A text that only a current Caddy takes; none of it is ever served.
pub(in crate::proxy) const PROBE: &str = "\
{
	admin off
	auto_https off
	servers {
		listener_wrappers {
			proxy_protocol {
				timeout 5s
				allow 127.0.0.1/32
			}
			tls
		}
	}
}

http://probe.invalid {
	reverse_proxy 127.0.0.1:1 {
		stream_close_delay 1s
		transport http {
			proxy_protocol v2
		}
	}
}
";

/// What is known of a node's Caddy. The default is one of 2.6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaddyAbilities {
    /// HAProxy's addresses as Caddy sees them, which alone may name a client. Empty: Caddy does not know the PROXY protocol.
    pub haproxy: BTreeSet<IpAddr>,
    /// Caddy's addresses as HAProxy sees them, for the requests that Caddy sends once more.
    pub caddy: BTreeSet<IpAddr>,
    /// Whether the two meet on a network of their own, by names that no app can take.
    #[serde(default)]
    pub apart: bool,
}

impl CaddyAbilities {
    /// Whether it can do more than 2.6.
    pub fn is_current(&self) -> bool {
        !self.haproxy.is_empty()
    }

    /// Whether a configuration of Caddy expects the PROXY protocol.
    pub fn are_used_by(config: &Value) -> bool {
        config.pointer("/apps/http/servers/http/listener_wrappers").is_some()
    }

    /// Puts them to use in all of Caddy's configuration but the routes of apps, which are text.
    pub(super) fn put_into(&self, config: &mut Value) {
        let servers = config.pointer_mut("/apps/http/servers").and_then(Value::as_object_mut);
        for (_, server) in servers.into_iter().flatten() {
            if self.is_current() {
                server["listener_wrappers"] = self.wrappers();
            }
        }
    }

    /// The route in front of all those by HTTP.
    pub(super) fn first_route(&self) -> Option<String> {
        self.is_current().then(|| real_ip().to_string())
    }

    /// What comes from elsewhere, a container of an app say, is served, and its header counts for nothing.
    fn wrappers(&self) -> Value {
        let allow: Vec<_> = self.haproxy.iter().map(|ip| whole(*ip)).collect();
        json!([
            {"wrapper": "proxy_protocol", "timeout": HEADER_TIMEOUT, "allow": allow},
            // Where TLS begins: behind the header.
            {"wrapper": "tls"},
        ])
    }
}

/// By HTTP, too, the app is told of the client that the connection names.
fn real_ip() -> Value {
    let set = json!({"X-Real-Ip": ["{http.request.remote.host}"]});
    json!({"handle": [{"handler": "headers", "request": {"set": set}}]})
}

/// An address as a range of its own.
fn whole(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => format!("{ip}/128"),
    }
}

/// A route as text, for a Caddy of 2.6 and for a current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteText {
    plain: Box<str>,
    /// None if it is the same.
    current: Option<Box<str>>,
}

impl RouteText {
    pub(super) fn of(route: &Value) -> Self {
        let mut all = json!([route]);
        routes(&mut all);
        let current = all.get(0).filter(|changed| *changed != route);
        let current = current.map(|changed| changed.to_string().into());
        Self { plain: route.to_string().into(), current }
    }

    pub(super) fn for_caddy(&self, abilities: &CaddyAbilities) -> &str {
        let current = self.current.as_deref().filter(|_| abilities.is_current());
        current.unwrap_or(&self.plain)
    }
}

/// A list of routes, and those inside of them.
fn routes(value: &mut Value) {
    for route in value.as_array_mut().into_iter().flatten() {
        let handlers = route.get_mut("handle").and_then(Value::as_array_mut);
        for handler in handlers.into_iter().flatten() {
            if let Some(inside) = handler.get_mut("routes") {
                routes(inside);
            }
            if handler["handler"] == "reverse_proxy" {
                reverse_proxy(handler);
            }
        }
    }
}

/// The client is who the connection says, not who stands in a header.
fn reverse_proxy(handler: &mut Value) {
    if let Some(fields) = handler.as_object_mut() {
        fields.remove("trusted_proxies");
        fields.insert("stream_close_delay".to_owned(), json!(STREAM_CLOSE_DELAY));
    }
}

/// Whether Caddy's refusal of the [`PROBE`] is about what it probes.
pub(in crate::proxy) fn is_about_abilities(refusal: &str) -> bool {
    ["proxy_protocol", "stream_close_delay"].iter().any(|word| refusal.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ProxySettings;
    use crate::proxy::caddy::config;
    use crate::proxy::render::Pages;

    fn current() -> ProxySettings {
        let caddy_abilities = CaddyAbilities {
            haproxy: ["172.18.0.5", "fd00::5"].map(|ip| ip.parse().unwrap()).into(),
            caddy: BTreeSet::new(),
            apart: false,
        };
        ProxySettings { caddy_abilities, ..ProxySettings::default() }
    }

    #[test]
    fn every_server_believes_haproxy_and_nobody_else() {
        let config = config(&current(), &Default::default(), &Pages::default());
        let servers = config["apps"]["http"]["servers"].as_object().unwrap();
        assert_eq!(servers.len(), 4);
        for (name, server) in servers {
            let wrappers = &server["listener_wrappers"];
            assert_eq!(wrappers[0]["wrapper"], "proxy_protocol", "{name}");
            assert_eq!(wrappers[0]["allow"], json!(["172.18.0.5/32", "fd00::5/128"]));
            assert_eq!(wrappers[0].get("fallback_policy"), None, "others' headers are ignored");
            assert_eq!(wrappers[1], json!({"wrapper": "tls"}), "TLS begins behind the header");
        }
        assert!(CaddyAbilities::are_used_by(&config));
        let old = self::config(&ProxySettings::default(), &Default::default(), &Pages::default());
        assert!(!old.to_string().contains("listener_wrappers"), "2.6 would refuse the whole");
        assert!(!CaddyAbilities::are_used_by(&old));
    }

    #[test]
    fn every_reverse_proxy_is_told_wherever_it_stands() {
        let proxy = || json!({"handler": "reverse_proxy", "trusted_proxies": ["10.0.0.0/8"]});
        let inner = json!({"handler": "subroute", "routes": [{"handle": [proxy()]}]});
        let mut all = json!([{"handle": [{"handler": "encode"}, inner, proxy()]}]);
        routes(&mut all);
        let told = json!({"handler": "reverse_proxy", "stream_close_delay": STREAM_CLOSE_DELAY});
        assert_eq!(all[0]["handle"][1]["routes"][0]["handle"][0], told);
        assert_eq!(all[0]["handle"][2], told);
        assert_eq!(all[0]["handle"][0], json!({"handler": "encode"}));
    }

    #[test]
    fn only_its_own_words_say_that_a_caddy_is_old() {
        assert!(is_about_abilities("module not registered: caddy.listeners.proxy_protocol"));
        assert!(!is_about_abilities("the check took too long, or too much memory"));
    }
}
