//! What a compose file asks of the proxies: the part of an app's entry that a deployment prepares, and that `tandem
//! check` looks at. Pure.

use std::collections::BTreeMap;

use caddyfile::{CaddyfileError, Dial, Permits, SiteUrl};
use serde_json::{Map, Value};

use crate::model::manifest::Manifest;
use crate::model::{AppRecord, Held, MaintenancePage};
use crate::proxy::Policy;
use crate::proxy::haproxy::{self, DeclarationError};

/// What can't be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// A service's site blocks.
    #[error("service {service}, CADDYFILE")]
    Caddyfile {
        /// The service.
        service: String,
        /// The cause, with its line.
        source: CaddyfileError,
    },
    /// An address of two services.
    #[error("{url} is declared twice, by service {first} and by service {second}")]
    Twice {
        /// The address.
        url: SiteUrl,
        /// The service that comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// The services' HAPROXY values, each or together.
    #[error(transparent)]
    Haproxy(#[from] DeclarationError),
}

/// The proxies' part of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The addresses that the CADDYFILEs declare, in their order.
    pub urls: Vec<SiteUrl>,
    /// The HAPROXY values as one.
    pub haproxy: Map<String, Value>,
    /// The site blocks of all services; of several, each one's are below its name.
    pub caddyfile: String,
    /// The maintenance page of the repository's own, if it has one.
    pub page: Option<MaintenancePage>,
}

impl Candidate {
    /// Reads it out of a manifest, as far as the repository's policy lets it; `page` is what stands beside it.
    ///
    /// # Errors
    /// [`CandidateError`], the first that is found.
    pub fn of(
        manifest: &Manifest,
        page: Option<MaintenancePage>,
        policy: &Policy,
    ) -> Result<Self, CandidateError> {
        let (mut urls, mut texts) = (Vec::new(), Vec::new());
        let mut owners: BTreeMap<SiteUrl, &str> = BTreeMap::new();
        for (name, service) in &manifest.services {
            let Some(text) = &service.caddyfile else {
                continue;
            };
            let found = sites(text, policy)
                .map_err(|source| CandidateError::Caddyfile { service: name.clone(), source })?;
            for url in found {
                if let Some(first) = owners.insert(url.clone(), name) {
                    let (first, second) = (first.to_owned(), name.clone());
                    return Err(CandidateError::Twice { url, first, second });
                }
                urls.push(url);
            }
            texts.push((name.as_str(), text.as_str()));
        }
        let caddyfile = match (manifest.services.len(), texts.as_slice()) {
            // Whose it is, is clear.
            (1, [(_, text)]) => (*text).to_owned(),
            _ => caddyfile::join(texts.iter().copied()),
        };
        let declared = manifest
            .services
            .values()
            .filter_map(|service| Some((service.container.as_str(), service.haproxy.as_ref()?)));
        Ok(Self { urls, haproxy: haproxy::collect(declared, policy)?, caddyfile, page })
    }

    /// The hosts, each once.
    pub fn domains(&self) -> Vec<String> {
        let mut domains: Vec<String> = Vec::new();
        for url in &self.urls {
            if !domains.contains(&url.host) {
                domains.push(url.host.clone());
            }
        }
        domains
    }

    /// Fills in what an entry holds of it and of the manifest.
    pub fn fill(&self, manifest: &Manifest, entry: &mut AppRecord) {
        let containers = manifest.services.iter();
        let volumes = manifest.volumes.iter().filter(|volume| volume.replicated);
        entry.domains = self.domains();
        entry.urls = self.urls.iter().map(SiteUrl::to_string).collect::<Vec<_>>().join(", ");
        entry.caddyfile = self.caddyfile.clone();
        entry.haproxy = self.haproxy.clone();
        entry.maintenance_page = self.page.as_ref().map(|page| page.as_str().to_owned());
        entry.ct = containers.map(|(name, s)| (name.clone(), s.container.clone())).collect();
        entry.volumes = volumes.map(|volume| volume.name.clone()).collect();
        let services = manifest.services.values();
        let own = manifest.volumes.iter().filter(|volume| !volume.external);
        entry.claims = Held {
            ports: services.clone().flat_map(|service| service.ports.iter().copied()).collect(),
            volumes: own.map(|volume| volume.name.clone()).collect(),
            aliases: services.flat_map(|service| service.place.aliases.iter().cloned()).collect(),
        };
    }
}

/// The addresses of a service's sites, all of which can be translated. Where they proxy to is looked at when they are
/// rendered: only then it is known which containers are the app's.
fn sites(text: &str, policy: &Policy) -> Result<Vec<SiteUrl>, CaddyfileError> {
    let is_given = |host: &str| policy.certificate(host).is_some();
    let permits = Permits { may_dial: &|_, _| Dial::May, is_given: &is_given };
    let sites = caddyfile::translate(text, permits)?.sites.into_iter();
    sites.map(|site| site.text(0).map(|_| site.url)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;

    fn manifest(services: &[(&str, &str)]) -> Manifest {
        let service = |(name, text): &(&str, &str)| {
            (
                (*name).to_owned(),
                serde_json::json!({"image": "x", "environment": {"CADDYFILE": text}}),
            )
        };
        let services: Map<_, _> = services.iter().map(service).collect();
        let config = serde_json::json!({"services": services});
        let project = crate::model::AppName::parse("app_main.12345").unwrap().project();
        Manifest::parse(&config, &project, &[]).unwrap()
    }

    fn candidate(services: &[(&str, &str)]) -> Result<Candidate, String> {
        let made = Candidate::of(&manifest(services), None, &Policy::DEFAULT);
        made.map_err(|error| chain(&error))
    }

    #[test]
    fn each_service_is_read_in_its_own_dialect() {
        let (first, second) =
            ("http://a.test {\n redir https://b.test\n}", "# caddy 2\nhttp://c.test\nredir /x");
        let asked = candidate(&[("web", first), ("api", second)]).unwrap();
        let permits = Permits { may_dial: &|_, _| Dial::May, is_given: &|_| false };
        let sites = caddyfile::translate(&asked.caddyfile, permits).unwrap().sites;
        let told: Vec<_> = sites
            .iter()
            .map(|site| (site.service.as_deref(), site.dialect.redirect_status(), site.text(0)))
            .collect();
        assert_eq!(told[0], (Some("api"), 308, Ok("encode gzip\nredir /x\n".to_owned())));
        assert_eq!(told[1].0, Some("web"));
        assert!(told[1].2.as_ref().unwrap().contains("redir * https://b.test 301\n"), "{told:?}");
        assert_eq!(asked.urls.len(), 2);
        assert_eq!(candidate(&[("web", first)]).unwrap().caddyfile, first, "as it was written");
    }

    #[test]
    fn what_is_wrong_is_told_with_service_and_line() {
        let good = "http://a.test {\n proxy / c:80\n}\n";
        for (text, what) in [
            ("http://b.test {\n\n root /srv\n}", "service web, CADDYFILE: line 3: root: "),
            ("http://b.test {\n redir {~c}\n}", "service web, CADDYFILE: line 2: redir: "),
            (good, "http://a.test is declared twice, by service api and by service web"),
        ] {
            let told = candidate(&[("api", good), ("web", text)]).unwrap_err();
            assert!(told.starts_with(what), "{told}");
        }
    }
}
