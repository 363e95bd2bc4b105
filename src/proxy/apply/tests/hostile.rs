//! The corpus of `fixtures/proxy/hostile`: what one app's text could do to a proxy that takes it. Each case is put to the
//! whole of this module, beside an app that works; the golden file beside it says what came of it. What is refused has
//! been refused here: neither `haproxy -c` nor `caddy adapt` was asked.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Fixture, fixture, site, tcp};
use crate::model::{AppId, AppName, AppRecord, Branch, Repo};

const CONTAINER: &str = "appmain12345_web_1";

struct Case {
    name: String,
    text: String,
}

/// A file's cases: `%% NAME`, then the text. Lines that begin with one `%` are about the file.
fn cases(path: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(name) = line.strip_prefix("%% ") {
            assert!(cases.iter().all(|case| case.name != name), "{name} is there twice");
            cases.push(Case { name: name.to_owned(), text: String::new() });
        } else if let Some(case) = cases.last_mut() {
            case.text.push_str(line);
            case.text.push('\n');
        } else {
            assert!(line.starts_with("% "), "{line}");
        }
    }
    assert!(!cases.is_empty(), "{}", path.display());
    cases
}

fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/proxy/hostile").join(dir);
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|known| known == "cases")).collect();
    files.sort();
    files
}

fn compare(path: &Path, text: &str) {
    let path = path.with_extension("out");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn record(caddyfile: &str, haproxy: &Value) -> (AppName, AppRecord) {
    let record = json!({
        "repo_url": "https://git.test/hostile", "branch": "main", "deploy_id": "1", "master": "node1",
        "deploy_date": "2026-01-02", "ip": "10.0.0.1", "caddyfile": caddyfile, "haproxy": haproxy,
        "ct": {"web": CONTAINER},
    });
    let record: AppRecord = serde_json::from_value(record).unwrap();
    let id = AppId {
        repo: Repo::parse(&record.repo_url).unwrap(),
        branch: Branch::parse(&record.branch).unwrap(),
    };
    (id.name(), record)
}

/// A node on which another app has a site and a port.
async fn beside_a_victim() -> Fixture {
    let mut f = fixture();
    f.add("victim", "node1", &site("victim"), tcp("victim", 3333));
    assert_eq!(f.apply().await.problems, []);
    f
}

/// An app's part of what HAProxy runs.
fn part_of(f: &Fixture, app: &str) -> String {
    let cfg = f.control.state().haproxy_cfg.clone().unwrap();
    let part = cfg.split("\n# app/").find(|part| part.starts_with(app));
    let dir = f.settings.data_dir.display().to_string();
    part.unwrap_or_default().trim_end().replace(&dir, "DATA")
}

/// What the running proxies have for the other app.
fn served(f: &Fixture) -> (String, String) {
    let maps = f.control.state().maps.clone();
    let hosts = maps["http.map"].lines().filter(|line| line.contains("victim")).collect();
    (part_of(f, "victim"), hosts)
}

/// Puts an app's text to a check and to the proxies; its problems, which must be the same.
async fn put(f: &mut Fixture, name: &AppName, record: AppRecord) -> Vec<String> {
    let before = served(f);
    let asked = f.control.state().asked.len();
    let verdict = f.proxies.checker().would_accept(&f.view, &record).await;
    let checked = f.control.state().asked.len();
    f.view.apps.insert(name.clone(), std::sync::Arc::new(record));
    let applied = f.apply().await;
    assert_eq!(served(f), before, "the other app is left alone");
    let source = format!("app/{name}");
    assert!(applied.problems.iter().all(|problem| problem.source == source), "{applied:?}");
    let problems: Vec<_> = applied.problems.into_iter().map(|problem| problem.what).collect();
    let refused = verdict.err().unwrap_or_default();
    assert_eq!(refused.iter().map(|problem| problem.what.clone()).collect::<Vec<_>>(), problems);
    if !problems.is_empty() {
        assert_eq!(checked, asked, "a refused text was given to a check");
        let given = f.control.state().asked.split_off(asked);
        // Sites of hosts of its own are served without those of hosts that are taken.
        let is_rest = problems.iter().all(|what| what.starts_with("the host "));
        let is_known = |text: &String| is_rest && !text.contains("victim.test");
        assert!(given.iter().all(is_known), "a refused text was given to a proxy: {given:?}");
    }
    f.view.apps.remove(name);
    problems
}

fn told(case: &Case, problems: &[String], taken: impl FnOnce() -> String) -> String {
    let what = match problems {
        [] => format!("    taken as\n{}", indented(&taken())),
        problems => indented(&problems.join("\n")),
    };
    format!("{}\n{what}", case.name)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n").replace("    \n", "\n")).collect()
}

#[tokio::test]
async fn what_a_caddyfile_may_not_say_never_reaches_caddy() {
    for path in files("caddy") {
        let mut f = beside_a_victim().await;
        let mut all = String::new();
        for case in cases(&path) {
            let text = case.text.replace("$CONTAINER", CONTAINER);
            let (name, record) = record(&text, &json!({}));
            let problems = put(&mut f, &name, record).await;
            all += &told(&case, &problems, || f.control.state().asked.last().unwrap().clone());
        }
        compare(&path, &all);
    }
}

/// A value that is right, with what the lines of a case put into it.
fn value(case: &Case) -> Value {
    let mut value = json!({
        "frontend": {"mode": "tcp", "bind": ["*:2222"], "options": ["option tcplog"]},
        "backends": [{
            "name": "ssh", "use_backend_option": "if { req_ssl_sni -i a.test }", "port": "22", "peer_port": "2222",
            "server_option": "check inter 3s", "options": ["option tcp-check"], "ct": CONTAINER,
        }],
    });
    let mut config = "ssh".to_owned();
    for line in case.text.lines() {
        let (pointer, new) = line.split_once(' ').unwrap();
        let new: Value = serde_json::from_str(new).unwrap();
        match pointer {
            "CONFIG" => config = new.as_str().unwrap().to_owned(),
            _ => *value.pointer_mut(pointer).unwrap() = new,
        }
    }
    Value::Object(Map::from_iter([(config, value)]))
}

#[tokio::test]
async fn what_a_haproxy_value_may_not_say_never_reaches_haproxy() {
    let good = Case { name: String::new(), text: String::new() };
    let mut f = beside_a_victim().await;
    let (name, as_it_is) = record("", &value(&good));
    assert_eq!(put(&mut f, &name, as_it_is).await, Vec::<String>::new());
    for path in files("haproxy") {
        let mut f = beside_a_victim().await;
        let mut all = String::new();
        for case in cases(&path) {
            let value = value(&case);
            let (name, record) = record("", &value);
            let problems = put(&mut f, &name, record).await;
            all += &told(&case, &problems, || part_of(&f, "hostile"));
            // The same of a key of the swarm, whose servers may be any and need no port for other nodes.
            let before = f.control.state().asked.len();
            f.view.swarm.insert("key".to_owned(), json!({"haproxy": value}).into());
            let applied = f.apply().await;
            let is_of_apps = problems.iter().any(|what| what.contains("is not a container"));
            assert!(
                problems.is_empty() || is_of_apps || !applied.problems.is_empty(),
                "{}",
                case.name
            );
            let asked = f.control.state().asked.len() > before;
            assert!(applied.problems.is_empty() || !asked, "{}: {applied:?}", case.name);
            f.view.swarm.clear();
            f.apply().await;
        }
        compare(&path, &all);
    }
}

#[tokio::test]
async fn texts_without_measure_never_reach_caddy() {
    let mut f = beside_a_victim().await;
    let answer = format!("http://a.test {{\n respond \"{}\"\n}}\n", "x".repeat(70_000));
    let hosts: Vec<_> = (0..150).map(|number| format!("http://h{number}.test")).collect();
    let many = format!("{} {{\n respond \"{}\"\n}}\n", hosts.join(", "), "x".repeat(60_000));
    for (text, expected) in [(answer, "longer than 64 KiB"), (many, "more than 512 KiB")] {
        let (name, record) = record(&text, &json!({}));
        let problems = put(&mut f, &name, record).await;
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
}

#[tokio::test]
async fn keys_of_maps_are_hosts_and_nothing_else() {
    for domain in [
        "a.test;disable frontend http-in",
        "a.test\ndel map x",
        "a b",
        "a.test node1",
        "#a",
        "",
        "*",
        "{env.X}",
        "é b",
    ] {
        let mut f = beside_a_victim().await;
        f.view.swarm.insert("key".to_owned(), json!({"domains": [domain]}).into());
        let applied = f.apply().await;
        assert_eq!(applied.problems.len(), 1, "{domain:?}");
        assert_eq!(f.file("http.map"), "victim.test node1\n", "{domain:?}");
    }
}
