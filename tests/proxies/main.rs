//! What the golden files of `fixtures/proxy` hold, given to the real proxies: accepted, and answering
//! requests as Caddy 1 did. Run by `fixtures/with-proxies`, which says in PROXIES where they are.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests run the real binaries"
)]

mod address;
mod again;
mod behaviour;
mod caddy;
mod certificates;
mod echo;
mod given;
mod hold;
mod ipv6;
mod maintenance;
mod nodes;
mod round;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tandem::model::NodeName;
use tandem::proxy::caddy::AppRoutes;
use tandem::proxy::render::{AppSites, Templates, render};
use tandem::proxy::{ClusterView, ProxySettings};

/// The binary of a proxy.
fn binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("PROXIES").expect("run this by fixtures/with-proxies");
    Path::new(&dir).join(name)
}

fn golden(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proxy").join(dir)
}

/// The files of a folder with an extension, except those of what is refused.
fn files(dir: &str, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(golden(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|known| known == extension))
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("bad-"))
        .collect();
    files.sort();
    files
}

#[test]
fn caddy_accepts_every_translation() {
    let texts = files("caddyfile", "out");
    assert!(texts.len() >= 60, "{} texts", texts.len());
    let binary = binary("caddy");
    for text in &texts {
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(&binary)
            .args(["adapt", "--adapter", "caddyfile", "--validate", "--config"])
            .arg(text)
            .env_clear()
            .env("HOME", home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {}: {said}", binary.display(), text.display());
    }
}

#[test]
fn haproxy_accepts_every_configuration() {
    let texts = files("haproxy", "cfg");
    assert!(texts.len() >= 8, "{} texts", texts.len());
    let binary = binary("haproxy");
    for path in &texts {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("haproxy");
        fs::create_dir(&data).unwrap();
        for name in [
            "http.map",
            "http-wild.map",
            "https.map",
            "https-wild.map",
            "held.map",
            "maintenance.html",
        ] {
            fs::write(data.join(name), "").unwrap();
        }
        let lua = Path::new(env!("CARGO_MANIFEST_DIR")).join("haproxy/hold.lua");
        fs::copy(lua, data.join("hold.lua")).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let text = text.replace("/var/lib/tandem", dir.path().to_str().unwrap());
        let config = dir.path().join("haproxy.cfg");
        fs::write(&config, text).unwrap();
        let output = Command::new(&binary).args(["-c", "-f"]).arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {}: {said}", binary.display(), path.display());
    }
}

/// All that is in it at once: the routes of an app, its door, the maintenance servers.
#[test]
fn caddy_accepts_a_whole_configuration() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(binary("caddy"))
        .args(["validate", "--config"])
        .arg(golden("whole").join("caddy.json"))
        .env_clear()
        .env("HOME", home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What a policy adds passes the second look, at what Caddy makes of the text, and nothing else does.
#[test]
fn caddy_is_held_to_the_upstreams_of_the_policy() {
    let text = fs::read(golden("haproxy").join("policy.json")).unwrap();
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&text).unwrap();
    let entries: Vec<_> =
        entries.iter().map(|(key, value)| (key.as_str(), value.to_string().into_bytes())).collect();
    let entries = entries.iter().map(|(key, value)| (*key, value.as_slice()));
    let me = NodeName::parse("node1").unwrap();
    let (view, problems) = ClusterView::from_entries(me, BTreeMap::new(), entries);
    assert!(problems.is_empty(), "{problems:?}");
    let templates = Templates::built_in().unwrap();
    let settings = ProxySettings::default();
    let rendered = render(&view, &settings, &templates, &BTreeMap::new()).unwrap();
    let sites = rendered.caddy_sites.values().next().unwrap();
    assert!(sites.text.contains("https://Legacy.test:8000"), "{}", sites.text);
    let binary = binary("caddy");
    let home = tempfile::tempdir().unwrap();
    let adapted = maintenance::adapt(&binary, &sites.text, home.path());
    assert!(AppRoutes::take(&adapted, sites).is_ok());
    let narrow = AppSites { upstreams: BTreeSet::new(), ..AppSites::clone(sites) };
    let refused = AppRoutes::take(&adapted, &narrow).unwrap_err().to_string();
    assert!(refused.contains("is not a container of the app"), "{refused}");
}

/// What Caddy makes of each text has nothing in it that the list of what apps may have lacks.
#[test]
fn each_translation_passes_the_second_look() {
    let container = "appmain12345_web_1";
    let templates = Templates::built_in().unwrap();
    let settings = ProxySettings::default();
    for path in files("caddyfile", "caddyfile") {
        let text = fs::read_to_string(&path).unwrap().replace("$CONTAINER", container);
        let record = serde_json::json!({
            "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1",
            "caddyfile": text, "ct": {"web": container},
        });
        let record = record.to_string().into_bytes();
        let entries = [("app/app_main.12345", record.as_slice())];
        let me = NodeName::parse("node1").unwrap();
        let (view, _) = ClusterView::from_entries(me, BTreeMap::new(), entries);
        let rendered = render(&view, &settings, &templates, &BTreeMap::new()).unwrap();
        let sites = rendered.caddy_sites.values().next().unwrap();
        let binary = binary("caddy");
        let home = tempfile::tempdir().unwrap();
        let adapted = maintenance::adapt(&binary, &sites.text, home.path());
        let taken = AppRoutes::take(&adapted, sites);
        assert!(taken.is_ok(), "{} {}: {taken:?}", binary.display(), path.display());
    }
}
