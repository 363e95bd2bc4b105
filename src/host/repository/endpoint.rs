//! Which host and port a repository's URL leads to.

use std::fmt;

/// A host with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// `None` for a URL that leads to no host (`file:`).
    pub(super) fn of(url: &str) -> Option<Self> {
        let Some((scheme, rest)) = url.split_once("://") else {
            // user@host:path
            return Self::parse(url.split_once(':')?.0, 22);
        };
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            "ssh" => 22,
            "git" => 9418,
            _ => return None,
        };
        Self::parse(rest.split('/').next()?, default)
    }

    fn parse(authority: &str, default: u16) -> Option<Self> {
        let address = authority.rsplit('@').next()?;
        // An IPv6 address stands in brackets, which are no part of it.
        let (host, rest) = match address.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => address.split_at(address.find(':').unwrap_or(address.len())),
        };
        let port = rest.strip_prefix(':').map_or(Some(default), |port| port.parse().ok())?;
        let host = host.to_owned();
        Some(Self { host, port })
    }

    /// The name that known_hosts files use.
    pub(super) fn in_known_hosts(&self) -> String {
        if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        if host.contains(':') {
            write!(f, "[{host}]:{}", self.port)
        } else {
            write!(f, "{host}:{}", self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_url_leads_to_its_host() {
        for (url, expected) in [
            ("https://h.example/a/b", "h.example:443"),
            ("http://user:secret@h:8080/a", "h:8080"),
            ("ssh://git@h:2222/a", "h:2222"),
            ("ssh://git@h/a", "h:22"),
            ("git://h/a", "h:9418"),
            ("git@h:org/a", "h:22"),
            ("ssh://git@[fd00::1]:2222/a", "[fd00::1]:2222"),
            ("git://[fd00::1]/a", "[fd00::1]:9418"),
        ] {
            assert_eq!(Endpoint::of(url).unwrap().to_string(), expected, "{url}");
        }
        assert_eq!(Endpoint::of("file:///srv/a"), None);
        assert_eq!(Endpoint::of("https://h:99999/a"), None);
    }

    #[test]
    fn known_hosts_name_the_port_unless_it_is_the_usual_one() {
        let name = |url| Endpoint::of(url).unwrap().in_known_hosts();
        assert_eq!(name("git@h:a/b"), "h");
        assert_eq!(name("ssh://git@h:2222/b"), "[h]:2222");
    }
}
