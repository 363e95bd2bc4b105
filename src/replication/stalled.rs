//! What a master's agent says of replications that don't arrive: `tandem/stalled/{app}/{node}`.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::model::NodeName;

/// The volumes of an app that a master could not replicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalled {
    /// The slave.
    pub to: NodeName,
    /// By volume, why.
    pub volumes: BTreeMap<String, Stall>,
}

/// Why a volume is not replicated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// When the first snapshot was taken that did not arrive.
    pub since: DateTime<Utc>,
    /// What was said of the newest try.
    pub why: String,
}

impl Stalled {
    /// A line for each volume.
    pub fn describe(&self) -> Vec<String> {
        let line = |(volume, stall): (&String, &Stall)| {
            let since = stall.since.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("{volume}: nothing has arrived on {} since {since}: {}", self.to, stall.why)
        };
        self.volumes.iter().map(line).collect()
    }
}
