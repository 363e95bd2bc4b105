//! What is on the nodes and in Consul.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Lab, NODES, Repo};

impl Lab {
    /// The keys below a prefix.
    pub(crate) fn kv_keys(&self, prefix: &str) -> Vec<String> {
        let output =
            self.try_node("node1", &["consul", "kv", "get", "-keys", "-separator=", prefix]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// A key's value.
    pub(crate) fn kv(&self, key: &str) -> Option<String> {
        let output = self.try_node("node1", &["consul", "kv", "get", key]);
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        output.status.success().then_some(text)
    }

    pub(crate) fn kv_put(&self, key: &str, value: &str) {
        self.node("node1", &["consul", "kv", "put", key, value]);
    }

    /// The app's KV entry.
    pub(crate) fn app(&self, repo: &Repo) -> Option<Value> {
        serde_json::from_str(&self.kv(&format!("app/{}", repo.app()))?).ok()
    }

    /// Names of the containers of an app on a node, with their state.
    pub(crate) fn containers(&self, node: &str, repo: &Repo) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", repo.project());
        self.lines(
            node,
            &[
                "docker",
                "ps",
                "-a",
                "--filter",
                &filter,
                "--format",
                "{{.Names}} {{.State}} {{.ID}}",
            ],
        )
    }

    /// The volumes of an app on a node, as Docker lists them.
    pub(crate) fn volumes(&self, node: &str, repo: &Repo) -> Vec<String> {
        let prefix = format!("{}_", repo.project());
        let all = self.lines(node, &["docker", "volume", "ls", "--format", "{{.Name}}"]);
        all.into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// The volume snapshots of an app on a node.
    pub(crate) fn snapshots(&self, node: &str, repo: &Repo) -> Vec<String> {
        let prefix = format!("{}_", repo.project());
        let all = self.lines(node, &["ls", "/var/lib/buttervolume/snapshots"]);
        all.into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// The checkouts of an app on a node.
    pub(crate) fn checkouts(&self, node: &str, repo: &Repo) -> Vec<String> {
        let prefix = format!("{}-", repo.app());
        let all = self.lines(node, &["ls", "-A", "/deploy"]);
        all.into_iter().filter(|name| name.contains(&prefix)).collect()
    }

    /// The schedules of an app's volumes on a node, sorted: action and minutes, without volume names.
    pub(crate) fn schedules(&self, node: &str, repo: &Repo) -> BTreeSet<String> {
        let all = self.lines(node, &["buttervolume", "scheduled"]);
        let prefix = format!("{}_", repo.project());
        all.iter()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let (action, minutes, volume) = (words.next()?, words.next()?, words.next()?);
                volume.starts_with(&prefix).then(|| format!("{action} {minutes}"))
            })
            .collect()
    }

    /// The Docker networks and images of an app on a node.
    pub(crate) fn networks_and_images(&self, node: &str, repo: &Repo) -> Vec<String> {
        let project = repo.project();
        let networks = self.lines(node, &["docker", "network", "ls", "--format", "{{.Name}}"]);
        let images =
            self.lines(node, &["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]);
        networks.into_iter().chain(images).filter(|name| name.contains(&project)).collect()
    }

    /// The ids of the services that a node's Consul agent has.
    pub(crate) fn services(&self, node: &str) -> Vec<String> {
        let text = self.node(node, &["curl", "-fsS", "http://127.0.0.1:8500/v1/agent/services"]);
        let services: Value = serde_json::from_str(&text).unwrap();
        services.as_object().unwrap().keys().cloned().collect()
    }

    /// Everything that an app has on every node save its snapshots: empty after a destroy.
    pub(crate) fn leftovers(&self, repo: &Repo) -> Vec<String> {
        let mut found = Vec::new();
        for node in NODES {
            let mut add = |what: &str, items: Vec<String>| {
                found.extend(items.into_iter().map(|item| format!("{node} {what} {item}")));
            };
            add("container", self.containers(node, repo));
            add("volume", self.volumes(node, repo));
            add("checkout", self.checkouts(node, repo));
            add("schedule", self.schedules(node, repo).into_iter().collect());
            add("network or image", self.networks_and_images(node, repo));
            add(
                "service",
                self.services(node).into_iter().filter(|id| *id == repo.app()).collect(),
            );
        }
        for prefix in ["app/", "maintenance/", "tandem/leases/"] {
            found.extend(self.kv_keys(prefix).into_iter().filter(|key| key.ends_with(&repo.app())));
        }
        found
    }

    fn lines(&self, node: &str, argv: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = self.node(node, argv).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}
