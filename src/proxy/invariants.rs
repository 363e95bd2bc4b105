//! What has to hold of whatever an app or a key says, as functions that both the property tests and the targets in
//! `fuzz/` ask. None of them depends on the real proxies.

mod caddy;
mod haproxy;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::render::{RenderError, Rendered, Templates, render};
use super::{ClusterView, ProxySettings};
use crate::model::NodeName;

pub use super::haproxy::invariants::declarations;
pub use caddy::caddyfile;
pub use caddyfile::invariants::Broken;
pub use haproxy::{haproxy, haproxy_text};

pub(in crate::proxy) fn broken<T>(what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(what.into()))
}

/// The app that everything is tried as, on `node1`.
pub(in crate::proxy) const APP: &str = "app/app_main.12345";
/// Its only container.
pub(in crate::proxy) const CONTAINER: &str = "appmain12345_web_1";

/// Whether a host is one of the app's: its container, or another one of its project. A placeholder in it, or a domain
/// that begins so, could be anything.
pub(in crate::proxy) fn is_own(host: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (host.starts_with("appmain12345_") || host.starts_with("appmain12345-"))
        && host.chars().all(is_plain)
}

static TEMPLATES: LazyLock<Result<Templates, RenderError>> = LazyLock::new(Templates::built_in);

/// What a node renders from KV entries, in a cluster of two.
fn rendered(me: &str, entries: &[(&str, &Value)]) -> Result<Rendered, Broken> {
    let node = |name| NodeName::parse(name).map_err(|error| Broken(error.to_string()));
    let nodes = [("node1", "10.0.0.1"), ("node2", "10.0.0.2")];
    let nodes = nodes
        .into_iter()
        .map(|(name, ip)| Ok((node(name)?, ip.to_owned())))
        .collect::<Result<BTreeMap<_, _>, Broken>>()?;
    let bytes: Vec<_> =
        entries.iter().map(|(key, value)| (*key, value.to_string().into_bytes())).collect();
    let entries = bytes.iter().map(|(key, value)| (*key, value.as_slice()));
    let (view, problems) = ClusterView::from_entries(node(me)?, nodes, entries);
    if let Some(problem) = problems.first() {
        return broken(format!("{}: {}", problem.source, problem.what));
    }
    let templates = TEMPLATES.as_ref().map_err(|error| Broken(error.to_string()))?;
    render(&view, &ProxySettings::default(), templates, &BTreeMap::new())
        .map_err(|error| Broken(format!("rendering failed: {error}: {error:?}")))
}
