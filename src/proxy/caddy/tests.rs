//! What Caddy could make of a text, if the translation had let it through: the second list refuses it again.

use std::collections::{BTreeMap, BTreeSet};

use caddyfile::{Dialect, Scheme};
use serde_json::{Value, json};

use super::AppRoutes;
use crate::proxy::render::AppSites;
use crate::proxy::tls::TlsSource;

fn sites() -> AppSites {
    AppSites {
        text: String::new(),
        hosts: BTreeMap::from([((Scheme::Http, "a.test".to_owned()), TlsSource::DEFAULT)]),
        given: BTreeMap::new(),
        dialect: Dialect::V2,
        containers: vec!["named".to_owned(), "appmain12345_".to_owned()],
        upstreams: BTreeSet::new(),
    }
}

/// A server on :80 with these routes.
fn server(routes: Value) -> Value {
    json!({"apps": {"http": {"servers": {"srv0": {"listen": [":80"], "routes": routes}}}}})
}

/// The app's one route with these handlers.
fn handled(handler: Value) -> Value {
    server(json!([{"match": [{"host": ["a.test"]}], "handle": [handler], "terminal": true}]))
}

fn matched(matcher: Value) -> Value {
    handled(json!({"handler": "subroute", "routes": [{"match": [matcher]}]}))
}

fn refused(adapted: &Value) -> Option<String> {
    AppRoutes::take(adapted, &sites()).err().map(|error| error.to_string())
}

fn proxy(fields: Value) -> Value {
    let mut handler = json!({"handler": "reverse_proxy", "upstreams": [{"dial": "named:80"}]});
    handler.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    handled(handler)
}

/// `levels` of something inside itself.
fn nested(levels: usize, inside: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..levels).fold(inside, |value, _| wrap(value))
}

#[test]
fn what_apps_need_passes() {
    for good in [
        proxy(json!({})),
        proxy(json!({"upstreams": [{"dial": "appmain12345_web_1:8080"}], "flush_interval": -1})),
        proxy(json!({"health_checks": {"active": {"uri": "/", "interval": 1_000_000_000_i64}}})),
        handled(
            json!({"handler": "static_response", "body": "{http.request.uri}", "status_code": "404"}),
        ),
        matched(json!({"path": ["/x*"], "not": [{"method": ["GET"]}]})),
    ] {
        assert_eq!(refused(&good), None, "{good}");
    }
}

/// Each is refused, for a reason that says this.
fn all_refused(cases: &[(Value, &str)]) {
    for (bad, expected) in cases {
        let what = refused(bad).unwrap_or_default();
        let shown: String = bad.to_string().chars().take(300).collect();
        assert!(what.contains(expected), "{shown}: {what:?}");
    }
}

#[test]
fn a_configuration_has_routes_for_the_apps_hosts_only() {
    all_refused(&[
        (json!({"logging": {}}), "logging"),
        (json!({"apps": {"events": {}}}), "events"),
        (json!({"apps": {"http": {"http_port": 81, "servers": {}}}}), "http_port"),
        (json!({"apps": {"http": {"servers": {"x": {"listen": [":8080"]}}}}}), "listens elsewhere"),
        (
            json!({"apps": {"http": {"servers": {"x": {"listen": [":80", ":81"]}}}}}),
            "listens elsewhere",
        ),
        (
            json!({"apps": {"http": {"servers": {"x": {"listen": ["unix//x"]}}}}}),
            "listens elsewhere",
        ),
        (
            json!({"apps": {"http": {"servers": {"x": {"listen": [":80"], "named_routes": {}}}}}}),
            "named_routes",
        ),
        (
            json!({"apps": {"http": {"servers": {"x": {"listen": [":80"], "strict_sni_host": true}}}}}),
            "strict_sni",
        ),
        (server(json!([{"handle": []}])), "not for one host"),
        (server(json!([{"match": [{"host": ["b.test"]}]}])), "b.test"),
        (server(json!([{"match": [{"host": ["a.test", "b.test"]}]}])), "not for one host"),
        (
            server(json!([{"match": [{"host": ["a.test"]}, {"host": ["b.test"]}]}])),
            "not for one host",
        ),
        (server(json!([{"match": [{"path": ["/"]}]}])), "not for one host"),
    ]);
}

#[test]
fn handlers_and_matchers_are_of_the_list() {
    let deep_route = |inside| json!({"handler": "subroute", "routes": [{"handle": [inside]}]});
    all_refused(&[
        (handled(json!({"handler": "file_server"})), "file_server"),
        (handled(json!({"handler": "templates"})), "templates"),
        (handled(json!({"handler": "vars", "x": "y"})), "vars"),
        (handled(json!({"handler": "map"})), "map"),
        (handled(json!({"handler": "invoke", "name": "x"})), "invoke"),
        (handled(json!({"handler": "acme_server"})), "acme_server"),
        (handled(json!({"handler": "metrics"})), "metrics"),
        (handled(json!({"handler": "tracing"})), "tracing"),
        (handled(json!({"handler": "intercept"})), "intercept"),
        (handled(json!("file_server")), "handler"),
        (handled(json!({"handler": "static_response", "body": "{file./etc/passwd}"})), "file."),
        (handled(json!({"handler": "static_response", "body": "{system.hostname}"})), "system."),
        (handled(json!({"handler": "authentication", "providers": {"jwt": {}}})), "jwt"),
        (matched(json!({"file": {"try_files": ["/etc/shadow"]}})), "file"),
        (matched(json!({"expression": "true"})), "expression"),
        (matched(json!({"not": [{"file": {}}]})), "file"),
        (handled(nested(40, json!({"handler": "subroute"}), deep_route)), "too deep"),
        (matched(nested(40, json!({}), |inside| json!({"not": [inside]}))), "too deep"),
    ]);
}

#[test]
fn proxies_dial_the_apps_containers_within_bounds() {
    all_refused(&[
        (proxy(json!({"handle_response": []})), "handle_response"),
        (proxy(json!({"dynamic_upstreams": {"source": "a"}})), "dynamic_upstreams"),
        (proxy(json!({"upstreams": [{"dial": "unix//run/docker.sock"}]})), "docker.sock"),
        (proxy(json!({"upstreams": [{"dial": "appmain12345_web_1.evil.test:80"}]})), "evil.test"),
        (proxy(json!({"upstreams": [{"dial": "127.0.0.1:2019"}]})), "127.0.0.1"),
        (proxy(json!({"upstreams": [{"dial": "named:80-90"}]})), "80-90"),
        (proxy(json!({"upstreams": [{"dial": "{http.request.header.X}:80"}]})), "header.X"),
        (proxy(json!({"upstreams": [{"lookup_srv": "x"}]})), "lookup_srv"),
        (proxy(json!({"transport": {"protocol": "fastcgi"}})), "transport"),
        (proxy(json!({"transport": {"protocol": "http", "tls": {"ca": "x"}}})), "ca"),
        (proxy(json!({"transport": {"protocol": "http", "resolver": {}}})), "resolver"),
        (proxy(json!({"health_checks": {"active": {"interval": 1}}})), "too short"),
        (proxy(json!({"load_balancing": {"try_interval": 1}})), "too short"),
        (
            proxy(json!({"load_balancing": {"try_duration": 35_996_400_000_000_000_i64}})),
            "too large",
        ),
        (proxy(json!({"load_balancing": {"retries": u64::MAX}})), "too large"),
        (proxy(json!({"load_balancing": {"retries": 1e300}})), "too large"),
        (proxy(json!({"headers": {"request": {"set": {"X": ["{env.TOKEN}"]}}}})), "env.TOKEN"),
        (proxy(json!({"headers": {"request": {"set": {"{env.TOKEN}": ["x"]}}}})), "env.TOKEN"),
        (proxy(json!({"headers": nested(100, json!(1), |inside| json!([inside]))})), "too deep"),
    ]);
}
