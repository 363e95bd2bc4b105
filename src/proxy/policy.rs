//! What an admin lets the apps of one repository do that others may not, or keeps them from: `tandem/policy/NAME`. Without
//! one the default applies, which lets an app reach its own containers and nothing that the node needs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Problem;
use super::certificates::CertificateName;
use super::haproxy::Keywords;
use super::settings::OWN_PORTS;
use crate::model::{AppRecord, Repo, keys};

/// Of repositories without one.
static DEFAULT: Policy = Policy::DEFAULT;
/// A value larger than this is none.
const MAX: usize = 64 * 1024;

/// What the apps of a repository may do. [`Policy::DEFAULT`] is what everybody may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    upstreams: BTreeSet<(String, u16)>,
    ports: BTreeSet<u16>,
    domains: Option<Vec<String>>,
    keywords: Keywords,
    certificates: BTreeMap<String, CertificateName>,
}

/// Why a policy is not used: what is wrong in it, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is longer than anybody writes one.
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// It has another form: a field that is not known, or of another type.
    #[error("is no policy: {0}")]
    Form(String),
    /// A value that means nothing, or is never given.
    #[error("{field:?}: {what}")]
    Field {
        /// Its field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// The text in KV.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    repo: String,
    #[serde(default)]
    upstreams: Vec<String>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    domains: Option<Vec<String>>,
    #[serde(default)]
    haproxy_keywords: Keywords,
    #[serde(default)]
    certificates: BTreeMap<String, Vec<String>>,
}

impl Policy {
    /// An app's own containers, ports that nothing on the node needs, any host, the keywords that harm nobody.
    pub const DEFAULT: Self = Self {
        upstreams: BTreeSet::new(),
        ports: BTreeSet::new(),
        domains: None,
        keywords: BTreeSet::new(),
        certificates: BTreeMap::new(),
    };

    /// Reads a policy, and the repository that it is for.
    ///
    /// # Errors
    /// [`PolicyError`], the first that is found.
    pub fn parse(value: &[u8]) -> Result<(Repo, Self), PolicyError> {
        if value.len() > MAX {
            return Err(PolicyError::TooLarge);
        }
        // A list would be read by position.
        if !value.trim_ascii_start().starts_with(b"{") {
            return Err(PolicyError::Form("it is not an object".to_owned()));
        }
        let wire: Wire =
            serde_json::from_slice(value).map_err(|error| PolicyError::Form(error.to_string()))?;
        let wrong = |field, what: String| PolicyError::Field { field, what };
        let repo = Repo::parse(&wire.repo).map_err(|error| wrong("repo", error.to_string()))?;
        let upstreams = wire.upstreams.iter().map(|text| place(text));
        let upstreams = upstreams.collect::<Result<_, _>>().map_err(|e| wrong("upstreams", e))?;
        let ports = wire.ports.into_iter().map(port);
        let ports = ports.collect::<Result<_, _>>().map_err(|what| wrong("ports", what))?;
        let hosts = |all: Vec<String>| {
            all.iter().map(|pattern| caddyfile::host(pattern)).collect::<Result<Vec<_>, _>>()
        };
        let domains = wire.domains.map(hosts).transpose();
        let domains = domains.map_err(|error| wrong("domains", error.to_string()))?;
        let certificates = certificates(wire.certificates);
        let certificates = certificates.map_err(|what| wrong("certificates", what))?;
        let keywords = wire.haproxy_keywords;
        Ok((repo, Self { upstreams, ports, domains, keywords, certificates }))
    }

    /// Whether a place that is none of the app's containers may be proxied to.
    pub fn may_dial(&self, host: &str, port: u16) -> bool {
        !self.upstreams.is_empty() && self.upstreams.contains(&(host.to_ascii_lowercase(), port))
    }

    /// The places beside the app's containers, as Caddy writes them.
    pub(super) fn dials(&self) -> BTreeSet<String> {
        self.upstreams.iter().map(|(host, port)| format!("{host}:{port}")).collect()
    }

    /// Whether a port that is reserved may be bound all the same. Those of the proxies never are.
    pub fn may_bind(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Refuses a host that the repository's apps don't have. A wildcard has to be a pattern itself, or below one.
    pub fn check_host(&self, host: &str) -> Result<(), String> {
        let Some(domains) = &self.domains else {
            return Ok(());
        };
        let is_of = |pattern: &String| match pattern.strip_prefix('*') {
            Some(suffix) => host == pattern || host.ends_with(suffix),
            None => host == pattern,
        };
        match domains.iter().any(is_of) {
            true => Ok(()),
            false => Err(format!(
                "the host {host} is none of those that the policy leaves to the repository ({})",
                if domains.is_empty() { "none".to_owned() } else { domains.join(", ") }
            )),
        }
    }

    /// The certificate that an admin gives a host: that of the host itself, or else of the longest pattern above it.
    pub fn certificate(&self, host: &str) -> Option<&CertificateName> {
        if self.certificates.is_empty() {
            return None;
        }
        let dots = host.match_indices('.').filter_map(|(at, _)| host.get(at..));
        let above = dots.filter_map(|suffix| self.certificates.get(&format!("*{suffix}")));
        self.certificates.get(host).into_iter().chain(above).next()
    }

    /// The keywords of HAProxy beside those that everybody may use.
    pub fn keywords(&self) -> &Keywords {
        &self.keywords
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// By host or pattern, of which each has one.
fn certificates(
    wire: BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, CertificateName>, String> {
    let mut certificates = BTreeMap::new();
    for (name, hosts) in wire {
        let name = CertificateName::parse(&name)?;
        for host in hosts {
            let host = caddyfile::host(&host).map_err(|error| error.to_string())?;
            if let Some(other) = certificates.insert(host.clone(), name.clone()) {
                return Err(format!("{host} has both {other} and {name}"));
            }
        }
    }
    Ok(certificates)
}

/// `host:port`; an IPv4 address is a host.
fn place(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is not HOST:PORT, with a name or an IPv4 address");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let digits = port.chars().all(|c| c.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0).ok_or_else(wrong)?;
    let host = caddyfile::host(host).map_err(|_| wrong())?;
    if host.starts_with('*') {
        return Err(wrong());
    }
    Ok((host, port))
}

fn port(port: u16) -> Result<u16, String> {
    match OWN_PORTS.contains(&port) {
        true => Err(format!("port {port} is the proxies' own and given to nobody")),
        false if port == 0 => Err("0 is no port".to_owned()),
        false => Ok(port),
    }
}

/// The policies of a cluster, by repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies(BTreeMap<Repo, Policy>);

impl Policies {
    /// Reads KV entries below `tandem/policy/` (full key, raw value); others are passed over. What can't be used is left
    /// out and reported: its repository has the default. So are two for one repository, because none of them is meant.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> (Self, Vec<Problem>) {
        let mut found: BTreeMap<Repo, Vec<(&str, Policy)>> = BTreeMap::new();
        let mut problems = Vec::new();
        for (key, value) in entries {
            if key.strip_prefix(keys::POLICIES).is_none_or(str::is_empty) {
                continue;
            }
            match Policy::parse(value) {
                Ok((repo, policy)) => found.entry(repo).or_default().push((key, policy)),
                Err(error) => {
                    let what = format!("{error}; its repository has the default policy");
                    problems.push(Problem::new(key, what));
                }
            }
        }
        let mut policies = BTreeMap::new();
        for (repo, mut all) in found {
            if all.len() == 1 {
                policies.extend(all.pop().map(|(_, policy)| (repo, policy)));
                continue;
            }
            let names: Vec<_> = all.iter().map(|(key, _)| *key).collect();
            let what = format!(
                "{repo} has more than one policy ({}); it has the default",
                names.join(", ")
            );
            problems.extend(names.iter().map(|key| Problem::new(*key, what.as_str())));
        }
        (Self(policies), problems)
    }

    /// That of a repository.
    pub fn of_repo(&self, repo: &Repo) -> &Policy {
        self.0.get(repo).unwrap_or(&DEFAULT)
    }

    /// That of an app's repository.
    pub fn of(&self, record: &AppRecord) -> &Policy {
        // Most clusters have none.
        match self.0.is_empty() {
            true => &DEFAULT,
            false => Repo::parse(&record.repo_url).map_or(&DEFAULT, |repo| self.of_repo(&repo)),
        }
    }

    /// Gives a repository one.
    pub fn insert(&mut self, repo: Repo, policy: Policy) {
        self.0.insert(repo, policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::haproxy::Keyword;

    fn parse(text: &str) -> Result<(Repo, Policy), String> {
        Policy::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_widens_by_name_and_narrows_by_pattern() {
        let (repo, policy) = parse(
            r#"{"repo": " https://git.test/shop.git", "upstreams": ["Mail.test:25", "10.0.0.9:8080"],
                "ports": [22, 2222], "domains": ["shop.test", "*.shop.test"], "haproxy_keywords": ["maxconn"]}"#,
        )
        .unwrap();
        assert_eq!(repo.as_str(), "https://git.test/shop");
        assert!(policy.may_dial("mail.TEST", 25) && policy.may_dial("10.0.0.9", 8080));
        assert!(!policy.may_dial("mail.test", 26) && !policy.may_dial("x.mail.test", 25));
        assert!(policy.may_bind(22) && !policy.may_bind(8500));
        for host in ["shop.test", "a.shop.test", "*.shop.test", "*.a.shop.test"] {
            assert_eq!(policy.check_host(host), Ok(()), "{host}");
        }
        for host in ["test", "workshop.test", "*.test", "other.test"] {
            assert!(policy.check_host(host).unwrap_err().contains("(shop.test, *.shop.test)"));
        }
        assert!(policy.keywords().contains(&Keyword::Maxconn));
        let bare = parse(r#"{"repo": "https://git.test/shop"}"#).unwrap().1;
        assert_eq!(bare, Policy::DEFAULT);
        assert_eq!(bare.check_host("any.test"), Ok(()));
    }

    #[test]
    fn a_policy_gives_hosts_their_certificates_the_nearest_first() {
        let policy = parse(
            r#"{"repo": "https://git.test/shop", "certificates": {"wide": ["*.shop.test", "*.Bücher.test"],
                "exact": ["a.shop.test", "Shop.test."], "deep": ["*.x.shop.test"]}}"#,
        );
        let policy = policy.unwrap().1;
        let of = |host| policy.certificate(host).map(CertificateName::as_str);
        for (host, name) in [
            ("a.shop.test", Some("exact")),
            ("shop.test", Some("exact")),
            ("b.shop.test", Some("wide")),
            ("*.shop.test", Some("wide")),
            ("y.b.shop.test", Some("wide")),
            ("y.x.shop.test", Some("deep")),
            ("*.x.shop.test", Some("deep")),
            ("a.xn--bcher-kva.test", Some("wide")),
            ("workshop.test", None),
            ("test", None),
            ("other.test", None),
        ] {
            assert_eq!(of(host), name, "{host}");
        }
        assert_eq!(Policy::DEFAULT.certificate("a.shop.test"), None);
    }

    #[test]
    fn what_is_wrong_in_a_policy_is_told() {
        let repo = r#""repo": "https://git.test/shop""#;
        for (text, expected) in [
            ("[]".to_owned(), "is no policy: it is not an object"),
            ("{}".to_owned(), "missing field `repo`"),
            (r#"{"repo": "shop"}"#.to_owned(), "\"repo\": is neither scheme://"),
            (format!(r#"{{{repo}, "upstream": []}}"#), "unknown field `upstream`"),
            (
                format!(r#"{{{repo}, "upstreams": ["mail"]}}"#),
                "\"upstreams\": \"mail\" is not HOST:PORT",
            ),
            (format!(r#"{{{repo}, "upstreams": ["*.a.test:1"]}}"#), "is not HOST:PORT"),
            (format!(r#"{{{repo}, "upstreams": ["a\nb:1"]}}"#), "is not HOST:PORT"),
            (format!(r#"{{{repo}, "upstreams": ["unix//run/x:1"]}}"#), "is not HOST:PORT"),
            (format!(r#"{{{repo}, "upstreams": ["a:+1"]}}"#), "is not HOST:PORT"),
            (format!(r#"{{{repo}, "ports": [443]}}"#), "port 443 is the proxies' own"),
            (format!(r#"{{{repo}, "ports": [0]}}"#), "0 is no port"),
            (format!(r#"{{{repo}, "ports": [70000]}}"#), "is no policy: invalid value"),
            (format!(r#"{{{repo}, "domains": ["*"]}}"#), "\"domains\": \"*\" is not a host name"),
            (
                format!(r#"{{{repo}, "haproxy_keywords": ["lua-load"]}}"#),
                "unknown variant `lua-load`, expected one of",
            ),
            (
                format!(r#"{{{repo}, "certificates": {{"../shop": ["a.test"]}}}}"#),
                "\"certificates\": \"../shop\" is no name of a certificate",
            ),
            (format!(r#"{{{repo}, "certificates": {{"/etc/x": []}}}}"#), "is no name of a cert"),
            (
                format!(r#"{{{repo}, "certificates": {{"a": ["*"]}}}}"#),
                "\"certificates\": \"*\" is not a host name",
            ),
            (
                format!(r#"{{{repo}, "certificates": {{"a": ["h.test"], "b": ["H.test."]}}}}"#),
                "h.test has both a and b",
            ),
            (format!(r#"{{{repo}, "certificates": ["a"]}}"#), "is no policy: invalid type"),
            (format!("{{{repo}}}{}", " ".repeat(MAX)), "larger than 64 KiB"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_wrong_policy_is_named_and_its_repository_has_the_default() {
        let entries: [(&str, &[u8]); 6] = [
            ("tandem/policy/a", br#"{"repo": "https://git.test/a", "ports": [22]}"#),
            ("tandem/policy/b", br#"{"repo": "https://git.test/b", "ports": [22]}"#),
            ("tandem/policy/b2", br#"{"repo": "https://git.test/b.git"}"#),
            ("tandem/policy/c", br#"{"repo": "https://git.test/c", "ports": [22], "x": 1}"#),
            ("tandem/policy/", b"?"),
            ("tandem/apps/x", b"?"),
        ];
        let (policies, problems) = Policies::from_entries(entries);
        let of = |repo: &str| policies.of_repo(&Repo::parse(repo).unwrap()).may_bind(22);
        assert_eq!(
            ["a", "b", "c"].map(|name| of(&format!("https://git.test/{name}"))),
            [true, false, false]
        );
        let told: Vec<_> = problems.iter().map(|p| (p.source.as_str(), p.what.as_str())).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].0 == "tandem/policy/c" && told[0].1.contains("unknown field `x`"),
            "{told:?}"
        );
        assert!(told[1].1.contains("(tandem/policy/b, tandem/policy/b2)"), "{told:?}");
    }
}
