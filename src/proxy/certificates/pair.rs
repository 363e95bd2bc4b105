//! A certificate and its key as an admin has put them on a node, checked.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use ring::digest::{SHA256, digest};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;
use x509_cert::der::pem::{self, LineEnding, PemLabel as _};

use super::bundle::{BundleError, Facts, block, chain, facts, hosts};
use super::key_pair;

/// A certificate that ends within this time is told of.
const SOON: TimeDelta = TimeDelta::days(14);
/// Digits of a hash that stand in names: who could make two files of one hash may replace them anyway.
const TAG: usize = 20;

/// The longest name; with the rest of a file's name it stays below what file systems take.
const MAX_NAME: usize = 64;

/// What an admin calls a certificate: the files are `NAME.crt` and `NAME.key`. One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateName(String);

impl CertificateName {
    /// Refuses what could leave the directory, or not be told from other files in it.
    pub fn parse(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = (1..=MAX_NAME).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain);
        match is_name {
            true => Ok(Self(name.to_owned())),
            false => Err(format!(
                "{name:?} is no name of a certificate: letters, digits, '.', '_' and '-', at most {MAX_NAME}"
            )),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate with its chain and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// Chain and key, written anew: nothing but what was checked.
    certificate: String,
    key: String,
    tag: String,
    hosts: Vec<String>,
    facts: Facts,
}

// The key does not belong into logs.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Pair");
        text.field("tag", &self.tag).field("hosts", &self.hosts).field("facts", &self.facts);
        text.finish_non_exhaustive()
    }
}

impl Pair {
    /// Checks that the texts are a certificate and its key.
    pub fn new(certificate: &str, key: &str) -> Result<Self, BundleError> {
        let chain = chain(certificate)?;
        let [leaf, ..] = chain.as_slice() else {
            return Err(BundleError::Pem { part: "certificate", why: "it is empty".to_owned() });
        };
        let text = key_block(key).unwrap_or(key);
        let (label, bytes) = block("key", text.trim())?;
        let subject = &leaf.tbs_certificate.subject_public_key_info;
        key_pair::belongs(label, &bytes, subject).map_err(BundleError::Key)?;
        let written = |label: &str, bytes: &[u8]| {
            pem::encode_string(label, LineEnding::LF, bytes)
                .map_err(|error| BundleError::Pem { part: "key", why: error.to_string() })
        };
        let key = written(label, &bytes)?;
        let certificate = chain
            .iter()
            .map(|one| written(Certificate::PEM_LABEL, &one.to_der()?))
            .collect::<Result<String, _>>()?;
        let hash = digest(&SHA256, format!("{certificate}{key}").as_bytes());
        let mut tag: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        tag.truncate(TAG);
        Ok(Self { certificate, key, tag, hosts: hosts(leaf)?, facts: facts(leaf)? })
    }

    /// The certificate and its chain, as PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The key, as PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Another one for each pair.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// What the certificate says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether clients take it for a host's: named, or by a wildcard for one label.
    pub fn is_for(&self, host: &str) -> bool {
        let above = match host.starts_with("*.") {
            true => None,
            false => host.split_once('.').map(|(_, above)| format!("*.{above}")),
        };
        self.hosts.iter().any(|name| name == host || Some(name) == above.as_ref())
    }

    /// Why it can't be the certificate of a host at a time.
    pub fn check(&self, host: &str, now: DateTime<Utc>) -> Result<(), String> {
        let Facts { not_before, not_after, .. } = &self.facts;
        if !self.is_for(host) {
            return Err("the certificate is not for this host".to_owned());
        }
        if now < *not_before {
            return Err(format!("the certificate begins on {}", not_before.format("%F")));
        }
        if now >= *not_after {
            return Err(format!("the certificate has ended on {}", not_after.format("%F")));
        }
        Ok(())
    }

    /// When it ends, if that is soon.
    pub fn ends_soon(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = self.facts.not_after;
        (now + SOON >= end).then_some(end)
    }
}

/// The private key of a text that may have parameters of its curve in front, as `openssl ecparam` writes it.
fn key_block(text: &str) -> Option<&str> {
    const BEGIN: &str = "-----BEGIN ";
    let starts = text.match_indices(BEGIN).map(|(at, _)| at);
    let blocks = starts.filter_map(|at| text.get(at..));
    let mut keys = blocks.filter(|block| {
        let label = block.lines().next().unwrap_or_default();
        label.trim_end().ends_with("PRIVATE KEY-----")
    });
    keys.next()
}

#[cfg(test)]
mod tests {
    use super::super::Texts;
    use super::super::testing::{day, made};
    use super::*;

    fn pair(texts: &Texts) -> Result<Pair, String> {
        Pair::new(&texts.certificate, &texts.key).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_is_for_the_hosts_that_it_names_and_its_time() {
        let exact = pair(&made("app.test", "2026-01-01", "2026-04-01")).unwrap();
        let wild = pair(&made("*.App.test", "2026-01-01", "2026-04-01")).unwrap();
        for (pair, host, is_for) in [
            (&exact, "app.test", true),
            (&exact, "x.app.test", false),
            (&exact, "*.app.test", false),
            (&exact, "test", false),
            (&wild, "x.app.test", true),
            (&wild, "*.app.test", true),
            (&wild, "app.test", false),
            (&wild, "x.y.app.test", false),
            (&wild, "*.x.app.test", false),
        ] {
            assert_eq!(pair.is_for(host), is_for, "{host} {pair:?}");
        }
        let at = |text| exact.check("app.test", day(text));
        assert_eq!(at("2026-01-01"), Ok(()));
        assert!(at("2025-12-31").unwrap_err().contains("begins on 2026-01-01"));
        assert!(at("2026-04-01").unwrap_err().contains("has ended on 2026-04-01"));
        assert!(exact.check("b.test", day("2026-02-01")).unwrap_err().contains("not for this"));
        assert_eq!(exact.ends_soon(day("2026-03-17")), None);
        assert_eq!(exact.ends_soon(day("2026-03-18")), Some(day("2026-04-01")));
    }

    #[test]
    fn what_is_no_pair_is_refused_and_no_key_is_told() {
        let good = made("app.test", "2026-01-01", "2026-04-01");
        let other = made("app.test", "2026-01-01", "2026-04-01");
        let with = |change: &dyn Fn(&mut Texts)| {
            let mut texts = good.clone();
            change(&mut texts);
            pair(&texts).unwrap_err()
        };
        for (part, error) in [
            ("another certificate", with(&|t| t.key = other.key.clone())),
            ("not PEM", with(&|t| t.key = "secret".to_owned())),
            ("not PEM", with(&|t| t.key.truncate(90))),
            ("kind", with(&|t| t.key = t.certificate.clone())),
            ("something else", with(&|t| t.certificate = t.key.clone())),
            ("it is empty", with(&|t| t.certificate.clear())),
            (
                "can't be read",
                with(&|t| {
                    t.certificate =
                        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()
                }),
            ),
        ] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
            assert!(!error.contains("secret"), "{error}");
        }
        let pair = pair(&good).unwrap();
        let inner = good.key.lines().nth(1).unwrap();
        assert!(!format!("{pair:?}").contains(inner));
    }

    #[test]
    fn what_stands_around_a_key_is_left_out() {
        let texts = made("app.test", "2026-01-01", "2026-04-01");
        let plain = pair(&texts).unwrap();
        let parameters =
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let key = format!("{parameters}{}", texts.key);
        let certificate = format!("subject=CN = app.test\n{}", texts.certificate);
        let around = pair(&Texts { certificate, key, ..texts.clone() }).unwrap();
        assert_eq!(around, plain);
        assert_eq!((plain.certificate(), plain.key()), (&*texts.certificate, &*texts.key));
        let crlf = |text: &str| text.replace('\n', "\r\n");
        let (certificate, key) = (crlf(&texts.certificate), crlf(&texts.key));
        assert_eq!(pair(&Texts { certificate, key, ..texts }).unwrap(), plain);
    }

    #[test]
    fn a_name_is_one_step_of_a_path() {
        for good in ["shop", "Shop.example.com", "0_a-b", "a..b"] {
            assert_eq!(CertificateName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            ".",
            "..",
            "../shop",
            "a/b",
            "/etc/shop",
            ".shop",
            "-a",
            "a b",
            "a\n",
            "a\0",
            "é",
            "{env.A}",
            "*",
            &long,
        ] {
            assert!(CertificateName::parse(bad).unwrap_err().contains("is no name"), "{bad:?}");
        }
    }
}
