//! `app/{app name}` in KV (compat): read tolerantly, written with every key that was there before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::placement::{NodeName, Placement};

/// What KV stores for an app that serves; the keys are fixed by the older system's readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppRecord {
    /// The repository's URL.
    pub repo_url: String,
    /// The branch or tag.
    pub branch: String,
    /// The deployment that serves.
    pub deploy_id: String,
    /// The one before it; null at first.
    #[serde(default)]
    pub previous_deploy_id: Option<String>,
    /// `%Y-%m-%dT%H%M%S.%f`.
    #[serde(default)]
    pub deploy_date: String,
    /// The node that runs the app.
    pub master: NodeName,
    /// The node that holds copies, or null.
    #[serde(default)]
    pub slave: Option<NodeName>,
    /// The master's address.
    #[serde(default)]
    pub ip: String,
    /// Hosts of the URLs, bare addresses included.
    #[serde(default)]
    pub domains: Vec<String>,
    /// One text: comma and space between.
    #[serde(default)]
    pub urls: String,
    /// The site blocks as the app wrote them, `$CONTAINER` resolved.
    #[serde(default)]
    pub caddyfile: String,
    /// Frontend name to its HAPROXY value, `ct` filled in.
    #[serde(default)]
    pub haproxy: Map<String, Value>,
    /// Service to container name.
    #[serde(default)]
    pub ct: BTreeMap<String, String>,
    /// BTRFS volumes, as buttervolume names them.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// What visitors see under maintenance, where the app's repository has a page for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_page: Option<String>,
    /// Keys of other writers: kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl AppRecord {
    /// The pair that the record names.
    pub fn placement(&self) -> Placement {
        Placement { master: self.master.clone(), replica: self.slave.clone() }
    }
}
