//! The networks that a service is on, and the names by which others find it there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{ProjectName, full_name};

/// The network on which the proxies find the apps' containers.
pub const PROXIES_NETWORK: &str = "cluster_default";

/// Where a service is to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The networks, as Docker names them.
    pub networks: Vec<String>,
    /// Those of them that are not the app's own: other apps can join them.
    pub shared: Vec<String>,
    /// Names that the file gives it on those.
    pub aliases: BTreeSet<String>,
    /// The name that the container has to itself.
    pub hostname: Option<String>,
    /// What stands in for networks: `host`, `service:x`.
    pub mode: Option<String>,
    /// The networks that have to be there before.
    pub external: BTreeSet<String>,
}

impl Place {
    pub(super) fn of(
        service: &Value,
        networks: &Map<String, Value>,
        project: &ProjectName,
    ) -> Self {
        let text = |key: &str| service.get(key).and_then(Value::as_str).map(str::to_owned);
        let mode = text("network_mode").filter(|mode| !mode.is_empty());
        let mut place = Self { hostname: text("hostname"), mode, ..Self::default() };
        let attached: Vec<(&str, Option<&Value>)> = match service.get("networks") {
            Some(Value::Object(map)) if !map.is_empty() => {
                map.iter().map(|(key, value)| (key.as_str(), Some(value))).collect()
            }
            Some(Value::Array(list)) if !list.is_empty() => {
                list.iter().filter_map(|key| Some((key.as_str()?, None))).collect()
            }
            Some(_) | None if place.mode.is_some() => Vec::new(),
            Some(_) | None => vec![("default", None)],
        };
        for (key, how) in attached {
            let network = networks.get(key).unwrap_or(&Value::Null);
            let name = full_name(key, network, project);
            if super::is_external(network) {
                place.external.insert(name.clone());
            }
            if name != project.volume(key) {
                let aliases = how.and_then(|how| how.get("aliases")).and_then(Value::as_array);
                let aliases = aliases.into_iter().flatten().filter_map(Value::as_str);
                place.aliases.extend(aliases.map(str::to_owned));
                place.shared.push(name.clone());
            }
            place.networks.push(name);
        }
        place
    }

    /// Whether the proxies find it.
    pub fn is_found(&self) -> bool {
        self.networks.iter().any(|network| network == PROXIES_NETWORK)
    }
}
