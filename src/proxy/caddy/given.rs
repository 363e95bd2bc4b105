//! Certificates that an admin gives hosts by a policy: loaded from files, shown for these hosts and for no others, and
//! never asked for from an authority.

use std::collections::{BTreeMap, BTreeSet};

use caddyfile::Scheme;
use serde_json::{Value, json};

use super::Apps;
use crate::proxy::tls::{Given, TlsSource};

/// No certificate has it: tags are hexadecimal digits.
const NO_TAG: &str = "none";

/// The hosts by TLS, and where their certificates come from.
fn hosts(apps: &Apps) -> impl Iterator<Item = (&str, &TlsSource)> {
    let all = apps.values().flat_map(|(sites, _)| &sites.hosts);
    all.filter(|((scheme, _), _)| *scheme == Scheme::Https)
        .map(|((_, host), choice)| (host.as_str(), choice))
}

/// The given hosts, each with the tag of its certificate.
fn given(apps: &Apps) -> impl Iterator<Item = (&str, &str)> {
    hosts(apps).filter_map(|(host, choice)| match choice {
        TlsSource::Given(given) => {
            Some((host, given.as_ref().map_or(NO_TAG, |given| given.tag.as_str())))
        }
        TlsSource::Issued(_) | TlsSource::Lent(_) => None,
    })
}

/// What Caddy loads, each pair of files once.
pub(super) fn files(apps: &Apps) -> Vec<Value> {
    let all = apps.values().flat_map(|(sites, _)| sites.given_files());
    let once: BTreeMap<_, _> = all.map(|given| (given.tag.as_str(), given)).collect();
    let file = |(tag, given): (&str, &Given)| {
        let (certificate, key) = (&given.certificate, &given.key);
        json!({"certificate": certificate, "key": key, "format": "pem", "tags": [tag]})
    };
    once.into_iter().map(file).collect()
}

/// Caddy manages the certificates of all hosts but the given ones; also where a given one would do, by its wildcard,
/// for a host that it was not given for.
pub(super) fn automatic_https(apps: &Apps) -> Value {
    let mut automatic = json!({"disable_redirects": true});
    let skipped: BTreeSet<_> = given(apps).map(|(host, _)| host).collect();
    if !skipped.is_empty() {
        automatic["skip_certificates"] = json!(skipped);
        automatic["ignore_loaded_certificates"] = json!(true);
    }
    automatic
}

/// Which certificates may be shown for which hosts; the first that fits decides. A wildcard's stand behind the hosts of
/// others that lie below it.
pub(super) fn connection_policies(apps: &Apps) -> Value {
    let mut exact: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut wild: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (host, tag) in given(apps) {
        let place = if host.starts_with('*') { &mut wild } else { &mut exact };
        place.entry(tag).or_default().insert(host);
    }
    let suffixes: BTreeSet<_> =
        wild.values().flatten().filter_map(|host| host.strip_prefix('*')).collect();
    let is_below = |host: &str| {
        host.find('.').and_then(|at| host.get(at..)).is_some_and(|above| suffixes.contains(above))
    };
    let others: BTreeSet<_> = hosts(apps)
        .filter(|(host, choice)| !matches!(choice, TlsSource::Given(_)) && is_below(host))
        .map(|(host, _)| host)
        .collect();
    let only = |(tag, hosts): (&str, BTreeSet<&str>)| {
        let selection = json!({"any_tag": [tag]});
        json!({"match": {"sni": hosts}, "certificate_selection": selection})
    };
    let mut policies: Vec<_> = exact.into_iter().map(only).collect();
    policies.extend((!others.is_empty()).then(|| json!({"match": {"sni": others}})));
    policies.extend(wild.into_iter().map(only));
    policies.push(json!({}));
    Value::Array(policies)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use caddyfile::{Dialect, TlsWish};

    use super::*;
    use crate::model::AppName;
    use crate::proxy::caddy::AppRoutes;
    use crate::proxy::render::AppSites;

    type Served = (Arc<AppSites>, Arc<AppRoutes>);

    fn app(name: &str, hosts: &[(&str, Option<&str>)]) -> (AppName, Served) {
        let choice = |tag: &Option<&str>| match tag {
            None => TlsSource::Issued(TlsWish::Internal),
            Some("") => TlsSource::Given(None),
            Some(tag) => TlsSource::Given(Some(Box::new(Given {
                tag: (*tag).to_owned(),
                certificate: format!("/given/{tag}.crt").into(),
                key: format!("/given/{tag}.key").into(),
            }))),
        };
        let hosts = hosts.iter();
        let sites = AppSites {
            text: String::new(),
            hosts: hosts
                .map(|(host, tag)| ((Scheme::Https, (*host).to_owned()), choice(tag)))
                .collect(),
            given: BTreeMap::new(),
            dialect: Dialect::V2,
            containers: Vec::new(),
            upstreams: BTreeSet::new(),
        };
        (AppName::parse(name).unwrap(), (Arc::new(sites), Arc::default()))
    }

    #[test]
    fn a_certificate_is_loaded_once_and_shown_for_the_hosts_that_have_it() {
        let apps = Apps::from([
            app("a_main.11111", &[("a.test", Some("0a")), ("*.w.test", Some("0b"))]),
            app("b_main.22222", &[("b.test", Some("0a")), ("x.w.test", None), ("c.test", None)]),
            app("d_main.33333", &[("y.w.test", Some("0a")), ("lost.test", Some(""))]),
        ]);
        let file = |tag: &str| {
            json!({"certificate": format!("/given/{tag}.crt"), "key": format!("/given/{tag}.key"),
                "format": "pem", "tags": [tag]})
        };
        assert_eq!(files(&apps), [file("0a"), file("0b")]);
        let automatic = automatic_https(&apps);
        let skipped = ["*.w.test", "a.test", "b.test", "lost.test", "y.w.test"];
        assert_eq!(automatic["skip_certificates"], json!(skipped));
        let only = |hosts: &[&str], tag: &str| {
            let selection = json!({"any_tag": [tag]});
            json!({"match": {"sni": hosts}, "certificate_selection": selection})
        };
        let policies = json!([
            only(&["a.test", "b.test", "y.w.test"], "0a"),
            only(&["lost.test"], "none"),
            // Not the wildcard's: it is another app's host.
            {"match": {"sni": ["x.w.test"]}},
            only(&["*.w.test"], "0b"),
            {},
        ]);
        assert_eq!(connection_policies(&apps), policies);
    }

    #[test]
    fn without_any_caddy_is_told_nothing_of_it() {
        let apps = Apps::from([app("a_main.11111", &[("a.test", None), ("*.w.test", None)])]);
        assert_eq!(files(&apps), Vec::<Value>::new());
        assert_eq!(automatic_https(&apps), json!({"disable_redirects": true}));
        assert_eq!(connection_policies(&apps), json!([{}]));
    }
}
