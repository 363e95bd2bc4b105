//! The address of a site.

use std::fmt;

use super::{HostError, host};

/// HTTP or HTTPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Port 80.
    Http,
    /// Port 443.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Why a text is not the address of a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is not of the form that one has.
    #[error("address {address:?}: {what}")]
    Form {
        /// The text.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Its host is none.
    #[error("address {address:?}: {error}")]
    Host {
        /// The text.
        address: String,
        /// What is wrong with its host.
        error: HostError,
    },
}

/// An address after normalisation: lower case, the scheme and port explicit. Equal addresses are the same site.
///
/// A host without a scheme is HTTPS; its HTTP side redirects there, as in both Caddys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SiteUrl {
    /// The scheme.
    pub scheme: Scheme,
    /// The host; `*.` in front is a wildcard.
    pub host: String,
    /// 80 or 443: no app opens another port by its CADDYFILE.
    pub port: u16,
    /// The path prefix of a Caddy 1 address, without a slash at the end; mostly empty.
    pub path: String,
}

impl SiteUrl {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let wrong = |what| AddressError::Form { address: text.to_owned(), what };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "http" => (Some(Scheme::Http), rest),
                "https" => (Some(Scheme::Https), rest),
                _ => return Err(wrong("the scheme is neither http nor https")),
            },
            None => (None, text),
        };
        let slash = rest.find('/').unwrap_or(rest.len());
        let (name, path) = rest.split_at(slash);
        let path = path.trim_end_matches(['/', '*']);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
        if path.contains("//") || !path.chars().all(is_plain) {
            return Err(wrong("the path is more than a plain prefix"));
        }
        let (name, port) = match name.rsplit_once(':') {
            None => (name, None),
            Some((name, "80" | "http")) => (name, Some(Scheme::Http)),
            Some((name, "443" | "https")) => (name, Some(Scheme::Https)),
            Some(_) => return Err(wrong("only the ports 80 and 443 are open to sites")),
        };
        if let (Some(scheme), Some(port)) = (scheme, port)
            && scheme != port
        {
            return Err(wrong("the scheme and the port disagree"));
        }
        if name.is_empty() {
            return Err(wrong("it has no host"));
        }
        let scheme = scheme.or(port).unwrap_or(Scheme::Https);
        Ok(Self {
            scheme,
            host: host(name)
                .map_err(|error| AddressError::Host { address: text.to_owned(), error })?,
            port: match scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            },
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        for (text, url) in [
            ("http://H.Test", "http://h.test"),
            ("h.test", "https://h.test"),
            ("h.test:80", "http://h.test"),
            ("HTTP://h.test:http/", "http://h.test"),
            ("*.h.test:443", "https://*.h.test"),
            ("https://h.test/static/*", "https://h.test/static"),
            ("h.test.", "https://h.test"),
            ("h.test.:443", "https://h.test"),
            ("https://Bücher.test:https", "https://xn--bcher-kva.test"),
            ("HTTPS://XN--BCHER-KVA.TEST", "https://xn--bcher-kva.test"),
        ] {
            assert_eq!(SiteUrl::parse(text).unwrap().to_string(), url);
        }
        for bad in [
            ":80",
            "http://",
            "h:12019",
            "https://h:80",
            "*",
            "*.test",
            "unix//x",
            "http://{env.X}",
            "ftp://h",
            "h.test/{x}",
            "[::1]:80",
            "",
        ] {
            assert!(SiteUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}
