//! From Caddy's storage to KV.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Certificates;
use crate::clock;
use crate::consul::ConsulError;
use crate::error::chain;
use crate::host::files::FileError;
use crate::model::NodeName;
use crate::proxy::certificates::{
    Bundle, CertificateHost, Published, PublishedError, Stamp, is_published,
};
use crate::records::{Contended, Stored, contend, decode, encode, list};

/// How often Caddy's files are looked at.
const PERIOD: Duration = Duration::from_secs(30);
/// … while one of the hosts has none yet: Caddy is asking for it, and the app may move at any time.
const SOON: Duration = Duration::from_secs(5);
/// Caddy replaces one file after the other: what does not fit together is looked at once more after this.
const SETTLE: Duration = Duration::from_secs(1);
/// How often all is compared with KV anew, and what has ended long ago removed.
const ANEW: Duration = Duration::from_secs(3600);
/// What has ended stays for so long, for clocks that differ.
const GRACE: TimeDelta = TimeDelta::days(1);
/// Keys removed in one round.
const REMOVED: usize = 64;

/// Why a host's certificate was not published.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("Caddy's files can't be read")]
    Files(#[from] FileError),
    #[error("Caddy's files don't fit together: {0}")]
    Wrong(String),
    #[error("Consul does not take the certificate")]
    Consul(#[from] ConsulError),
    #[error("the certificate can't be published")]
    Published(#[from] PublishedError),
    #[error(transparent)]
    Busy(#[from] Contended),
}

/// Looks at Caddy's files, and publishes what they hold.
pub struct Publisher {
    certificates: Arc<Certificates>,
    me: NodeName,
    /// What the files were like when they were in KV.
    done: BTreeMap<CertificateHost, Stamp>,
    compared: Instant,
}

impl Publisher {
    /// Publishes as this node.
    pub fn new(certificates: Arc<Certificates>, me: NodeName) -> Self {
        Self { certificates, me, done: BTreeMap::new(), compared: Instant::now() }
    }

    /// Looks for ever: every 30 s (5 s while a host has no certificate), and when Caddy serves other hosts.
    pub(super) async fn run(mut self) {
        let mut hosts = self.certificates.hosts.subscribe();
        loop {
            let now = clock::now();
            if self.compared.elapsed() >= ANEW {
                self.compared = Instant::now();
                self.done.clear();
                self.remove_ended(now).await;
            }
            let served = hosts.borrow_and_update().clone();
            self.look(&served, now).await;
            let wait = if self.done.len() < served.len() { SOON } else { PERIOD };
            tokio::select! {
                biased;
                _ = hosts.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Publishes what has changed of these hosts.
    pub async fn look(&mut self, hosts: &BTreeSet<CertificateHost>, now: DateTime<Utc>) {
        self.done.retain(|host, _| hosts.contains(host));
        for host in hosts {
            let certificates = self.certificates.clone();
            match self.one(host, now).await {
                // A problem that placing found stays until there is something to publish in its place.
                Ok(false) => {}
                Ok(true) => certificates.note(host, None),
                Err(error) => certificates.note(host, Some(chain(&error))),
            }
        }
    }

    /// Whether something was compared with KV.
    async fn one(
        &mut self,
        host: &CertificateHost,
        now: DateTime<Utc>,
    ) -> Result<bool, PublishError> {
        let stamp = self.certificates.storage.stamp(host).await?;
        if stamp.is_empty() || self.done.get(host) == Some(&stamp) {
            return Ok(false);
        }
        let Some(bundle) = self.read(host).await? else {
            return Ok(false);
        };
        self.publish(&bundle, now).await?;
        self.done.insert(host.clone(), stamp);
        Ok(true)
    }

    async fn read(&self, host: &CertificateHost) -> Result<Option<Bundle>, PublishError> {
        let storage = &self.certificates.storage;
        let mut found = storage.find(host).await?;
        if !found.wrong.is_empty() {
            tokio::time::sleep(SETTLE).await;
            found = storage.find(host).await?;
        }
        match found.newest {
            None if !found.wrong.is_empty() => Err(PublishError::Wrong(found.wrong.join("; "))),
            newest => Ok(newest),
        }
    }

    /// Writes it to KV, unless a newer one is there.
    async fn publish(&self, own: &Bundle, now: DateTime<Utc>) -> Result<(), PublishError> {
        contend(&own.host().key(), |_| self.try_to_publish(own, now)).await
    }

    /// None if another agent was faster.
    async fn try_to_publish(
        &self,
        own: &Bundle,
        now: DateTime<Utc>,
    ) -> Result<Option<()>, PublishError> {
        let Certificates { kv, key, .. } = self.certificates.as_ref();
        let (host, facts) = (own.host(), own.facts());
        let entry = kv.get(&host.key()).await?;
        let index = entry.as_ref().map_or(0, |entry| entry.modify_index);
        let there = entry.map(|entry| decode::<Published>(&entry)?.open(key, host));
        if !is_published(own, there.as_ref(), now) {
            return match there {
                Some(Err(error)) => Err(error.into()),
                Some(Ok(_)) | None => Ok(Some(())),
            };
        }
        if let Some(Err(error)) = there {
            warn!(%host, error = %chain(&error), "a published certificate of no use is replaced");
        }
        let value = encode(&Published::seal(key, &self.me, own)?);
        let written = kv.put_cas(&host.key(), value, index).await?;
        if written.is_some() {
            info!(%host, serial = facts.serial, until = %facts.not_after, "published a certificate");
        }
        Ok(written.map(|_| ()))
    }

    /// Removes what has ended, whoever published it and whether or not an app still has the host: until then an app
    /// that comes back has its certificate. Which agent does so makes no difference.
    pub async fn remove_ended(&self, now: DateTime<Utc>) {
        if let Err(error) = self.try_remove_ended(now).await {
            warn!(error = %chain(&error), "published certificates that have ended stay for now");
        }
    }

    async fn try_remove_ended(&self, now: DateTime<Utc>) -> Result<(), ConsulError> {
        let kv = &self.certificates.kv;
        let published = list::<Published>(kv.as_ref()).await?.found.into_iter();
        let ended = published.filter(|published| published.value.not_after() + GRACE < now);
        for Stored { name: host, index, .. } in ended.take(REMOVED) {
            if kv.delete_cas(&host.key(), index).await? {
                info!(%host, "removed a certificate that has ended");
            }
        }
        Ok(())
    }
}
