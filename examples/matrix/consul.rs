//! Consul as a node's own agent offers it, from outside: a forwarder in each node, and no process per request.

use std::time::{Duration, Instant};

use serde_json::Value;
use tandem::model::deployment::Deployment;

use crate::support::http::{Ask, Reply, ask};
use crate::support::{Lab, NODES};

/// Where the forwarders listen.
const PORT: u16 = 8601;
/// A request that waits for a change may take this much longer than it waits.
const SLACK: Duration = Duration::from_secs(4);

/// Consul's HTTP API through one node, or the next one if that does not answer.
pub(crate) struct Consul<'a> {
    lab: &'a Lab,
    /// Asked in this order.
    nodes: Vec<&'static str>,
    ips: Vec<String>,
}

/// A record and the index to wait from.
pub(crate) struct Look {
    pub(crate) index: u64,
    pub(crate) record: Option<Deployment>,
}

impl<'a> Consul<'a> {
    /// `struck` is asked last.
    pub(crate) fn new(lab: &'a Lab, struck: &str) -> Self {
        let mut nodes: Vec<_> = NODES.into_iter().rev().collect();
        nodes.sort_by_key(|node| *node == struck);
        let ips = nodes.iter().map(|node| lab.ip(node)).collect();
        Self { lab, nodes, ips }
    }

    /// Starts the forwarders that are not there.
    pub(crate) fn open(&self) {
        for (node, ip) in self.nodes.iter().zip(&self.ips) {
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut child = None;
            while self.get_from(ip, "/v1/status/leader", Duration::from_secs(1)).is_err() {
                let listen = format!("TCP-LISTEN:{PORT},fork,reuseaddr,bind={ip}");
                child.get_or_insert_with(|| {
                    self.lab.spawn(node, &["socat", &listen, "TCP:127.0.0.1:8500"])
                });
                assert!(Instant::now() < deadline, "no way to the Consul of {node}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn get_from(&self, ip: &str, path: &str, deadline: Duration) -> Result<Reply, String> {
        let reply = ask(ip, PORT, Ask { method: "GET", host: "consul", path, body: "" }, deadline)?;
        if reply.status >= 500 { Err(reply.body) } else { Ok(reply) }
    }

    /// Asks one node after the other; none if nobody answers.
    pub(crate) fn get(&self, path: &str, deadline: Duration) -> Option<Reply> {
        self.ips.iter().find_map(|ip| self.get_from(ip, path, deadline).ok())
    }

    /// A key's value.
    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        let reply = self.get(&format!("/v1/kv/{key}?raw"), SLACK)?;
        if reply.status == 200 { serde_json::from_str(&reply.body).ok() } else { None }
    }

    /// The keys below a prefix; none also if nobody answers: for what has to be absent, see [`Consul::known_keys`].
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.known_keys(prefix).unwrap_or_default()
    }

    /// The keys below a prefix, if anybody answers.
    pub(crate) fn known_keys(&self, prefix: &str) -> Option<Vec<String>> {
        let reply = self.get(&format!("/v1/kv/{prefix}?keys"), SLACK)?;
        match reply.status {
            404 => Some(Vec::new()),
            _ => serde_json::from_str(&reply.body).ok(),
        }
    }

    /// A deployment's record, once the key has another index than `after` or `wait` is over.
    pub(crate) fn look(&self, key: &str, after: u64, wait: Duration) -> Look {
        let path = format!("/v1/kv/{key}?raw&index={after}&wait={}ms", wait.as_millis());
        let Some(reply) = self.get(&path, wait + SLACK) else {
            std::thread::sleep(Duration::from_millis(100));
            return Look { index: 0, record: None };
        };
        let headers = reply.headers.to_lowercase();
        let index = headers.lines().find_map(|line| line.strip_prefix("x-consul-index: "));
        let index = index.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        let record = (reply.status == 200).then(|| serde_json::from_str(&reply.body));
        let record = record.map(|parsed| parsed.unwrap_or_else(|e| panic!("{key}: {e}")));
        Look { index, record }
    }

    /// Fires an event and returns its id.
    pub(crate) fn fire(&self, name: &str, payload: &str) -> String {
        let path = format!("/v1/event/fire/{name}");
        let wanted = Ask { method: "PUT", host: "consul", path: &path, body: payload };
        let sent = self.ips.iter().find_map(|ip| ask(ip, PORT, wanted, SLACK).ok());
        let reply = sent.unwrap_or_else(|| panic!("nobody took the event {name}"));
        let event: Value = serde_json::from_str(&reply.body)
            .unwrap_or_else(|_| panic!("the event {name} was refused: {}", reply.body));
        event["ID"].as_str().unwrap().to_owned()
    }

    /// The node whose Consul leads.
    pub(crate) fn leader(&self) -> Option<&'static str> {
        let reply = self.get("/v1/status/leader", SLACK)?;
        let ip = reply.body.trim().trim_matches('"').split(':').next()?.to_owned();
        let place = self.ips.iter().position(|known| *known == ip)?;
        Some(self.nodes[place])
    }
}
