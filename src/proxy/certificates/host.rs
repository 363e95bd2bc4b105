//! Names that become parts of paths and keys.

use std::fmt;
use std::net::IpAddr;

use crate::model::keys;
use crate::records::Named;

/// The longest name of a file is 255 bytes; `wildcard_` and endings come on top.
const MAX_HOST: usize = 230;
const MAX_ISSUER: usize = 128;
/// Caddy's own authority, and what stands for `*` in its file names.
const OWN_AUTHORITY: &str = "local";
const WILDCARD: &str = "wildcard_";

/// Why a text is no name of a certificate's host or issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// A host that a public authority can certify, in lower case: `app.example.com` or `*.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateHost(String);

impl CertificateHost {
    /// Refuses what is no host name, and the one name that Caddy's storage would mix up with a wildcard.
    pub fn parse(host: &str) -> Result<Self, NameError> {
        let host = caddyfile::host(host).map_err(|error| NameError(error.to_string()))?;
        if host.len() > MAX_HOST {
            return Err(NameError(format!("{host:?} is too long for the name of a file")));
        }
        if host.parse::<IpAddr>().is_ok() {
            return Err(NameError(format!("{host:?} is an address")));
        }
        if host.split('.').next() == Some(WILDCARD) {
            return Err(NameError(format!("{host:?} has the name of a wildcard's files")));
        }
        Ok(Self(host))
    }

    /// The host.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host as Caddy names its files: `wildcard_.example.com` for a wildcard. One step of a path.
    pub fn file_name(&self) -> String {
        self.0.replacen('*', WILDCARD, 1)
    }

    /// `tandem/certificates/{file name}`: without `*`, which not every release of Consul reads alike.
    pub fn key(&self) -> String {
        format!("{}{}", keys::CERTIFICATES, self.file_name())
    }
}

impl Named for CertificateHost {
    fn parse(rest: &str) -> Option<Self> {
        let host = match rest.strip_prefix(WILDCARD) {
            Some(above) => format!("*{above}"),
            None => rest.to_owned(),
        };
        Self::parse(&host).ok()
    }
}

impl fmt::Display for CertificateHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The directory of an authority in Caddy's storage, `acme-v02.api.letsencrypt.org-directory`: one step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerName(String);

impl IssuerName {
    /// Refuses what could leave the storage's directory, and Caddy's own authority.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_known = (1..=MAX_ISSUER).contains(&name.len())
            && name.starts_with(is_plain)
            && name.chars().all(|c| is_plain(c) || "._-".contains(c))
            && !name.contains("..");
        if !is_known {
            return Err(NameError(format!("{name:?} is no name of a certificate authority")));
        }
        if name == OWN_AUTHORITY {
            return Err(NameError(
                "certificates of Caddy's own authority stay on their node".into(),
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_becomes_one_name_of_a_file_and_a_key() {
        let of = |text| {
            let host = CertificateHost::parse(text).unwrap();
            (host.to_string(), host.file_name(), host.key())
        };
        let (host, file, key) = of("App.Example.com");
        assert_eq!((host.as_str(), file.as_str()), ("app.example.com", "app.example.com"));
        assert_eq!(key, "tandem/certificates/app.example.com");
        let (host, file, key) = of("*.example.com");
        assert_eq!((host.as_str(), file.as_str()), ("*.example.com", "wildcard_.example.com"));
        assert_eq!(key, "tandem/certificates/wildcard_.example.com");
    }

    #[test]
    fn what_is_no_host_of_a_certificate_is_refused() {
        let long = format!("{}com", "aaaaaaaaa.".repeat(24));
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            "a..b",
            "a\\b",
            "a\0b",
            "10.0.0.1",
            "wildcard_.example.com",
            "*",
            "*.com",
            "a.*.com",
            "a b.com",
            &long,
        ] {
            assert!(CertificateHost::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_directory_of_an_authority_is_refused() {
        for good in
            ["acme-v02.api.letsencrypt.org-directory", "acme.zerossl.com-v2-dv90", "ca-9000"]
        {
            assert_eq!(IssuerName::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(129);
        for bad in
            ["", ".", "..", "local", ".a", "-a", "a/b", "a..b", "A", "é", "a b", "a\n", &long]
        {
            assert!(IssuerName::parse(bad).is_err(), "{bad:?}");
        }
    }

    fn is_one_step(name: &str) -> bool {
        let steps: Vec<_> = Path::new(name).components().collect();
        matches!(steps.as_slice(), [Component::Normal(step)] if *step == name) && name.len() < 250
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_storage(text in "[a-c./\\\\*_ \\x00\n~-]{0,12}|\\PC{0,20}|(wildcard_|\\*|local|\\.\\.)[./a*]{0,5}") {
            if let Ok(host) = CertificateHost::parse(&text) {
                prop_assert!(is_one_step(&host.file_name()));
                prop_assert_eq!(host.key().matches('/').count(), 2);
                // No two hosts have the same file.
                let back = host.file_name().replacen("wildcard_.", "*.", 1);
                prop_assert_eq!(back, host.as_str());
            }
            if let Ok(issuer) = IssuerName::parse(&text) {
                prop_assert!(is_one_step(issuer.as_str()));
            }
        }
    }
}
