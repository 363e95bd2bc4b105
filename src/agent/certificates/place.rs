//! From KV to Caddy's storage.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::Certificates;
use crate::consul::ConsulError;
use crate::consul::kv::Entry;
use crate::error::chain;
use crate::model::keys;
use crate::proxy::certificates::{CertificateHost, Published, is_placed};
use crate::records::decode;

/// Requests for the app wait meanwhile. When it is over Caddy issues what it lacks.
const PATIENCE: Duration = Duration::from_secs(5);
/// More hosts than this are read by one call.
const SINGLY: usize = 8;

/// Puts what is published for these hosts into Caddy's storage, where that has none or an older one.
pub(super) async fn place(
    certificates: &Certificates,
    hosts: &BTreeSet<CertificateHost>,
    now: DateTime<Utc>,
) -> bool {
    let work = async {
        let entries = entries(certificates, hosts).await?;
        for host in hosts {
            let placed = match entries.get(&host.key()) {
                Some(entry) => one(certificates, host, entry, now).await,
                None => Ok(()),
            };
            certificates.note(host, placed.err());
        }
        Ok::<(), ConsulError>(())
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            warn!(error = %chain(&error), "published certificates can't be read; Caddy issues what it lacks");
            false
        }
        Err(_) => {
            warn!("published certificates were not read in time; Caddy issues what it lacks");
            false
        }
    }
}

/// What is published, by key.
async fn entries(
    certificates: &Certificates,
    hosts: &BTreeSet<CertificateHost>,
) -> Result<BTreeMap<String, Entry>, ConsulError> {
    let kv = &certificates.kv;
    let mut entries = Vec::new();
    if hosts.len() > SINGLY {
        entries = kv.list(keys::CERTIFICATES).await?.entries;
    } else {
        for host in hosts {
            entries.extend(kv.get(&host.key()).await?);
        }
    }
    Ok(entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect())
}

async fn one(
    certificates: &Certificates,
    host: &CertificateHost,
    entry: &Entry,
    now: DateTime<Utc>,
) -> Result<(), String> {
    let there = decode::<Published>(entry).map_err(|error| chain(&error))?;
    let there = there.open(&certificates.key, host).map_err(|error| chain(&error))?;
    // What Caddy could not use anyway gives way.
    let own = certificates.storage.find(host).await;
    let own = own.map_err(|error| chain(&error))?.newest;
    if is_placed(&there, own.as_ref(), now) {
        certificates.storage.put(&there).await.map_err(|error| chain(&error))?;
        info!(%host, serial = there.facts().serial, "Caddy has the certificate that was published");
    }
    Ok(())
}
