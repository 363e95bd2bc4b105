//! What another app has.

use serde_json::{Value, json};

use super::*;
use crate::check::candidate::Candidate;

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
    found_of(&app, candidate, &with_container(candidate), &others)
}

fn urls(entry: &AppRecord) -> Vec<SiteUrl> {
    entry.urls.split(", ").filter_map(|url| SiteUrl::parse(url).ok()).collect()
}

/// A compose file whose only service has the container of the entry's.
fn with_container(entry: &AppRecord) -> Manifest {
    manifest(&json!({"services": {"web": {"image": "x", "container_name": entry.ct["web"]}}}))
}

fn manifest(config: &Value) -> Manifest {
    let project = AppName::parse("a_main.11111").unwrap().project();
    Manifest::parse(config, &project, &["btrfs".to_owned()]).unwrap()
}

fn found_of(
    app: &AppName,
    entry: &AppRecord,
    manifest: &Manifest,
    others: &[(AppName, AppRecord)],
) -> Findings {
    let (urls, policy) = (urls(entry), &Policy::DEFAULT);
    let asking = Asking { app, entry, former: None, manifest, urls: &urls, policy };
    let mut findings = own(&asking);
    findings.extend(conflicts(&asking, others));
    findings
}

/// What is found of a compose file's app on node1 and node2 beside another app's, on the pair that is given.
fn of_config(config: Value, other: Value, pair: (&str, Option<&str>)) -> Findings {
    let entry = |config: &Value, pair: (&str, Option<&str>)| {
        let manifest = manifest(config);
        let mut entry = record(pair.0, "", json!({}), "x");
        entry.slave = pair.1.map(|node| node.to_owned().try_into().unwrap());
        Candidate::of(&manifest, None, &Policy::DEFAULT).unwrap().fill(&manifest, &mut entry);
        entry
    };
    let other = (AppName::parse("b_main.22222").unwrap(), entry(&other, pair));
    let (app, own) =
        (AppName::parse("a_main.11111").unwrap(), entry(&config, ("node1", Some("node2"))));
    found_of(&app, &own, &manifest(&config), &[other])
}

/// One service, on the proxies' network.
fn service(name: &str, what: Value) -> Value {
    let mut service = json!({"image": "x", "networks": {"cluster_default": null}});
    for (key, value) in what.as_object().unwrap() {
        service[key] = value.clone();
    }
    json!({"services": {name: service}, "networks": {"cluster_default": {"name": "cluster_default", "external": true}}})
}

#[test]
fn the_proxies_names_are_refused_in_any_case_where_others_hear_of_them() {
    let alone = |config: Value| of_config(config, json!({"services": {}}), ("node3", None)).errors;
    let alias = |alias: &str| json!({"networks": {"cluster_default": {"aliases": [alias]}}});
    for (config, what) in [
        (service("caddy", json!({})), "service caddy: the name \"caddy\""),
        (service("HAProxy", json!({})), "service HAProxy: the name \"HAProxy\""),
        (service("swarm_reverse", json!({})), "the name \"swarm_reverse\""),
        (service("web", alias("Caddy")), "service web: the alias \"Caddy\""),
        (service("web", alias("caddy.cluster_default")), "the alias \"caddy.cluster_default\""),
        (service("web", alias("Tandem-caddy")), "the alias \"Tandem-caddy\""),
        (service("web", json!({"hostname": "HAPROXY"})), "the hostname \"HAPROXY\""),
        (service("web", json!({"container_name": "Caddy"})), "the container name \"Caddy\""),
        (json!({"services": {"web": {"container_name": "haproxy"}}}), "the container name"),
    ] {
        let told = alone(config.clone());
        assert!(told.len() == 1 && told[0].contains(what), "{config}: {told:?}");
    }
    // On a network of the app's own nobody else asks for it.
    assert_eq!(alone(json!({"services": {"caddy": {"image": "x"}}})), [""; 0]);
    assert_eq!(alone(service("caddyshack", json!({}))), [""; 0]);
}

#[test]
fn another_apps_containers_and_aliases_are_refused_in_any_case() {
    let alias = |alias: &str| json!({"networks": {"cluster_default": {"aliases": [alias]}}});
    let other = || service("web", alias("Search"));
    for (config, is_taken) in [
        (service("web", alias("BMAIN22222_web_1")), true),
        (service("web", alias("bmain22222-anything")), true),
        (service("bmain22222_web_1", json!({})), true),
        (service("web", alias("search")), true),
        (service("search", json!({})), true),
        (service("web", json!({"container_name": "bmain22222_web_1"})), true),
        (service("web", alias("web")), false),
        (json!({"services": {"search": {"image": "x"}}}), false),
    ] {
        let told = of_config(config.clone(), other(), ("node3", None)).errors;
        assert_eq!(
            told.iter().any(|what| what.ends_with("belongs to b_main.22222")),
            is_taken,
            "{config}: {told:?}"
        );
        assert_eq!(told.is_empty(), !is_taken, "{config}: {told:?}");
    }
}

#[test]
fn a_service_that_the_proxies_can_not_find_is_refused() {
    let (text, dial) = (
        "http://a.test {\n redir https://b.test\n}",
        "http://a.test {\n proxy / $$CONTAINER:80\n}",
    );
    let haproxy = "{ssh: {frontend: {mode: tcp, bind: ['*:2222']}, backends: [{name: a, port: 22, peer_port: 2222}]}}";
    let web = |more: Value| {
        let mut service = json!({"image": "x"});
        for (key, value) in more.as_object().unwrap() {
            service[key] = value.clone();
        }
        json!({"services": {"web": service}})
    };
    let alone = |config: Value| of_config(config, json!({"services": {}}), ("node3", None)).errors;
    for (config, what) in [
        (web(json!({"environment": {"CADDYFILE": dial}})), "service web: CADDYFILE leads to it"),
        (web(json!({"environment": {"HAPROXY": haproxy}})), "service web: HAPROXY leads to it"),
        (
            web(json!({"environment": {"CADDYFILE": dial}, "network_mode": "host"})),
            "network_mode \"host\"",
        ),
    ] {
        let told = alone(config);
        assert!(told.len() == 1 && told[0].contains(what), "{told:?}");
    }
    assert_eq!(alone(web(json!({"environment": {"CADDYFILE": text}}))), [""; 0]);
    assert_eq!(alone(service("web", json!({"environment": {"CADDYFILE": dial}}))), [""; 0]);
    let idle = of_config(service("db", json!({})), json!({"services": {}}), ("node3", None));
    assert!(idle.errors.is_empty() && idle.warnings[0].starts_with("service db is on"), "{idle:?}");
}

#[test]
fn volumes_are_compared_as_docker_and_btrfs_do() {
    let volume = |name: &str| json!({"services": {}, "volumes": {"data": {"driver": "btrfs", "name": name}}});
    let told = |name: &str, other: &str| {
        of_config(volume(name), volume(other), ("node3", None)).errors.len()
    };
    assert_eq!(told("shop-data", "shop-data"), 1);
    assert_eq!(told("shop-data", "Shop-data"), 0);
    assert_eq!(told("bmain22222_data", "other"), 1);
    assert_eq!(told("amain11111_data", "other"), 0);
    assert_eq!(told("tandem-kept-x", "other"), 1);
    // A volume of another driver is in an entry's claims only.
    let local = json!({"services": {}, "volumes": {"data": {"name": "shop-data"}}});
    assert_eq!(of_config(volume("shop-data"), local, ("node3", None)).errors.len(), 1);
    let external =
        json!({"services": {}, "volumes": {"x": {"name": "shop-data", "external": true}}});
    let told = of_config(external, volume("shop-data"), ("node3", None));
    assert!(told.errors.is_empty() && told.warnings.len() == 1, "{told:?}");
}

#[test]
fn two_apps_that_had_one_volume_before_go_on_where_the_other_is_not() {
    let app = AppName::parse("a_main.11111").unwrap();
    let manifest =
        manifest(&json!({"services": {}, "volumes": {"data": {"driver": "btrfs", "name": "v"}}}));
    let mut entry = record("node1", "", json!({}), "x");
    Candidate::of(&manifest, None, &Policy::DEFAULT).unwrap().fill(&manifest, &mut entry);
    for (master, is_met) in [("node1", true), ("node2", false)] {
        let other = AppRecord { master: master.to_owned().try_into().unwrap(), ..entry.clone() };
        let others = [(AppName::parse("b_main.22222").unwrap(), other)];
        let former = Some(&entry);
        let asking = Asking {
            app: &app,
            entry: &entry,
            former,
            manifest: &manifest,
            urls: &[],
            policy: &Policy::DEFAULT,
        };
        let told = conflicts(&asking, &others);
        assert_eq!(
            (told.errors.len(), told.warnings.len()),
            (usize::from(is_met), usize::from(!is_met))
        );
    }
}

#[test]
fn published_ports_are_refused_where_something_else_has_them() {
    let web = |published: &str, protocol: &str| {
        service(
            "web",
            json!({"ports": [{"target": 1, "published": published, "protocol": protocol}]}),
        )
    };
    let own = |config: Value| of_config(config, json!({"services": {}}), ("node3", None)).errors;
    for (port, protocol, what) in [
        ("80", "tcp", Some("service web: the port 80/tcp is the proxies' own")),
        ("443", "tcp", Some("the proxies' own")),
        ("1443", "tcp", Some("the proxies' own")),
        ("1122", "tcp", Some("is reserved for the node")),
        ("443", "udp", None),
        ("8080", "tcp", None),
    ] {
        let told = own(web(port, protocol));
        assert_eq!(told.len(), usize::from(what.is_some()), "{port}/{protocol}: {told:?}");
        assert!(what.is_none_or(|what| told[0].contains(what)), "{told:?}");
    }
    let haproxy = "{ssh: {frontend: {mode: tcp, bind: ['*:2222']}, backends: [{name: a, port: 22, peer_port: 2222}]}}";
    let bound = || service("web", json!({"environment": {"HAPROXY": haproxy}}));
    let mut both = bound();
    both["services"]["web"]["ports"] = json!([{"target": 22, "published": "2222"}]);
    assert!(own(both)[0].contains("the port 2222/tcp is bound by HAProxy"));
    // HAProxy binds on every node, a container publishes on those of its pair.
    let beside = |config, other, pair| of_config(config, other, pair).errors;
    assert_eq!(beside(web("2222", "tcp"), bound(), ("node3", None)).len(), 1);
    assert_eq!(beside(web("2222", "udp"), bound(), ("node3", None)).len(), 0);
    assert_eq!(beside(bound(), web("2222", "tcp"), ("node3", None)).len(), 1);
    assert_eq!(beside(web("8080", "tcp"), web("8080", "tcp"), ("node3", None)).len(), 0);
    assert_eq!(beside(web("8080", "tcp"), web("8080", "udp"), ("node1", None)).len(), 0);
    assert_eq!(beside(web("8080", "tcp"), web("8080", "tcp"), ("node3", Some("node2"))).len(), 1);
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
        (record("node1", "", tcp("other", "two", 2222), "c"), "port 2222 belongs to b_main.22222"),
        (
            record("node1", "", tcp("other", "one", 2223), "c"),
            "the backend \"one\" belongs to b_main.22222",
        ),
        (
            record("node1", "", tcp("SSH", "two", 2223), "c"),
            "the frontend \"ssh\" belongs to b_main.22222",
        ),
        (
            record("node1", "", tcp("other", "One", 2223), "c"),
            "the backend \"one\" belongs to b_main.22222",
        ),
    ] {
        let findings = found(&own, other);
        assert!(findings.errors.iter().any(|e| e.contains(expected)), "{expected}: {findings:?}");
    }
    let free = found(&own, record("node2", "http://other.test", tcp("other", "two", 2223), "c"));
    assert_eq!(free, Findings::default());
}

#[test]
fn a_host_is_one_apps_with_all_its_paths_and_a_url_twice_an_error() {
    let own = record("node1", "http://h.test/a", json!({}), "amain11111_web_1");
    for master in ["node1", "node2"] {
        let findings = found(&own, record(master, "https://h.test/b", json!({}), "c"));
        assert!(findings.errors.len() == 1, "{findings:?}");
    }
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
