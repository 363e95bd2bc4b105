//! A certificate with its chain, its key and what Caddy notes beside them, checked.

use chrono::{DateTime, Utc};
use serde_json::Value;
use x509_cert::Certificate;
use x509_cert::der::pem::{self, PemLabel as _};
use x509_cert::der::{self, Decode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::host::{CertificateHost, IssuerName};
use super::key_pair;

/// A chain is some thousand bytes.
pub(super) const MAX_TEXT: u64 = 64 * 1024;
const MAX_CHAIN: usize = 10;

/// Why files or a value are no certificate of a host.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not PEM, or PEM of something else.
    #[error("the {part} is not PEM as Caddy takes it: {why}")]
    Pem {
        /// certificate, key.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
    /// X.509 that can't be read.
    #[error("the certificate can't be read")]
    Certificate(#[from] der::Error),
    /// The certificate of other hosts.
    #[error("the certificate is not for {0}")]
    Host(CertificateHost),
    /// A key of another certificate, as while Caddy replaces one file after the other, or of a kind that is not known.
    #[error("the key does not belong to the certificate: {0}")]
    Key(&'static str),
    /// What stands beside certificate and key.
    #[error("the metadata {0}")]
    Metadata(String),
}

/// The three files of a certificate, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Texts {
    /// The leaf and its chain.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// What Caddy notes of them, as JSON.
    pub metadata: String,
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// In hexadecimal digits.
    pub serial: String,
    /// Valid from.
    pub not_before: DateTime<Utc>,
    /// Valid until.
    pub not_after: DateTime<Utc>,
}

/// A certificate of a host with all that Caddy needs of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    host: CertificateHost,
    issuer: IssuerName,
    texts: Texts,
    facts: Facts,
}

// The key does not belong into logs.
impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Bundle");
        text.field("host", &self.host).field("issuer", &self.issuer).field("facts", &self.facts);
        text.finish_non_exhaustive()
    }
}

impl Bundle {
    /// Checks that the texts are what Caddy would take for the host's certificate of an authority by ACME.
    pub fn new(
        host: CertificateHost,
        issuer: IssuerName,
        texts: Texts,
    ) -> Result<Self, BundleError> {
        let chain = chain(&texts.certificate)?;
        let [leaf, ..] = chain.as_slice() else {
            return Err(BundleError::Pem { part: "certificate", why: "it is empty".to_owned() });
        };
        if !is_for(leaf, &host)? {
            return Err(BundleError::Host(host));
        }
        let (label, key) = block("key", texts.key.trim())?;
        let subject = &leaf.tbs_certificate.subject_public_key_info;
        key_pair::belongs(label, &key, subject).map_err(BundleError::Key)?;
        check_metadata(&texts.metadata, &host)?;
        let facts = facts(leaf)?;
        Ok(Self { host, issuer, texts, facts })
    }

    /// The host that it is for.
    pub fn host(&self) -> &CertificateHost {
        &self.host
    }

    /// Who issued it.
    pub fn issuer(&self) -> &IssuerName {
        &self.issuer
    }

    /// The files.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// What the certificate says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether it was issued later. That is what Caddy goes by when it finds several, and what makes the right one of a
    /// certificate issued in place of one that had leaked, which may end earlier.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let age = |bundle: &Self| (bundle.facts.not_before, bundle.facts.not_after);
        age(self) > age(other)
    }

    /// Whether it is still good.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        now < self.facts.not_after
    }
}

/// The one block of PEM that a text is.
pub(super) fn block<'a>(
    part: &'static str,
    text: &'a str,
) -> Result<(&'a str, Vec<u8>), BundleError> {
    pem::decode_vec(text.as_bytes())
        .map_err(|error| BundleError::Pem { part, why: error.to_string() })
}

pub(super) fn chain(text: &str) -> Result<Vec<Certificate>, BundleError> {
    const END: &str = "-----END CERTIFICATE-----";
    let wrong = |why: &str| BundleError::Pem { part: "certificate", why: why.to_owned() };
    let blocks = text.split_inclusive(END).map(str::trim).filter(|block| !block.is_empty());
    let mut chain = Vec::new();
    for text in blocks {
        let (label, bytes) = block("certificate", text)?;
        if label != Certificate::PEM_LABEL {
            return Err(wrong("it holds something else"));
        }
        if chain.len() == MAX_CHAIN {
            return Err(wrong("its chain is too long"));
        }
        chain.push(Certificate::from_der(&bytes)?);
    }
    Ok(chain)
}

fn is_for(leaf: &Certificate, host: &CertificateHost) -> Result<bool, BundleError> {
    Ok(hosts(leaf)?.iter().any(|name| name == host.as_str()))
}

/// The hosts that a certificate names, in lower case.
pub(super) fn hosts(leaf: &Certificate) -> Result<Vec<String>, BundleError> {
    let names = leaf.tbs_certificate.get::<SubjectAltName>()?;
    let host = |name: &GeneralName| {
        let GeneralName::DnsName(name) = name else { return None };
        Some(name.as_str().to_ascii_lowercase())
    };
    Ok(names.map_or_else(Vec::new, |(_, names)| names.0.iter().filter_map(host).collect()))
}

pub(super) fn facts(leaf: &Certificate) -> Result<Facts, BundleError> {
    let validity = &leaf.tbs_certificate.validity;
    let [not_before, not_after] = [validity.not_before, validity.not_after].map(|time| {
        let seconds = i64::try_from(time.to_unix_duration().as_secs()).ok();
        seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0))
    });
    let (Some(not_before), Some(not_after)) = (not_before, not_after) else {
        return Err(BundleError::Certificate(der::ErrorKind::DateTime.into()));
    };
    let serial = leaf.tbs_certificate.serial_number.as_bytes();
    let serial = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Facts { serial, not_before, not_after })
}

/// An authority by ACME gives a certificate a place; Caddy's own notes nothing.
fn check_metadata(text: &str, host: &CertificateHost) -> Result<(), BundleError> {
    let wrong = |why: &str| BundleError::Metadata(why.to_owned());
    let value: Value = serde_json::from_str(text)
        .map_err(|error| BundleError::Metadata(format!("is not JSON: {error}")))?;
    let names = value["sans"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !names.iter().any(|name| name.as_str() == Some(host.as_str())) {
        return Err(wrong("does not name the host"));
    }
    match value["issuer_data"]["url"].as_str() {
        Some(url) if url.starts_with("https://") => Ok(()),
        Some(_) | None => Err(wrong("is not that of a certificate by ACME")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{day, made};
    use super::*;

    fn bundle(host: &str, texts: Texts) -> Result<Bundle, String> {
        let host = CertificateHost::parse(host).unwrap();
        let issuer = IssuerName::parse("ca.test-directory").unwrap();
        Bundle::new(host, issuer, texts).map_err(|error| error.to_string())
    }

    #[test]
    fn a_certificate_is_read() {
        let texts = made("app.test", "2026-01-01", "2026-04-01");
        let bundle = bundle("app.test", texts).unwrap();
        let facts = bundle.facts();
        assert_eq!(facts.not_before.to_rfc3339(), "2026-01-01T00:00:00+00:00");
        assert_eq!(facts.not_after.to_rfc3339(), "2026-04-01T00:00:00+00:00");
        assert!(!facts.serial.is_empty());
        let at = |text: &str| bundle.is_valid(day(text));
        assert!(at("2026-03-31") && !at("2026-04-01"));
        assert!(!format!("{bundle:?}").contains("PRIVATE"));
    }

    #[test]
    fn the_one_issued_later_is_newer_also_if_it_ends_earlier() {
        let of = |from, to| bundle("app.test", made("app.test", from, to)).unwrap();
        let old = of("2026-01-01", "2026-04-01");
        let short = of("2026-02-01", "2026-02-08");
        assert!(short.is_newer_than(&old) && !old.is_newer_than(&short));
        assert!(!old.is_newer_than(&old));
    }

    #[test]
    fn a_chain_may_follow_with_blank_lines_between() {
        let mut texts = made("*.app.test", "2026-01-01", "2026-04-01");
        let above = made("ca.test", "2026-01-01", "2026-04-01").certificate;
        texts.certificate = format!("{}\n{above}\n", texts.certificate);
        assert!(bundle("*.app.test", texts).is_ok());
    }

    #[test]
    fn what_caddy_would_not_take_is_refused_by_name() {
        let good = made("app.test", "2026-01-01", "2026-04-01");
        let other = made("app.test", "2026-01-02", "2026-04-02");
        let with = |change: &dyn Fn(&mut Texts)| {
            let mut texts = good.clone();
            change(&mut texts);
            bundle("app.test", texts).unwrap_err()
        };
        let many = [good.certificate.as_str(); 11].concat();
        let cases: [(&str, String); 12] = [
            ("is not for", bundle("b.test", good.clone()).unwrap_err()),
            ("is not for", bundle("*.test.test", good.clone()).unwrap_err()),
            ("it is empty", with(&|t| t.certificate.clear())),
            ("something else", with(&|t| t.certificate = t.key.clone())),
            ("not PEM", with(&|t| t.certificate.push('x'))),
            ("too long", with(&|t| t.certificate = many.clone())),
            ("not PEM", with(&|t| t.key.clear())),
            ("another certificate", with(&|t| t.key = other.key.clone())),
            ("kind", with(&|t| t.key = t.certificate.clone())),
            ("is not JSON", with(&|t| t.metadata = "{".into())),
            ("does not name", with(&|t| t.metadata = "{}".into())),
            (
                "by ACME",
                with(&|t| t.metadata = r#"{"sans":["app.test"],"issuer_data":null}"#.into()),
            ),
        ];
        for (part, error) in cases {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(certificate in "\\PC*|-----BEGIN CERTIFICATE-----\n[A-Za-z/+=\n]{0,99}\n-----END CERTIFICATE-----", key in "\\PC{0,40}", metadata in "\\PC{0,40}") {
            let _ = bundle("app.test", Texts { certificate, key, metadata });
        }
    }
}
