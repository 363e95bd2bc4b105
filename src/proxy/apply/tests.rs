mod certificates;
mod foreseen;
mod frozen;
mod gather;
mod given;
mod hostile;
mod occupied;
mod running;
mod standby;
mod unfit;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Applied, ClusterView, Proxies, ProxyError, ProxySettings};
use crate::model::{AppName, NodeName};
use crate::proxy::Policy;
use crate::proxy::control::{FakeControl, servers};
use crate::proxy::haproxy::maps;
use crate::proxy::render::fingerprint;

/// What came of an apply that had nothing to do.
const NOTHING: Applied = Applied {
    problems: Vec::new(),
    haproxy_reloaded: false,
    caddy_loaded: false,
    maps_changed: 0,
    servers_changed: 0,
    haproxy_is_down: false,
    caddy_is_down: false,
    is_routed: true,
    behind: BTreeSet::new(),
    haproxy_is_behind: false,
    unchecked: Vec::new(),
    later: None,
};

struct Fixture {
    _dir: tempfile::TempDir,
    proxies: Proxies,
    control: Arc<FakeControl>,
    settings: ProxySettings,
    view: ClusterView,
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let settings = ProxySettings {
        data_dir: dir.path().to_owned(),
        certificate_dir: dir.path().join("admin"),
        ..ProxySettings::default()
    };
    let control = Arc::new(FakeControl::default());
    control.state().files = Some(settings.clone());
    let nodes = [("node1", "10.0.0.1"), ("node2", "10.0.0.2")];
    let nodes = nodes.map(|(name, ip)| (node(name), ip.to_owned()));
    let (view, _) = ClusterView::from_entries(node("node1"), nodes.into(), []);
    Fixture {
        _dir: dir,
        proxies: Proxies::new(settings.clone(), control.clone()).unwrap(),
        control,
        settings,
        view,
    }
}

fn app(
    name: &str,
    master: &str,
    caddyfile: &str,
    haproxy: Value,
) -> (AppName, crate::model::AppRecord) {
    let record = json!({
        "repo_url": format!("https://git.test/{name}"), "branch": "main", "deploy_id": "1", "master": master,
        "ip": "10.0.0.9", "caddyfile": caddyfile, "haproxy": haproxy, "ct": {"web": format!("{name}_web")},
    });
    let record: crate::model::AppRecord = serde_json::from_value(record).unwrap();
    let id = crate::model::AppId {
        repo: crate::model::Repo::parse(&record.repo_url).unwrap(),
        branch: crate::model::Branch::parse("main").unwrap(),
    };
    (id.name(), record)
}

fn tcp(name: &str, port: u16) -> Value {
    json!({format!("{name}-tcp"): {
        "frontend": {"mode": "tcp", "bind": [format!("*:{port}")]},
        "backends": [{"name": name, "port": 22, "peer_port": port, "ct": format!("{name}_web")}],
    }})
}

fn site(name: &str) -> String {
    format!("http://{name}.test {{\n proxy / http://{name}_web:80\n}}")
}

impl Fixture {
    fn add(&mut self, name: &str, master: &str, caddyfile: &str, haproxy: Value) -> AppName {
        let (name, record) = app(name, master, caddyfile, haproxy);
        self.view.apps.insert(name.clone(), Arc::new(record));
        name
    }

    /// An app's record, to be changed.
    fn record(&mut self, name: &AppName) -> &mut crate::model::AppRecord {
        Arc::make_mut(self.view.apps.get_mut(name).unwrap())
    }

    async fn apply(&mut self) -> Applied {
        self.try_apply().await.unwrap()
    }

    /// Every apply of these tests goes through here: what is on disk is what runs, however it ended.
    async fn try_apply(&mut self) -> Result<Applied, ProxyError> {
        self.proxies.bootstrap(&self.view.me).await.unwrap();
        let has_started = self.control.state().haproxy_cfg.is_some();
        if !has_started && !self.control.state().is_down {
            // As the containers do it: with the files that the agent writes first.
            self.control.state().start_haproxy();
            self.control.state().start_caddy();
        }
        let applied = self.proxies.apply(&self.view).await;
        self.is_on_disk();
        applied
    }

    /// What runs is what would run after a start; of proxies that are down there is nothing to say.
    fn is_on_disk(&self) {
        let state = self.control.state().clone();
        if state.is_down {
            return;
        }
        let (running, file) = (state.haproxy_cfg.unwrap_or_default(), self.file("haproxy.cfg"));
        assert_eq!(
            fingerprint::plain(&running),
            fingerprint::plain(&file),
            "HAProxy's configuration"
        );
        assert_eq!(state.servers, servers(&file), "HAProxy's servers");
        for name in maps::FILES {
            assert_eq!(state.maps[name], self.file(name), "{name}");
        }
        let caddy = std::fs::read(self.settings.caddy_file()).unwrap();
        let caddy: Value = serde_json::from_slice(&caddy).unwrap();
        assert_eq!(state.loads.last(), Some(&caddy), "Caddy's configuration");
    }

    fn start(&self) {
        self.control.state().start_haproxy();
        self.control.state().start_caddy();
        self.is_on_disk();
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.settings.haproxy_dir().join(name)).unwrap()
    }
}

#[tokio::test]
async fn what_is_in_place_is_left_alone() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), tcp("a", 2222));
    let first = f.apply().await;
    assert!(first.haproxy_reloaded && first.caddy_loaded && first.problems.is_empty(), "{first:?}");
    assert_eq!(f.file("http.map"), "a.test node1\n");
    assert_eq!(f.apply().await, NOTHING);
    let state = f.control.state().clone();
    // The one more is what Caddy started with.
    assert_eq!((state.reloads, state.adaptations, state.loads.len()), (1, 1, 2));
}

#[tokio::test]
async fn a_flip_and_maintenance_need_no_reload() {
    let mut f = fixture();
    let name = f.add("a", "node2", &site("a"), Value::Object(Default::default()));
    f.apply().await;
    f.record(&name).master = node("node1");
    let flipped = f.apply().await;
    assert!(
        !flipped.haproxy_reloaded && flipped.caddy_loaded && flipped.maps_changed == 1,
        "{flipped:?}"
    );
    assert_eq!(f.control.state().maps["http.map"], "a.test node1\n");
    f.view.maintenance.insert(name);
    let stopped = f.apply().await;
    assert!(!stopped.haproxy_reloaded && !stopped.caddy_loaded, "{stopped:?}");
    assert_eq!(f.file("http.map"), "a.test maint\n");
}

#[tokio::test]
async fn an_own_frontend_is_held_and_flips_without_a_reload() {
    let mut f = fixture();
    let name = f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.apply().await;
    f.view.maintenance.insert(name.clone());
    f.view.held.insert(name.clone());
    let held = f.apply().await;
    assert!(!held.haproxy_reloaded && !held.caddy_loaded && held.maps_changed == 2, "{held:?}");
    assert_eq!(f.control.state().maps["held.map"], format!("{name} hold\n"));
    let mark = f.settings.held_dir().join(name.file_name());
    assert!(mark.exists(), "Caddy knows");
    f.record(&name).master = node("node2");
    f.view.maintenance.clear();
    f.view.held.clear();
    let flipped = f.apply().await;
    assert!(!flipped.haproxy_reloaded && flipped.servers_changed == 2, "{flipped:?}");
    let server = |node: &str| ("backend-a".to_owned(), node.to_owned());
    let servers = f.control.state().servers.clone();
    assert!(servers[&server("node2")] && !servers[&server("node1")]);
    assert!(
        f.file("haproxy.cfg").contains("server node1 a_web:22 resolvers containers disabled\n")
    );
    assert!(f.file("held.map").is_empty());
    assert!(mark.exists() && !flipped.caddy_loaded, "Caddy has its routes for some time");
    f.view.maintenance.insert(name);
    assert!(f.apply().await.haproxy_reloaded, "an operator's maintenance takes the frontend away");
    assert!(!f.file("haproxy.cfg").contains("2222"));
}

#[tokio::test]
async fn a_page_of_an_apps_own_is_loaded_with_the_record_and_shown_by_the_map() {
    let mut f = fixture();
    let name = f.add("a", "node2", &site("a"), json!({}));
    f.add("b", "node2", &site("b"), json!({}));
    f.apply().await;
    f.record(&name).maintenance_page = Some("<p>{soon}".to_owned());
    let written = f.apply().await;
    assert!(written.caddy_loaded && !written.haproxy_reloaded, "{written:?}");
    let loads = f.control.state().loads.clone();
    let shown = loads.last().unwrap().to_string();
    assert!(shown.contains("<p>\\\\{soon\\\\}"), "{shown}");
    f.view.maintenance.insert(name.clone());
    let begun = f.apply().await;
    assert!(!begun.caddy_loaded && !begun.haproxy_reloaded && begun.maps_changed == 1, "{begun:?}");
    assert_eq!(f.file("http.map"), "a.test page\nb.test node2\n");
    // Another node becomes its master: this one is none of the two.
    f.view.nodes.insert(node("node3"), "10.0.0.3".to_owned());
    f.apply().await;
    f.record(&name).master = node("node3");
    assert!(!f.apply().await.caddy_loaded);
    f.record(&name).maintenance_page = None;
    assert!(f.apply().await.caddy_loaded);
    assert_eq!(f.file("http.map"), "a.test maint\nb.test node2\n");
    let file = std::fs::read_to_string(f.settings.caddy_file()).unwrap();
    assert!(!file.contains("soon"), "{file}");
}

#[tokio::test]
async fn a_refused_part_is_left_out_alone_and_tried_again_when_it_changes() {
    let mut f = fixture();
    f.add("a", "node1", "", tcp("a", 2222));
    let bad = f.add("b", "node1", &site("b"), tcp("b", 3333));
    f.control.state().haproxy_refuses = vec!["*:3333".to_owned()];
    let applied = f.apply().await;
    assert_eq!(applied.problems.len(), 1);
    assert_eq!(applied.problems[0].source, format!("app/{bad}"));
    assert!(f.file("haproxy.cfg").contains("*:2222") && !f.file("haproxy.cfg").contains("*:3333"));
    assert_eq!(f.file("http.map"), "b.test node1\n", "its site is served");
    let checks = f.control.state().haproxy_checks;
    assert_eq!(f.apply().await.problems, applied.problems);
    assert_eq!(f.control.state().haproxy_checks, checks, "known: not asked again");
    f.record(&bad).haproxy = tcp("b", 3334).as_object().unwrap().clone();
    assert!(f.apply().await.problems.is_empty());
    assert!(f.file("haproxy.cfg").contains("*:3334"));
}

#[tokio::test]
async fn a_caddyfile_that_caddy_refuses_is_left_out_alone() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), json!({}));
    let bad = f.add("b", "node1", &site("b"), json!({}));
    f.control.state().caddy_refuses = vec!["b.test".to_owned()];
    let applied = f.apply().await;
    assert_eq!(applied.problems[0].source, format!("app/{bad}"));
    let loaded = f.control.state().loads.last().unwrap().to_string();
    assert!(loaded.contains("a.test") && !loaded.contains("b.test"));
}

#[tokio::test]
async fn without_its_checks_nothing_but_the_maps_changes() {
    let mut f = fixture();
    let name = f.add("a", "node1", &site("a"), json!({}));
    f.apply().await;
    f.control.state().no_checks = true;
    f.record(&name).master = node("node2");
    f.add("b", "node1", &site("b"), tcp("b", 2222));
    let applied = f.apply().await;
    assert_eq!(applied.unchecked.len(), 2, "{applied:?}");
    assert_eq!(f.control.state().loads.len(), 2);
    assert!(!f.file("haproxy.cfg").contains("2222"));
    assert!(f.control.state().maps["http.map"].contains("a.test node2\n"));
    f.control.state().no_checks = false;
    assert!(f.apply().await.haproxy_reloaded);
}

#[tokio::test]
async fn a_reload_that_fails_keeps_the_last_good_file() {
    let mut f = fixture();
    f.add("a", "node1", "", tcp("a", 2222));
    f.apply().await;
    let good = f.file("haproxy.cfg");
    f.add("b", "node1", "", tcp("b", 3333));
    f.control.state().reload_fails = true;
    let failed = f.try_apply().await;
    assert!(matches!(failed, Err(ProxyError::Control(_))));
    assert_eq!(f.file("haproxy.cfg"), good);
    f.control.state().reload_fails = false;
    let next = f.apply().await;
    assert!(next.haproxy_reloaded && next.problems.len() == 1, "{next:?}");
    assert_eq!(f.file("haproxy.cfg"), good);
}

#[tokio::test]
async fn proxies_that_are_down_get_their_files() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.control.state().is_down = true;
    let applied = f.apply().await;
    assert!(applied.haproxy_is_down && applied.caddy_is_down);
    assert!(f.file("haproxy.cfg").contains("*:2222"));
    f.start();
    let applied = f.apply().await;
    assert!(applied.caddy_loaded && applied.maps_changed == 0, "{applied:?}");
}

#[tokio::test]
async fn a_candidate_is_checked_without_a_trace() {
    let mut f = fixture();
    f.add("a", "node1", &site("a"), tcp("a", 2222));
    f.apply().await;
    let before = f.file("haproxy.cfg");
    let (_, good) = app("b", "node2", &site("b"), tcp("b", 3333));
    assert_eq!(f.proxies.checker().would_accept(&f.view, &good).await, Ok(()));
    let (_, same_port) = app("b", "node2", &site("b"), tcp("b", 2222));
    let (_, same_host) = app("b", "node2", &site("a").replace("a_web", "b_web"), json!({}));
    let (_, foreign) = app("b", "node2", "http://b.test {\n proxy / http://a_web:80\n}", json!({}));
    f.control.state().caddy_refuses = vec!["c.test".to_owned()];
    let (_, refused) = app("b", "node2", &site("c").replace("c_web", "b_web"), json!({}));
    for record in [same_port, same_host, foreign, refused] {
        assert!(f.proxies.checker().would_accept(&f.view, &record).await.is_err(), "{record:?}");
    }
    assert_eq!(f.file("haproxy.cfg"), before);
    assert_eq!(f.control.state().loads.len(), 2);
    f.is_on_disk();
}

#[tokio::test]
async fn a_policy_counts_for_its_repository_and_as_long_as_it_is_there() {
    let mut f = fixture();
    let legacy = site("a").replace("a_web:80", "legacy.test:8000");
    let name = f.add("a", "node1", &legacy, tcp("a", 8500));
    f.add("b", "node1", &legacy.replace("a.test", "b.test"), tcp("b", 22));
    assert_eq!(f.apply().await.problems.len(), 4);
    let policy = br#"{"repo": "https://git.test/a.git", "upstreams": ["legacy.test:8000"], "ports": [8500, 22]}"#;
    let (repo, policy) = Policy::parse(policy).unwrap();
    f.view.policies.insert(repo.clone(), policy);
    let candidate = f.view.apps[&name].clone();
    assert_eq!(f.proxies.checker().would_accept(&f.view, &candidate).await, Ok(()));
    let applied = f.apply().await;
    assert!(
        applied.problems.iter().all(|problem| problem.source.starts_with("app/b_")),
        "{applied:?}"
    );
    assert!(f.file("haproxy.cfg").contains("*:8500") && applied.caddy_loaded);
    f.view.policies.insert(repo, Policy::DEFAULT);
    assert_eq!(f.apply().await.problems.len(), 4);
    assert!(!f.file("haproxy.cfg").contains("*:8500"));
    assert!(!f.control.state().loads.last().unwrap().to_string().contains("a.test"));
}

#[tokio::test]
async fn an_haproxy_that_runs_another_text_than_its_file_is_reloaded() {
    let mut fixture = fixture();
    fixture.apply().await;
    let reloads = fixture.control.state().reloads;
    fixture.apply().await;
    assert_eq!(fixture.control.state().reloads, reloads, "what is in place is left alone");
    // It started while the file was replaced, and read the one before.
    let other = "global\n    description tandem-0000000000000000\n";
    fixture.control.state().haproxy_cfg = Some(other.to_owned());
    assert!(fixture.apply().await.haproxy_reloaded);
    assert_eq!(fixture.control.state().reloads, reloads + 1);
}
