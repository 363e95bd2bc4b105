//! The proxies of a node: what KV says, rendered for HAProxy and Caddy, checked by both, put in place.
//!
//! ```text
//! KV ─ view ─▶ ClusterView ─ render ─▶ haproxy.cfg, maps, a Caddyfile per app
//!                                         │ check (real binaries)   │ adapt, allow-list, merge
//!                                         ▼                         ▼
//!                                files, Runtime API, reload      caddy.json, /load
//! ```
//!
//! One app's text can make only its own part fail: it is left out, and reported as a [`Problem`].

mod apply;
pub mod caddy;
pub mod certificates;
pub mod control;
pub mod haproxy;
#[cfg(any(test, feature = "testing"))]
pub mod invariants;
pub mod policy;
pub mod render;
pub mod settings;
pub mod text;
pub mod tls;
pub mod view;

pub use apply::{Applied, Checker, Gathering, Proxies, ProxyError};
pub use policy::{Policies, Policy};
pub use settings::{Issuer, ProxySettings};
pub use view::ClusterView;

/// What a client sees while an app is under maintenance.
const MAINTENANCE_PAGE: &str = include_str!("../haproxy/maintenance.html");

/// What HAProxy does with requests for an app that is being handed over.
const HOLD: &str = include_str!("../haproxy/hold.lua");

/// A part of the configuration that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key: `app/NAME`, `swarm/KEY`, `node/NAME`, `tandem/certificates/HOST`.
    pub source: String,
    /// What is wrong with it.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(source: impl Into<String>, what: impl Into<String>) -> Self {
        Self { source: source.into(), what: what.into() }
    }
}
