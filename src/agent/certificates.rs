//! Apps keep their certificates when they move: the master's agent publishes what its Caddy was issued under
//! `tandem/certificates/`, sealed, and the next master puts it into its own Caddy's storage before that serves the app.

mod place;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::{info, warn};

use super::AgentError;
use crate::clock;
use crate::config::Config;
use crate::consul::kv::Kv;
use crate::model::NodeName;
use crate::proxy::certificates::{CertificateHost, CertificateSource, SharedKey, Storage};
use crate::proxy::{Issuer, Problem};

pub use publish::Publisher;

/// A node's part in sharing certificates.
pub struct Certificates {
    kv: Arc<dyn Kv>,
    key: SharedKey,
    storage: Storage,
    /// What this node's Caddy serves for the apps whose master it is.
    hosts: watch::Sender<BTreeSet<CertificateHost>>,
    problems: Mutex<BTreeMap<CertificateHost, String>>,
}

impl Certificates {
    /// For Caddy's storage below `data_dir`.
    pub fn new(kv: Arc<dyn Kv>, key: SharedKey, data_dir: &Path) -> Self {
        Self {
            kv,
            key,
            storage: Storage::new(data_dir),
            hosts: watch::Sender::new(BTreeSet::new()),
            problems: Mutex::default(),
        }
    }

    /// By the settings: none without a key.
    pub(super) fn by(config: &Config, kv: Arc<dyn Kv>) -> Result<Option<Arc<Self>>, AgentError> {
        let Some(path) = &config.certificate_key_file else {
            if matches!(config.issuer, Issuer::Acme(_)) {
                info!(
                    "apps that move are issued new certificates; with certificate-key-file they keep theirs"
                );
            }
            return Ok(None);
        };
        let key = SharedKey::load(path).map_err(AgentError::CertificateKey)?;
        Ok(Some(Arc::new(Self::new(kv, key, &config.data_dir))))
    }

    /// Publishes for ever.
    pub(super) async fn publish(self: Arc<Self>, me: NodeName) {
        Publisher::new(self, me).run().await;
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<CertificateHost, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is wrong with a host's certificate, or that nothing is; logs it once per change.
    fn note(&self, host: &CertificateHost, problem: Option<String>) {
        let mut known = self.known();
        if known.get(host) == problem.as_ref() {
            return;
        }
        match problem {
            Some(problem) => {
                warn!(%host, problem, "a certificate is not shared");
                known.insert(host.clone(), problem);
            }
            None => {
                known.remove(host);
            }
        }
    }
}

#[async_trait]
impl CertificateSource for Certificates {
    async fn place(&self, hosts: &BTreeSet<CertificateHost>) -> bool {
        place::place(self, hosts, clock::now()).await
    }

    async fn has(&self, host: &CertificateHost) -> bool {
        let found = self.storage.find(host).await;
        found.is_ok_and(|found| found.newest.is_some_and(|own| own.is_valid(clock::now())))
    }

    fn routed(&self, hosts: BTreeSet<CertificateHost>) {
        self.known().retain(|host, _| hosts.contains(host));
        self.hosts.send_if_modified(|known| {
            let changed = *known != hosts;
            *known = hosts;
            changed
        });
    }

    fn problems(&self) -> Vec<Problem> {
        let of = |(host, what): (&CertificateHost, &String)| Problem {
            source: host.key(),
            what: what.clone(),
        };
        self.known().iter().map(of).collect()
    }
}
