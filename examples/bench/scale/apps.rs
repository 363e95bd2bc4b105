//! Generated apps: records as a deployment writes them, whose pages Caddy itself answers with.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::say;
use crate::support::{Lab, NODES, told};

/// So often a batch is written, with a pause in between, before the bench gives up.
const IMPORTS: usize = 5;
const PAUSE: Duration = Duration::from_secs(5);

/// An app that is a record alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    pub(crate) number: usize,
    pub(crate) master: &'static str,
    pub(crate) slave: &'static str,
    /// Another one makes another page of it.
    pub(crate) revision: u32,
}

impl App {
    /// The node after its master is its slave.
    pub(crate) fn new(number: usize, master: &'static str) -> Self {
        let at = NODES.iter().position(|node| *node == master).unwrap_or_default();
        Self { number, master, slave: NODES[(at + 1) % NODES.len()], revision: 0 }
    }

    /// Its pair changes roles.
    pub(crate) fn swap(&mut self) {
        std::mem::swap(&mut self.master, &mut self.slave);
    }

    pub(crate) fn key(&self) -> String {
        format!("app/scale{0}_main.{0:05}", self.number)
    }

    pub(crate) fn host(&self) -> String {
        format!("scale{}.test", self.number)
    }

    /// The text of its page.
    pub(crate) fn page(&self) -> String {
        format!("scale {} {}", self.number, self.revision)
    }

    /// Its record, with a text for Caddy.
    fn record_with(&self, lab: &Lab, caddyfile: &str) -> Value {
        record(self, &lab.ip(self.master), caddyfile)
    }

    pub(crate) fn record(&self, lab: &Lab) -> Value {
        self.record_with(lab, &self.caddyfile())
    }

    /// Its record with a text that nobody can read.
    pub(crate) fn bad_record(&self, lab: &Lab) -> Value {
        self.record_with(lab, &self.caddyfile().replace("respond", "import"))
    }

    fn caddyfile(&self) -> String {
        // By TLS with Caddy's own authority, as by HTTP: a host for each.
        format!(
            "# caddy 2\nhttp://{0}, https://{0} {{\n\ttls internal\n\trespond \"{1}\" 200\n}}\n",
            self.host(),
            self.page()
        )
    }
}

fn record(app: &App, ip: &str, caddyfile: &str) -> Value {
    let number = app.number;
    json!({
        "repo_url": format!("https://git.test/scale{number}"), "branch": "main",
        "deploy_id": format!("00000000-0000-0000-0000-{number:012}"), "previous_deploy_id": null,
        "deploy_date": "2026-01-01T000000.000000", "master": app.master, "slave": app.slave, "ip": ip,
        "domains": [app.host()], "urls": format!("http://{0}, https://{0}", app.host()),
        "caddyfile": caddyfile, "haproxy": {}, "ct": {"web": format!("scale{number}main{number:05}_web_1")},
        "volumes": [],
    })
}

/// Writes apps by `consul kv import`.
pub(crate) fn import(lab: &Lab, apps: &[App]) {
    let ips: Vec<_> = NODES.iter().map(|node| (*node, lab.ip(node))).collect();
    let entry = |app: &App| {
        let ip = ips.iter().find(|(node, _)| *node == app.master).map_or("", |(_, ip)| ip.as_str());
        let value = record(app, ip, &app.caddyfile()).to_string();
        json!({"key": app.key(), "flags": 0, "value": STANDARD.encode(value)})
    };
    let text = Value::from_iter(apps.iter().map(entry)).to_string();
    let argv = ["consul", "kv", "import", "-"];
    let import = || lab.node_with_stdin(NODES[0], &argv, text.as_bytes());
    let mut output = import();
    // On a machine that is too busy Consul's servers may have to find a new leader first.
    for _ in 1..IMPORTS {
        if output.status.success() {
            return;
        }
        say(&format!("once more, in {} s: {}", PAUSE.as_secs(), told(&output).trim()));
        std::thread::sleep(PAUSE);
        output = import();
    }
    assert!(output.status.success(), "{}", told(&output));
}

/// Deletes all of them.
pub(crate) fn clear(lab: &Lab, apps: &[App]) {
    if !apps.is_empty() {
        lab.node(NODES[0], &["consul", "kv", "delete", "-recurse", "app/scale"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem::model::NodeName;
    use tandem::proxy::render::{Templates, render};
    use tandem::proxy::{ClusterView, ProxySettings};

    #[test]
    fn an_app_is_one_that_the_proxies_serve() {
        let app = App { revision: 3, ..App::new(7, NODES[0]) };
        let node = |name: &str| NodeName::parse(name).unwrap();
        let nodes = NODES.map(|name| (node(name), "10.0.0.1".to_owned())).into();
        let value = record(&app, "10.0.0.1", &app.caddyfile()).to_string();
        let key = app.key();
        let entries = [(key.as_str(), value.as_bytes())];
        let (view, problems) = ClusterView::from_entries(node(NODES[0]), nodes, entries);
        assert_eq!(problems, []);
        let templates = Templates::built_in().unwrap();
        let rendered =
            render(&view, &ProxySettings::default(), &templates, &Default::default()).unwrap();
        assert_eq!(rendered.problems, []);
        assert_eq!(rendered.maps["http.map"], "scale7.test node1\n");
        assert_eq!(rendered.maps["https.map"], "scale7.test node1\n");
        let sites = rendered.caddy_sites.values().next().unwrap();
        assert!(sites.text.contains(&app.page()), "{}", sites.text);
        let bad = app.caddyfile().replace("respond", "import");
        let value = record(&app, "10.0.0.1", &bad).to_string();
        let entries = [(key.as_str(), value.as_bytes())];
        let nodes = NODES.map(|name| (node(name), "10.0.0.1".to_owned())).into();
        let (view, _) = ClusterView::from_entries(node(NODES[0]), nodes, entries);
        let rendered =
            render(&view, &ProxySettings::default(), &templates, &Default::default()).unwrap();
        assert_eq!(rendered.problems.len(), 1);
        let mut last = App::new(0, NODES[2]);
        last.swap();
        assert_eq!((app.slave, last.master, last.slave), (NODES[1], NODES[0], NODES[2]));
    }
}
