//! What a compose file asks of the proxies: the part of an app's entry that a deployment prepares, and that `tandem
//! check` looks at. Pure.

use serde_json::{Map, Value};

use crate::model::manifest::Manifest;
use crate::model::{AppRecord, MaintenancePage};
use crate::proxy::Policy;
use crate::proxy::caddyfile::{self, CaddyfileError, SiteUrl};
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
    /// The site blocks of all services.
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
        let mut urls = Vec::new();
        let mut texts = Vec::new();
        for (name, service) in &manifest.services {
            let Some(text) = &service.caddyfile else {
                continue;
            };
            let found = caddyfile::urls(text)
                .map_err(|source| CandidateError::Caddyfile { service: name.clone(), source })?;
            urls.extend(found);
            texts.push(text.as_str());
        }
        let declared = manifest
            .services
            .values()
            .filter_map(|service| Some((service.container.as_str(), service.haproxy.as_ref()?)));
        Ok(Self {
            urls,
            haproxy: haproxy::collect(declared, policy)?,
            caddyfile: texts.join("\n"),
            page,
        })
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
    }
}
