//! Caddy's maintenance servers: for each host with a page of its own that page, for the others the default one. What is in
//! a page is only data: it is sent as it stands.

use std::collections::BTreeMap;

use caddyfile::Scheme;
use serde_json::{Value, json};

use super::base::rank;
use crate::model::MaintenancePage;
use crate::proxy::render::Pages;
use crate::proxy::{MAINTENANCE_PAGE, ProxySettings};

/// The routes of the server for a scheme: exact hosts, then wildcards, the longest first, then the rest.
pub(super) fn routes(settings: &ProxySettings, pages: &Pages, scheme: Scheme) -> Vec<Value> {
    let mut exact: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut wide = Vec::new();
    for (host, page) in pages.of(scheme) {
        let page = page.map_or(MAINTENANCE_PAGE, MaintenancePage::as_str);
        match host.starts_with('*') {
            true => wide.push((host, page)),
            false => exact.entry(page).or_default().push(host),
        }
    }
    wide.sort_by_key(|&(host, _)| rank(host));
    let exact = exact.into_iter().map(|(page, hosts)| route(settings, &hosts, page));
    let wide = wide.into_iter().map(|(host, page)| route(settings, &[host], page));
    let rest = json!({"handle": [answer(settings, MAINTENANCE_PAGE)]});
    exact.chain(wide).chain([rest]).collect()
}

fn route(settings: &ProxySettings, hosts: &[&str], page: &str) -> Value {
    json!({"match": [{"host": hosts}], "handle": [answer(settings, page)], "terminal": true})
}

fn answer(settings: &ProxySettings, page: &str) -> Value {
    json!({
        "handler": "static_response",
        "status_code": 503,
        "headers": {
            "Cache-Control": ["no-store"],
            // By TLS HAProxy leads connections, not requests: the next one is to find the app, once it is back.
            "Connection": ["close"],
            "Content-Type": ["text/html; charset=utf-8"],
            "Retry-After": [settings.retry_after.to_string()],
        },
        "body": literal(page),
    })
}

/// A placeholder that every Caddy knows and that stands for nothing, as long as no handler sets it: none does.
const NOTHING: &str = "{http.vars.none}";

/// A body that Caddy sends as `text`. It takes what stands in braces for a placeholder, unless a backslash is in front of
/// the brace, which it then drops. Not every release reads what has no opening brace: one sends it as it is, backslashes
/// and all.
fn literal(text: &str) -> String {
    let escaped = || text.replace('{', "\\{").replace('}', "\\}");
    match (text.contains('{'), text.contains("\\}")) {
        (true, _) => escaped(),
        (false, true) => format!("{NOTHING}{}", escaped()),
        (false, false) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_brace_begins_a_placeholder() {
        assert_eq!(literal("a{env.HOME}b"), "a\\{env.HOME\\}b");
        assert_eq!(literal("\\{x\\}"), "\\\\{x\\\\}");
        assert_eq!(literal("a\\}b"), "{http.vars.none}a\\\\}b");
        assert_eq!(literal("a}\\b"), "a}\\b");
    }

    #[test]
    fn exact_hosts_come_before_wildcards_and_the_default_last() {
        let page = |text: &str| MaintenancePage::parse(text.as_bytes()).unwrap();
        let mut pages = Pages::default();
        for (host, text) in [
            ("*.test", "far"),
            ("*.long.test", "near"),
            ("a.test", "shop"),
            ("b.test", "shop"),
            ("c.test", "blog"),
        ] {
            pages.show(Scheme::Https, host, page(text));
        }
        let routes = routes(&ProxySettings::default(), &pages, Scheme::Https);
        let told: Vec<_> = routes
            .iter()
            .map(|route| {
                let body = route["handle"][0]["body"].as_str().unwrap();
                (route["match"][0]["host"].clone(), body.chars().take(4).collect::<String>())
            })
            .collect();
        let expected = [
            (json!(["c.test"]), "blog"),
            (json!(["a.test", "b.test"]), "shop"),
            (json!(["*.long.test"]), "near"),
            (json!(["*.test"]), "far"),
            (Value::Null, "<!do"),
        ];
        assert_eq!(told, expected.map(|(hosts, body)| (hosts, body.to_owned())));
        assert!(routes.iter().all(|route| route["handle"][0]["status_code"] == 503));
        let plain = self::routes(&ProxySettings::default(), &pages, Scheme::Http);
        assert_eq!(plain.len(), 1, "the other scheme has its own");
    }
}
