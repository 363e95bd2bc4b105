//! What a new version may not do to other apps: serve their URLs, take their ports or their names. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AppName, AppRecord};
use crate::proxy::caddyfile::SiteUrl;
use crate::proxy::haproxy::{Backend, Declaration, Keyword, parse_all};

/// What a look at the other apps brought up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Each is a reason to refuse.
    pub errors: Vec<String>,
    /// Each is worth knowing.
    pub warnings: Vec<String>,
}

/// Compares a candidate with every other app. `urls` are the candidate's, as its services declare them.
pub fn conflicts(
    app: &AppName,
    candidate: &AppRecord,
    urls: &[SiteUrl],
    others: &BTreeMap<AppName, AppRecord>,
) -> Findings {
    let mut findings = Findings::default();
    findings.errors.extend(repeated(urls));
    findings.errors.extend(foreign_containers(app, candidate, others));
    let own = declarations(candidate);
    for (name, other) in others.iter().filter(|(name, _)| *name != app) {
        let theirs = urls_of(other);
        findings.errors.extend(served(name, urls, &theirs));
        if other.master != candidate.master {
            findings.warnings.extend(shared_hosts(name, other, urls, &theirs));
        }
        findings.errors.extend(taken(name, &own, &declarations(other)));
    }
    findings
}

/// `container_name` may name a container freely, but not as another app's or the proxies' own: the proxies reach an
/// app's containers by the names that its entry holds.
fn foreign_containers(
    app: &AppName,
    candidate: &AppRecord,
    others: &BTreeMap<AppName, AppRecord>,
) -> Vec<String> {
    let is_of = |name: &str, app: &AppName| {
        let project = app.project();
        name.strip_prefix(project.as_str()).is_some_and(|rest| rest.starts_with(['_', '-']))
    };
    let taken = |name: &str| {
        let own = name == "caddy" || name == "haproxy" || name.starts_with("tandem-");
        let other = others.iter().filter(|(other, _)| *other != app).find(|(other, record)| {
            is_of(name, other) || record.ct.values().any(|container| container == name)
        });
        match other {
            Some((other, _)) => Some(format!("belongs to {other}")),
            None => own.then(|| "is one of the proxies' containers".to_owned()),
        }
    };
    let foreign = candidate.ct.iter().filter(|(_, name)| !is_of(name, app));
    foreign
        .filter_map(|(service, name)| {
            Some(format!("service {service}: the container name {name:?} {}", taken(name)?))
        })
        .collect()
}

fn repeated(urls: &[SiteUrl]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let twice = urls.iter().filter(|url| !seen.insert(*url));
    twice.map(|url| format!("{url} is declared twice")).collect()
}

/// The addresses in an entry's `urls`; what the older system wrote and can't be read is no conflict.
fn urls_of(record: &AppRecord) -> BTreeSet<SiteUrl> {
    record.urls.split(',').filter_map(|url| SiteUrl::parse(url.trim()).ok()).collect()
}

/// What another app serves already: by HTTP, by HTTPS or by both makes no difference.
fn served(name: &AppName, urls: &[SiteUrl], theirs: &BTreeSet<SiteUrl>) -> Vec<String> {
    let same = |url: &SiteUrl| {
        let is_same = |other: &&SiteUrl| other.host == url.host && other.path == url.path;
        let (is_known, other) = (theirs.contains(url), theirs.iter().find(is_same)?);
        Some(match is_known {
            true => format!("{url} is served by {name}"),
            false => format!(
                "{url}: {other} is served by {name}, and both schemes of a host are one app's"
            ),
        })
    };
    urls.iter().filter_map(same).collect()
}

/// Hosts that both have, with different paths.
fn shared_hosts(
    name: &AppName,
    other: &AppRecord,
    urls: &[SiteUrl],
    theirs: &BTreeSet<SiteUrl>,
) -> Vec<String> {
    let hosts: BTreeSet<&str> = urls.iter().map(|url| url.host.as_str()).collect();
    let is_of =
        |host: &str, path: &str| urls.iter().any(|url| url.host == host && url.path == path);
    let is_shared = |url: &SiteUrl, host: &str| url.host == host && !is_of(host, &url.path);
    let shared = hosts.into_iter().filter(|host| theirs.iter().any(|url| is_shared(url, host)));
    let master = &other.master;
    shared
        .map(|host| {
            format!("{host} is also a domain of {name} on {master}: requests reach one of the two")
        })
        .collect()
}

fn declarations(record: &AppRecord) -> Vec<Declaration> {
    // Whether it may use a keyword is asked elsewhere.
    parse_all(&record.haproxy, &Keyword::ALL.into()).unwrap_or_default()
}

fn taken(name: &AppName, own: &[Declaration], theirs: &[Declaration]) -> Vec<String> {
    let mut errors = Vec::new();
    for declaration in own {
        for other in theirs {
            let (Ok(frontend), Ok(taken)) = (&declaration.place, &other.place) else {
                continue;
            };
            if declaration.name.eq_ignore_ascii_case(&other.name) {
                errors.push(format!("HAPROXY: the frontend {:?} belongs to {name}", other.name));
            }
            for bind in &frontend.binds {
                if taken.binds.iter().any(|theirs| theirs.port == bind.port) {
                    errors.push(format!("HAPROXY: port {} belongs to {name}", bind.port));
                }
            }
        }
        let names = theirs
            .iter()
            .flat_map(|other| other.backends.iter().map(|backend| other.backend_name(backend)));
        let names: BTreeSet<String> = names.map(|name| name.to_ascii_lowercase()).collect();
        let is_taken = |backend: &&Backend| {
            names.contains(&declaration.backend_name(backend).to_ascii_lowercase())
        };
        for backend in declaration.backends.iter().filter(is_taken) {
            errors.push(format!("HAPROXY: the backend {:?} belongs to {name}", backend.name));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(master: &str, urls: &str, haproxy: Value, container: &str) -> AppRecord {
        let record = json!({
            "repo_url": "git://h/a", "branch": "main", "deploy_id": "1", "master": master, "urls": urls,
            "haproxy": haproxy, "ct": {"web": container},
        });
        serde_json::from_value(record).unwrap()
    }

    fn tcp(name: &str, backend: &str, port: u16) -> Value {
        json!({name: {
            "frontend": {"mode": "tcp", "bind": [format!("*:{port}")]},
            "backends": [{"name": backend, "port": 22, "peer_port": port, "ct": "x"}],
        }})
    }

    fn found(candidate: &AppRecord, other: AppRecord) -> Findings {
        let app = AppName::parse("a_main.11111").unwrap();
        let others =
            [(AppName::parse("b_main.22222").unwrap(), other), (app.clone(), candidate.clone())];
        let urls: Vec<SiteUrl> =
            candidate.urls.split(", ").filter_map(|url| SiteUrl::parse(url).ok()).collect();
        conflicts(&app, candidate, &urls, &others.into())
    }

    #[test]
    fn what_another_app_has_is_refused_naming_it() {
        let own = record(
            "node1",
            "http://x.test, http://H.test:80",
            tcp("ssh", "one", 2222),
            "amain11111_web_1",
        );
        for (other, expected) in [
            (
                record("node1", "http://h.test", json!({}), "c"),
                "http://h.test is served by b_main.22222",
            ),
            (
                record("node2", "https://h.test", json!({}), "c"),
                "http://h.test: https://h.test is served by b_main.22222",
            ),
            (
                record("node1", "", tcp("ssh", "two", 2223), "c"),
                "the frontend \"ssh\" belongs to b_main.22222",
            ),
            (
                record("node1", "", tcp("other", "two", 2222), "c"),
                "port 2222 belongs to b_main.22222",
            ),
            (
                record("node1", "", tcp("other", "one", 2223), "c"),
                "the backend \"one\" belongs to b_main.22222",
            ),
            (
                record("node1", "", tcp("SSH", "two", 2223), "c"),
                "the frontend \"SSH\" belongs to b_main.22222",
            ),
            (
                record("node1", "", tcp("other", "One", 2223), "c"),
                "the backend \"one\" belongs to b_main.22222",
            ),
        ] {
            let findings = found(&own, other);
            assert!(
                findings.errors.iter().any(|e| e.contains(expected)),
                "{expected}: {findings:?}"
            );
        }
        let free =
            found(&own, record("node2", "http://other.test", tcp("other", "two", 2223), "c"));
        assert_eq!(free, Findings::default());
    }

    #[test]
    fn a_shared_host_on_another_master_is_a_warning_and_a_url_twice_an_error() {
        let own = record("node1", "http://h.test/a", json!({}), "amain11111_web_1");
        let findings = found(&own, record("node2", "https://h.test/b", json!({}), "c"));
        assert!(findings.errors.is_empty() && findings.warnings.len() == 1, "{findings:?}");
        let twice = record("node1", "http://h.test, HTTP://h.test/", json!({}), "amain11111_web_1");
        assert!(
            found(&twice, record("node1", "", json!({}), "c")).errors[0].contains("declared twice")
        );
    }

    #[test]
    fn a_container_name_can_not_be_another_apps() {
        for (name, expected) in [
            ("bmain22222_web_1", "belongs to b_main.22222"),
            ("named", "belongs to b_main.22222"),
            ("caddy", "proxies' containers"),
        ] {
            let own = record("node1", "", json!({}), name);
            let findings = found(&own, record("node1", "", json!({}), "named"));
            assert!(findings.errors.iter().any(|e| e.contains(expected)), "{name}: {findings:?}");
        }
        let own = record("node1", "", json!({}), "free");
        assert_eq!(found(&own, record("node1", "", json!({}), "named")), Findings::default());
    }
}
