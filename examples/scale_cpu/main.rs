//! What one change costs an agent in processor time, with many apps in KV and nothing around it: no Consul, no proxies.
//! `cargo run --example scale_cpu -- [APPS]`; the figures are for ratios between its own lines.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what fails ends it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tandem::consul::kv::{Seen, read_changes};
use tandem::model::NodeName;
use tandem::proxy::caddy::{AppRoutes, Apps, whole};
use tandem::proxy::render::{Cache, Rendered, Templates, render_with};
use tandem::proxy::view::Item;
use tandem::proxy::{ClusterView, ProxySettings};

/// What is known of `app/`: key, modify index, what was read.
type Known = Vec<(String, u64, Arc<Item>)>;

fn main() {
    let count = std::env::args().nth(1).map_or(10_000, |text| text.parse().unwrap());
    let templates = Templates::built_in().unwrap();
    let mut cache = Cache::default();
    let before = body(count, None);
    println!("{count} apps; Consul's answer: {:.1} MB", megabytes(before.len()));
    let mut known = measure("reading: all", || read(&before, &Vec::new()));
    drop(before);
    let mut view = measure("view", || view(&known));
    let mut rendered = measure("rendering: from nothing", || render(&mut cache, &view, &templates));
    let apps = adapted(&rendered);
    println!("{:<47} {:6.0} MB held", "with what Caddy made of it", resident());
    for n in 0..3 {
        let after = body(count, Some(n));
        known = measure("reading: one changed", || read(&after, &known));
        drop(after);
        view = measure("view", || self::view(&known));
        rendered = measure("rendering: one changed", || render(&mut cache, &view, &templates));
    }
    let config = measure("Caddy's configuration of one node", || {
        whole(&ProxySettings::default(), &apps, &rendered.pages)
    });
    println!("which is {:.1} MB", megabytes(config.text().len()));
}

fn measure<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let made = work();
    let took = began.elapsed().as_secs_f64() * 1000.0;
    println!("{what:<34} {took:9.1} ms {:6.0} MB held", resident());
    made
}

/// Consul's answer; one app may have moved since.
fn body(count: usize, moved: Option<usize>) -> Vec<u8> {
    let mut numbers: Vec<usize> = (0..count).collect();
    numbers.sort_by_key(|number| key(*number));
    let mut text = Vec::new();
    for number in numbers {
        let turn = moved.filter(|moved| moved % count == number).map_or(0, |moved| moved + 1);
        let value = STANDARD.encode(record(number, (number + turn) % 3 + 1).to_string());
        let index = 10 + number + turn * count;
        let entry = json!({"LockIndex": 0, "Key": key(number), "Flags": 0, "Value": value, "CreateIndex": 10, "ModifyIndex": index});
        text.push(if text.is_empty() { b'[' } else { b',' });
        text.extend(entry.to_string().into_bytes());
    }
    text.push(b']');
    text
}

fn key(number: usize) -> String {
    format!("app/app{number}_main.{number:05}")
}

fn record(number: usize, node: usize) -> Value {
    let project = format!("app{number}main{number:05}");
    let caddyfile = format!(
        "https://app{number}.test {{\n    tls self_signed\n    gzip\n    proxy / http://{project}_web_1:8080 {{\n        \
         websocket\n        transparent\n    }}\n}}\n"
    );
    json!({
        "repo_url": format!("https://git.test/app{number}"), "branch": "main",
        "deploy_id": format!("00000000-0000-0000-0000-{number:012}"), "previous_deploy_id": null,
        "deploy_date": "2026-01-01T000000.000000", "master": format!("node{node}"),
        "slave": format!("node{}", node % 3 + 1), "ip": format!("10.77.0.{node}"),
        "domains": [format!("app{number}.test")], "urls": format!("https://app{number}.test"),
        "caddyfile": caddyfile, "haproxy": {}, "ct": {"web": format!("{project}_web_1")},
        "volumes": [format!("{project}_data")],
    })
}

fn read(body: &[u8], known: &Known) -> Known {
    let find = |key: &str, index: u64| {
        let at = known.binary_search_by(|(known, ..)| known.as_str().cmp(key)).ok()?;
        (known[at].1 == index).then_some(at)
    };
    let seen = read_changes(body, "app/", &find).unwrap();
    let item = |seen: Seen| match seen {
        Seen::Known(at) => known[at].clone(),
        Seen::New(entry) => (entry.key.clone(), entry.modify_index, Arc::new(Item::read(entry))),
    };
    seen.into_iter().map(item).collect()
}

fn view(known: &Known) -> ClusterView {
    let node = |n: u8| NodeName::parse(&format!("node{n}")).unwrap();
    let nodes = (1..=3).map(|n| (node(n), format!("10.77.0.{n}"))).collect();
    let items = known.iter().map(|(_, _, item)| item.as_ref());
    ClusterView::from_items(node(1), nodes, items).0
}

fn render(cache: &mut Cache, view: &ClusterView, templates: &Templates) -> Rendered {
    render_with(cache, view, &ProxySettings::default(), templates, &BTreeMap::new()).unwrap()
}

/// As if Caddy had made these routes of the texts.
fn adapted(rendered: &Rendered) -> Apps {
    let routes = |host: &str, upstream: &str| {
        let handle = json!([{"handler": "subroute", "routes": [
            {"handle": [{"handler": "encode", "encodings": {"gzip": {}}, "prefer": ["gzip"]}]},
            {"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": upstream}],
                "headers": {"request": {"set": {"X-Real-Ip": ["{http.request.remote.host}"]}}}}]},
        ]}]);
        let route = json!({"match": [{"host": [host]}], "handle": handle, "terminal": true});
        json!({"apps": {"http": {"servers": {"srv0": {"listen": [":443"], "routes": [route]}}}}})
    };
    let apps = rendered.caddy_sites.iter().map(|(name, sites)| {
        let (_, host) = sites.hosts.keys().next().unwrap();
        let upstream = format!("{}:8080", sites.containers.last().unwrap());
        let adapted = routes(host, &upstream.replace("-:", "-web:").replace("_:", "_web:"));
        (name.clone(), (sites.clone(), Arc::new(AppRoutes::take(&adapted, sites).unwrap())))
    });
    apps.collect()
}

/// Of this process, in MB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1.024 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "fewer bytes than 2^53")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
