//! Golden files: inputs and what they become, in `fixtures/proxy/`. `UPDATE_GOLDEN=1` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caddyfile::Scheme;
use serde_json::{Map, Value};

use super::{AppSites, Pages, Rendered, Templates, render};
use crate::model::NodeName;
use crate::proxy::caddy::{AppRoutes, config};
use crate::proxy::tls::{Given, TlsSource};
use crate::proxy::{ClusterView, ProxySettings};

fn fixtures(dir: &str, extension: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proxy").join(dir);
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|known| known == extension)).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn compare(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, text).unwrap();
    }
    let golden = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn render_on(me: &str, entries: &Map<String, Value>) -> Rendered {
    render_with(&ProxySettings::default(), me, entries)
}

fn render_with(settings: &ProxySettings, me: &str, entries: &Map<String, Value>) -> Rendered {
    let node = |name: &str| NodeName::parse(name).unwrap();
    let nodes = [("node1", "10.10.20.1"), ("node2", "10.10.20.2"), ("node3", "10.10.20.3")];
    let nodes = nodes.map(|(name, ip)| (node(name), ip.to_owned()));
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| (key.as_str(), value.to_string().into_bytes())).collect();
    let entries = entries.iter().map(|(key, value)| (*key, value.as_slice()));
    let (view, problems) = ClusterView::from_entries(node(me), nodes.into(), entries);
    assert!(problems.is_empty(), "{problems:?}");
    let templates = Templates::built_in().unwrap();
    let rendered = render(&view, settings, &templates, &Default::default());
    let again = render(&view, settings, &templates, &Default::default());
    let rendered = rendered.unwrap();
    assert_eq!(rendered, again.unwrap(), "the same view gives the same bytes");
    rendered
}

#[test]
fn caddyfiles_become_what_the_golden_files_hold() {
    for path in fixtures("caddyfile", "caddyfile") {
        let text = fs::read_to_string(&path).unwrap();
        let container = "appmain12345_web_1";
        let record = serde_json::json!({
            "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1",
            "caddyfile": text.replace("$CONTAINER", container), "ct": {"web": container},
        });
        let entries = Map::from_iter([("app/app_main.12345".to_owned(), record)]);
        let rendered = render_on("node1", &entries);
        let is_bad = path.file_name().unwrap().to_str().unwrap().starts_with("bad-");
        assert_eq!(
            is_bad,
            rendered.caddy_sites.is_empty(),
            "{}: {:?}",
            path.display(),
            rendered.problems
        );
        let mut result: String =
            rendered.caddy_sites.values().map(|sites| sites.text.as_str()).collect();
        for problem in rendered.problems {
            result.push_str(&format!("{}: {}\n", problem.source, problem.what));
        }
        compare(&path.with_extension("out"), &result);
    }
}

#[test]
fn haproxy_values_become_what_the_golden_files_hold() {
    for path in fixtures("haproxy", "json") {
        let entries: Map<String, Value> =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let stem = path.with_extension("");
        for me in ["node1", "node2"] {
            let settings = ProxySettings { ipv6: me == "node2", ..ProxySettings::default() };
            let rendered = render_with(&settings, me, &entries);
            let name = format!("{}.{me}.cfg", stem.display());
            compare(Path::new(&name), &rendered.haproxy_cfg);
            let mut rest = String::new();
            for (name, text) in &rendered.maps {
                rest.push_str(&format!("# {name}\n{text}"));
            }
            for problem in &rendered.problems {
                rest.push_str(&format!("# {}: {}\n", problem.source, problem.what));
            }
            compare(Path::new(&format!("{}.{me}.maps", stem.display())), &rest);
            if rendered.pages != Pages::default() {
                let name = format!("{}.{me}.maintenance", stem.display());
                compare(Path::new(&name), &maintenance_servers(&rendered));
            }
            if rendered.caddy_sites.values().any(|sites| !sites.given.is_empty()) {
                let name = format!("{}.{me}.certificates", stem.display());
                compare(Path::new(&name), &given_certificates(rendered));
            }
        }
    }
}

/// What Caddy is told of certificates that policies give, as if the node had all of them.
fn given_certificates(rendered: Rendered) -> String {
    let settle = |(app, sites): (_, Arc<AppSites>)| {
        let mut sites = sites.as_ref().clone();
        for (host, name) in sites.given.clone() {
            let [certificate, key] = ["crt", "key"]
                .map(|end| format!("/var/lib/tandem/caddy/given/{name}-TAG.{end}").into());
            let given = Given { tag: format!("{name}-TAG"), certificate, key };
            sites.hosts.insert((Scheme::Https, host), TlsSource::Given(Some(Box::new(given))));
        }
        (app, (Arc::new(sites), Arc::default()))
    };
    let apps = rendered.caddy_sites.into_iter().map(settle).collect();
    let config = config(&ProxySettings::default(), &apps, &Pages::default());
    let server = &config["apps"]["http"]["servers"]["https"];
    let turns = server["errors"]["routes"].as_array().unwrap().iter();
    let turns = turns.filter_map(|route| {
        let tls = route.pointer("/handle/0/transport/tls")?;
        Some(serde_json::json!({"host": route["match"][0]["host"], "tls": tls}))
    });
    let turns: Value = turns.collect();
    let parts = [
        ("automatic_https", &server["automatic_https"]),
        ("tls_connection_policies", &server["tls_connection_policies"]),
        ("turns through the front door", &turns),
        ("tls", &config["apps"]["tls"]),
    ];
    parts.map(|(name, part)| format!("# {name}\n{part:#}\n")).concat()
}

/// Caddy's maintenance servers with the pages of the apps.
fn maintenance_servers(rendered: &Rendered) -> String {
    let mut config = config(&ProxySettings::default(), &Default::default(), &rendered.pages);
    let servers = &mut config["apps"]["http"]["servers"];
    ["maintenance", "maintenance_http"]
        .map(|name| format!("# {name}\n{:#}\n", servers[name]["routes"].take()))
        .concat()
}

/// One app by HTTP and by TLS: the whole of what Caddy is given.
#[test]
fn caddys_whole_configuration_is_as_the_golden_file_has_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proxy/whole");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()
    };
    let (entries, adapted) = (read("entries.json"), read("adapted.json"));
    let settings = ProxySettings::default();
    let rendered = render_with(&settings, "node1", entries.as_object().unwrap());
    let sites = rendered.caddy_sites.iter();
    let apps = sites.map(|(app, sites)| {
        let routes = AppRoutes::take(&adapted, sites).unwrap();
        (app.clone(), (sites.clone(), Arc::new(routes)))
    });
    let mut caddy = config(&settings, &apps.collect(), &rendered.pages);
    // The mark would change with every other word.
    caddy["admin"]["config"].as_object_mut().unwrap().remove("@id");
    compare(&dir.join("caddy.json"), &format!("{caddy:#}\n"));
}

#[test]
fn every_bind_is_made_in_the_namespace_that_is_set() {
    let path = fixtures("haproxy", "json").pop().unwrap();
    let entries: Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| (key.as_str(), value.to_string().into_bytes())).collect();
    let me = NodeName::parse("node1").unwrap();
    let entries = entries.iter().map(|(key, value)| (*key, value.as_slice()));
    let (view, _) = ClusterView::from_entries(me, Default::default(), entries);
    let bind_namespace = Some("host".to_owned());
    let settings = ProxySettings { bind_namespace, ipv6: true, ..ProxySettings::default() };
    let templates = Templates::built_in().unwrap();
    let rendered = render(&view, &settings, &templates, &Default::default()).unwrap();
    let binds = rendered.haproxy_cfg.lines().filter(|line| line.starts_with("    bind "));
    let is_inside = |line: &&str| line.contains(":844") || line.contains("unix@");
    let (inside, binds): (Vec<_>, Vec<_>) = binds.partition(is_inside);
    let clock = "    bind unix@/run/tandem/haproxy/clock.sock mode 600";
    let expected = ["    bind *:8444 id 3", clock];
    assert_eq!(inside, expected, "for Caddy and HAProxy alone");
    assert!(
        binds.len() > 8 && binds.iter().all(|line| line.ends_with(" namespace host")),
        "{binds:?}"
    );
}
