//! Certificates that other nodes have published.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{fixture, node, site};
use crate::proxy::certificates::{CertificateHost, CertificateSource};
use crate::proxy::control::FakeControl;
use crate::proxy::{Problem, Proxies};

/// Says when it was asked for what: after how many loads of Caddy.
pub(super) struct Asked {
    control: Arc<FakeControl>,
    pub(super) log: Mutex<Vec<String>>,
    /// Hosts whose certificates are on the node.
    pub(super) there: Mutex<BTreeSet<String>>,
}

impl Asked {
    pub(super) fn new(control: Arc<FakeControl>) -> Arc<Self> {
        Arc::new(Self { control, log: Mutex::default(), there: Mutex::default() })
    }

    fn say(&self, what: &str, hosts: &BTreeSet<CertificateHost>) {
        let hosts: Vec<_> = hosts.iter().map(CertificateHost::as_str).collect();
        let loads = self.control.state().loads.len();
        self.log.lock().unwrap().push(format!("{loads} {what} {}", hosts.join(" ")));
    }
}

#[async_trait::async_trait]
impl CertificateSource for Asked {
    async fn place(&self, hosts: &BTreeSet<CertificateHost>) -> bool {
        self.say("place", hosts);
        true
    }

    async fn has(&self, host: &CertificateHost) -> bool {
        self.there.lock().unwrap().contains(host.as_str())
    }

    fn routed(&self, hosts: BTreeSet<CertificateHost>) {
        self.say("routed", &hosts);
    }

    fn problems(&self) -> Vec<Problem> {
        vec![Problem::new("tandem/certificates/a.test", "is wrong")]
    }
}

#[tokio::test]
async fn certificates_are_asked_for_before_caddy_has_the_host() {
    let mut f = fixture();
    let source = Asked::new(f.control.clone());
    f.proxies = Proxies::new(f.settings.clone(), f.control.clone())
        .unwrap()
        .with_certificates(source.clone());
    let https = |name: &str, tls: &str| {
        format!("https://{name}.test {{\n tls {tls}\n proxy / http://{name}_web:80\n}}")
    };
    f.add("a", "node1", &https("a", "a@a.test"), json!({}));
    f.add("b", "node1", &https("b", "self_signed"), json!({}));
    f.add("c", "node1", &site("c"), json!({}));
    let d = f.add("d", "node2", &https("d", "a@a.test"), json!({}));
    f.control.state().is_down = true;
    f.apply().await;
    f.apply().await;
    f.control.state().is_down = false;
    let applied = f.apply().await;
    assert_eq!(applied.problems.len(), 1, "{applied:?}");
    f.record(&d).master = node("node1");
    f.apply().await;
    f.apply().await;
    let log = source.log.lock().unwrap().clone();
    let first = log.iter().position(|line| line.contains("routed")).unwrap();
    assert_eq!(log[..first], ["0 place a.test"], "once, also while Caddy does not run");
    let asked: Vec<_> = log.iter().filter(|line| line.contains("place")).collect();
    assert_eq!(asked, ["0 place a.test", "2 place d.test"]);
    assert_eq!(log.last().unwrap(), "3 routed a.test d.test");
}
