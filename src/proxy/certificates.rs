//! Certificates that an app takes along when it moves: whose they are, what stands in KV, and Caddy's files.
//!
//! ```text
//! a Caddy's files ─▶ Bundle ─ seal ─▶ tandem/certificates/HOST ─ open ─▶ Bundle ─▶ the next Caddy's files
//! ```
//!
//! And those that an admin gives an app's hosts by a policy: a [`Shelf`] brings them from the admin's files to Caddy's.
//!
//! Pure but for [`Storage`], [`SharedKey`] and [`Shelf`]. Certificates of Caddy's own authority stay where they are:
//! every node has another root, and a leaf is issued on the spot.

mod bundle;
mod decide;
mod host;
mod key_file;
mod key_pair;
mod pair;
mod published;
mod shelf;
mod storage;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;

use async_trait::async_trait;
use caddyfile::{Scheme, TlsWish};

pub use bundle::{Bundle, BundleError, Facts, Texts};
pub use decide::{is_placed, is_published};
pub use host::{CertificateHost, IssuerName, NameError};
pub use key_file::{KeyFileError, SharedKey};
pub use pair::{CertificateName, Pair};
pub use published::{Published, PublishedError};
pub use shelf::Shelf;
pub use storage::{Found, Stamp, Storage};

use super::render::AppSites;
use super::tls::TlsSource;
use super::{Issuer, Problem, ProxySettings};

/// Where a node's Caddy gets certificates from besides issuing them.
#[async_trait]
pub trait CertificateSource: Send + Sync {
    /// Called before Caddy is given these hosts: puts what others published into its storage, where that has none or an
    /// older one. Ends in a bounded time. False if it could not be asked for.
    async fn place(&self, hosts: &BTreeSet<CertificateHost>) -> bool;

    /// Whether Caddy's storage has a certificate of a host that is valid now.
    async fn has(&self, host: &CertificateHost) -> bool;

    /// These are the hosts that Caddy serves now, for the apps whose master this node is.
    fn routed(&self, hosts: BTreeSet<CertificateHost>);

    /// What is wrong with certificates at the moment.
    fn problems(&self) -> Vec<Problem>;
}

/// Whether a site's certificate is one that this node's Caddy has from a public authority, or asks it for.
pub fn is_shared(settings: &ProxySettings, scheme: Scheme, source: &TlsSource) -> bool {
    let is_acme = match source {
        TlsSource::Issued(TlsWish::Default) => matches!(settings.issuer, Issuer::Acme(_)),
        TlsSource::Issued(TlsWish::Email(_)) => true,
        TlsSource::Issued(TlsWish::Internal) | TlsSource::Given(_) | TlsSource::Lent(_) => false,
    };
    scheme == Scheme::Https && is_acme
}

/// The hosts of apps' sites whose certificates come from a public authority.
pub fn shared_hosts<'a>(
    settings: &ProxySettings,
    sites: impl IntoIterator<Item = &'a AppSites>,
) -> BTreeSet<CertificateHost> {
    let hosts = sites.into_iter().flat_map(|sites| &sites.hosts);
    hosts
        .filter(|((scheme, _), source)| is_shared(settings, *scheme, source))
        // A name that no authority certifies has nothing to share.
        .filter_map(|((_, host), _)| CertificateHost::parse(host).ok())
        .collect()
}
