//! Caddy's configuration as JSON: what each app's Caddyfile becomes is checked against a list, then merged.

mod allow;
mod base;
mod front_door;
mod given;
mod maintenance;
mod routes;
#[cfg(test)]
mod tests;
mod whole;

pub use base::{Apps, config, whole, within};
pub use routes::AppRoutes;
pub(in crate::proxy) use routes::is_own;
pub use whole::CaddyConfig;

/// Why what Caddy made of an app's text is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(String);
