//! The value of `tandem/certificates/HOST`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::bundle::{Bundle, BundleError, Texts};
use super::host::{CertificateHost, IssuerName, NameError};
use super::key_file::SharedKey;
use crate::consul::txn::MAX_BODY;
use crate::model::{NodeName, keys};
use crate::records::{Record, RecordError, encode};

/// The newest form of the value that is known.
const FORMAT: u32 = 1;
/// The largest value that fits into a transaction, encoded.
const MAX_VALUE: usize = MAX_BODY / 2;

/// Why a value is not used.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// It is something else, or a newer agent wrote it.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// What was sealed is something else.
    #[error("is no published certificate: {0}")]
    Json(#[from] serde_json::Error),
    /// It was sealed under another key or for another host, or changed.
    #[error(
        "can't be opened: is certificate-key-file the same on all nodes? It was written by {0}"
    )]
    Sealed(NodeName),
    /// What was sealed is no certificate of the host.
    #[error("is not used")]
    Bundle(#[from] BundleError),
    /// Its authority has no name that can be a directory.
    #[error("is not used")]
    Issuer(#[from] NameError),
    /// It can't be sealed.
    #[error("can't be sealed: {0}")]
    Unsealable(&'static str),
}

/// A certificate as it stands in KV. What is not sealed is there for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    format: u32,
    /// Who published it.
    node: NodeName,
    issuer: String,
    serial: String,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
    /// Nonce and [`Sealed`], in base64.
    sealed: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    issuer: String,
    certificate: String,
    key: String,
    metadata: String,
}

impl Record for Published {
    const PREFIX: &'static str = keys::CERTIFICATES;
    const FORMAT: Option<u32> = Some(FORMAT);
    type Name = CertificateHost;
}

impl Published {
    /// A certificate as all nodes may see it.
    pub fn seal(key: &SharedKey, node: &NodeName, bundle: &Bundle) -> Result<Self, PublishedError> {
        let Texts { certificate, key: private, metadata } = bundle.texts().clone();
        let issuer = bundle.issuer().as_str().to_owned();
        let plain = Sealed { issuer: issuer.clone(), certificate, key: private, metadata };
        let plain = serde_json::to_vec(&plain)?;
        let sealed = key
            .seal(&bundle.host().key(), &plain)
            .map_err(|_| PublishedError::Unsealable("there is no randomness"))?;
        let facts = bundle.facts().clone();
        let value = Self {
            format: FORMAT,
            node: node.clone(),
            issuer,
            serial: facts.serial,
            not_before: facts.not_before,
            not_after: facts.not_after,
            sealed: STANDARD.encode(sealed),
        };
        if encode(&value).len() > MAX_VALUE {
            return Err(PublishedError::Unsealable("it is too large for Consul"));
        }
        Ok(value)
    }

    /// Until when it is good, by what stands beside the seal.
    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// Opens the seal and checks what it held.
    pub fn open(&self, key: &SharedKey, host: &CertificateHost) -> Result<Bundle, PublishedError> {
        let closed = || PublishedError::Sealed(self.node.clone());
        let sealed = STANDARD.decode(&self.sealed).map_err(|_| closed())?;
        let plain = key.open(&host.key(), &sealed).map_err(|_| closed())?;
        let Sealed { issuer, certificate, key, metadata } = serde_json::from_slice(&plain)?;
        let issuer = IssuerName::parse(&issuer)?;
        Ok(Bundle::new(host.clone(), issuer, Texts { certificate, key, metadata })?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bundle;
    use super::*;

    fn key(digit: &str) -> SharedKey {
        SharedKey::parse(&digit.repeat(64)).unwrap()
    }

    fn host(name: &str) -> CertificateHost {
        CertificateHost::parse(name).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_for_its_host_alone() {
        let node = NodeName::parse("node1").unwrap();
        let bundle = bundle("app.test", "2026-01-01", "2026-04-01");
        let value = Published::seal(&key("a"), &node, &bundle).unwrap();
        let text = String::from_utf8(encode(&value)).unwrap();
        assert!(text.contains(r#""node":"node1""#) && text.contains("2026-04-01"), "{text}");
        assert!(!text.contains("PRIVATE"));
        let published: Published = serde_json::from_str(&text).unwrap();
        assert_eq!(published.not_after(), bundle.facts().not_after);
        assert_eq!(published.open(&key("a"), &host("app.test")).unwrap(), bundle);
        for (key, host) in [(key("b"), host("app.test")), (key("a"), host("b.test"))] {
            let error = published.open(&key, &host).unwrap_err();
            assert!(matches!(error, PublishedError::Sealed(_)), "{error}");
            assert!(error.to_string().contains("written by node1"), "{error}");
        }
    }

    #[test]
    fn keys_name_hosts() {
        for name in ["app.test", "*.app.test"] {
            let host = host(name);
            assert_eq!(crate::records::name_of::<Published>(&host.key()), Some(host));
        }
        assert_eq!(crate::records::name_of::<Published>("tandem/certificates/a/b"), None);
    }

    #[test]
    fn an_authority_whose_name_would_lead_elsewhere_is_refused() {
        let node = NodeName::parse("node1").unwrap();
        let bundle = bundle("app.test", "2026-01-01", "2026-04-01");
        let mut published = Published::seal(&key("a"), &node, &bundle).unwrap();
        let texts = bundle.texts().clone();
        for issuer in ["../../../etc", "local", "", "a/b"] {
            let plain = Sealed {
                issuer: issuer.to_owned(),
                certificate: texts.certificate.clone(),
                key: texts.key.clone(),
                metadata: texts.metadata.clone(),
            };
            let plain = serde_json::to_vec(&plain).unwrap();
            let sealed = key("a").seal("tandem/certificates/app.test", &plain).unwrap();
            published.sealed = STANDARD.encode(sealed);
            let error = published.open(&key("a"), &host("app.test")).unwrap_err();
            assert!(matches!(error, PublishedError::Issuer(_)), "{issuer}: {error}");
        }
    }
}
