//! `app/{app}`: the entry of an app that serves; and what new versions ask for, in the same shape.

use serde::{Deserialize, Serialize};

use super::Record;
use crate::model::{AppName, AppRecord, HandOver, Routing, keys};

impl Record for AppRecord {
    const PREFIX: &'static str = keys::APPS;
    const FORMAT: Option<u32> = None;
    type Name = AppName;
}

/// `tandem/claims/{app}`: what the new version of a running deployment asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asked(pub AppRecord);

impl Record for Asked {
    const PREFIX: &'static str = keys::CLAIMS;
    const FORMAT: Option<u32> = None;
    type Name = AppName;
}

impl Record for HandOver {
    const PREFIX: &'static str = keys::MAINTENANCE;
    const FORMAT: Option<u32> = None;
    type Name = AppName;
}

impl Record for Routing {
    const PREFIX: &'static str = keys::ROUTING;
    type Name = AppName;
}
